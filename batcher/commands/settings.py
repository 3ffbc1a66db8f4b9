"""`--print-config`: what each option of a command is, and who said so; what may be secret is not shown."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from batcher import codec
from batcher.commands.grouped import GROUPS
from batcher.commands.options import environ_of
from batcher.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN: Final = "(hidden)"
NOT_SHOWN: Final = ("print_config", "help", "input")
_SECRET: Final = re.compile(r"key|token|secret|password|passwd|authorization|bearer|credential|cookie", re.IGNORECASE)
_NO_SECRET: Final = re.compile(r"tokens?$|^max_|_tokens", re.IGNORECASE)
_LOGIN: Final = re.compile(r"(?<=//)[^/@\s]*@|(?:(?<=/)|^)[^/@\s]*:[^/@\s]*@")
"""Before a host; also where a URL was taken for a path, or has no scheme."""
_QUERY: Final = re.compile(r"(?<=\?).*")
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,60}")
_NAMES_A_KEY: Final[Mapping[str, Callable[[str], object]]] = {
    "api-key-env": lambda name: name in os.environ or _VARIABLE.fullmatch(name),
    "api-key-file": lambda name: "/" in name or os.path.lexists(name),
}
"""Options that say where a key is, and what a name looks like that does."""


def print_config(ctx: click.Context) -> None:
    """Print all options of a command as a config file has them, with who said each: it can be kept as one."""
    places = {name: place for place, name in enumerate(name for names in GROUPS.values() for name in names)}
    params = [param for param in ctx.command.params if isinstance(param, click.Option) and param.name in ctx.params]
    inputs = next((param for param in ctx.command.params if param.name == "input"), None)
    if inputs is not None:
        click.echo(printable(_line(ctx, inputs)))
    for param in sorted(params, key=lambda param: places.get(param.name or "", len(places))):
        if param.name not in NOT_SHOWN:
            click.echo(printable(_line(ctx, param)))
    for line in _from_the_environment(ctx):
        click.echo(printable(line))


def _line(ctx: click.Context, param: click.Parameter) -> str:
    name = param.name or ""
    key = max(param.opts, key=len).removeprefix("--")
    value = ctx.params[name]
    words = f"{key} = {_toml(_shown(key, value))}"
    if value is None or value in ((), []):
        words = f"# {key} = {_toml(param.default)}" if isinstance(param.default, str) else f"# {key} ="
    return f"{words}  # {_origin(ctx, param)}"


def _origin(ctx: click.Context, param: click.Parameter) -> str:
    """Who said it."""
    source = ctx.get_parameter_source(param.name or "")
    if source is ParameterSource.COMMANDLINE and ctx.params[param.name or ""] is not None:
        return "flag" if isinstance(param, click.Option) else "argument"
    if source is ParameterSource.ENVIRONMENT:
        name = str(param.envvar)
        return name if os.environ.get(name) else f"{name} in the env file"
    if source is ParameterSource.DEFAULT_MAP:
        return "config file"
    return "default"


def _from_the_environment(ctx: click.Context) -> Iterator[str]:
    """What the variables that have no option say, where no option says it."""
    environ = environ_of(ctx)
    if not ctx.params.get("model") and environ.get("MODEL"):
        yield f"# model = {_toml(environ['MODEL'])}  # MODEL"
    if not ctx.params.get("base_url") and not ctx.params.get("local"):
        name = next((one for one in ("LLM_ENDPOINT", "OPENAI_BASE_URL", "OLLAMA_HOST") if environ.get(one)), None)
        url = environ[name] if name else "http://127.0.0.1:11434"
        yield f"# base-url = {_toml(_shown('base-url', url))}  # {name or 'default'}"
    for name in ("OPENAI_API_KEY", "OLLAMA_API_KEY"):
        if environ.get(name):
            yield f"# {name} is set: {HIDDEN}"


def _shown(key: str, value: Any) -> Any:
    """A value without what may be a secret: passwords and queries in URLs, values by names that keys have."""
    if isinstance(value, os.PathLike):
        return _shown(key, os.fspath(value))
    if key in _NAMES_A_KEY and isinstance(value, str):
        return value if _NAMES_A_KEY[key](value) else HIDDEN  # else it may be the key itself, in the wrong place
    if isinstance(value, str):
        return _QUERY.sub(HIDDEN, _LOGIN.sub(f"{HIDDEN}@", value)) if ":/" in value or "@" in value else value
    if isinstance(value, Mapping):
        return {name: HIDDEN if _is_secret(name) else _shown(name, entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        if value and all(isinstance(entry, tuple) and len(entry) == 2 for entry in value):
            if key != "header-env":
                return _shown(key, dict(value))
            return {name: _shown("api-key-env", variable) for name, variable in value}
        return [_shown(key, entry) for entry in value]
    return value


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not _NO_SECRET.search(name)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{codec.dumps(str(name)).decode()} = {_toml(one)}" for name, one in value.items()) + " }"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool | int | float):
        return codec.dumps(value).decode()
    return codec.dumps("" if value is None else str(value)).decode()
