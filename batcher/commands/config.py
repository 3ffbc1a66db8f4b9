"""The file of `--config`: every option a key, each held to its option's type before anything is done."""

from __future__ import annotations

import math
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

import click

from batcher.commands.values import Duration, KeyValue, LocalModel, Template
from batcher.failures import ConfigError, nearest
from batcher.opening import read_given

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

NOT_HERE: Final = ("config", "help", "levels")
"""Options that a config file cannot set: `levels` are those of a sweep, and `concurrency` that of a run."""
SERVER_VARIABLES: Final = ("LLM_ENDPOINT", "OPENAI_BASE_URL", "OLLAMA_HOST")
LONGEST: Final = 1 << 20
"""Bytes of a config file, or of one of variables; the reader of TOML takes a second for this much."""
SERVERS: Final = ("base_url", "local")
"""Options that choose the server."""
OF_THE_SERVER: Final = ("dialect", "api_key_env", "api_key_file", "header_env", "allow_insecure")
"""Options that mean the server named beside them: its keys are not for another one."""
_SECRET = re.compile(r"(?:^|-)(?:key|token|secret|password|authorization|bearer)s?$")


def load(path: Path, ctx: click.Context) -> dict[str, Any]:
    """Read a config file: values by the names of parameters, as click takes them. Relative paths start at the file.

    The keys are the options of `batcher run` and of the command at hand. Raises ConfigError that names file and key.
    """
    known: dict[str, click.Parameter] = {}
    for param in [*ctx.command.params, *_of_run(ctx)]:
        for key in _keys(param):
            known.setdefault(key, param)
    values: dict[str, Any] = {}
    for key, value in _parsed(path).items():
        found = known.get(key.replace("_", "-"))
        if found is None:
            raise ConfigError(f"{path}: {_not_a_key(key, known)}")
        if found.name in values:
            raise ConfigError(f"{path}: {key} stands there twice, under two spellings; keep one of them")
        values[found.name] = _value(path, key, value, found, ctx)
    return {name: value for name, value in values.items() if value is not None}


def _of_run(ctx: click.Context) -> list[click.Parameter]:
    group = ctx.find_root().command
    run = group.get_command(ctx, "run") if isinstance(group, click.Group) else None
    return [] if run is None else run.params


def beaten_by(name: str, config: Mapping[str, Any], given: Collection[str], environ: Mapping[str, str]) -> str | None:
    """Say what stands above a setting of the config file, if it is not the option itself.

    A standing variable (MODEL, OLLAMA_HOST and kin) beats the file. `given` holds what was said by flag or by BATCHER_…
    variable: who names a server there does not mean the file's server, nor its keys.
    """
    if name == "model":
        return "--local" if "local" in given else _first_set(environ, ("MODEL",))
    if name not in SERVERS and not (name in OF_THE_SERVER and any(server in config for server in SERVERS)):
        return None
    flag = next((f"--{server.replace('_', '-')}" for server in SERVERS if server in given), None)
    return flag or _first_set(environ, SERVER_VARIABLES)


def _first_set(environ: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((name for name in names if environ.get(name, "").strip()), None)


def _keys(param: click.Parameter) -> set[str]:
    """Both `alias`, as the option is called, and `aliases`, as Python calls it."""
    if param.name in NOT_HERE:
        return set()
    long = [name.removeprefix("--") for name in param.opts if name.startswith("--")]
    return {name.replace("_", "-") for name in (param.name, *long)}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_given(path, LONGEST).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"--config: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are of this kind
        raise ConfigError(f"--config: {path} is no TOML: {error}") from error


def _not_a_key(key: str, known: Collection[str]) -> str:
    name = key.replace("_", "-")
    if _SECRET.search(name.lower()):
        return (
            f"{key} is refused: config files are copied and shown around, so no key belongs there. Put it into a "
            "variable and name that with api-key-env (or header-env), or into a file and name that with api-key-file"
        )
    if (positive := name.removeprefix("no-")) != name and positive in known:
        return f"no option is called {key!r}; write {positive} = false"
    return f"no option is called {key!r}{nearest(name, known)}"


def _value(path: Path, key: str, value: Any, param: click.Parameter, ctx: click.Context) -> Any:
    """Hold a value to its option's type, the way TOML writes it."""
    wanted, shaped = _shaped(param, value)
    if wanted:
        raise ConfigError(f"{path}: {key} wants {wanted}, not {_called(value)}")
    if shaped is None:
        return None
    kind = param.type
    if isinstance(kind, click.Path | LocalModel):
        shaped = (
            [_located(path, key, one) for one in shaped] if isinstance(shaped, list) else _located(path, key, shaped)
        )
    if isinstance(shaped, str) and isinstance(kind, Template) and shaped[:1] == "@" != shaped[1:2]:
        shaped = f"@{_from_the_file(path, key, shaped[1:])}"
    try:
        param.type_cast_value(ctx, shaped)
    except click.BadParameter as error:
        raise ConfigError(f"{path}: {key}: {error.message}") from None
    return shaped


def _shaped(param: click.Parameter, value: Any) -> tuple[str, Any]:
    """(what is wanted instead, "" if nothing; the value as click takes it)."""
    kind = param.type
    is_text, is_switch = isinstance(value, str), isinstance(value, bool)
    is_number = isinstance(value, int | float) and not is_switch
    if isinstance(kind, KeyValue):
        if not isinstance(value, dict) or not all(_is_json(entry) for entry in value.values()):
            return "a table of plain values", None
        if kind.plain and not all(isinstance(entry, str) for entry in value.values()):
            return "a table of texts", None
        return "", list(value.items())
    if isinstance(kind, LocalModel):
        return ("", value or None) if is_switch or is_text else ("true or a file's name", None)
    if isinstance(kind, Duration):
        return ("", value) if is_text or is_number else ("a duration such as 30s, or seconds", None)
    if isinstance(param, click.Option) and param.is_flag:
        return ("", value) if is_switch else ("true or false", None)
    if getattr(param, "multiple", False) or param.nargs == -1:
        entries = [value] if is_text else value
        fits = isinstance(entries, list) and all(isinstance(entry, str) for entry in entries)
        return ("", entries) if fits else ("a text or a list of texts", None)
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        is_whole = isinstance(kind, click.types.IntParamType)
        fits = is_number and not (is_whole and isinstance(value, float))
        return ("", value) if fits else ("a whole number" if is_whole else "a number", None)
    if isinstance(kind, click.types.StringParamType | click.Choice | click.Path | Template):
        return ("", value) if is_text else ("a text", None)
    return ("", str(value)) if is_text or is_number else ("a text or a number", None)


def _located(path: Path, key: str, name: Any) -> Any:
    """A file's name as it is meant from the config file's directory; what is none stays."""
    is_file = isinstance(name, str) and name not in ("-", "default") and "://" not in name
    scheme, colon, rest = name.partition(":") if is_file and name.startswith("sqlite:") else ("", "", name)
    return f"{scheme}{colon}{_from_the_file(path, key, rest)}" if is_file else name


def _from_the_file(path: Path, key: str, name: str) -> str:
    from pathlib import Path

    try:
        return str(path.absolute().parent / Path(name).expanduser())
    except RuntimeError as error:  # no such home
        raise ConfigError(f"{path}: {key}: {error}") from error


def _is_json(value: Any) -> bool:
    """Whether JSON can say it: TOML's dates, infinity and NaN it cannot."""
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _called(value: Any) -> str:
    """What TOML calls it; the value itself may be a secret that stands in the wrong place."""
    names = {
        bool: "true or false",
        str: "a text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "this table",
    }
    return names.get(type(value), "a date or time")
