// A rule's form says in words what it does and what is measured now; fields that say nothing of a choice are hidden.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
    const byName = (name) => document.querySelector(`[name="${name}"]`);
    const lineOf = (input) => input && (input.closest(".field-line") || input.closest(".field-row"));
    const show = (name, isShown) => {
        const line = lineOf(byName(name));
        if (line) line.hidden = !isShown;
    };

    function followMetric(name, choice) {
        const metric = JSON.parse(choice.dataset.metrics || "{}")[name];
        if (!metric) return;
        show("currency", metric.is_money);
        show("window", !metric.is_of_gateway);
        show("minimum_requests", metric.needs_requests);
        for (const each of ["model", "api_key", "watched_tenant"]) show(each, !metric.is_of_gateway);
        for (const each of ["provider", "deployment"]) show(each, !metric.is_of_gateway || metric.is_counted);
        tellUnit(metric);
    }

    function tellUnit(metric) {
        const label = document.querySelector('label[for="id_threshold"]');
        if (!label || !label.firstChild) return;
        const currency = byName("currency");
        const unit = metric.is_money && currency ? `${currency.value} ${metric.unit}` : metric.unit;
        label.firstChild.textContent = unit ? `Threshold (${unit})` : "Threshold";
    }

    function followKind(kind) {
        show("emails", kind === "email");
        show("address", kind !== "email");
    }

    for (const [name, follow] of [["metric", followMetric], ["kind", followKind]]) {
        const choice = document.querySelector(`select[name="${name}"]`);
        if (!choice) continue;
        choice.addEventListener("change", () => follow(choice.value, choice));
        follow(choice.value, choice);
    }

    const metric = document.querySelector('select[name="metric"]');
    const currency = byName("currency");
    if (metric && currency) currency.addEventListener("input", () => followMetric(metric.value, metric));

    const told = document.querySelector("#alert-rule[data-preview]");
    const form = document.getElementById("alertrule_form");
    if (!told || !form) return;
    let waits = 0;
    let asked = 0;

    async function preview() {
        const mine = (asked += 1);
        const data = new FormData(form);
        if (told.dataset.rule) data.set("_rule", told.dataset.rule);
        let answer;
        try {
            const response = await fetch(told.dataset.preview, { method: "POST", body: data });
            if (!response.ok) return;
            answer = await response.json();
        } catch {
            return;
        }
        if (mine !== asked) return;
        const now = told.querySelector("[data-now]");
        now.hidden = !answer.value;
        if (answer.words) {
            told.querySelector("[data-words]").textContent = answer.words;
            told.querySelector("[data-value]").textContent = answer.value;
            now.classList.toggle("is-beyond", answer.is_beyond);
        } else if (!told.dataset.rule) {
            told.querySelector("[data-words]").textContent = "Fill in the form: what the rule does is said here.";
        }
    }

    function soon() {
        clearTimeout(waits);
        waits = setTimeout(preview, 400);
    }

    form.addEventListener("input", soon);
    form.addEventListener("change", soon);
    if (window.django && window.django.jQuery) window.django.jQuery(form).on("change", "select", soon);
    preview();
});
