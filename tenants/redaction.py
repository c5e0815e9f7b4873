"""What is taken out of a body before it is stored: keys and tokens always, personal data and media where a tenant wants it.

Pure. JSON is read, so that a secret is found however it is escaped; what is no JSON, or was cut, is searched as text.
What was found is replaced by what it was: "[e-mail address]".
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SECRET, EMAIL, CARD, MEDIA = "secret", "email", "card", "media"
WORDS = {SECRET: "[secret]", EMAIL: "[e-mail address]", CARD: "[card number]"}
LEAST_MEDIA = 256  # characters of base64; what is shorter may be an id, or a word
CARD_DIGITS = range(13, 20)

_ESCAPED = re.compile(r"\\+u00([2-7][0-9a-fA-F])")
_SECRETS = re.compile(
    r"""
      -----BEGIN[ A-Z0-9]{0,40}PRIVATE[ ]KEY-----.*?(?:-----END[ A-Z0-9]{0,40}-----|\Z)
    | (?<![\w-])eyJ[\w-]{8,4000}\.[\w-]{8,8000}(?:\.[\w-]*)?                        # JWT
    | (?:sk|pk|rk|xai|nvapi|pplx|glpat|xox[abeoprs]|key|api|token)-[\w-]{16,}
    | (?:sk|pk|rk|tg|hf|gsk|r8|fw|dop_v1|gh[opsru]|github_pat|whsec|npm|pypi)_[\w-]{16,}
    | (?:AKIA|ASIA)[0-9A-Z]{16}
    | AIza[\w-]{30,}
    """,
    re.VERBOSE | re.DOTALL,
)
_AUTHORIZED = re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_IN_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://[^\s/:@\"']{0,200}):[^\s/@\"']{1,500}@", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""\b((?:api|access|auth|secret|private)[_-]?(?:key|token)|client[_-]?secret|passwor[dt]|passwd|secret|token)
        (["']?\s{0,3}[=:]\s{0,3}["']?)(?!\[secret\])[^\s"'\\,;&<>(){}\[\]]{8,}""",
    re.IGNORECASE | re.VERBOSE,
)
# From the beginning of a word only, and of bounded length: a long word without @ is read once.
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.!#$&'*+/=?^`{|}~-]{1,64}(?:[@\uff20]|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_CARD = re.compile(r"(?<![\w.])\d(?:[ \u00a0-]?\d){12,18}(?![\w])")
_DATA_URL = re.compile(r"data:([\w.+-]{1,60}/[\w.+-]{1,80})?(?:;[\w=.+-]{1,80}){0,5};base64,[A-Za-z0-9+/_=%\\\s-]*")
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{LEAST_MEDIA},}}={{0,2}}")
_SECRET_NAMES = re.compile(
    r"(?:.*[_-])?(?:api_?key|access_?key|secret|client_?secret|password|passwd|private_?key|"
    r"(?:access|auth|refresh|id|session|bearer)_?token|authorization|credentials?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a tenant wants to be taken out beside secrets."""

    personal: bool = True
    media: bool = True


@dataclass(slots=True)
class Redactor:
    """Redacts texts and counts what it has found."""

    choice: Choice
    counts: Counter[str] = field(default_factory=Counter)

    def body(self, text: str) -> str:
        """Redact a whole body: as JSON if it is some, indented for whoever reads it, else as text."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.text(text)
        if not isinstance(value, dict | list):
            return self.text(text)
        try:
            return json.dumps(self.value(value), ensure_ascii=False, indent=2)
        except RecursionError:
            return self.text(text)

    def value(self, value: Any) -> Any:
        """Redact a JSON value, the names of its members included."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(name): self._member(name, each) for name, each in value.items()}
            case list():
                return [self.value(each) for each in value]
            case bool():
                return value
            case int() if self.choice.personal and value >= 10**12 and _is_card(str(value)):
                return self._found(CARD)
        return value

    def text(self, text: str) -> str:
        """Redact a text, in which ASCII characters may be escaped as in JSON."""
        if "\\u00" in text:
            text = _ESCAPED.sub(_unescaped, text)
        if self.choice.media and len(text) >= LEAST_MEDIA:
            text = _DATA_URL.sub(self._media_of_url, text)
            text = _BASE64.sub(self._media, text)
        text = _SECRETS.sub(self._replace(SECRET), text)
        text = _AUTHORIZED.sub(self._keep_name(2), text)
        text = _IN_URL.sub(self._in_url, text)
        text = _ASSIGNED.sub(self._keep_name(2), text)
        if self.choice.personal:
            text = _EMAIL.sub(self._replace(EMAIL), text)
            text = _CARD.sub(self._card, text)
        return text

    def _member(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and value and _SECRET_NAMES.fullmatch(name):
            return self._found(SECRET)
        return self.value(value)

    def _found(self, kind: str) -> str:
        self.counts[kind] += 1
        return WORDS[kind]

    def _replace(self, kind: str) -> Callable[[re.Match[str]], str]:
        return lambda match: self._found(kind)

    def _keep_name(self, groups: int) -> Callable[[re.Match[str]], str]:
        return lambda match: "".join(match.groups()[:groups]) + self._found(SECRET)

    def _in_url(self, match: re.Match[str]) -> str:
        return f"{match[1]}:{self._found(SECRET)}@"

    def _card(self, match: re.Match[str]) -> str:
        return self._found(CARD) if _is_card(match[0]) else match[0]

    def _media_of_url(self, match: re.Match[str]) -> str:
        self.counts[MEDIA] += 1
        return f"[{match[1] or 'media'}, {_size(len(match[0]))} left out]"

    def _media(self, match: re.Match[str]) -> str:
        if not _is_mixed(match[0]):
            return match[0]
        self.counts[MEDIA] += 1
        return f"[base64, {_size(len(match[0]))} left out]"


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return match[0] if character in '"\\' or not character.isprintable() else character


def _is_card(text: str) -> bool:
    """Whether digits are a card's: as many as one has, of a network's range, with the right last one (Luhn)."""
    digits = [int(character) for character in text if character.isdigit()]
    if len(digits) not in CARD_DIGITS or digits[0] not in {2, 3, 4, 5, 6} or len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_mixed(text: str) -> bool:
    """Whether it looks like base64 and not like a line of dashes or one long word."""
    head = text[:LEAST_MEDIA]
    return any(c.isdigit() for c in head) and any(c.isupper() for c in head) and any(c.islower() for c in head)


def _size(characters: int) -> str:
    """About how large what base64 stands for is."""
    count = characters * 3 // 4
    return f"{count:,} bytes" if count < 1024 else f"{count / 1024:,.0f} KiB"
