"""The parameters a line may set: their common names, the names other APIs give them, and what values they take."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.failures import LineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batcher.model import Json


class Parameter(NamedTuple):
    """`name` is the common name; `check(key, value)` gives the value back in common form or raises `LineError`."""

    name: str
    check: Callable[[str, Json], Json]


def wrong(key: str, wanted: str, value: Json) -> LineError:
    """The error for a value of the wrong type."""
    shown = repr(value)
    return LineError(
        "input_invalid", f'"{key}" must be {wanted}, not {shown if len(shown) <= 60 else shown[:60] + "…"}'
    )


def _number(key: str, value: Json) -> Json:
    if type(value) is float or type(value) is int:
        return value
    raise wrong(key, "a number", value)


def _integer(key: str, value: Json) -> Json:
    if type(value) is int:
        return value
    raise wrong(key, "an integer", value)


def _count(key: str, value: Json) -> Json:
    if type(value) is int and value > 0:
        return value
    raise wrong(key, "an integer of at least 1", value)


def _flag(key: str, value: Json) -> Json:
    if type(value) is bool:
        return value
    raise wrong(key, "true or false", value)


def _text(key: str, value: Json) -> Json:
    if type(value) is str:
        return value
    raise wrong(key, "text", value)


def _stop(key: str, value: Json) -> Json:
    """A list always: Ollama refuses a bare string."""
    if type(value) is str:
        return [value]
    if type(value) is list and all(type(item) is str for item in value):
        return value
    raise wrong(key, "text or a list of texts", value)


_PLAIN_FORMATS: dict[Json, Json] = {"json_object": "json", "text": None}


def _format(key: str, value: Json) -> Json:
    """`"json"`, a JSON schema, or `None` for plain text; from Ollama's `format` or OpenAI's `response_format`."""
    if value in ("json", "", None):
        return value or None
    if type(value) is dict:
        if value.get("type") == "json_schema":
            return _schema(key, value)
        # what else has only a type is no schema: no JSON Schema type goes by these names
        kind = value.get("type")
        return _PLAIN_FORMATS.get(kind, value) if isinstance(kind, str) else value
    raise wrong(key, '"json", a JSON schema or a response_format object', value)


def _schema(key: str, value: dict[str, Json]) -> Json:
    """The schema, or all that stands around it, from `/v1/chat/completions`' nesting or `/v1/responses`' flat one."""
    inner = value.get("json_schema", {key: item for key, item in value.items() if key != "type"})
    schema = inner.get("schema") if type(inner) is dict else None
    if type(schema) is dict:
        # `strict`, `name` and `description` mean something on /v1; what is only a schema is kept as one
        return schema if inner.keys() <= {"schema", "name"} else {"type": "json_schema", "json_schema": inner}
    raise LineError("input_invalid", f'"{key}" of type json_schema has no object under json_schema.schema')


def _think(key: str, value: Json) -> Json:
    """Whether to think, or how much: a boolean or a level; OpenAI's `none` is `false`."""
    if type(value) is bool:
        return value
    if type(value) is str and value:
        return False if value == "none" else value
    raise wrong(key, "true, false or a level such as low, medium or high", value)


def _reasoning(key: str, value: Json) -> Json:
    if type(value) is dict and "effort" in value:
        return _think("reasoning.effort", value["effort"])
    raise wrong(key, 'an object with "effort"', value)


def _logprobs(key: str, value: Json) -> Json:
    """`/v1/completions` takes how many, the others whether."""
    if type(value) is bool or type(value) is int:
        return value
    raise wrong(key, "true, false or an integer", value)


def _choice(key: str, value: Json) -> Json:
    if type(value) is str or type(value) is dict:
        return value
    raise wrong(key, "text or an object", value)


def _encoding(key: str, value: Json) -> Json:
    if value in ("float", "base64"):
        return value
    raise wrong(key, '"float" or "base64"', value)


def _duration(key: str, value: Json) -> Json:
    if type(value) is str or type(value) is int or type(value) is float:
        return value
    raise wrong(key, 'seconds or a duration such as "10m"', value)


