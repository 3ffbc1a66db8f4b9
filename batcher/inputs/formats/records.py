"""Makes a job of a record: recognises what it asks for, merges the run's defaults in, checks and hashes it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from batcher.failures import LineError
from batcher.inputs.formats.attachments import attach, images_of, load_images
from batcher.inputs.formats.content import check_input, check_items, check_messages, check_prompt, check_turns
from batcher.inputs.formats.endpoints import endpoint_of
from batcher.inputs.formats.parameters import NAMED, OTHER_KEYS, PARAMETERS, check_extra, nearest_key, put, wrong
from batcher.inputs.formats.shapes import FOREIGN_KEYS, familiar, path_of_body, refuse_others
from batcher.inputs.identity import body_hash, canonical_request, request_hash
from batcher.inputs.schemas import schema_on_line
from batcher.model import Job, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.inputs.formats.defaults import Defaults
    from batcher.model import Fits, Json

_CONTENT: dict[Kind, tuple[str, ...]] = {
    Kind.CHAT: ("messages", "prompt"),
    Kind.GENERATE: ("prompt",),
    Kind.EMBED: ("input", "text", "prompt"),
    Kind.RESPONSES: ("input", "prompt", "messages", "text"),
    Kind.IMAGE: ("prompt",),
}
"""Where each kind looks for its content, best first."""

_RECOGNISED = {"messages": Kind.CHAT, "prompt": Kind.GENERATE, "input": Kind.EMBED, "text": Kind.EMBED}
"""What a key makes of a line that names no endpoint, in this order."""

_WRITTEN = frozenset({Kind.CHAT, Kind.GENERATE, Kind.RESPONSES})
"""Kinds whose answers are texts."""

_SPOKEN = frozenset({Kind.CHAT, Kind.RESPONSES})
"""Kinds that are conversations."""

_FORMATS = frozenset({"format", "response_format"})
"""By these a line says itself how its answer is to be written."""

_BARE = frozenset({"id", "custom_id", "model", "messages", "prompt", "input", "text", "meta", "metadata"})
"""Keys that set no parameter and bring nothing along: a line with no others has the run's parameters."""


def read_record(record: dict[str, Json], name: str, seq: int, defaults: Defaults) -> Job:
    """The job that a record stands for, under the id `name`. Raises `LineError`."""
    if defaults.plain is not None and (job := defaults.plain.job(record, name, seq)) is not None:
        return job
    if record.get("body") is not None:
        return _read_body(record, name, seq, defaults)
    if "prompt" not in record and "messages" not in record and not FOREIGN_KEYS.isdisjoint(record):
        record = _of_others(record, defaults)
    path, kind = _recognise(record, defaults)
    turns: list[list[Json]] = []
    if "turns" in record:
        content, turns = _talk(record, kind, path)
    else:
        content = _content(record, kind, path)
    if defaults.prefix and kind is Kind.EMBED:
        content = _prefixed(content, defaults.prefix)
    params, options, extra = defaults.params, defaults.options, defaults.extra
    tools: list[Json] | None = None
    images: tuple[str, ...] = ()
    fits = defaults.fits
    if not _BARE.issuperset(record):
        params = _params(record, defaults)
        params, fits = _schema(record, params, defaults)
        options = _merged(record, "options", options)
        extra = _merged(record, "params", extra)
        check_extra(extra, '"params"')
        tools, images = _tools(record), images_of(record, defaults)
    model = defaults.resolve(_text(record, "model"))
    system = _system(record, content, kind, defaults)
    if type(content) is list and kind is not Kind.EMBED:
        load_images(content, defaults)
        for turn in turns:
            load_images(turn, defaults)
    if images and kind is Kind.CHAT:
        attach(content, images)
        images = ()
    asked = [content, *turns] if turns else content
    said = canonical_request(
        kind, model, asked, system=system, tools=tools, params=params, options=options, extra=extra, images=images
    )
    return Job(
        id=name,
        seq=seq,
        kind=kind,
        hash=request_hash(said),
        model=model,
        path=path,
        content=content,
        system=system,
        images=images,
        tools=tools,
        params=params,
        options=options,
        extra=extra,
        keep_alive="" if "keep_alive" in record else defaults.keep_alive,
        turns=tuple(turns),
        fits=fits if kind in _WRITTEN else None,
        meta=record.get("meta", record.get("metadata")),
    )


