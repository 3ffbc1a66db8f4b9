"""What was said and may be misspelt: variables that no option reads, parameters that batcher does not know."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from batcher.failures import nearest
from batcher.inputs.formats.parameters import PARAMETERS, nearest_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

PREFIX: Final = "BATCHER_"
OLLAMA_OPTIONS: Final = frozenset(
    {
        *("num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature"),
        *("repeat_penalty", "presence_penalty", "frequency_penalty", "stop", "num_ctx", "num_batch", "num_gpu"),
        *("main_gpu", "use_mmap", "num_thread", "draft_num_predict"),
        *("tfs_z", "mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline"),
        *("numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock"),
    }
)
"""Ollama's `Options` and `Runner` (`api/types.go`), and those that earlier versions had. It ignores any other."""


def doubts(ctx: click.Context, environ: Mapping[str, str]) -> Iterator[str]:
    """What the user may have meant otherwise, in sentences: nothing of it is an error."""
    ours = {name for name in environ if name.startswith(PREFIX)} - _of(ctx.command)
    if ours:  # the other commands are imported only where there may be need
        yield from unknown_variables(ours, _variables(ctx))
    yield from unknown_parameters(dict(ctx.params.get("params") or ()))
    yield from unknown_options(dict(ctx.params.get("option") or ()))


def unknown_variables(ours: Iterable[str], known: Collection[str]) -> list[str]:
    """Variables with our prefix that nothing reads."""
    return [
        f"the variable {name} is not used: no option has it{nearest(name, known)}"
        for name in sorted(ours)
        if name not in known
    ]


def unknown_parameters(params: Mapping[str, Any]) -> list[str]:
    """Parameters that are sent as they are."""
    return [
        f"--param {key} is none that batcher knows, and is sent as it is"
        + (f"; did you mean {near!r}?" if (near := nearest_key(key)) in PARAMETERS else "")
        for key in params
        if key not in PARAMETERS
    ]


def unknown_options(options: Mapping[str, Any]) -> list[str]:
    """Options that Ollama would pass over."""
    return [
        f"--option {key} is none of Ollama's, which ignores what it does not know{nearest(key, OLLAMA_OPTIONS)}"
        for key in options
        if key not in OLLAMA_OPTIONS
    ]


def _variables(ctx: click.Context) -> set[str]:
    """The variables of all commands."""
    group = ctx.find_root()
    known: set[str] = set()
    for name in group.command.list_commands(group) if isinstance(group.command, click.Group) else ():
        known |= _of(import_module(f"batcher.commands.{name}").command)
    return known


def _of(command: click.Command) -> set[str]:
    names: set[str] = set()
    for param in command.params:
        names |= {param.envvar} if isinstance(param.envvar, str) else set(param.envvar or ())
    return names
