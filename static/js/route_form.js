// A route's form: the share of each target in its tier as weights change, tiers that stay where they are when rows are
// dragged, and what the chosen strategy does.
"use strict";

(() => {
    const group = () => document.getElementById("targets-group");
    const field = (row, name) => row.querySelector(`[name$="-${name}"]`);

    function rows() {
        const found = group() ? [...group().querySelectorAll("tbody.form-group")] : [];
        return found.filter((row) => !row.classList.contains("empty-form") && field(row, "priority"));
    }

    function isCounted(row) {
        const gone = field(row, "DELETE");
        const deployment = field(row, "deployment");
        return !(gone && gone.checked) && Boolean(deployment && deployment.value);
    }

    function weightOf(row) {
        return Math.max(0, Number(field(row, "weight").value) || 0);
    }

    function shares() {
        const strategy = document.querySelector('[name="strategy"]');
        const isByWeight = !strategy || ["weighted", "least_busy"].includes(strategy.value);
        const counted = rows().filter(isCounted);
        const tiers = new Map();
        counted.forEach((row) => {
            const tier = field(row, "priority").value;
            tiers.set(tier, [...(tiers.get(tier) || []), row]);
        });
        rows().forEach((row) => {
            const shown = row.querySelector(".target-share");
            if (!shown) return;
            const tier = tiers.get(field(row, "priority").value) || [];
            shown.textContent = counted.includes(row) ? shareOf(row, tier, isByWeight) : "–";
        });
    }

    function shareOf(row, tier, isByWeight) {
        if (tier.length === 1) return "100%";
        if (!isByWeight) return "as measured";
        const all = tier.reduce((sum, each) => sum + weightOf(each), 0);
        if (all && !weightOf(row)) return "last resort";
        const share = all ? weightOf(row) / all : 1 / tier.length;
        return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;
    }

    // Unfold numbers the rows when one was dragged: here tiers belong to places, so that two targets can share one.
    let places = [];
    document.addEventListener("start", (event) => {
        if (group() && group().contains(event.target)) places = rows().map((row) => field(row, "priority").value);
    });
    document.addEventListener("end", (event) => {
        if (!group() || !group().contains(event.target)) return;
        const before = places;
        setTimeout(() => {
            rows().forEach((row, place) => {
                if (place < before.length) field(row, "priority").value = before[place];
            });
            shares();
        });
    });

    // The same for who has no mouse: two buttons beside the handle.
    function addMovers() {
        rows().forEach((row) => {
            const handle = row.querySelector(".cursor-move");
            if (!handle || row.querySelector(".target-movers")) return;
            const movers = document.createElement("span");
            movers.className = "target-movers";
            movers.append(mover(row, "up", -1), mover(row, "down", 1));
            handle.after(movers);
        });
    }

    function mover(row, word, step) {
        const button = document.createElement("button");
        const icon = document.createElement("span");
        button.type = "button";
        button.title = `Move ${word}`;
        button.setAttribute("aria-label", button.title);
        icon.className = "material-symbols-outlined";
        icon.setAttribute("aria-hidden", "true");
        icon.textContent = `keyboard_arrow_${word}`;
        button.append(icon);
        button.addEventListener("click", () => move(row, step, button));
        return button;
    }

    function move(row, step, button) {
        const all = rows();
        const other = all[all.indexOf(row) + step];
        if (!other) return;
        const tiers = all.map((each) => field(each, "priority").value);
        if (step < 0) other.before(row);
        else other.after(row);
        rows().forEach((each, place) => {
            field(each, "priority").value = tiers[place];
        });
        shares();
        button.focus();
    }

    function explain() {
        const strategy = document.querySelector('[name="strategy"]');
        if (!strategy) return;
        document.querySelectorAll("[data-strategy]").forEach((line) => {
            line.hidden = line.dataset.strategy !== strategy.value;
        });
    }

    function summarise(details) {
        const value = (name) => details.querySelector(`[name$="-${name}"]`).value.trim();
        const needs = [...details.querySelectorAll('input[type="checkbox"]:checked')].map((box) => box.value);
        const parts = needs.length ? [`needs ${needs.join(", ")}`] : [];
        ["region", "tag"].forEach((name) => value(name) && parts.push(`${name} ${value(name)}`));
        if (value("header")) parts.push(value("header").split("\n").join("; "));
        if (value("end_user_percent")) parts.push(`${value("end_user_percent")}% of callers`);
        details.querySelector(".conditions-summary").textContent = parts.join("; ") || "none";
    }

    function follow(event) {
        const details = event.target.closest && event.target.closest(".conditions");
        if (details) summarise(details);
        if (event.target.name === "strategy") explain();
        shares();
    }

    document.addEventListener("input", follow);
    document.addEventListener("change", follow);
    document.addEventListener("formset:added", () => {
        addMovers();
        shares();
    });
    document.addEventListener("DOMContentLoaded", () => {
        explain();
        shares();
        addMovers();
        document.querySelectorAll(".conditions").forEach((details) => {
            if (details.closest("td.errors")) details.open = true;
        });
        // Select2 tells jQuery only.
        if (window.django && window.django.jQuery) window.django.jQuery(document).on("change", "#targets-group select", shares);
    });
})();