_CHECKS: dict[str, Callable[[str, Json], Json]] = {
    "max_tokens": _integer,
    "max_completion_tokens": _integer,
    "temperature": _number,
    "top_p": _number,
    "top_k": _integer,
    "min_p": _number,
    "seed": _integer,
    "stop": _stop,
    "frequency_penalty": _number,
    "presence_penalty": _number,
    "repeat_penalty": _number,
    "format": _format,
    "think": _think,
    "logprobs": _logprobs,
    "top_logprobs": _integer,
    "n": _count,
    "tool_choice": _choice,
    "parallel_tool_calls": _flag,
    "dimensions": _integer,
    "encoding_format": _encoding,
    "keep_alive": _duration,
    "raw": _flag,
    "suffix": _text,
    "truncate": _flag,
    "size": _text,
    "user": _text,
}

PARAMETERS: dict[str, Parameter] = {
    **{name: Parameter(name, check) for name, check in _CHECKS.items()},
    "max_output_tokens": Parameter("max_tokens", _integer),
    "num_predict": Parameter("max_tokens", _integer),
    "response_format": Parameter("format", _format),
    "reasoning_effort": Parameter("think", _think),
    "reasoning": Parameter("think", _reasoning),
}
"""Every name a parameter may go by."""

OURS = {
    "model": '"model" on the line, or -m',
    "messages": '"messages" on the line',
    "prompt": '"prompt" on the line',
    "input": '"input" on the line',
    "stream": "--stream or --no-stream",
}
"""What no parameter may say, since batcher does: it would be sent, and the results would tell of something else."""

_TWINS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""One limit under two names: OpenAI's reasoning models refuse the old one, other servers do not know the new one."""

OTHER_KEYS = frozenset(
    [
        "id",
        "custom_id",
        "method",
        "url",
        "body",
        "stream",
        "stream_options",
        "model",
        "messages",
        "prompt",
        "input",
        "text",
        "system",
        "instructions",
        "images",
        "tools",
        "meta",
        "metadata",
        "options",
        "params",
        "schema",
        "turns",
    ]
)
"""What else a line may hold."""

TEXT_KEYS = frozenset(
    ["id", "custom_id", "method", "url", "model", "prompt", "input", "text", "system", "instructions", "suffix", "user"]
)
"""What is text on a line, however much it may look like a number or a list."""


def check_extra(extra: Mapping[str, Json], where: str) -> None:
    """See that body fields which go as they are say nothing that batcher says. Raises `LineError`."""
    for key in OURS.keys() & extra.keys():
        raise LineError("input_invalid", f"{where} cannot say {key!r}: say {OURS[key]}")


def split_parameters(values: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """(common parameters, the rest as it is): what `--param k=v` gave. Raises `LineError`."""
    check_extra(values, "a parameter")
    params: dict[str, Json] = {}
    rest: dict[str, Json] = {}
    for key, value in values.items():
        parameter = PARAMETERS.get(key)
        if parameter is None:
            rest[key] = value
        else:
            put(params, parameter.name, parameter.check(key, value))
    return params, rest


def put(params: dict[str, Json], name: str, value: Json) -> None:
    """Set a common parameter, or take it away with `None`. Of two names for one limit, the last given holds."""
    if name in _TWINS:
        params.pop(_TWINS[name], None)
    if value is None:
        params.pop(name, None)
    else:
        params[name] = value


_LONGEST_KEY: Final = 40
"""Characters of a key that is looked at for what may have been meant; ours have 21 at most."""
NAMED: Final = 10
"""Keys that a sentence names."""


def nearest_key(key: str) -> str | None:
    """The key that was probably meant, if one is near."""
    if len(key) > _LONGEST_KEY:
        return None
    near = get_close_matches(key.lower(), [*PARAMETERS, *OTHER_KEYS], n=1, cutoff=0.8)
    return near[0] if near else None


def unknown_keys_warning(keys: Iterable[str]) -> str | None:
    """One sentence for people about keys that no part of batcher reads; `None` if there are none."""
    unused = sorted(keys)
    if not unused:
        return None
    named = []
    for key in unused[:NAMED]:
        near = nearest_key(key)
        named.append(f'"{key:.60}" (did you mean "{near}"?)' if near else f'"{key:.60}"')
    more = f" and {len(unused) - NAMED} more" if len(unused) > NAMED else ""
    return (
        f"keys that are not used: {', '.join(named)}{more}; "
        'put data of your own under "meta", Ollama\'s options under "options", other body fields under "params"'
    )