def _of_others(record: dict[str, Json], defaults: Defaults) -> dict[str, Json]:
    """A line that asks in the way of other programs, as ours would. Raises LineError for one that asks nothing."""
    refuse_others(record)
    if defaults.path is None or endpoint_of(defaults.path)[1] is not Kind.EMBED:
        found = familiar(record)
        if found is not None:
            record, shape = found
            defaults.shapes[shape] += 1
    return record


def _read_body(record: dict[str, Json], name: str, seq: int, defaults: Defaults) -> Job:
    """A line with a whole body. Only the model is touched: the run's if there is none, and its alias."""
    named = record.get("url") or defaults.path or path_of_body(record["body"])
    if named is None:
        raise LineError("input_invalid", 'the line has a "body" but no "url"; name the endpoint, or give --endpoint')
    path, kind = endpoint_of(named)
    method = record.get("method")
    if method is not None and (type(method) is not str or method.upper() != "POST"):
        raise wrong("method", '"POST"', method)
    body = record["body"]
    if type(body) is not dict:
        raise wrong("body", "an object", body)
    _check_body(body, kind, path)
    model = defaults.resolve(_text(body, "model"))
    if model is not None:
        body["model"] = model
    fits, params = (None, {}) if kind not in _WRITTEN or _says_format(body) else (defaults.fits, _format(defaults))
    return Job(
        id=name,
        seq=seq,
        kind=kind,
        hash=body_hash(kind, {**body, "format": params["format"]} if params else body),
        model=model,
        path=path,
        body=body,
        params=params,
        fits=fits,
        keep_alive=defaults.keep_alive,
        meta=record.get("meta", body.get("metadata")),
    )


def _check_body(body: dict[str, Json], kind: Kind, path: str) -> None:
    """That the body is not empty of content; its finer points are between its author and the server."""
    if kind is Kind.CHAT:
        check_messages(body.get("messages"))
    elif kind is Kind.EMBED:
        check_input(body.get("input"))
    elif kind is Kind.RESPONSES:
        check_items(body.get("input"))
    elif path == "/v1/completions" and type(body.get("prompt")) is list:
        # several prompts, or tokens: as an embedding input has them
        check_input(body["prompt"], "prompt", may_be_empty=False)
    else:
        check_prompt(body.get("prompt"))


def _recognise(record: dict[str, Json], defaults: Defaults) -> tuple[str | None, Kind]:
    named = record.get("url") or defaults.path
    if named is not None:
        return endpoint_of(named)
    if record.get("turns") is not None:
        return None, Kind.CHAT
    for key, kind in _RECOGNISED.items():
        if record.get(key) is not None:
            return None, kind
    raise LineError("input_invalid", _nothing(record, 'no "prompt", "messages", "input" or "body"'))


def _content(record: dict[str, Json], kind: Kind, path: str | None) -> Json:
    for key in _CONTENT[kind]:
        value = record.get(key)
        if value is not None:
            break
    else:
        wanted = " or ".join(f'"{key}"' for key in _CONTENT[kind])
        raise LineError("input_invalid", _nothing(record, f"no {wanted}, which {path} needs"))
    if key == "messages":
        return check_messages(value)
    if kind is Kind.EMBED:
        return check_input(value, key)
    if kind is Kind.RESPONSES:
        return check_items(value, key)
    prompt = check_prompt(value)
    return [{"role": "user", "content": prompt}] if kind is Kind.CHAT else prompt


def _prefixed(content: Json, prefix: str) -> Json:
    """Texts with something before them; tokens are as they are."""
    if type(content) is str:
        return prefix + content
    return [prefix + one if type(one) is str else one for one in content]


