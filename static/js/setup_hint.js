// A hint on the first page, until this browser was told to hide it. It goes by itself when something real has answered.
"use strict";
(() => {
    const hint = document.getElementById("setup-hint");
    const name = "tollgate-setup-hint";
    hint.hidden = localStorage.getItem(name) === "hidden";
    hint.querySelector("button").addEventListener("click", () => {
        localStorage.setItem(name, "hidden");
        hint.hidden = true;
    });
})();
