"""Unfold's templates with small changes, which are made as a template is loaded: a copy would miss what Unfold mends.

A change whose place is gone after an update of Unfold is an error, which the tests see first.
"""

from django.core.exceptions import ImproperlyConfigured
from django.template import Origin
from django.template.loaders import app_directories

IS_STAFF, IS_INSIDE = "{% if request.user.is_staff %}", "{% if request.user.standing.is_somebody %}"
FIRST_IS_CHOSEN = (
    "; if ($event.target.id === 'command-results' && items?.[0]?.querySelector('a')) currentIndex = 1"  # Enter opens it
)
EDITS: dict[str, tuple[tuple[str, str], ...]] = {
    # Members, who are not staff, find things, too.
    "unfold/helpers/command.html": (
        (IS_STAFF, IS_INSIDE),
        ('"handleContentLoaded($event)"', f'"handleContentLoaded($event){FIRST_IS_CHOSEN}"'),
    ),
    "unfold/helpers/shortcuts.html": ((IS_STAFF, IS_INSIDE),),
    # Not on the page that it leads to.
    "unfold/helpers/add_link.html": (("{% if add_url %}", "{% if add_url and not add %}"),),
    # Buttons, which keyboards reach.
    "unfold/helpers/change_list_filter_button.html": (
        ('<a class="filter-open-button', '<button type="button" class="filter-open-button'),
        ("</a>", "</button>"),
    ),
    "unfold/helpers/welcomemsg.html": (
        ('rtl:-scale-x-100" x-on:click="sidebarToggle()">', 'rtl:-scale-x-100">'),
        (
            '<span class="cursor-pointer flex flex-row items-center">',
            '<button type="button" class="cursor-pointer flex flex-row items-center" x-on:click="sidebarToggle()"'
            ' aria-label="Show or hide the menu">',
        ),
        ("</span>\n        </span>", "</span>\n        </button>"),
    ),
    # Objects are called as they are called; on a phone only the way back and the last part have room (console.css).
    "unfold/helpers/header_title.html": (
        ('class="align-middle', 'title="{{ part.title }}" class="crumb align-middle'),
        (
            "{{ part.title|capfirst }}",
            "{% if forloop.counter > 2 %}{{ part.title }}{% else %}{{ part.title|capfirst }}{% endif %}",
        ),
        ('class="material-symbols-outlined', 'class="crumb-next material-symbols-outlined'),
    ),
    # Tabs scroll: the menu into which Unfold moves what has no room is filled before there is anything to measure.
    "unfold/helpers/tab_items.html": (
        ('<div class="flex flex-row grow">', '<div class="flex flex-row grow min-w-0">'),
        ('<nav id="tabs-dropdown"', "<nav"),
    ),
}


class Loader(app_directories.Loader):
    """Loads templates of apps, those of Unfold with our changes."""

    def get_contents(self, origin: Origin) -> str:
        contents: str = super().get_contents(origin)
        name = str(origin.template_name)
        for old, new in EDITS.get(name, ()):
            if old not in contents:
                raise ImproperlyConfigured(f"{name} of this Unfold has no {old!r}: see unfold_edits.py.")
            contents = contents.replace(old, new)
        return contents
