"""The little Markdown of terms and privacy notices as HTML: all text is escaped, nothing else is let through.

Headings (#, ##, ###), lists (- and 1.), paragraphs, **bold**, *emphasis*, `code`, [links](https://…). HTML is text.
"""

import re
from collections.abc import Iterator

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

HEADING = re.compile(r"(#{1,3}) +(.+)")
ITEM = re.compile(r"([-*]|\d{1,3}[.)]) +(.+)")
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[([^\]\n]+)\]\(((?:https?://|mailto:|/(?!/))[^\s()<>]*)\)")
BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", re.DOTALL)
EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?![\w*])", re.DOTALL)


def render(text: str) -> SafeString:
    """Return HTML for a document's text; its highest headings are of the second level, for the page has one itself."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").split("\n")
    return mark_safe("\n".join(_blocks(lines)))


def _blocks(lines: list[str]) -> Iterator[str]:
    block: list[str] = []
    for line in [*lines, ""]:
        line = line.strip()
        heading = HEADING.fullmatch(line)
        if heading is None and line:
            block.append(line)
            continue
        if block:
            yield from _paragraph_or_list(block)
            block = []
        if heading:
            level = max(2, len(heading[1]))
            yield f"<h{level}>{_inline(heading[2])}</h{level}>"


def _paragraph_or_list(block: list[str]) -> Iterator[str]:
    """Lines without a blank one between them: text, then a list if one begins; later lines belong to their item."""
    paragraph: list[str] = []
    items: list[list[str]] = []
    tag = "ul"
    for line in block:
        item = ITEM.fullmatch(line)
        if item:
            tag = tag if items else "ol" if item[1][0].isdigit() else "ul"
            items.append([item[2]])
        else:
            (items[-1] if items else paragraph).append(line)
    if paragraph:
        yield f"<p>{_inline(' '.join(paragraph))}</p>"
    if items:
        yield f"<{tag}>{''.join(f'<li>{_inline(" ".join(item))}</li>' for item in items)}</{tag}>"


def _inline(text: str) -> str:
    """Code first: what stands in it is nothing but text."""
    parts = CODE.split(text)
    return "".join(f"<code>{escape(part)}</code>" if at % 2 else _styled(part) for at, part in enumerate(parts))


def _styled(text: str) -> str:
    parts = LINK.split(text)  # text, label, address, text, …
    html = _emphasised(parts[0])
    for label, address, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        html += f'<a href="{escape(address)}" rel="nofollow noopener">{_emphasised(label)}</a>{_emphasised(after)}'
    return html


def _emphasised(text: str) -> str:
    bold = BOLD.sub(r"<strong>\1</strong>", escape(text))
    return EMPHASIS.sub(r"<em>\1</em>", bold)
