// The setup guide: what a chosen card needs, a list of models that fills in the form, and a first request from here.
"use strict";
(() => {
    providerStep(document.querySelector("[data-provider-step]"));
    modelStep(document.querySelector("[data-model-step]"));
    lastStep(document.querySelector("[data-here]"), document.querySelector("[data-try]"));

    function providerStep(form) {
        if (!form) return;
        const help = form.querySelector("[data-credential-help]");
        form.addEventListener("change", (event) => event.target.name === "adapter" && show());
        show();

        function show() {
            const chosen = form.querySelector("[name=adapter]:checked");
            form.classList.add("is-live");
            form.dataset.chosen = !chosen ? "none" : "own" in chosen.dataset ? "own" : "simulator" in chosen.dataset ? "simulator" : "vendor";
            help.replaceChildren();
            if (chosen?.dataset.credentialPage) {
                const page = Object.assign(document.createElement("a"), {
                    href: chosen.dataset.credentialPage,
                    target: "_blank",
                    rel: "noopener noreferrer",
                    className: "setup-link",
                    textContent: "Get a key from the vendor",
                });
                help.append(page);
            }
        }
    }

    function modelStep(form) {
        if (!form) return;
        const { model, alias, offered, provider } = form.elements;
        const known = form.querySelector("[data-known]");
        let ownAlias = alias.value !== "" && alias.value !== model.value;
        let ownPrice = form.dataset.bound !== undefined;
        const rows = () => [...form.querySelectorAll("[data-model]")];

        form.addEventListener("click", (event) => {
            const row = event.target.closest("[data-model]");
            if (row) {
                model.value = row.dataset.model;
                settle();
            }
        });
        model.addEventListener("input", () => {
            const wanted = model.value.trim().toLowerCase();
            for (const row of rows()) {
                row.parentElement.hidden = !row.dataset.model.toLowerCase().includes(wanted);
            }
            settle();
        });
        alias.addEventListener("input", () => (ownAlias = alias.value !== ""));
        form.addEventListener("change", (event) => (ownPrice ||= event.target.name === "price"));
        provider.addEventListener?.("change", () => ask());
        form.addEventListener("htmx:afterSwap", settle);
        settle();

        // Another provider has other models.
        function ask() {
            model.value = offered.value = "";
            settle();
            htmx.ajax("POST", form.querySelector("#setup-models").dataset.url, {
                source: form,
                target: "#setup-models",
                values: { action: "models" },
            });
        }

        function settle() {
            const all = rows();
            const row = all.find((each) => each.dataset.model === model.value.trim());
            for (const each of all) each.setAttribute("aria-pressed", each === row);
            offered.value = row?.dataset.offered ?? "";
            if (!ownAlias) alias.value = model.value.trim().replaceAll(" ", "-");
            const price = row?.dataset.price ?? "";
            known.textContent = price ? `${price} per million tokens, in / out` : row ? "none is known" : "once a model is chosen";
            const choice = form.querySelector("[name=price][value=known]");
            choice.disabled = all.length > 0 && !price;
            if (!ownPrice && all.length > 0) {
                form.querySelector(`[name=price][value=${price ? "known" : "later"}]`).checked = true;
            } else if (choice.disabled && choice.checked) {
                form.querySelector("[name=price][value=later]").checked = true;
            }
        }
    }

    function lastStep(once, box) {
        // The page is the answer to a form: opened again it would send that once more.
        if (once) history.replaceState(null, "", once.dataset.here);
        if (!box) return;
        const button = box.querySelector("button");
        const said = box.querySelector(".setup-answer");
        const meanings = JSON.parse(document.getElementById("setup-explanations").textContent);
        box.hidden = false;
        button.addEventListener("click", async () => {
            button.disabled = true;
            tell("Asks…");
            try {
                tell(...(await ask()));
            } catch {
                tell("The gateway did not answer.", true);
            }
            button.disabled = false;
        });

        async function ask() {
            const answer = await fetch("/v1/chat/completions", {
                method: "POST",
                credentials: "omit",
                headers: {
                    authorization: `Bearer ${document.querySelector("#secret code").textContent}`,
                    "content-type": "application/json",
                },
                body: JSON.stringify({ model: box.dataset.try, messages: [{ role: "user", content: "Say hello in one sentence." }] }),
            });
            const body = await answer.json().catch(() => ({}));
            if (answer.ok) return [body.choices?.[0]?.message?.content || "It was answered."];
            const code = answer.headers.get("x-tollgate-error") ?? body.error?.code ?? "";
            return [`${answer.status} ${code}: ${meanings[code] ?? body.error?.message ?? "The gateway says no more."}`, true];
        }

        function tell(text, isBad = false) {
            said.textContent = text;
            said.hidden = false;
            said.classList.toggle("setup-error", isBad);
        }
    }
})();
