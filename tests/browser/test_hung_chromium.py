"""A Chromium that hangs costs the person at it their browser, and nobody else anything."""

import os
import signal

from tests.browser.chromium import Person


def test_who_comes_after_a_chromium_that_hangs_gets_another(chromium, stack):
    context = chromium.open(base_url=stack.url)
    context.new_page().goto("/status")
    hung = chromium.pid
    os.kill(hung, signal.SIGSTOP)
    chromium.close(context, patience=1)

    context = chromium.open(base_url=stack.url)
    somebody = Person(context, context.new_page())
    somebody.goes_to("/status")
    somebody.sees("Status")
    assert chromium.pid != hung
    chromium.close(context)
