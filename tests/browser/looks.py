"""Pictures of a page, wide and narrow, light and dark, and what is wrong with it."""

import os
from pathlib import Path

from tests.browser.chromium import Person
from tests.gateway.stack import ROOT

FOLDER = Path(os.environ.get("SCREENSHOTS") or ROOT / ".tollgate/screenshots")
LOOKS = (Path(__file__).parent / "looks.js").read_text()
SIZES = {"wide": (1440, 900), "narrow": (390, 844)}
THEMES = ("light", "dark")
# As by the switch in the menu; pages outside of the console have none and follow the system.
SWITCH = "(theme) => window.Alpine && Alpine.$data(document.documentElement)?.switchTheme?.(theme)"
# Fonts are there, nothing is being fetched or moved into its place, the live view has a snapshot, and whatever measures
# itself (charts) has done so.
SETTLED = """async () => {
    await document.fonts.ready;
    const isEndless = (each) => each.effect.getTiming().iterations === Infinity;
    const isOfTime = (each) => each.timeline === document.timeline; // and not of how far something was scrolled
    document.getAnimations().filter(isOfTime).forEach((each) => (isEndless(each) ? each.cancel() : each.finish()));
    const live = document.getElementById("live-status");
    for (let waited = 0; live && live.dataset.state !== "ok" && waited < 60; waited += 1) {
        await new Promise((done) => setTimeout(done, 100));
    }
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
}"""


def look_at(person: Person, name: str, *, has_scripts: bool = True) -> list[str]:
    """Take the four pictures of the page that somebody has in front of them, and return what is wrong with it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = []
    for theme in THEMES:
        person.page.emulate_media(color_scheme=theme)
        if has_scripts:
            person.page.evaluate(SWITCH, theme)
        for size, (width, height) in SIZES.items():
            person.page.set_viewport_size({"width": width, "height": height})
            if has_scripts:  # without, no promise is ever kept
                person.page.evaluate(SETTLED)
            picture = FOLDER / f"{name}-{size}-{theme}.png"
            person.page.screenshot(path=picture, full_page=True)
            found += [f"{name}, {size}, {theme}: {complaint}" for complaint in person.page.evaluate(LOOKS, has_scripts)]
    return found
