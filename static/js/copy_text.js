// Copies what an element shows. Browsers offer the clipboard on https and localhost only; elsewhere the selection is copied.
"use strict";
async function copyText(element) {
    if (navigator.clipboard) {
        await navigator.clipboard.writeText(element.textContent);
        return;
    }
    getSelection().selectAllChildren(element);
    document.execCommand("copy");
}
