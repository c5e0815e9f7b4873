// The sidebar's list is scrolled to where one is, before it is drawn and when its size changes.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
    const list = document.getElementById("nav-sidebar-apps");
    const active = list && list.querySelector("a.active");
    if (!active) {
        return;
    }
    new ResizeObserver(() => {
        const below = active.getBoundingClientRect().bottom - list.getBoundingClientRect().bottom;
        if (list.clientHeight > 0 && below > 0) {
            list.scrollTop += below + list.clientHeight / 2;
        }
    }).observe(list);
});
