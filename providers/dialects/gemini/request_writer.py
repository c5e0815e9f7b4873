"""A request, written for an upstream: https://ai.google.dev/api/generate-content"""

from collections.abc import Mapping
from typing import Any

from providers.canonical.losses import Losses, form_of
from providers.canonical.request import Request, ResponseFormat
from providers.canonical.tool_names import ToolNames
from providers.dialects.base import Destination, Written
from providers.dialects.gemini.parts_writer import ContentWriter, is_own, write_content
from providers.dialects.gemini.spelling import respell
from providers.dialects.gemini.thinking import write_thinking
from providers.dialects.gemini.tools_writer import ToolWriter, reduce_schema, takes_subset
from providers.dialects.gemini.wire import MAX_STOPS, NAME, TIERS, TOOL_NAME, is_label
from providers.dialects.nodes import Node
from providers.wire.json import write_json

_CONFIG = "generationConfig"
_SCALARS = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_GATED = {"temperature": "takes_sampling", "top_p": "takes_sampling", "top_k": "takes_sampling"}  # by model
_UNKNOWN = {  # what has no place at all
    "verbosity": (Losses.degrades, "the upstream does not take how wordy to be"),
    "end_user": (Losses.cosmetic, "the upstream does not ask for whom it answers"),
    "cache_key": (Losses.cosmetic, "the upstream caches by itself"),
}
_TIERS_BACK = {ours: theirs for theirs, ours in TIERS.items()}
_THEIR_TIERS = frozenset({"flex", "default", "priority"})


def write_request(request: Request, destination: Destination, losses: Losses) -> Written:
    """Return the body, and the way back to the client's tools; notes what the format has no place for."""
    names = ToolNames(request.tools, TOOL_NAME, takes_custom=False, takes_namespaces=False)
    return Written(_Writer(request, destination, names, losses).body(), names)


