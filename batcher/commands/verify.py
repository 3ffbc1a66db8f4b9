"""`batcher verify`: the user's own proof that a results file is what its input asked for."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from batcher.commands.console import answer, print_json, say
from batcher.commands.conversion import options_from
from batcher.commands.earlier import arrived, asked, chosen, open_to_read
from batcher.commands.grouped import Grouped
from batcher.commands.options import Inputs, environ_of, notes_of, option, request_options
from batcher.commands.values import KeyValue
from batcher.failures import Exit, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.selection import Selection
    from batcher.inputs.source import Source
    from batcher.ledger.verification import Finding, Verdict
    from batcher.options import Options
    from batcher.outputs.taken import Taken

FINDINGS: Final = {
    "missing": "no line anywhere",
    "pending": "no line yet: a run is at work, or stopped before its end",
    "failed": "a line in the errors file; the same run asks again",
    "changed": "the result answers another request under the same id",
    "duplicate": "a second line for an id",
    "unreadable": "a line that is no result",
    "corrupt": "a vector that is not in the store as it was written",
    "misplaced": "a row of the array that is not the vector of its job: the same run makes it anew",
    "extra": "a result for an id that the input does not have (no fault)",
}
"""Finding → what it means; lines are those of the input for the first four, else those of the results file."""
SOME: Final = 4096
"""Vectors that are looked at together."""
OF_THE_INPUT: Final = ("missing", "pending", "failed", "changed")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("verify", cls=Grouped)
@click.argument("input", cls=Inputs, required=True, metavar="INPUT...")
@click.argument("results", type=click.Path(path_type=Path), metavar="RESULTS")
@option("--errors", type=_FILE, help="The errors file (default: beside the results, RESULTS.errors.jsonl).")
@option(
    "--vectors", type=_FILE, metavar="FILE.npy", help="The array of vectors (default: where RESULTS are named by it)."
)
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@request_options
@option("--param", "params", multiple=True, type=KeyValue(), help="A parameter of the run: temperature=0.")
@option("--option", "option", multiple=True, type=KeyValue(), help="An Ollama option of the run: num_ctx=8192.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    input: str | tuple[str, ...],  # noqa: A002 - as run
    results: Path,
    *,
    as_json: bool,
    **values: Any,
) -> None:
    """Say whether RESULTS has exactly one result for each job in INPUT, and nothing that is none.

    A result counts for the request that it answers. What the last run was told (model, parameters) stands in the state
    file beside RESULTS; where that is gone, or something else is meant, say it again. Reads alone, also while a run is
    writing.

    \b
    Examples:
      batcher verify jobs/hello.jsonl answers.jsonl
      batcher verify reviews.csv labels.jsonl --json

    Exit codes: 0 it has, 3 it has not, 65 INPUT cannot be read, 73 RESULTS cannot be read.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    options = options_from(values)
    for note in notes_of(ctx):
        say(note)
    verdict = examine(input, results, options, environ_of(ctx))
    if as_json:
        print_json(as_dict(verdict))
    else:
        for line in screen(verdict, input if isinstance(input, str) else ", ".join(input), results):
            answer(line)
    ctx.exit(_exit(verdict))


def examine(inputs: str | tuple[str, ...], results: Path, options: Options, environ: Mapping[str, str]) -> Verdict:
    """Compare the files. Raises InputError if the input cannot be read, OutputError if the results cannot."""
    from batcher.inputs.formats import parse_job
    from batcher.ledger.names import state_path
    from batcher.ledger.neighbours import former_errors
    from batcher.ledger.state import Status, read
    from batcher.ledger.verification import Verification, first_model

    with ExitStack() as stack:
        state, note = read(state_path(results)) if results.name else (None, None)  # a directory is refused below
        if note:
            say(note)
        defaults, source = asked(inputs, options, environ, state)
        stack.callback(source.close)
        file = stack.enter_context(open_to_read(results))
        guessed = first_model(file) if defaults.model is None else None
        file.seek(0)
        check = Verification()
        check.read_results(file, results)
        errors = options.errors or former_errors(results)
        if os.path.lexists(errors):  # a run without failures leaves none
            with open_to_read(errors, follow=options.errors is not None) as failures:
                check.read_errors(failures)
        at_most, selection = chosen(options, state)
        if selection is not None:
            source.repeat = selection.repeat
            selection.prepare(source, at_most)
        check.read_input(
            arrived(source),
            parse=parse_job,
            defaults=replace(defaults, model=defaults.model or guessed),
            at_most=at_most,
            selection=selection,
            unfinished=state is not None and state.status is not Status.COMPLETE,
        )
        check.find_extra(file)
        if source.damage:
            raise InputError("; ".join(source.damage))
        _check_vectors(check.verdict, file, results, options, _taken(source, defaults, at_most, selection))
        check.verdict.where, check.verdict.repeat = source.place, source.repeat
    if guessed is not None and check.verdict.changed.count:
        say(f"no model was named, so that of the first result was taken: {guessed}. Name the run's with -m")
    return check.verdict


