// What icons and controls are called, for those who listen to a page. Unfold's icons are words that a font draws: they are
// not read out, and a control that has nothing but an icon gets a name.
"use strict";

(() => {
    const ICONS = ".material-symbols-outlined";
    const NAMES = {
        add: "Add",
        arrow_downward: "Sort descending",
        arrow_upward: "Sort ascending",
        calendar_today: "Choose a day",
        close: "Close",
        delete: "Delete",
        edit: "Edit",
        menu: "Menu",
        more_horiz: "More actions",
        more_vert: "More actions",
        visibility: "View",
    };

    function spoken(element) {
        const copy = element.cloneNode(true);
        copy.querySelectorAll(`${ICONS}, [aria-hidden="true"]`).forEach((each) => each.remove());
        return copy.textContent.trim() || element.title || element.getAttribute("aria-label");
    }

    function quieten(root) {
        root.querySelectorAll(`${ICONS}:not([aria-hidden])`).forEach((icon) => {
            icon.setAttribute("aria-hidden", "true");
            const control = icon.closest("a, button, summary, [role=button]");
            if (control && !spoken(control)) {
                const word = icon.textContent.trim();
                control.setAttribute("aria-label", NAMES[word] || word.replaceAll("_", " "));
            }
        });
    }

    // Fields in the rows of a table have no labels of their own: their column's heading is theirs.
    function label(root) {
        root.querySelectorAll(".tabular td.field-tabular").forEach((cell) => {
            const name = [...cell.classList].find((each) => each.startsWith("field-") && each !== "field-tabular");
            const table = cell.closest("table");
            const heading = table && table.querySelector(`thead .column-${name.slice("field-".length)}`);
            const words = heading ? heading.textContent.replace(/\s+/g, " ").replace("*", "").trim() : "";
            if (!words) return;
            cell.querySelectorAll("input:not([type=hidden]), select, textarea").forEach((field) => {
                const isNamed = field.labels && [...field.labels].some((each) => each.textContent.trim());
                if (!isNamed && !field.hasAttribute("aria-label")) field.setAttribute("aria-label", words);
            });
        });
    }

    // Parts of Django's and select2's own fields.
    function nameParts(root) {
        const set = (element, words) => element.hasAttribute("aria-label") || element.setAttribute("aria-label", words);
        root.querySelectorAll("a[id^=calendarlink]").forEach((link) => set(link, "Choose a day"));
        root.querySelectorAll("td.delete input[type=checkbox]").forEach((box) => set(box, "Delete this row"));
        root.querySelectorAll("a[id^=clocklink]").forEach((link) => set(link, "Choose a time"));
        root.querySelectorAll(".select2-container .select2-search__field").forEach((field) => {
            const select = field.closest(".select2-container").previousElementSibling;
            const label = select && select.labels && select.labels[0];
            set(field, label ? label.textContent.replace("*", "").trim() : "Search");
        });
    }

    function name(root) {
        quieten(root);
        label(root);
        nameParts(root);
    }

    document.addEventListener("DOMContentLoaded", () => {
        name(document);
        document.addEventListener("formset:added", () => name(document));
        document.addEventListener("htmx:load", () => name(document));
        // Alpine draws some icons late, and Django and select2 make parts of fields when all is there.
        document.addEventListener("alpine:initialized", () => name(document));
        window.addEventListener("load", () => setTimeout(() => name(document)));
    });
})();
