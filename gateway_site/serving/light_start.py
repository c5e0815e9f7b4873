"""What a web worker need not carry: ninja asks for one signal of `django.test`, and gets unittest and its mocks with it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

PACKAGE = "django.test"


@contextmanager
def without_test_tools() -> Iterator[None]:
    """Let modules of `django.test` be imported without the package itself, which takes 3 MB; later it can be as ever."""
    spec = find_spec(PACKAGE)
    if PACKAGE in sys.modules or spec is None or spec.submodule_search_locations is None:
        yield
        return
    stand_in = ModuleType(PACKAGE)
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules[PACKAGE] = stand_in
    try:
        yield
    finally:
        del sys.modules[PACKAGE]