def _talk(record: dict[str, Json], kind: Kind, path: str | None) -> tuple[list[Json], list[list[Json]]]:
    """How a conversation of several turns begins, and what follows turn by turn. Raises LineError."""
    if kind not in _SPOKEN:
        raise LineError("endpoint_mismatch", f'"turns" are a conversation, which {path} is none for')
    turns = check_turns(record["turns"])
    content = _content(record, kind, path) if any(record.get(key) for key in _CONTENT[kind]) else []
    beginning = [{"role": "user", "content": content}] if type(content) is str else content
    if beginning and beginning[-1].get("role") in ("user", "tool"):
        return beginning, turns
    return [*beginning, *turns[0]], turns[1:]


def _nothing(record: dict[str, Json], what: str) -> str:
    """A message for a line without content, with the misspelt key if there is one."""
    strange = (key for key in record if key not in OTHER_KEYS and key not in PARAMETERS)
    for key in islice(strange, NAMED):
        near = nearest_key(key)
        if near in _RECOGNISED:
            return f'the line has {what}; did you mean "{near}" by "{key}"?'
    keys = ", ".join(f'"{key:.40}"' for key in list(record)[:8])
    hint = ". Say with --prompt what to ask of it, such as '{{ column }}'" if keys else ""
    return f"the line has {what}; it has {keys or 'nothing at all'}{hint}"


def _params(record: dict[str, Json], defaults: Defaults) -> Mapping[str, Json]:
    """The common parameters over the run's; notes keys that mean nothing. A null takes the run's value away."""
    params = dict(defaults.params)
    unknown: list[str] = []
    for key, value in record.items():
        parameter = PARAMETERS.get(key)
        if parameter is not None:
            put(params, parameter.name, parameter.check(key, value) if value is not None else None)
        elif key not in OTHER_KEYS:
            unknown.append(key)
    if unknown:
        defaults.note_unknown(unknown)
    return params


def _schema(
    record: dict[str, Json], params: Mapping[str, Json], defaults: Defaults
) -> tuple[Mapping[str, Json], Fits | None]:
    """The parameters with the line's own schema, and what its answer has to fit; a format of its own is no schema."""
    if "schema" not in record:
        return params, None if not _FORMATS.isdisjoint(record) else defaults.fits
    document = record["schema"]
    rest = {name: value for name, value in params.items() if name != "format"}
    if document is None:
        return rest, None
    try:
        fits = schema_on_line(document)
    except ValueError as error:
        raise LineError("schema_invalid", str(error)) from error
    return {**rest, "format": fits.document}, fits


def _says_format(body: Mapping[str, Json]) -> bool:
    text = body.get("text")
    return not _FORMATS.isdisjoint(body) or (type(text) is dict and "format" in text)


def _format(defaults: Defaults) -> dict[str, Json]:
    """What a run with a schema asks for of a line with a whole body."""
    return {} if defaults.fits is None else {"format": defaults.params["format"]}


def _merged(record: dict[str, Json], key: str, defaults: Mapping[str, Json]) -> Mapping[str, Json]:
    value = record.get(key)
    if value is None:
        return defaults
    if type(value) is not dict:
        raise wrong(key, "an object", value)
    return {**defaults, **value} if defaults else value


def _text(record: dict[str, Json], key: str) -> str | None:
    value = record.get(key)
    if value is not None and type(value) is not str:
        raise wrong(key, "text", value)
    return value


def _system(record: dict[str, Json], content: Json, kind: Kind, defaults: Defaults) -> str | None:
    """The line's own, else the run's unless the messages bring one. A null takes the run's away."""
    if kind is Kind.EMBED or kind is Kind.IMAGE:
        return None
    if "system" in record or "instructions" in record:
        return _text(record, "system" if "system" in record else "instructions") or None
    if defaults.system and type(content) is list and any(m.get("role") in ("system", "developer") for m in content):
        return None
    return defaults.system


def _tools(record: dict[str, Json]) -> list[Json] | None:
    tools = record.get("tools")
    if tools is None:
        return None
    if type(tools) is not list or any(type(tool) is not dict for tool in tools):
        raise wrong("tools", "a list of objects", tools)
    return tools or None
