"""Schemas that answers have to fit: read once, complained of before anything is sent, asked about each answer.

jsonschema-rs is imported where a schema is made. References lead nowhere but into the schema itself: nothing is
fetched. Source: https://json-schema.org/draft/2020-12 (and the drafts before it, as `$schema` says).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson

from batcher import codec
from batcher.failures import ConfigError, UsageError
from batcher.inputs.examples import example_of
from batcher.opening import read_given

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.model import Json

_SHOWN: Final = 300
"""Characters of a complaint: it may hold the whole of an answer."""
_DISTINCT: Final = 256
"""Schemas of lines that are kept ready."""
_UNTOLD: Final = "it nests too deep, or has a number with too many digits, to be held against the schema"


class Schema:
    """One schema. `document` is it as it was given; two with one document are equal."""

    __slots__ = ("_validator", "document")

    def __init__(self, document: Json) -> None:
        """Raises ValueError that says what is wrong with it, ConfigError (78) where the library is not installed."""
        self.document = document
        self._validator = _validator(document)

    @property
    def words(self) -> str:
        return codec.dumps(self.document).decode()

    @property
    def example(self) -> str:
        """See `Fits.example`."""
        try:
            made = example_of(self.document)
            return codec.dumps(made).decode() if made and self._validator.is_valid(made) else ""
        except (AttributeError, LookupError, TypeError, ValueError):  # a schema may say what it likes
            return ""

    def fault(self, value: Json) -> str | None:
        """Say what about a value does not fit, the first thing; `None` if all does."""
        try:
            if self._validator.is_valid(value):
                return None
            error = next(self._validator.iter_errors(value))
        except ValueError:  # the library takes 255 levels, and no `orjson.Fragment`
            return _UNTOLD
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        message = str(error.message)
        short = message if len(message) <= _SHOWN else f"{message[: _SHOWN - 1]}…"
        return f"{place.removeprefix('.')}: {short}" if place else short


class AnyObject:
    """Any JSON object fits (`--json`)."""

    __slots__ = ()
    words = ""
    example = ""

    def fault(self, value: Json) -> str | None:
        """As `Schema.fault`."""
        return None if type(value) is dict else f"it is {_name(value)}, and no object"


ANY_OBJECT: Final = AnyObject()


def schema_of(given: Any) -> Schema:
    """A schema as an option gives it: a file, JSON, a mapping, or a class that knows its own (pydantic's).

    Raises UsageError (2) for what is none, ConfigError (78).
    """
    try:
        return Schema(_document(given))
    except ValueError as error:
        raise UsageError(f"--schema: {error}") from error


def schema_on_line(document: Json) -> Schema:
    """The schema of one line; equal ones are made once. Raises ValueError, ConfigError."""
    try:
        text = codec.dumps(document)
    except TypeError:
        raise ValueError("a schema nests too deep") from None
    return _of_text(text)


@lru_cache(_DISTINCT)
def _of_text(text: bytes) -> Schema:
    return Schema(codec.loads(text))


def _document(given: Any) -> Json:
    """Raises ValueError."""
    if hasattr(given, "model_json_schema"):
        return given.model_json_schema()
    if isinstance(given, str | Path):
        text, where = _text(given)
        try:
            return codec.loads(text)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{where}broken JSON in line {error.lineno}: {error.msg}") from error
    return given


def _text(given: str | Path) -> tuple[bytes, str]:
    """The JSON itself, or what a file holds, and the name of that. Raises ValueError."""
    name = str(given)
    if isinstance(given, str) and name.lstrip().startswith(("{", "[", "true", "false")):
        return name.encode("utf-8", "surrogatepass"), ""
    name = name.removeprefix("@")
    try:
        return read_given(Path(name).expanduser()).removeprefix(b"\xef\xbb\xbf"), f"{name}: "
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{name} cannot be read: {reason}") from error


def _validator(document: Json) -> Any:
    try:
        import jsonschema_rs
    except ImportError:
        raise ConfigError("a schema: jsonschema-rs is not installed; pip install 'batcher[schema]'") from None
    if type(document) is not dict:
        raise ValueError(f"a schema is a JSON object, not {_name(document)}")
    try:
        return jsonschema_rs.validator_for(document, retriever=_refuse)
    except ValueError as error:  # also what its own errors are
        words = str(getattr(error, "message", error)).splitlines()[0][:_SHOWN]
        path: list[object] = [*getattr(error, "instance_path", ())]
        place = "/".join(map(str, path))
        raise ValueError(f"this is no JSON Schema: {f'at {place}: ' if place else ''}{words}") from error


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"it refers to {uri}, and nothing is fetched: put what is there under $defs")


def _name(value: Json) -> str:
    names: Mapping[type, str] = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "an object")
