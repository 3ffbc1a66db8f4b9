"""The options that commands share, and where their values come from.

Precedence: flag > BATCHER_* variable > environment > env file > config file > default. An env file counts as a set of
variables.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from batcher.commands.values import Amount, Duration, KeyValue, LocalModel, Names, Parsed, Template
from batcher.failures import ConfigError
from batcher.inputs.shard import Shard
from batcher.model import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ENVIRON = "batcher.environ"
_CONFIG = "batcher.config"
_NOTES = "batcher.notes"
F = TypeVar("F", bound="Callable[..., Any]")


class Setting(click.Option):
    """An option whose variable may also stand in the env file, and which may be a key of the config file."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        config: dict[str, Any] = ctx.meta.get(_CONFIG, {})
        if self.name in config:
            _let_through(ctx, self.name, config, opts)
        value, source = super().consume_value(ctx, opts)
        given = source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        if given and self.name in config and isinstance(self.type, KeyValue):
            value = [*(ctx.default_map or {}).get(self.name, ()), *value]  # entry by entry: the last of a key counts
        return value, source

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        names = [self.envvar] if isinstance(self.envvar, str) else self.envvar or ()
        environ = environ_of(ctx)
        return next((environ[name] for name in names if environ.get(name)), None)


class Inputs(click.Argument):
    """The inputs of a command: one, or several as a tuple; a config file may name them instead."""

    def __init__(self, names: Sequence[str], **settings: Any) -> None:
        super().__init__(names, nargs=-1, type=click.Path(allow_dash=True), callback=_one_or_all, **settings)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        named = ctx.default_map.get(self.name) if ctx.default_map and self.name else None
        if not opts.get(self.name or "") and named:
            return ((named,) if isinstance(named, str) else tuple(named)), ParameterSource.DEFAULT_MAP
        return super().consume_value(ctx, opts)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        if ctx.params.get("print_config") and self.value_is_missing(value):
            return None  # who only asks what the settings are needs no input
        return super().process_value(ctx, value)


def _one_or_all(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> str | tuple[str, ...] | None:
    return (value[0] if len(value) == 1 else value) if value else None


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """A click option with its BATCHER_… variable."""
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    envvar = "BATCHER_" + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, cls=Setting, envvar=envvar, **settings)


def environ_of(ctx: click.Context) -> Mapping[str, str]:
    """The environment, with the env file below it."""
    environ: Mapping[str, str] = ctx.find_root().meta.get(_ENVIRON, os.environ)
    return environ


def notes_of(ctx: click.Context) -> list[str]:
    """What the user should know about how the options were found."""
    from batcher.commands.typos import doubts

    beaten: dict[str, list[str]] = ctx.meta.get(_NOTES, {})
    unused = [f"{', '.join(keys)} of the config file: not used, because of {who}" for who, keys in beaten.items()]
    return [*unused, *doubts(ctx, environ_of(ctx))]


