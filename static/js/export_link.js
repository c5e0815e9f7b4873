// "Export as CSV" has what the list shows: the link takes the page's filters along.
"use strict";

document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest('a[href$="/export.csv/"]');
    if (link) link.href += window.location.search;
}, true);
