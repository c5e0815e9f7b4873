"""Debian's Chromium, driven by Playwright, and what a person at it sees."""

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Playwright,
    Response,
    sync_playwright,
)
from playwright.sync_api import expect as expect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_SECONDS = 30
WIDE = (1440, 900)
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


class NoBrowser(Exception):
    """There is no Chromium here; the message says what to do."""


class Chromium:
    """The Chromium that is installed; one that hangs is killed, and whoever comes next gets another.

    Playwright's calls have a limit of time, but for closing: now and then a Chromium never does it, and everybody waits.
    """

    def __init__(self, playwright: Playwright, program: str) -> None:
        self._playwright = playwright
        self._program = program
        self._browser: Browser | None = None
        self.pid = 0

    def open(self, **options: Any) -> BrowserContext:
        """Return what only one person uses: its cookies are nobody else's."""
        if self._browser is None or not self._browser.is_connected():
            self._browser = self._start()
        return self._browser.new_context(**options)

    def close(self, context: BrowserContext, *, patience: float = PATIENCE_SECONDS) -> None:
        """Close what one person used."""
        killer = threading.Timer(patience, os.kill, (self.pid, signal.SIGKILL))
        killer.start()
        try:
            context.close()
        except Error:
            if self._browser is not None and self._browser.is_connected():
                raise
        finally:
            killer.cancel()

    def quit(self) -> None:
        """End the browser; Playwright kills one that does not end."""
        if self._browser is not None:
            self._browser.close()

    def _start(self) -> Browser:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root, it starts only without
        browser = self._playwright.chromium.launch(executable_path=self._program, args=arguments)
        processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        self.pid = next(each["id"] for each in processes if each["type"] == "browser")
        return browser


@contextmanager
def installed_chromium() -> Iterator[Chromium]:
    """Find the Chromium that is installed; Playwright downloads none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise NoBrowser(
            "There is no Chromium here. Install it, on Debian with: apt-get install chromium fonts-dejavu-core"
        )
    with sync_playwright() as playwright:
        chromium = Chromium(playwright, program)
        try:
            yield chromium
        finally:
            chromium.quit()


@dataclass(slots=True)
class Person:
    """Somebody with a browser of their own; whatever their pages complain of is collected."""

    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def goes_to(self, path: str) -> None:
        """Open an address as one who has it bookmarked."""
        self.page.goto(path)

    def signs_in(self, name: str, password: str) -> None:
        """Fill in the page to sign in, which is in front of them."""
        self.types("Username or e-mail address", name)
        self.types("Password", password)
        self.presses("Sign in")

    def follows(self, link: str) -> None:
        """Click a link, by its words."""
        self.page.get_by_role("link", name=_with_icon(link)).locator("visible=true").first.click()

    def presses(self, button: str) -> None:
        """Click what looks like a button, by its words."""
        name = _with_icon(button)
        either = self.page.get_by_role("button", name=name).or_(self.page.get_by_role("link", name=name))
        either.locator("visible=true").last.click()

    def adds(self) -> None:
        """Follow the plus of a list."""
        self.page.locator("a[href$='/add/']").locator("visible=true").first.click()

    def chooses(self, label: str, option: str) -> None:
        """Find something in a list that is searched as one types, by the label beside it."""
        name = self.page.get_by_label(re.compile(rf"^\s*{re.escape(label)}\b")).first.get_attribute("name")
        self.page.locator(f"select[name='{name}'] + .select2 .select2-selection").click()
        self.page.keyboard.type(option)
        self.page.get_by_role("option", name=option).first.click()

    def types(self, label: str, text: str) -> None:
        """Write into a field, by its label."""
        self.field(label).fill(text)
        self.field(label).blur()

    def field(self, label: str) -> Locator:
        """Return a field that is seen, by its label; the star of those that must be filled in does not count."""
        return self.page.get_by_label(re.compile(rf"^\s*{re.escape(label)}\b")).locator("visible=true").first

    def sees(self, text: str) -> None:
        """Wait for words."""
        expect(self.page.get_by_text(text).locator("visible=true").first).to_be_visible()

    def does_not_see(self, text: str) -> None:
        """Make sure that words are not on the page."""
        assert text not in self.page.locator("body").inner_text()

    def unexpected(self) -> list[str]:
        """Return the complaints that nobody reckoned with."""
        return [line for line in self.complaints if not any(words in line for words in self.expected)]


@contextmanager
def person_at(chromium: Chromium, base_url: str, **options: Any) -> Iterator[Person]:
    """Give somebody a browser that nobody has used; fail where one of its pages complained."""
    width, height = options.pop("size", WIDE)
    context = chromium.open(base_url=base_url, viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    person = Person(context, context.new_page())
    _listen(person)
    try:
        yield person
    finally:
        chromium.close(context)
    assert not person.unexpected(), person.unexpected()


def _with_icon(words: str) -> re.Pattern[str]:
    """A name, with or without the icon beside it: icons are ligatures, words of one piece."""
    return re.compile(rf"^(\w+ )?{re.escape(words)}( \w+)?$")


def _listen(person: Person) -> None:
    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            place = message.location.get("url", "")
            person.complaints.append(f"{message.type}: {message.text} ({place} on {person.page.url})")

    def on_response(response: Response) -> None:
        if response.status >= 500:
            person.complaints.append(f"{response.status}: {response.url}")

    person.context.on("console", on_console)
    person.context.on(
        "weberror", lambda error: person.complaints.append(f"exception: {error.error} ({person.page.url})")
    )
    person.context.on("response", on_response)