def _read_config(ctx: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is not None and not ctx.resilient_parsing:
        from batcher.commands.config import load

        ctx.meta[_CONFIG] = load(path, ctx)
        ctx.default_map = dict(ctx.meta[_CONFIG])


def _let_through(ctx: click.Context, name: str, config: Mapping[str, Any], opts: Mapping[str, Any]) -> None:
    """Take a setting of the config file away if something stands above it that is not the option itself."""
    from batcher.commands.config import SERVERS, beaten_by

    environ = environ_of(ctx)
    given = [server for server in SERVERS if opts.get(server) or environ.get(f"BATCHER_{server.upper()}")]
    who = beaten_by(name, config, given, environ)
    if who is not None and ctx.default_map is not None and name in ctx.default_map:
        del ctx.default_map[name]
        if name not in opts:
            ctx.meta.setdefault(_NOTES, {}).setdefault(who, []).append(name.replace("_", "-"))


def _read_env_file(ctx: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is not None:
        from dotenv import dotenv_values
        from dotenv.parser import parse_stream

        from batcher.commands.config import LONGEST
        from batcher.opening import read_given

        try:
            text = read_given(path, LONGEST).decode()
        except OSError as error:
            raise ConfigError(f"--env-file: {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"--env-file: {path} is not UTF-8: byte {error.start + 1}") from error
        for binding in parse_stream(io.StringIO(text)):
            if binding.error:
                raise ConfigError(f"{path}, line {binding.original.line}: this is no NAME=value")
        values = {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value is not None}
        ctx.find_root().meta[_ENVIRON] = values | dict(os.environ)


_FILES = (
    option(  # before --env-file: it may be a key of the config file
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        metavar="FILE.toml",
        help="Read options from this file; the environment wins over it.",
    ),
    option(
        "--env-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_env_file,
        help="Read variables from this file; the environment wins over it.",
    ),
)
_SERVER = (
    option(
        "--base-url",
        multiple=True,
        metavar="URL",
        help="The server; repeatable, for several that share the work. Else LLM_ENDPOINT, OPENAI_BASE_URL, OLLAMA_HOST,"
        " http://127.0.0.1:11434.",
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
    option(
        "--slots", type=click.IntRange(1), help="Slots of the embedded server (default: as many as -c; 4 with auto)."
    ),
    option("--engine", type=click.Choice(["ray"]), help="Have workers make the requests: processes that Ray starts."),
    option("--workers", type=click.IntRange(1), metavar="N", help="How many (default: as many as there are cores)."),
    option("--ray-address", metavar="HOST:PORT|auto", help="The cluster that has them (default: this machine alone)."),
    option(
        "--worker-cpus",
        type=Amount(),
        default=1.0,
        show_default=True,
        metavar="N",
        help="What each gets of it.",
    ),
    option(
        "--worker-resource",
        "worker_resources",
        multiple=True,
        type=KeyValue(),
        metavar="NAME=N",
        help="What else each gets: GPU=1, or a resource of the cluster's own. Repeatable.",
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
    option("--allow-insecure", is_flag=True, help="Send keys over plain http to other machines, or to workers there."),
    option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Trust this certificate authority.",
    ),
    option("--trust-env", is_flag=True, help="Use HTTP_PROXY and .netrc."),
    option("--connect-timeout", type=Duration(), default="10s", show_default=True, help="For a connection."),
    option("--max-wait", type=Duration(), help="How long a server may be away (default: 15s at first, 1h in mid-run)."),
)
_REQUEST = (
    option(
        "-m",
        "--model",
        multiple=True,
        type=Names(),
        callback=_one_or_all,
        help="The model for lines that name none; of several each is asked all rows, for a file of its own. Else the"
        " variable MODEL.",
    ),
    option(
        "--alias",
        "aliases",
        multiple=True,
        type=KeyValue(plain=True),
        help="Use one model for another: gpt-3.5-turbo=llama3.2. Repeatable.",
    ),
    option("--endpoint", metavar="PATH", help="Send lines that name no url to this API path, such as /v1/completions."),
    option("--prompt", type=Template(), help="What to ask of each row: 'Classify: {{ text }}', or @FILE."),
    option("--system", type=Template(), help="The system prompt for rows that have none; may name columns too."),
    option(
        "--messages", type=Template(), help="The same as a conversation: JSON messages with {{ columns }}, or @FILE."
    ),
    option("--embed", type=Template(), help="What to embed of each row: '{{ title }} {{ text }}'."),
    option("--id-field", metavar="COLUMN", help="The column that holds the id (default: id, else a hash)."),
    option("--model-field", metavar="COLUMN", help="The column that names the model."),
    option("--image-field", metavar="COLUMN", help="The column that holds the image: a path, base64, or a list."),
    option(
        "--input-format",
        metavar="NAME",
        help="jsonl, json, csv, tsv, text, xlsx, parquet, arrow, or files for a job a file; else told by the name and"
        " the first bytes.",
    ),
    option("--encoding", metavar="NAME", help="The encoding of text that is not UTF-8: cp1252, utf-16, shift_jis."),
    option(
        "--sql", metavar="SELECT", help="The rows of a database: sqlite:notes.db --sql 'SELECT id, text FROM notes'."
    ),
    option(
        "--sample", type=click.IntRange(1), metavar="N", help="Take N rows, drawn by --seed; more N add to the fewer."
    ),
    option("--seed", type=int, default=0, show_default=True, help="Which sample."),
    option(
        "--shard",
        type=Parsed("shard", Shard.read),
        metavar="I/N|auto",
        help="Take the I-th of N parts, told by id; auto in an array of jobs, auto/N where N is not told.",
    ),
    option(
        "--done-from",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Leave out what these results (or OpenAI batch outputs) have an answer to. Repeatable.",
    ),
    option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Ask each row so many times."),
    option("-n", "--limit", type=click.IntRange(1), help="Take the first N lines as the whole input."),
)


def server_options(function: F) -> F:
    """Options about the server, for every command that talks to one."""
    for decorate in reversed((*_FILES, *_SERVER, *_REQUEST)):
        function = decorate(function)
    return function


def request_options(function: F) -> F:
    """Options about what is asked, for a command that sends nothing."""
    for decorate in reversed((*_FILES, *_REQUEST)):
        function = decorate(function)
    return function
