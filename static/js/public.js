// A button to copy each snippet, where scripts run.
"use strict";
for (const snippet of document.querySelectorAll(".snippet")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
        try {
            await copyText(snippet.querySelector("code"));
            button.textContent = "Copied";
        } catch {
            button.textContent = "Not copied";
        }
        setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    snippet.append(button);
}
