"""Unfold's templates with small changes, which are made as a template is loaded: a copy would miss what Unfold mends.

A change whose place is gone after an update of Unfold is an error, which the tests see first.
"""

import re

from django.core.exceptions import ImproperlyConfigured
from django.template import Origin
from django.template.loaders import app_directories

IS_STAFF, IS_INSIDE = "{% if request.user.is_staff %}", "{% if request.user.standing.is_somebody %}"
FIRST_IS_CHOSEN = (
    "; if ($event.target.id === 'command-results' && items?.[0]?.querySelector('a')) currentIndex = 1"  # Enter opens it
)
IS_FILLED_IN = "{% if form.visible_fields or form.form_before_template %}"
EDITS: dict[str, tuple[tuple[str, str], ...]] = {
    # Members, who are not staff, find things, too.
    "unfold/helpers/command.html": (
        (IS_STAFF, IS_INSIDE),
        ('"handleContentLoaded($event)"', f'"handleContentLoaded($event){FIRST_IS_CHOSEN}"'),
    ),
    "unfold/helpers/shortcuts.html": ((IS_STAFF, IS_INSIDE),),
    # An empty list says why it is empty, what would stand there, and what to do.
    "unfold/helpers/empty_results.html": (
        (
            "{% load admin_urls i18n %}",
            "{% load admin_urls i18n %}{% firstof cl.query cl.has_active_filters as is_narrowed %}",
        ),
        ("{% if cl.is_dataset %}py-16{% else %}py-24{% endif %}", "py-16"),
        (
            "border border-base-300 border-dashed flex h-24 items-center justify-center mb-8 rounded-full w-24"
            " dark:border-base-700",
            "flex mb-4",
        ),
        ('">inbox<', '" aria-hidden="true">{% if is_narrowed %}search_off{% else %}inbox{% endif %}<'),
        ("mb-1 text-xl", "mb-1 text-center text-xl"),
        (
            '{% trans "No results found" %}',
            "{% if is_narrowed %}Nothing matches{% else %}No {{ cl.opts.verbose_name_plural }} yet{% endif %}",
        ),
        ('<p class="mb-6', '<p class="empty-words mb-6'),
        ('{% trans "This page yielded into no results." %}', '{% include "admin/includes/empty_words.html" %}'),
        ("{% if has_add_permission or cl.has_filters %}", "{% if has_add_permission or is_narrowed %}"),
        ("{% if has_add_permission %}", "{% if has_add_permission and not is_narrowed %}"),
        ("{% if cl.has_filters or cl.query %}", "{% if is_narrowed %}"),
        ('rtl:-mr-0.5">', 'rtl:-mr-0.5" aria-hidden="true">'),
        (
            "border border-base-200 flex flex-row font-medium gap-2 group/button h-[38px] items-center justify-center px-3"
            " py-2 rounded-default w-full hover:text-primary-600 lg:w-auto dark:border-base-700 dark:hover:bg-base-900"
            " dark:hover:text-primary-500",
            "bg-primary-600 flex flex-row font-medium gap-2 h-[38px] items-center justify-center px-3 py-2 rounded-default"
            " text-white w-full lg:w-auto",
        ),
        ('{% trans "Reset filters" %}', "Show all"),
    ),
    # A dialog without fields has no place for them, and what opens in red ends in red.
    "unfold/helpers/dialog.html": (
        ("gap-4 p-4 overflow-y-auto", f"gap-4 overflow-y-auto {IS_FILLED_IN}p-4{{% endif %}}"),
        ('<div class="border-t border-base-200', f'<div class="{IS_FILLED_IN}border-t{{% endif %}} border-base-200'),
        ('button.html" with submit=1 %}', 'button.html" with submit=1 variant=dialog.variant %}'),
    ),
    # Labels of switches have a line as labels of fields have.
    "unfold/helpers/fieldset_row_checkbox.html": (("min-w-32 w-32 ", ""),),
    # Perhaps it is the first one.
    "unfold/helpers/edit_inline/inline_add.html": (
        (
            "{{ inline_admin_formset.inline_formset_data|inline_add_button_text }}",
            "Add {{ inline_admin_formset.opts.verbose_name }}",
        ),
    ),
    # Pages and objects are found, whatever apps and models may be.
    "unfold/helpers/search.html": (("{% trans 'Search apps and models...' %}", "Search"),),
    "unfold/helpers/change_list_filter_actions.html": (('{% trans "Apply Filters" %}', "Apply filters"),),
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
        ("{% header_title %}", "{% load console %}{% way_here %}"),
    ),
    # Objects are called as they are called; on a phone only the way back and the last part have room (console.css).
    "unfold/helpers/header_title.html": (
        ('class="align-middle', 'title="{{ part.title }}" class="crumb align-middle'),
        ("{{ part.title|capfirst }}", "{{ part.title }}"),
        ('class="material-symbols-outlined', 'class="crumb-next material-symbols-outlined'),
    ),
    # Tabs scroll: the menu into which Unfold moves what has no room is filled before there is anything to measure.
    "unfold/helpers/tab_items.html": (
        ('<div class="flex flex-row grow">', '<div class="flex flex-row grow min-w-0">'),
        ('<nav id="tabs-dropdown"', "<nav"),
    ),
}


# Of a table's page it is two thirds: each of two thousand cells has all that stands between the template's tags.
INDENTATION = re.compile(r"\n\s+")


class Loader(app_directories.Loader):
    """Loads templates of apps, those of Unfold with our changes; none is indented."""

    def get_contents(self, origin: Origin) -> str:
        contents: str = super().get_contents(origin)
        name = str(origin.template_name)
        for old, new in EDITS.get(name, ()):
            if old not in contents:
                raise ImproperlyConfigured(f"{name} of this Unfold has no {old!r}: see unfold_edits.py.")
            contents = contents.replace(old, new)
        return INDENTATION.sub("\n", contents) if name.endswith(".html") else contents
