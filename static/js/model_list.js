// The list of a provider's models: search in it, and count what is taken. It may arrive after the page.
"use strict";

document.addEventListener("input", (event) => {
    if (event.target.id === "model-search") search(event.target.value.trim().toLowerCase());
    if (event.target.name === "model") count();
});

function rowOf(box) {
    return box.closest("tr");
}

function search(wanted) {
    document.querySelectorAll(".model-table .model-name").forEach((name) => {
        rowOf(name).hidden = !name.textContent.toLowerCase().includes(wanted);
    });
}

function count() {
    const chosen = document.querySelectorAll(".model-table [name=model]:checked").length;
    document.getElementById("model-count").textContent = chosen ? `${chosen} taken` : "";
}
