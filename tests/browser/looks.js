// What a person would not be able to read or to hit on the page as it is shown now; each line is one complaint.
// Without scripts, nobody has given names to what has none in its HTML.
(hasScripts) => {
    const complaints = [];
    const root = document.documentElement;
    const name = (element) => {
        const text = (element.innerText || element.value || element.getAttribute("aria-label") || "").trim().split("\n")[0];
        const kind = element.tagName.toLowerCase() + (element.id ? `#${element.id}` : "");
        return `${kind} "${text.slice(0, 40)}"`;
    };
    const isShown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const isOnlyRead = (element) => element.closest(".sr-only, .visually-hidden, .select2-hidden-accessible, [aria-hidden='true']");

    // --- No horizontal scroll
    const wider = root.scrollWidth - root.clientWidth;
    if (wider > 0) complaints.push(`the page is ${wider} px too wide`);

    // --- The sidebar shows where one is
    const here = hasScripts && document.querySelector("#nav-sidebar-apps a.active");
    if (here && isShown(here)) {
        const [entry, list] = [here, document.getElementById("nav-sidebar-apps")].map((each) => each.getBoundingClientRect());
        if (entry.top < list.top || entry.bottom > list.bottom + 1) complaints.push(`out of view: ${name(here)}`);
    }

    // --- No clipped text
    document.querySelectorAll("body *").forEach((element) => {
        const style = getComputedStyle(element);
        const hides = ["hidden", "clip"].includes(style.overflowX);
        const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!hides || !hasText || !isShown(element) || isOnlyRead(element) || element.clientWidth < 2) return;
        const isTold = style.textOverflow === "ellipsis" || element.title || element.tagName === "TEXTAREA";
        if (element.scrollWidth > element.clientWidth + 1 && !isTold) complaints.push(`clipped: ${name(element)}`);
    });

    // --- No control on top of another
    const controls = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")].filter(
        (element) => isShown(element) && !isOnlyRead(element) && getComputedStyle(element).position !== "fixed",
    );
    const isReached = (element) => {
        const box = element.getBoundingClientRect();
        return box.width > 4 && box.height > 4;
    };
    const layer = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const style = getComputedStyle(each);
            if (style.position === "fixed" || style.position === "sticky") return each;
            if (["auto", "scroll", "hidden"].includes(style.overflowX) || ["auto", "scroll"].includes(style.overflowY)) return each;
        }
        return root;
    };
    // A link that goes on in the next line has a box for each.
    const boxes = controls.filter(isReached).flatMap((element) => {
        const parts = getComputedStyle(element).display === "inline" ? [...element.getClientRects()] : [element.getBoundingClientRect()];
        return parts.map((box) => ({ element, layer: layer(element), box }));
    });
    boxes.forEach((one, place) => {
        boxes.slice(place + 1).forEach((other) => {
            if (one.layer !== other.layer) return; // what scrolls under a bar comes out again
            if (one.element === other.element || one.element.contains(other.element) || other.element.contains(one.element)) return;
            const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
            const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
            const isInside = wide >= other.box.width && high >= other.box.height && one.element.tagName === "INPUT";
            if (isInside) return; // an icon in a field, such as a date's calendar
            if (wide > 3 && high > 3) complaints.push(`overlap: ${name(one.element)} and ${name(other.element)}`);
        });
    });

    // --- A name for each control, in words and not in icons
    const words = (element) => {
        const copy = element.cloneNode(true);
        copy.querySelectorAll("[aria-hidden='true'], script, style").forEach((each) => each.remove());
        return copy.textContent.trim() || [...copy.querySelectorAll("img[alt]")].map((each) => each.alt).join(" ");
    };
    const isNamed = (element) =>
        element.getAttribute("aria-label") ||
        element.getAttribute("aria-labelledby") ||
        element.title ||
        (element.matches("input, select, textarea")
            ? [...(element.labels || [])].some(words) || element.placeholder || (["submit", "button"].includes(element.type) && element.value)
            : words(element));
    controls.filter(() => hasScripts).forEach((element) => {
        if (!isNamed(element)) complaints.push(`no name: ${name(element)} ${element.getAttribute("name") || element.className}`.slice(0, 120));
    });
    document.querySelectorAll(".material-symbols-outlined:not([aria-hidden='true'])").forEach((icon) => {
        if (hasScripts && isShown(icon)) complaints.push(`an icon that is read out: ${icon.textContent.trim()}`);
    });

    // --- Contrast AA
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const known = new Map();
    const rgba = (colour) => {
        if (!known.has(colour)) {
            pen.clearRect(0, 0, 1, 1);
            pen.fillStyle = colour;
            pen.fillRect(0, 0, 1, 1);
            const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
            known.set(colour, [red, green, blue, alpha / 255]);
        }
        return known.get(colour);
    };
    const over = (top, bottom) => [0, 1, 2].map((each) => top[each] * top[3] + bottom[each] * (1 - top[3])).concat(1);
    const ground = (element) => {
        const layers = [];
        const spot = element.getBoundingClientRect();
        const isBehind = (each) => {
            const box = each.getBoundingClientRect();
            return each === document.body || each === root || (box.bottom > spot.top && box.top < spot.bottom);
        };
        for (let each = element; each; each = each.parentElement) {
            if (!isBehind(each)) continue; // the element was moved out of it
            const style = getComputedStyle(each);
            if (style.backgroundImage !== "none") return null; // an image: nobody can tell
            layers.push(rgba(style.backgroundColor));
        }
        const isDark = root.classList.contains("dark") || matchMedia("(prefers-color-scheme: dark)").matches;
        const paper = isDark && getComputedStyle(root).colorScheme.includes("dark") ? [18, 18, 18, 1] : [255, 255, 255, 1];
        return layers.reverse().reduce((below, above) => over(above, below), paper);
    };
    const light = (colour) => {
        const [red, green, blue] = colour.map((each) => (each / 255 <= 0.03928 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const seen = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || seen.has(element)) continue;
        seen.add(element);
        if (!isShown(element) || isOnlyRead(element) || element.closest("svg, script, style, option, :disabled, canvas, progress")) continue;
        if (element.classList.contains("material-symbols-outlined")) continue; // icons: their words stand beside them
        const style = getComputedStyle(element);
        const below = ground(element);
        if (!below) continue;
        const above = over(rgba(style.color), below);
        const [darker, lighter] = [light(above), light(below)].sort((one, other) => one - other);
        const contrast = (lighter + 0.05) / (darker + 0.05);
        const size = parseFloat(style.fontSize);
        const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        if (contrast < (isLarge ? 3 : 4.5)) complaints.push(`contrast ${contrast.toFixed(2)}: ${name(element)}`);
    }
    return [...new Set(complaints)];
}
