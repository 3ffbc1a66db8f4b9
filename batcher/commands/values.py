"""The types of option values, each read once, at the edge."""

from __future__ import annotations

import os
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from batcher import codec
from batcher.figures import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.model import Json


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(value) if isinstance(value, int | float) else duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Amount(click.FloatRange):
    """A number from 0 on; what is no number, or has no end, is none, though Python reads it as one."""

    def __init__(self) -> None:
        super().__init__(0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        return number if isfinite(number) else self.fail(f"{value} is no number to count with", param, ctx)


class Parsed(click.ParamType[Any]):
    """A value that its own function reads, such as `Concurrency.of`."""

    def __init__(self, name: str, read: Callable[[Any], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class KeyValue(click.ParamType[tuple[str, Any]]):
    """`key=value`; the value is JSON where it reads as JSON, and text otherwise or with `plain`."""

    name = "key=value"

    def __init__(self, *, plain: bool = False) -> None:
        self.plain = plain

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        try:
            key, parsed = setting(value)
        except ValueError as error:
            # in the place of NAME=VAR it may well be the key itself
            self.fail("what is given (not shown) is not NAME=VALUE" if self.plain else str(error), param, ctx)
        return (key, value.partition("=")[2]) if self.plain else (key, parsed)


class Names(click.ParamType[str]):
    """A name; a variable may hold several with commas between, since names of models may have spaces."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        del param, ctx
        return str(value)

    def split_envvar_value(self, rv: str) -> list[str]:
        return [name for part in rv.split(",") if (name := part.strip())] or [rv]


class Template(click.ParamType[str]):
    """A text, or the file behind an `@` that holds it; the file is read where the template is made."""

    name = "text|@file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        del param, ctx
        return str(value)


class LocalModel(click.ParamType[bool | Path]):
    """The embedded model: the one that is installed, or a file."""

    name = "model.gguf"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool | Path:
        if value in (True, "", "default", "1", "true"):
            return True
        path = Path(value)
        if path.is_file() and path.suffix != ".gguf" and not _is_gguf(path):
            self.fail(f"{value} is no GGUF file; to use the installed model, put --local after INPUT", param, ctx)
        return path


def _is_gguf(path: Path) -> bool:
    from batcher.opening import open_regular

    try:
        with os.fdopen(open_regular(path, follow=True), "rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def setting(text: str) -> tuple[str, Json]:
    """Read `key=value`; the value is JSON if it reads as JSON, else the text itself. Raises ValueError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"{text!r} is not key=value")
    try:
        return key.strip(), codec.loads(value)
    except orjson.JSONDecodeError:
        return key.strip(), value
