"""Names and ids that fit another dialect's rules, the same each time, so that a history that is sent again still matches.

What conforms passes as it is; the rest is cleaned and gets a hash of the original: nothing is cut off without one. Pure.
"""

import hashlib
import re
from dataclasses import dataclass

_HASH_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """Which identifiers a dialect takes."""

    allowed: str  # the characters, as the inside of a regular expression's brackets
    max_length: int
    starts_with: str = ""  # the first character's, when they differ

    def fits(self, text: str) -> bool:
        """Whether an identifier may be sent as it is."""
        first = self.starts_with or self.allowed
        return re.fullmatch(rf"[{first}][{self.allowed}]{{0,{self.max_length - 1}}}", text) is not None


def fit(text: str, rule: Rule) -> str:
    """Return an identifier that the rule allows: the text itself, or what is left of it and a hash."""
    if rule.fits(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    cleaned = re.sub(rf"[^{rule.allowed}]", "_", text)[: rule.max_length - _HASH_LENGTH - 1]
    if cleaned and rule.starts_with and not re.match(rf"[{rule.starts_with}]", cleaned):
        cleaned = ("x" + cleaned)[: rule.max_length - _HASH_LENGTH - 1]
    return f"{cleaned or 'x'}_{digest}"


def make_call_id(answer_id: str, ordinal: int, name: str) -> str:
    """Return an id for a tool call that came without one: the same for the same call of the same answer."""
    text = f"{answer_id}\0{ordinal}\0{name}"
    return "call_" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