class _Writer:
    """One request on its way."""

    def __init__(self, request: Request, destination: Destination, names: ToolNames, losses: Losses) -> None:
        self.request = request
        self.profile = destination.profile
        self.most_output_tokens = destination.most_output_tokens
        self.tools = ToolWriter(request, destination.profile, names, losses)
        self.losses = losses
        self.is_own = is_own(request)
        self.form: Mapping[str, Any] = form_of(request.native, NAME) or {}
        self.writer = ContentWriter(request, destination, names, losses)

    def body(self) -> bytes:
        """Return the whole."""
        contents = self.writer.contents()
        body: Node = {"contents": contents[0] if self.form.get("is_one_content") and len(contents) == 1 else contents}
        for name, value in (
            ("systemInstruction", self._system()),
            ("tools", self.tools.tools(self.form.get("groups"), is_one=self.form.get("is_one_tool", False))),
            ("toolConfig", self.tools.config()),
            (_CONFIG, self._config()),
            ("serviceTier", self._service_tier()),
            ("labels", self._labels()),
        ):
            if value is not None:
                body[name] = value
        self._note_the_rest()
        self._put_back(body)
        return write_json(respell(body, self.request.native))

    def _put_back(self, body: Node) -> None:
        """Put values that mean the same back as they were."""
        for path, value in self.form.get("kept", {}).items():
            parent, _, name = path.rpartition(".")
            holder = body.setdefault(parent, {}) if parent else body
            if name not in holder or _means_the_same(holder[name], value):
                holder[name] = value

    def _note_the_rest(self) -> None:
        self.losses.native(self.request.native, "", NAME)
        for field, (note_loss, why) in _UNKNOWN.items():
            if getattr(self.request, field) is not None:
                note_loss(self.losses, self.request.where(field), why)
        if self.request.parallel_tools is False:
            where = self.request.where("parallel_tools")
            self.losses.degrades(where, "the upstream calls as many tools at once as it likes")

    def _system(self) -> Any:
        parts = self.writer.parts(self.request.system)
        shape = self.form.get("system")
        if shape == "text" and len(parts) == 1:
            return parts[0]["text"]
        if shape == "list":
            return parts
        if shape is not None:
            return write_content(parts, "system", shape)
        return {"parts": parts} if parts else None

    # What stands in generationConfig

    def _config(self) -> Node | None:
        config = self._sampling()
        if self.request.reasoning is not None:
            thinking = write_thinking(self.request, self.request.reasoning, self.profile, self.losses)
            config |= {"thinkingConfig": thinking} if thinking else {}
        if self.request.response_format is not None:
            config |= self._format(self.request.response_format)
        return config or None

    def _sampling(self) -> Node:
        sampling, where = self.request.sampling, self.request.where
        config: Node = {}
        for field, name in _SCALARS.items():
            if (value := getattr(sampling, field)) is None:
                continue
            if getattr(self.profile, _GATED.get(field, ""), True):
                config[name] = value
            else:
                self.losses.degrades(where(f"sampling.{field}"), "the model does not take it")
        asked, most = sampling.max_output_tokens, self.most_output_tokens
        if asked is not None and most is not None and asked > most and not self.is_own:
            self.losses.degrades(where("sampling.max_output_tokens"), f"the model writes {most} tokens at most")
            config["maxOutputTokens"] = most
        if sampling.stop:
            config |= self._stops(sampling.stop)
        for field, name, is_nothing, why in (
            ("choices", "candidateCount", sampling.choices == 1, "only one answer can be told"),
            ("logprobs", "responseLogprobs", sampling.logprobs is False, "probabilities cannot be told"),
            ("top_logprobs", "logprobs", sampling.top_logprobs == 0, "probabilities cannot be told"),
        ):
            if (value := getattr(sampling, field)) is None:
                continue
            if self.is_own or is_nothing:
                config[name] = value
            else:
                self.losses.changes_answer(where(f"sampling.{field}"), why)
        return config

    def _stops(self, stops: tuple[str, ...]) -> Node:
        where = self.request.where("sampling.stop")
        if not self.profile.takes_stop:
            self.losses.degrades(where, "the model does not take it")
            return {}
        taken = stops if self.is_own else stops[:MAX_STOPS]
        if len(taken) < len(stops):
            self.losses.degrades(where, f"the upstream takes {MAX_STOPS} at most")
        return {"stopSequences": list(taken)}

    def _format(self, wanted: ResponseFormat) -> Node:
        as_written = form_of(wanted.native, NAME)
        if as_written is not None:
            return dict(as_written)
        where = self.request.where("response_format")
        self.losses.native(wanted.native, where, NAME)
        if wanted.kind == "text":
            return {}
        if wanted.kind == "json_schema" and not self.profile.takes_schema:
            self.losses.changes_answer(where, "the model does not hold to a schema")
            return {}
        self._note_format(wanted)
        config: Node = {"responseMimeType": "application/json"}
        if wanted.schema is not None and takes_subset(self.profile):
            config["responseSchema"] = reduce_schema(wanted.schema, where, self.losses)
        elif wanted.schema is not None:
            config["responseJsonSchema"] = dict(wanted.schema)
        return config

    def _note_format(self, wanted: ResponseFormat) -> None:
        for field, value, why in (
            ("name", wanted.name, "the upstream takes no name of a schema"),
            ("description", wanted.description, "the upstream takes no description of a schema"),
            ("is_strict", wanted.is_strict, "the upstream always holds to a schema"),
        ):
            if value:
                names = self.request.names
                self.losses.cosmetic(names.get(f"response_format.{field}", self.request.where("response_format")), why)

    # The rest

    def _service_tier(self) -> str | None:
        tier = self.request.service_tier
        if tier is None or self.is_own or tier in _THEIR_TIERS:
            return None if tier is None else _TIERS_BACK.get(tier, tier)
        self.losses.cosmetic(self.request.where("service_tier"), "the upstream has no such tier")
        return "priority" if tier == "fast" else None

    def _labels(self) -> Node | None:
        metadata = self.request.metadata
        if metadata is None or self.is_own:
            return None if metadata is None else dict(metadata)
        labels = {name: value for name, value in metadata.items() if is_label(name, value)}
        if len(labels) < len(metadata):
            self.losses.cosmetic(self.request.where("metadata"), "the upstream's labels are short and in lower case")
        return labels or None


def _means_the_same(now: Any, before: Any) -> bool:
    if isinstance(now, str) and isinstance(before, str):
        return now.casefold() == before.casefold()
    return bool(now == before)
