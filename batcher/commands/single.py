"""Makes one run as `batcher run` does: where its results go, what it says meanwhile, and how it came out."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.commands.conclusion import check_summary
from batcher.commands.options import environ_of
from batcher.failures import LockedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import click

    from batcher.options import Options
    from batcher.running.destination import Destination
    from batcher.view.summary import Summary

STDOUT: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of standard output, which is written to as it is."""


class Made(NamedTuple):
    """A run that was made; without a summary the reader of its standard output has gone."""

    summary: Summary | None
    destination: Destination


def made(
    ctx: click.Context,
    inputs: str | tuple[str, ...],
    output: str | None,
    options: Options,
    values: Mapping[str, Any],
    *,
    notes: Iterable[str] = (),
    typed: bool = True,
) -> Made | None:
    """Make the run, with notes told at its beginning; None if it was left to another one, as `--if-locked` says.

    An output that is not `typed` was named for the user, who did not.
    Raises BatcherError as `Run.run` does.
    Garbage is collected less often: that is 4 to 10 % of the CPU of a job, and 15 ms of the imports.
    """
    gc.set_threshold(20_000, 20, 20)
    from batcher.commands.console import Console, Log
    from batcher.running.chosen import by_part
    from batcher.running.loops import on_loop
    from batcher.running.runner import Run

    results = by_part(results_path(inputs, output, options.vectors), options.shard)
    progress = values["progress"]
    if progress is None and results is None and sys.stdout.isatty():
        progress = False  # the results are what the terminal shows
    log = Log(as_json=values["log_format"] == "json", every=values["stats"])
    with Console(quiet=values["quiet"], verbose=values["verbose"], progress=progress, log=log) as console:
        for note in notes:
            console.note(note)
        if output is None:
            console.note(f"results go to {results}")
        typed = typed and output is not None
        run = Run(inputs, results, options, environ_of(ctx), console, handle_signals=True, typed=typed)
        if values["summary_json"] is not None:
            check_summary(values["summary_json"], inputs, run.destination.files)
        try:
            gc.freeze()  # what the imports made is never looked at again
            return Made(on_loop(run.run), run.destination)
        except BrokenPipeError:
            return Made(None, run.destination)
        except LockedError as error:
            if values["if_locked"] == "fail":
                raise
            console.note(f"{str(error).partition(';')[0]}: left to it, as --if-locked says")
            return None


def placed(
    output: str | None, values: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[str | None, dict[str, Any]]:
    """The results and what was said, with the model's name where `{model}` stands in those of files.

    Raises UsageError if no model is said for it.
    """
    from batcher.ledger.names import MODEL, for_model

    names = {"output": output, "errors": values["errors"], "vectors": values["vectors"]}
    if not any(MODEL in str(name) for name in names.values()):
        return output, dict(values)
    model = values["model"] or environ.get("MODEL")
    if not model:
        raise UsageError(f"{MODEL} in the name of a file is the model that -m names, and none is named")
    found = {name: for_model(str(path), model) for name, path in names.items() if MODEL in str(path)}
    changed = {name: Path(path) for name, path in found.items() if name != "output"}
    return found.get("output", output), {**values, **changed}


def results_path(inputs: str | tuple[str, ...], output: str | None, vectors: Path | None) -> Path | None:
    """Where the results go; None is standard output. Raises UsageError if that has to be said."""
    from batcher.inputs.compression import EXTENSIONS
    from batcher.inputs.parts import is_pattern
    from batcher.opening import is_directory

    input_name = inputs if isinstance(inputs, str) else ""
    if output in STDOUT:
        return None
    if output is not None:
        return Path(output)
    if vectors is not None:
        from batcher.ledger.names import table_results_path

        return table_results_path(vectors)
    if input_name == "-":
        raise UsageError("with input from stdin, say where the results go: -o FILE, or -o - for stdout")
    path = Path(input_name)
    if not path.name or ":" in input_name.partition("/")[0] or is_directory(path) or is_pattern(input_name):
        what = input_name or "several inputs"
        raise UsageError(f"with {what}, say where the results go: -o FILE, or -o - for stdout")
    return (path.with_suffix("") if path.suffix.lower() in EXTENSIONS else path).with_suffix(".results.jsonl")
