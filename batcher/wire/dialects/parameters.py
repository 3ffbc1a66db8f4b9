"""Says a job's parameters in the words of each endpoint: one table of places, and what to do with each value.

Names and places: Ollama `api/types.go` and `docs/api.md`; the OpenAI API reference. `top_k`, `min_p` and
`repeat_penalty` are no part of OpenAI's API but llama.cpp and vLLM read them there. A field that an endpoint does not
have is left out: hosted servers refuse a body with an unknown name, Ollama ignores one without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batcher.model import Job, Json


def _listed(value: Json) -> Json:
    """Ollama refuses a bare string as `stop` with status 500."""
    return [value] if isinstance(value, str) else value


def _positive(value: Json) -> Json:
    """Ollama's "no limit" is a negative number; on `/v1` that is said by saying nothing."""
    return value if value > 0 else None


def _response_format(value: Json) -> Json:
    if not isinstance(value, dict):
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": _named(value)}


def _text_format(value: Json) -> Json:
    """The same for `/v1/responses`, which nests one level less."""
    if not isinstance(value, dict):
        return {"type": "json_object"}
    return {"type": "json_schema", **_named(value)}


def _named(value: dict[str, Json]) -> dict[str, Json]:
    """A schema with a name, which /v1 wants; one that came with more around it (`strict`) keeps that."""
    around = value.get("json_schema") if value.get("type") == "json_schema" else None
    return {"name": "answer", **around} if isinstance(around, dict) else {"name": "answer", "schema": value}


def _bare(value: Json) -> Json:
    """The schema alone, as Ollama takes it."""
    return _named(value)["schema"] if isinstance(value, dict) else value


def _effort(value: Json) -> Json:
    if isinstance(value, bool):
        return "medium" if value else "none"
    return value


def _how_many(value: Json) -> Json:
    """`/v1/completions` is told how many alternatives, not whether: the chosen token comes with one."""
    return int(value) or None


def _whether(value: Json) -> Json:
    """The others are told whether; a number is how `/v1/completions` says it."""
    return bool(value)


def _included(value: Json) -> Json:
    return ["message.output_text.logprobs"] if value else None


def _flat_choice(value: Json) -> Json:
    """`/v1/responses` names the function beside the type, not inside an object of its own."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        return {"type": "function", "name": value["function"].get("name")}
    return value


def _lasting(value: Json) -> Json:
    """Ollama refuses seconds that are a text without a unit, as a command line or a table gives them."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


class Place(NamedTuple):
    """Where a parameter goes: a key, the object it lies in if it is not the body itself, and the form of the value.

    A form that gives `None` leaves the parameter unsaid.
    """

    key: str
    inside: str = ""
    form: Callable[[Json], Json] | None = None


Table: TypeAlias = dict[str, Place]


def _same(names: str) -> Table:
    return {name: Place(name) for name in names.split()}


_OPTIONS: Table = {
    "max_completion_tokens": Place("num_predict", "options"),
    "max_tokens": Place("num_predict", "options"),
    "temperature": Place("temperature", "options"),
    "top_p": Place("top_p", "options"),
    "top_k": Place("top_k", "options"),
    "min_p": Place("min_p", "options"),
    "seed": Place("seed", "options"),
    "stop": Place("stop", "options", _listed),
    "frequency_penalty": Place("frequency_penalty", "options"),
    "presence_penalty": Place("presence_penalty", "options"),
    "repeat_penalty": Place("repeat_penalty", "options"),
}

_NATIVE: Table = {
    **_OPTIONS,
    **_same("think truncate top_logprobs"),
    "keep_alive": Place("keep_alive", form=_lasting),
    "format": Place("format", form=_bare),
    "logprobs": Place("logprobs", form=_whether),
}

_SAMPLING: Table = {
    "max_completion_tokens": Place("max_tokens", form=_positive),
    "max_tokens": Place("max_tokens", form=_positive),
    **_same("temperature top_p top_k min_p seed stop frequency_penalty presence_penalty repeat_penalty n user"),
}

