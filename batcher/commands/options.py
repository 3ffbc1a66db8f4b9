"""The options that commands share, and their way into `Options`: once, at the edge.

Precedence: flag > BATCHER_* variable > environment > env file > default. An env file counts as a set of variables.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from batcher.model import Api
from batcher.options import Options, duration, setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ENVIRON = "batcher.environ"
F = TypeVar("F", bound="Callable[..., Any]")


class Setting(click.Option):
    """An option whose variable may also stand in the env file."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        names = [self.envvar] if isinstance(self.envvar, str) else self.envvar or ()
        environ = environ_of(ctx)
        return next((environ[name] for name in names if environ.get(name)), None)


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(value) if isinstance(value, int | float) else duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class KeyValue(click.ParamType[tuple[str, Any]]):
    """`key=value`; the value is JSON where it reads as JSON, and text otherwise or with `plain`."""

    name = "key=value"

    def __init__(self, *, plain: bool = False) -> None:
        self._plain = plain

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        try:
            key, parsed = setting(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return (key, value.partition("=")[2]) if self._plain else (key, parsed)


class LocalModel(click.ParamType[bool | Path]):
    """The embedded model: the one that is installed, or a file."""

    name = "model.gguf"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool | Path:
        del param, ctx
        return True if value in (True, "", "default", "1", "true") else Path(value)


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """A click option with its BATCHER_… variable."""
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    envvar = "BATCHER_" + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, cls=Setting, envvar=envvar, **settings)


def environ_of(ctx: click.Context) -> Mapping[str, str]:
    """The environment, with the env file below it."""
    environ: Mapping[str, str] = ctx.find_root().meta.get(_ENVIRON, os.environ)
    return environ


def _read_env_file(ctx: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is not None:
        from dotenv import dotenv_values

        values = {name: value for name, value in dotenv_values(path).items() if value is not None}
        ctx.find_root().meta[_ENVIRON] = values | dict(os.environ)


_SERVER = (
    option(
        "--env-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_env_file,
        help="Read variables from this file; the environment wins over it.",
    ),
    option(
        "--base-url",
        metavar="URL",
        help="The server. Else LLM_ENDPOINT, OPENAI_BASE_URL, OLLAMA_HOST, http://127.0.0.1:11434.",
    ),
    option(
        "--dialect",
        type=click.Choice([api.value for api in Api]),
        help="Which API the server speaks, where the URL does not tell.",
    ),
    option(
        "--local",
        is_flag=False,
        flag_value="default",
        type=LocalModel(),
        metavar="[MODEL.gguf]",
        help="Start the embedded llama.cpp server for this run.",
    ),
    option("--slots", type=click.IntRange(1), help="Slots of the embedded server (default: as many as -c)."),
    option("-m", "--model", help="The model for lines that name none. Else the variable MODEL."),
    option(
        "--alias",
        "aliases",
        multiple=True,
        type=KeyValue(plain=True),
        help="Use one model for another: gpt-3.5-turbo=llama3.2. Repeatable.",
    ),
    option("--api-key-env", metavar="NAME", help="The variable that holds the key."),
    option(
        "--api-key-file", type=click.Path(dir_okay=False, path_type=Path), help="The file that holds the key, alone."
    ),
    option(
        "--header-env",
        multiple=True,
        type=KeyValue(plain=True),
        metavar="NAME=VAR",
        help="Send a header whose value stands in a variable. Repeatable.",
    ),
    option("--allow-insecure", is_flag=True, help="Send keys over plain http to other machines."),
    option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Trust this certificate authority.",
    ),
    option("--trust-env", is_flag=True, help="Use HTTP_PROXY and .netrc."),
    option("--connect-timeout", type=Duration(), default="10s", show_default=True, help="For a connection."),
    option("--max-wait", type=Duration(), help="How long a server may be away (default: 15s at first, 1h in mid-run)."),
    option("--endpoint", metavar="PATH", help="Send lines that name no url to this API path, such as /v1/completions."),
    option("--input-format", metavar="NAME", help="jsonl; else told by the file's extension."),
    option("-n", "--limit", type=click.IntRange(1), help="Take the first N lines as the whole input."),
)


def server_options(function: F) -> F:
    """Options about the server, for every command that talks to one."""
    for decorate in reversed(_SERVER):
        function = decorate(function)
    return function


def options_from(values: Mapping[str, Any]) -> Options:
    """Make typed options of what click gives. Raises UsageError."""
    known = {f.name for f in fields(Options)}
    chosen = {name: value for name, value in values.items() if name in known and value is not None}
    for name in ("aliases", "header_env", "params", "option"):
        if name in chosen:
            chosen[name] = dict(chosen[name])
    if "dialect" in chosen:
        chosen["dialect"] = Api(chosen["dialect"])
    if "fail_on" in chosen:
        chosen["fail_on"] = frozenset(part for text in chosen["fail_on"] for part in text.split(",") if part)
    return Options.of(chosen)
