"""Sentences that name commands."""

import re

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

COMMAND = re.compile(r"manage\.py (?:healthcheck )?[a-z_]+")


@register.filter
def with_commands(text: object) -> SafeString:
    """The text, with its commands as code."""
    return mark_safe(COMMAND.sub(r"<code>\g<0></code>", escape(text)))