PLACES: dict[str, Table] = {
    "/api/generate": {**_NATIVE, **_same("raw suffix template context")},
    "/api/chat": _NATIVE,
    "/api/embed": {**_same("truncate dimensions"), "keep_alive": Place("keep_alive", form=_lasting)},
    "/v1/chat/completions": {
        **_SAMPLING,
        **_same("top_logprobs tool_choice parallel_tool_calls"),
        "max_completion_tokens": Place("max_completion_tokens", form=_positive),
        "logprobs": Place("logprobs", form=_whether),
        "format": Place("response_format", form=_response_format),
        "think": Place("reasoning_effort", form=_effort),
    },
    "/v1/completions": {
        **_SAMPLING,
        **_same("suffix"),
        "logprobs": Place("logprobs", form=_how_many),
        "format": Place("response_format", form=_response_format),
    },
    "/v1/responses": {
        **_same("temperature top_p top_logprobs parallel_tool_calls user"),
        "max_completion_tokens": Place("max_output_tokens", form=_positive),
        "max_tokens": Place("max_output_tokens", form=_positive),
        "tool_choice": Place("tool_choice", form=_flat_choice),
        "logprobs": Place("include", form=_included),
        "format": Place("format", "text", _text_format),
        "think": Place("effort", "reasoning", _effort),
    },
    "/v1/embeddings": _same("dimensions encoding_format user"),
    "/v1/images/generations": _same("size n seed user"),
}
"""API path → common name → place. Common names are those of `Job.params`."""

COMMON_OF_OPTION: dict[str, str] = {place.key: name for name, place in _OPTIONS.items()}
"""Ollama's options that have a common name, and therefore perhaps a place on `/v1`."""


def native_defaults(job: Job) -> dict[str, Json]:
    """What every request on Ollama's own API says where its line does not.

    Ollama cuts a prompt that is too long and says nothing, unless `truncate` forbids it; servers from before the end of
    2025 heed that on `/api/embed` alone. It unloads a model after five idle minutes, or sooner if another client once
    said so, unless `keep_alive` says otherwise: `body_of` tells which requests do.
    """
    fields: dict[str, Json] = {"truncate": False}
    if job.keep_alive:
        fields["keep_alive"] = _lasting(job.keep_alive)
    return fields


def native_fields(job: Job, path: str) -> dict[str, Json]:
    """The body without model, prompt, messages, input, images, system, tools and `stream`; `job.extra` is in it."""
    fields = native_defaults(job)
    if job.params:
        _put(job.params.items(), PLACES[path], fields)
    if job.options:
        fields["options"] = {**fields.get("options", {}), **job.options}
    if job.extra:
        fields.update(job.extra)
    return fields


def openai_fields(job: Job, path: str) -> dict[str, Json]:
    """As `native_fields`, for a path under `/v1`: Ollama's options are said where they have a common name."""
    fields: dict[str, Json] = {}
    table = PLACES[path]
    if job.params:
        _put(job.params.items(), table, fields)
    if job.options:
        _put(((COMMON_OF_OPTION.get(name, ""), value) for name, value in job.options.items()), table, fields)
    if "logprobs" in fields and path == "/v1/completions":
        fields["logprobs"] = max(fields["logprobs"], job.params.get("top_logprobs") or 0)
    if "response_format" in fields and path == "/v1/completions":
        # OpenAI's own has no such thing; vLLM reads it as in chats, llama.cpp under this name (tools/server)
        wanted = job.params["format"]
        fields["json_schema"] = _bare(wanted) if isinstance(wanted, dict) else {"type": "object"}
    if job.extra:
        fields.update(job.extra)
    return fields


def left_out(job: Job, path: str) -> list[str]:
    """What of the job cannot be said at this path, by name: for one warning a run."""
    if job.body is not None:
        return []
    table = PLACES[path]
    # There the number of alternatives is said by `logprobs` itself.
    known = {"normalize"}  # done here
    if path == "/v1/completions" and job.params.get("logprobs"):
        known.add("top_logprobs")
    names = [name for name, value in job.params.items() if value is not None and name not in table.keys() | known]
    if not path.startswith("/api/"):
        names += [f"options.{name}" for name in job.options if COMMON_OF_OPTION.get(name) not in table]
    if job.tools and path not in ("/api/chat", "/v1/chat/completions", "/v1/responses"):
        names.append("tools")
    if job.system and path in ("/api/embed", "/v1/embeddings", "/v1/completions", "/v1/images/generations"):
        names.append("system")
    if job.images and path in ("/api/embed", "/v1/embeddings", "/v1/completions", "/v1/images/generations"):
        names.append("images")
    return names


def _put(values: Iterable[tuple[str, Json]], table: Table, fields: dict[str, Json]) -> None:
    """Put each value where the table says; `None` is a value not set."""
    for name, value in values:
        place = table.get(name)
        if place is None or value is None:
            continue
        said = value if place.form is None else place.form(value)
        if said is None:
            continue
        if place.inside:
            fields.setdefault(place.inside, {})[place.key] = said
        else:
            fields[place.key] = said