def _taken(source: Source, defaults: Defaults, at_most: int | None, selection: Selection | None) -> Taken | None:
    from batcher.outputs.taken import Taken

    if not source.is_regular:
        return None
    return Taken(source=source, recipe=defaults.recipe, at_most=at_most, selection=selection)


def _check_vectors(verdict: Verdict, file: BinaryIO, results: Path, options: Options, taken: Taken | None) -> None:
    """Hold the store beside the results to the checksums on their lines, and the array that was made of it."""
    from batcher.ledger.names import stem, vectors_path
    from batcher.outputs.arrays import faults_of
    from batcher.outputs.store import Store, row_named

    if not vectors_path(results).exists():
        file.seek(0)
        for number, line in enumerate(file, 1):
            if row_named(line) is not None:
                verdict.corrupt.add(number)
        return
    with Store.open_to_read(vectors_path(results)) as store:
        file.seek(0)
        numbered = ((number, row) for number, line in enumerate(file, 1) if (row := row_named(line)) is not None)
        while some := list(islice(numbered, SOME)):
            faults = store.faults([row for _, row in some])
            for (number, _), is_fault in zip(some, faults, strict=True):
                if is_fault:
                    verdict.corrupt.add(number)
        named = results.with_name(stem(results))
        array = options.vectors or (named if named.suffix == ".npy" else None)
        if array is not None and array.exists() and not verdict.writing:
            for place, ident in faults_of(array, store, file, taken):
                verdict.misplaced.add(place + 1, ident)


def screen(verdict: Verdict, path: str, results: Path) -> list[str]:
    """The verdict for people: counts, and where to look."""
    lines = [f"{path}: {verdict.jobs} jobs; {verdict.ok} have their result", f"{results}: {verdict.results} results"]
    for name, meaning in FINDINGS.items():
        finding: Finding = getattr(verdict, name)
        if finding.count:
            lines.append(f"{name:<10} {finding.count}: {meaning}")
            place = verdict.where if name in OF_THE_INPUT else _line
            lines.append(f"{'':<10} {where(finding, place)}")
    if verdict.writing:
        lines.append("A run is writing to this file now; this is what it held a moment ago.")
    code = _exit(verdict)
    lines.append("complete: one result for each job" if code is Exit.OK else f"not complete (exit code {int(code)})")
    return lines


def _line(seq: int) -> str:
    return f"line {seq + 1}"


def where(finding: Finding, place_of: Callable[[int], object]) -> str:
    """Where something was found first, and how many more there are."""
    places = [
        f"{place_of(place.line - 1)}" + (f" ({place.id})" if place.id is not None else "") for place in finding.first
    ]
    more = finding.count - len(places)
    return ", ".join(places) + (f" and {more} more" if more else "")


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """The verdict for programs. The names in it stay."""
    from batcher.ledger.verification import LineRef

    return {
        "complete": verdict.sound,
        "exit": int(_exit(verdict)),
        "jobs": verdict.jobs,
        "results": verdict.results,
        "ok": verdict.ok,
        "writing": verdict.writing,
        "findings": {
            name: {"count": finding.count, "first": [made(place) for place in finding.first]}
            for name in FINDINGS
            for finding in (getattr(verdict, name),)
            for made in (verdict.row if name in OF_THE_INPUT else LineRef._asdict,)
        },
    }


def _exit(verdict: Verdict) -> Exit:
    return Exit.OK if verdict.sound else Exit.SOME_FAILED
