"""What it means to lose a field that only this format knows; fields that are not listed may make an answer worse."""

from providers.canonical.losses import Weight, Weights

COSMETIC, DEGRADES, CHANGES_ANSWER = Weight.COSMETIC, Weight.DEGRADES, Weight.CHANGES_ANSWER

_NO_CACHE_SETTINGS = (COSMETIC, "the upstream's format has no such setting of its cache")
_NO_SOUND = (CHANGES_ANSWER, "the upstream's format has no sound in its answers")

BODY: Weights = {
    "audio": _NO_SOUND,
    "modalities": (CHANGES_ANSWER, "the upstream answers in text only"),
    "logit_bias": (DEGRADES, "the upstream's format cannot prefer single tokens"),
    "prediction": (COSMETIC, "the upstream's format cannot be told what is expected, which only makes it faster"),
    "web_search_options": (CHANGES_ANSWER, "the upstream's format has no web search of this kind"),
    "moderation": (CHANGES_ANSWER, "the upstream's format has no moderation"),
    "store": (COSMETIC, "the upstream's format cannot keep an answer for later"),
    "prompt_cache_options": _NO_CACHE_SETTINGS,
    "prompt_cache_retention": _NO_CACHE_SETTINGS,
    "response_format": (CHANGES_ANSWER, "the upstream's format has no such form of answer"),
}

MESSAGE: Weights = {
    "name": (DEGRADES, "the upstream's format has no names of speakers"),
    "audio": (CHANGES_ANSWER, "the upstream does not have the sound of an earlier answer"),
    "annotations": (COSMETIC, "the upstream's format has no sources in earlier answers"),
}

PART: Weights = {
    "image_url.detail": (DEGRADES, "the upstream chooses an image's resolution itself"),
}

TOOL: Weights = {}

CALL: Weights = {}

RESPONSE_FORMAT: Weights = {}
