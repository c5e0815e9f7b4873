// Draws the charts of the console's first page. Their data stands beside them, and their numbers in tables below.

"use strict";

(() => {
    const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
    const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

    function money(value, currency) {
        const digits = Math.abs(value) >= 1 || value === 0 ? 2 : 6;
        const text = new Intl.NumberFormat("en", { maximumFractionDigits: digits }).format(value);
        return `${text} ${currency}`;
    }

    function time(milliseconds) {
        if (milliseconds < 1000) {
            return `${Math.round(milliseconds)} ms`;
        }
        return `${Number((milliseconds / 1000).toFixed(milliseconds < 10000 ? 2 : 1))} s`;
    }

    function inFull(value, chart) {
        if (chart.unit === "money") {
            return money(value, chart.currency);
        }
        return chart.unit === "time" ? time(value) : exact.format(value);
    }

    function short(value, chart) {
        if (chart.unit === "time") {
            return time(value);
        }
        return Math.abs(value) < 1 && value !== 0 ? String(Number(value.toPrecision(2))) : compact.format(value);
    }

    function variables(home) {
        const style = getComputedStyle(home);
        return (name) => style.getPropertyValue(`--home-${name}`).trim();
    }

    // A line is seen between two values; one that stands alone is a dot.
    function radius(values, index) {
        const isThere = (value) => value !== null && value !== undefined;
        return isThere(values[index - 1]) || isThere(values[index + 1]) ? 0 : 3;
    }

    function dataset(series, chart, colour) {
        const shade = colour(series.colour);
        const common = { label: series.label, data: series.values, backgroundColor: shade, borderColor: shade };
        if (chart.kind === "line") {
            return { ...common, borderWidth: 2, pointRadius: (point) => radius(series.values, point.dataIndex), pointHoverRadius: 4, tension: 0, spanGaps: false };
        }
        return { ...common, borderWidth: 0, maxBarThickness: 32, categoryPercentage: 0.85, barPercentage: 0.95 };
    }

    function options(chart, colour) {
        const isStacked = chart.kind === "bar";
        const text = { color: colour("text"), font: { size: 12 } };
        return {
            animation: false,
            responsive: true,
            maintainAspectRatio: false,
            interaction: { mode: "index", intersect: false },
            scales: {
                x: {
                    stacked: isStacked,
                    grid: { display: false },
                    border: { color: colour("grid") },
                    ticks: { ...text, autoSkip: true, autoSkipPadding: 16, maxRotation: 0 },
                },
                y: {
                    stacked: isStacked,
                    beginAtZero: true,
                    border: { display: false },
                    grid: { color: colour("grid"), drawTicks: false },
                    ticks: { ...text, padding: 8, maxTicksLimit: 5, precision: chart.unit === "count" ? 0 : undefined, callback: (value) => short(value, chart) },
                },
            },
            plugins: {
                legend: {
                    display: true,
                    position: "bottom",
                    labels: { ...text, boxWidth: 10, boxHeight: 10, padding: 12 },
                },
                tooltip: {
                    filter: (item) => item.raw !== null && (item.raw !== 0 || item.datasetIndex === 0),
                    callbacks: {
                        title: (items) => (items.length ? `${chart.titles[items[0].dataIndex]} UTC` : ""),
                        label: (item) => `${item.dataset.label}: ${inFull(item.raw, chart)}`,
                        footer: (items) => total(items, chart),
                    },
                },
            },
        };
    }

    function total(items, chart) {
        if (chart.kind === "line" || items.length < 2) {
            return "";
        }
        return `Together: ${inFull(items.reduce((sum, item) => sum + item.raw, 0), chart)}`;
    }

    function draw(canvas, home) {
        const chart = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
        const colour = variables(home);
        return new Chart(canvas, {
            type: chart.kind,
            data: { labels: chart.labels, datasets: chart.series.map((series) => dataset(series, chart, colour)) },
            options: options(chart, colour),
        });
    }

    function start() {
        const home = document.getElementById("home");
        if (!home || typeof Chart === "undefined") {
            return;
        }
        const canvases = [...home.querySelectorAll("canvas[data-chart]")];
        let drawn = [];
        const redraw = () => {
            drawn.forEach((chart) => chart.destroy());
            drawn = canvases.map((canvas) => draw(canvas, home));
        };
        redraw();
        let wasDark = document.documentElement.classList.contains("dark");
        new MutationObserver(() => {
            const isDark = document.documentElement.classList.contains("dark");
            if (isDark !== wasDark) {
                wasDark = isDark;
                redraw();
            }
        }).observe(document.documentElement, { attributeFilter: ["class"] });
    }

    document.addEventListener("DOMContentLoaded", start);
})();
