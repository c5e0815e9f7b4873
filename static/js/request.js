// Buttons that copy the text beside them.
"use strict";
document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy-text]");
    if (!button) return;
    await copyText(button.parentElement.querySelector("code"));
    const icon = button.querySelector(".material-symbols-outlined");
    icon.textContent = "check";
    setTimeout(() => { icon.textContent = "content_copy"; }, 2000);
});
