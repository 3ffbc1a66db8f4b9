"""What the last run on some results was told, by its state file: for commands that read what it wrote."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.commands.console import say
from batcher.failures import InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batcher.inputs.chunks import Chunking
    from batcher.inputs.formats import Line
    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.formats.reading import Reading
    from batcher.inputs.selection import Selection
    from batcher.inputs.source import Source
    from batcher.ledger.state import State
    from batcher.model import Json
    from batcher.options import Options

MODELS_NAMED: Final = 4
"""Results of several models that a sentence names."""


def chosen(options: Options, state: State | None) -> tuple[int | None, Selection | None]:
    """After how many lines the input ends, and which rows of it are taken: as is said, else as the last run did."""
    from batcher.inputs.selection import Selection
    from batcher.running.chosen import selection_of

    run = dict(state.selection) if state is not None else {}
    limit = run.pop("limit", None)
    try:
        selection = selection_of(options) or (Selection.again(run) if run else None)
    except (TypeError, ValueError, KeyError):
        say("which rows the last run took cannot be read in its state file: say it again if it did not take all")
        selection = None
    return options.limit or (limit if type(limit) is int else None), selection


def asked(
    inputs: str | tuple[str, ...], options: Options, environ: Mapping[str, str], state: State | None
) -> tuple[Defaults, Source]:
    """What the last run asked of which rows, as far as it is not said anew; the inputs are open and to be closed.

    Raises as `defaults_for` and `source_for` do.
    """
    from batcher.running.wiring import columns_of, defaults_for, source_for

    defaults = defaults_for(options, environ, None, inputs if isinstance(inputs, str) else inputs[0])
    fallback = chunking = None
    if state is not None:
        defaults = as_the_run(defaults, state.run)
        fallback = replace(reading_of(state.input), columns=columns_of(defaults.recipe))
        chunking = chunking_of(state.input)
    if chunking is not None:
        defaults = replace(defaults, recipe=None)  # it is the one by which the texts were made that were cut
    return defaults, source_for(inputs, options, fallback=fallback, chunking=chunking)


def arrived(source: Source) -> Iterator[Line]:
    """The lines of a file, or those of a pipe as they come. Raises InputError."""
    arrival = threading.Event()
    source.on_arrival = arrival.set
    try:
        for line in source.lines():
            if line is not None:
                yield line
                continue
            arrival.wait()
            arrival.clear()
    except OSError as error:
        raise InputError(f"{source.path}: cannot be read: {error.strerror}") from error


def reading_of(fingerprint: Mapping[str, Json]) -> Reading:
    """How the last run read its inputs, by its state file."""
    from batcher.inputs.formats.reading import Reading

    parts = fingerprint.get("inputs") or [fingerprint]
    encoding, sql = (next((part[name] for part in parts if part.get(name)), None) for name in ("encoding", "sql"))
    return Reading(encoding=encoding, sql=sql)


def chunking_of(fingerprint: Mapping[str, Json]) -> Chunking | None:
    """How the last run cut its texts, by its state file, if it did."""
    from batcher.inputs.chunks import Chunking

    parts = fingerprint.get("inputs") or [fingerprint]
    said = next((part["chunks"] for part in parts if part.get("chunks")), None)
    try:
        return None if said is None else Chunking.again(said)
    except (ValueError, KeyError, TypeError, AttributeError):
        say("how the last run cut its texts cannot be read in its state file: say --chunk again")
        return None


def as_the_run(said: Defaults, run: Mapping[str, Json]) -> Defaults:
    """Fill in what is not said with what the last run on these results was told, by its state file."""
    from batcher.inputs.recipe import ASKING, Recipe

    told = {name: run.get(name) for name in ("model", "system", "aliases", "prefix")} | {"path": run.get("endpoint")}
    if not (said.params or said.extra):
        told |= {"params": run.get("params"), "extra": run.get("extra")}
    if not said.options:
        told["options"] = run.get("options")
    if run.get("recipe"):
        own = said.recipe.said if said.recipe is not None else {}
        asks = said.recipe is not None and said.recipe.asks
        before = {name: text for name, text in run["recipe"].items() if not (asks and name in ASKING)}
        said = replace(said, recipe=Recipe.again({**before, **own}))
    return replace(said, **{name: value for name, value in told.items() if value and not getattr(said, name)})


def inputs_of(fingerprint: Mapping[str, Json]) -> tuple[str, ...]:
    """The inputs of the last run, as they were named; none where that is not known, as of a pipe."""
    parts = fingerprint.get("inputs") or [fingerprint]
    names = [part.get("path") for part in parts]
    if not all(isinstance(name, str) for name in names):
        return ()
    sheets = [part.get("sheet") for part in parts]
    return tuple(name if sheet is None else f"{name}#{sheet}" for name, sheet in zip(names, sheets, strict=True))


def open_to_read(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a file that is to be there. Raises OutputError."""
    from batcher.ledger.names import part_path
    from batcher.opening import open_regular

    try:
        return os.fdopen(open_regular(path, follow=follow), "rb")
    except FileNotFoundError:
        part = part_path(path)
        hint = f"; {part} has what an --atomic run has so far" if part.exists() else _of_models(path)
        raise OutputError(f"{path}: there is no such file{hint}") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror}") from error


def _of_models(path: Path) -> str:
    """Which results there are of several models whose run was told this name."""
    from batcher.ledger.neighbours import holds_results

    begin, end = f"{path.stem}.", path.suffix
    try:
        beside = sorted(one for one in path.parent.iterdir() if one.name.startswith(begin) and one.suffix == end)
    except OSError:
        return ""
    found = [str(one) for one in beside if holds_results(one)]
    return f"; there are {', '.join(found[:MODELS_NAMED])}" if found else ""
