"""Takes of a results line what is of the kind that batcher writes: the file may come from somebody else."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from batcher.outcome import count_of, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.model import Json

    Reading: TypeAlias = Callable[[Json], Json]


def sound(record: Mapping[str, Json]) -> dict[str, Json]:
    """The record without what is of another kind than its name says; fields that are not known stay as they are.

    What is taken apart elsewhere can be taken for what `docs/results.md` says then. Raises nothing.
    """
    return _fields(record, _LINE)


def _fields(record: Mapping[str, Json], known: Mapping[str, Reading]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value in record.items():
        reading = known.get(name)
        kept = value if reading is None else reading(value)
        if kept is not None or value is None:
            found[name] = kept
    return found


def _text(value: Json) -> Json:
    return value if type(value) is str else None


def _moment(value: Json) -> Json:
    """A time with its zone, as ISO 8601 has it, that a clock can show."""
    try:
        datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return value


def _object(value: Json) -> Json:
    return value if type(value) is dict else None


def _list(value: Json) -> Json:
    return value if type(value) is list else None


def _objects(known: Mapping[str, Reading]) -> Reading:
    return lambda value: [_fields(item, known) for item in value if type(item) is dict] if type(value) is list else None


def _nested(known: Mapping[str, Reading], rest: Reading | None = None) -> Reading:
    """An object; `rest` reads what is not known in it."""
    if rest is None:
        return lambda value: _fields(value, known) if type(value) is dict else None
    return lambda value: _fields(value, {**dict.fromkeys(value, rest), **known}) if type(value) is dict else None


def _texts(value: Json) -> Json:
    return [item for item in value if type(item) is str] if type(value) is list else None


_FUNCTION: Final = {"name": _text}
_CALL: Final = {"id": _text, "type": _text, "index": count_of, "function": _nested(_FUNCTION)}
_SAID: Final[Mapping[str, Reading]] = {
    **dict.fromkeys(("text", "thinking", "refusal", "finish_reason"), _text),
    "tool_calls": _objects(_CALL),
    "logprobs": _list,
    "index": count_of,
}
"""What a choice, a turn and a line have in common."""
_LINE: Final[Mapping[str, Reading]] = {
    **_SAID,
    **dict.fromkeys(("id", "hash", "model", "served_model", "endpoint", "server", "copy_of", "mismatch"), _text),
    "seq": count_of,
    "attempts": count_of,
    "flags": _texts,
    "usage": _nested({}, count_of),
    "timing": _nested({"started_at": _moment, "server": _nested({}, number_of)}, number_of),
    "choices": _objects(_SAID),
    "turns": _objects(_SAID),
    "embeddings": _list,
    "columns": _object,
    "error": _nested({**dict.fromkeys(("code", "message", "class"), _text), "status": count_of}),
}
"""The fields of a line that are taken apart, and what each has to be (docs/results.md)."""
