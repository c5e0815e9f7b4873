// A provider's form follows its adapter: what the address is by default, which formats there are, where a key is made.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
    const adapter = document.querySelector("select[data-adapters]");
    if (!adapter) return;
    const adapters = JSON.parse(adapter.dataset.adapters);
    const byName = (name) => document.querySelector(`[name="${name}"]`);
    const lineOf = (input) => input && (input.closest(".field-line") || input.closest(".field-row"));

    function link(url, text) {
        const made = document.createElement("a");
        made.href = url;
        made.target = "_blank";
        made.rel = "noopener";
        made.className = "text-link underline";
        made.textContent = text;
        return made;
    }

    function show(input, isShown) {
        const line = lineOf(input);
        if (line) line.hidden = !isShown;
    }

    function tell(chosen) {
        const told = document.getElementById("adapter-told");
        if (!told) return;
        told.replaceChildren();
        if (!chosen) return;
        if (chosen.documentation) told.append(link(chosen.documentation, `${chosen.label}'s documentation`));
        if (chosen.credential_page) told.append(" · ", link(chosen.credential_page, "where it hands out keys"));
        if (!chosen.documentation) told.append("Any server with an OpenAI or Anthropic format: vLLM, Ollama, LM Studio.");
    }

    function follow() {
        const chosen = adapters[adapter.value];
        const address = byName("base_url");
        const credential = byName("credential");
        tell(chosen);
        if (address) {
            address.placeholder = (chosen && chosen.base_url) || "https://llm.example.com/v1";
            address.required = Boolean(chosen && !chosen.base_url);
        }
        if (credential) {
            credential.placeholder = chosen && chosen.variable ? `${chosen.label}'s key, by custom in ${chosen.variable}` : "";
        }
        // The vendor's own address is public, and speaks what the adapter says.
        const isOwnAddress = Boolean(chosen && chosen.base_url && address && !address.value.trim());
        const isPrivate = byName("allow_private_address");
        show(isPrivate, !isOwnAddress || (isPrivate && isPrivate.checked));
        const boxes = [...document.querySelectorAll('input[name="dialects"]')];
        boxes.forEach((box) => {
            const line = box.closest("li, label, div");
            const isSpoken = !isOwnAddress || chosen.dialects.includes(box.value) || box.checked;
            if (line) line.hidden = !isSpoken;
        });
        const isChoice = !isOwnAddress || chosen.dialects.length > 1 || boxes.some((box) => box.checked);
        show(boxes[0], isChoice);
    }

    // What is not stored cannot be removed.
    document.querySelectorAll('input[name^="clear_"]:disabled').forEach((box) => show(box, false));

    adapter.addEventListener("change", follow);
    const address = byName("base_url");
    if (address) address.addEventListener("input", follow);
    follow();
});
