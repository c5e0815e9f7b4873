// Tabs of tools, buttons to copy, a form that needs no button, and a warning before a key that was not copied is left.
"use strict";
(() => {
    for (const button of document.querySelectorAll("[data-copy]")) {
        button.addEventListener("click", () => copy(button));
    }

    async function copy(button) {
        const label = button.querySelector("[data-copy-label]");
        const said = label.dataset.said ?? label.textContent;
        label.dataset.said = said;
        try {
            await copyText(button.closest("figure").querySelector("code"));
            label.textContent = "Copied";
            delete document.body.dataset.uncopied;
        } catch {
            label.textContent = "Not copied";
        }
        setTimeout(() => (label.textContent = said), 2000);
    }

    const secret = document.querySelector("[data-warn-until-copied]");
    if (secret) {
        document.body.dataset.uncopied = "yes";
        document.addEventListener("copy", () => delete document.body.dataset.uncopied);
        addEventListener("beforeunload", (event) => {
            if ("uncopied" in document.body.dataset) {
                event.preventDefault();
            }
        });
    }

    for (const tabs of document.querySelectorAll("[data-tabs]")) {
        const all = [...tabs.querySelectorAll("[data-tab]")];
        const show = (slug) => {
            for (const tab of all) {
                const isShown = tab.dataset.tab === slug;
                tab.setAttribute("aria-selected", isShown);
                tab.tabIndex = isShown ? 0 : -1;
                tabs.querySelector(`[data-panel="${tab.dataset.tab}"]`).hidden = !isShown;
            }
        };
        const wanted = () => all.find((tab) => `#${tab.dataset.tab}` === location.hash) ?? all[0];
        tabs.classList.add("is-live");
        show(wanted().dataset.tab);
        addEventListener("hashchange", () => show(wanted().dataset.tab));
        for (const [at, tab] of all.entries()) {
            tab.addEventListener("click", (event) => {
                event.preventDefault(); // without a jump
                history.replaceState(null, "", `#${tab.dataset.tab}`);
                show(tab.dataset.tab);
            });
            tab.addEventListener("keydown", (event) => {
                const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
                if (step) {
                    const next = all[(at + step + all.length) % all.length];
                    next.focus();
                    next.click();
                }
            });
        }
    }

    for (const form of document.querySelectorAll("[data-submit-on-change]")) {
        const submit = (event) => {
            if (event.target.name === "tenant") {
                for (const name of ["key", "model"]) {
                    form.elements[name]?.setAttribute("disabled", ""); // those were another tenant's
                }
            }
            form.action = location.pathname + location.hash;
            form.submit();
        };
        django.jQuery(form).on("change", "select", submit); // select2 tells jQuery alone
    }
})();
