"""`batcher merge`: the results of parts, each in a file of its own, as one file in the order of their input."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batcher.commands.console import answer, print_json, say
from batcher.commands.conversion import options_from
from batcher.commands.earlier import arrived, asked, chosen, inputs_of
from batcher.commands.grouped import Grouped
from batcher.commands.options import environ_of, notes_of, option, request_options
from batcher.commands.values import KeyValue
from batcher.commands.verify import FINDINGS, where
from batcher.failures import Exit, InputError, UsageError
from batcher.figures import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.ledger.state import State
    from batcher.options import Options
    from batcher.running.files import Files
    from batcher.running.gathering import Gathered
    from batcher.running.merging import Merge

_FILE = click.Path(dir_okay=False, path_type=Path)
_OPEN: Final = ("missing", "failed")
"""What is found of rows that have no result."""
_SHOWN: Final = 8


@click.command("merge", cls=Grouped)
@click.argument("parts", nargs=-1, required=True, metavar="PARTS...")
@option("-o", "--output", required=True, type=_FILE, metavar="OUT", help="The file of results to make.")
@option("--input", "inputs", multiple=True, metavar="INPUT", help="Their input (default: that of their runs).")
@option("--keep-first", is_flag=True, help="Of several results to one request take that of the part named first.")
@option("--vectors", type=_FILE, metavar="FILE.npy", help="Make the array of their vectors, too.")
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@request_options
@option("--param", "params", multiple=True, type=KeyValue(), help="A parameter of the runs: temperature=0.")
@option("--option", "option", multiple=True, type=KeyValue(), help="An Ollama option of the runs: num_ctx=8192.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    parts: tuple[str, ...],
    output: Path,
    *,
    inputs: tuple[str, ...],
    keep_first: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Make one file of results of the parts that --shard made, in the order of their input.

    PARTS are files of results, or a 'pattern*'; their errors, vectors and images come along. Each result is held
    against its row: parts are of one input and one set of parameters. What has no result in any part is counted and
    named, and `batcher run INPUT -o OUT` asks for it. OUT is there when it is whole; the parts are only read.

    \b
    Examples:
      batcher merge 'parts/*.jsonl' -o answers.jsonl
      batcher merge 'parts/*.jsonl' -o answers.jsonl --input jobs.jsonl -m llama3.2

    Exit codes: 0 each row has its result, 3 some have none, 65 conflicts, 73 OUT is there, 75 a run is writing a part.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    options = options_from(values)
    for note in notes_of(ctx):
        say(note)
    with ExitStack() as stack:
        done = _Asked(parts, output, inputs, options, environ_of(ctx)).merged(stack, keep_first=keep_first)
        absent = done.gathered.absent()
        code = Exit.OK if done.verdict.sound else Exit.SOME_FAILED
        if as_json:
            print_json(as_dict(done, code))
        else:
            for line in screen(done, absent):
                answer(line)
            answer(_next(done, code))
    ctx.exit(code)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was said."""

    parts: tuple[str, ...]
    output: Path
    inputs: tuple[str, ...]
    options: Options
    environ: Mapping[str, str]

    def merged(self, stack: ExitStack, *, keep_first: bool) -> Merge:
        """Do it. Raises what is wrong with the parts, their input or OUT, and then OUT is not there."""
        from batcher.inputs.formats import parse_job
        from batcher.inputs.selection import Selection
        from batcher.ledger.ordering import InputOrder
        from batcher.ledger.parts import named
        from batcher.ledger.state import parameters
        from batcher.ledger.verification import Verification
        from batcher.running.gathering import Gathered
        from batcher.running.merging import Merge
        from batcher.running.openfiles import open_files

        options, beside = self.options, self._beside()
        stack.enter_context(open_files())
        gathered = Gathered.of(named(self.parts), stack)
        stack.callback(gathered.close)
        for note in filter(None, (part.note for part in gathered.parts)):
            say(note)
        gathered.check_alike()
        state = next(iter(gathered.states), None)
        inputs = self._inputs(gathered.states)
        defaults, source = asked(inputs, options, self.environ, state)
        stack.callback(source.close)
        beside.keep_from(source)
        self._gather(gathered, keep_first=keep_first)
        guessed = gathered.first_model() if defaults.model is None else None
        defaults = replace(defaults, model=defaults.model or guessed)
        at_most, selection = chosen(options, _of_all_parts(state))
        selection = selection or Selection()
        source.repeat = selection.repeat
        selection.prepare(source, at_most)
        verification = Verification(results=gathered.results, order=InputOrder())
        for part in gathered.parts:
            verification.read_errors(part.failures())
        verification.read_input(
            arrived(source), parse=parse_job, defaults=defaults, at_most=at_most, selection=selection
        )
        if source.damage:
            raise InputError("; ".join(source.damage))
        said = selection.said() | ({} if at_most is None else {"limit": at_most})
        merge = Merge(
            out=self.output,
            gathered=gathered,
            verification=verification,
            source=source,
            run=parameters(defaults, selection) if state is None else state.run,
            selection=said,
        )
        if guessed is not None and verification.verdict.changed.count:
            say(f"no model was named, so that of the first result was taken: {guessed}. Name the runs' with -m")
        verification.verdict.repeat = source.repeat
        merge.check()
        merge.write()
        if (array := options.vectors) and not merge.write_vectors(array, defaults.recipe, at_most, selection):
            say(f"{array} is not made: no result of the parts has a vector")
        return merge

    def _beside(self) -> Files:
        """OUT and what will stand beside it. Raises `UsageError` (2), `OutputError` (73) for what is there already."""
        from batcher.ledger.fresh import check_free
        from batcher.running.files import Files
        from batcher.running.merging import check_array_free

        out, array = self.output, self.options.vectors
        beside = Files.of(out, self.options)
        if beside.table is not None or str(out) == "-":
            raise UsageError(
                f"{out}: a merge makes a file of results: name it .jsonl; batcher export makes tables of it"
            )
        beside.check()
        check_free(out)
        if array is not None:
            check_array_free(array, self.options)
        return beside

    def _gather(self, gathered: Gathered, *, keep_first: bool) -> None:
        """Read the results of all parts. Raises `InputError` (65) if an id has one in two of them."""
        from batcher.running.gathering import TwiceError

        try:
            gathered.gather(keep_first=keep_first)
        except TwiceError as error:
            hint = "--keep-first takes that of the part that is named first, where both answer the same request"
            raise InputError(f"{error}. {hint}") from error

    def _inputs(self, states: list[State]) -> str | tuple[str, ...]:
        """The input: as it was said, or that of all runs. Raises `UsageError`."""
        if self.inputs:
            return self.inputs if len(self.inputs) > 1 else self.inputs[0]
        known = {inputs_of(state.input) for state in states}
        if len(known) == 1 and (named := known.pop()):
            return named if len(named) > 1 else named[0]
        why = "the parts have no state files that tell it" if not known else "their runs name it in several ways"
        raise UsageError(f"say which input they are of with --input: {why}")


def _of_all_parts(state: State | None) -> State | None:
    """What the runs of the parts were told, but for which share each took."""
    if state is None:
        return None
    rows = {name: value for name, value in state.selection.items() if name not in ("shard", "done_from")}
    return replace(state, selection=rows)


def screen(merge: Merge, absent: list[str]) -> list[str]:
    """What came of it, for people: counts, and which rows have none."""
    gathered, verdict = merge.gathered, merge.verdict
    lines = [
        f"{merge.out}: {count(verdict.ok, 'results')} of {count(len(gathered.parts), 'parts')}, in the input's order"
    ]
    if gathered.twice:
        lines.append(f"left out are {count(gathered.twice, 'results')} of ids that had one in a part named before")
    if gathered.unreadable:
        lines.append(f"left out of the parts: {count(gathered.unreadable, 'lines')} without a result")
    if gathered.lost:
        lines.append(f"left out are {count(gathered.lost, 'results')} whose vectors are not in the store")
    for name in _OPEN:
        finding = getattr(verdict, name)
        if finding.count:
            meaning = FINDINGS[name] if name != "missing" else "no line in any part"
            lines += [f"{name:<10} {finding.count}: {meaning}", f"{'':<10} {where(finding, merge.source.place)}"]
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        lines.append(f"there is no file of part {', '.join(absent[:_SHOWN])}{more}")
    return lines


def _next(merge: Merge, code: Exit) -> str:
    if code is Exit.OK:
        return "complete: one result for each job"
    left = "asks for what is left" if merge.verdict.missing.count else "asks again"
    return f"not complete (exit code {int(code)}): batcher run {merge.source.path} -o {merge.out} {left}"


def as_dict(merge: Merge, code: Exit) -> dict[str, Any]:
    """The same for programs. The names in it stay."""
    gathered, verdict = merge.gathered, merge.verdict
    return {
        "complete": verdict.sound,
        "exit": int(code),
        "output": str(merge.out),
        "parts": len(gathered.parts),
        "absent": gathered.absent(),
        "jobs": verdict.jobs,
        "results": verdict.ok,
        "twice": gathered.twice,
        "unreadable": gathered.unreadable,
        "lost": gathered.lost,
        "findings": {
            name: {"count": finding.count, "first": [verdict.row(place) for place in finding.first]}
            for name in _OPEN
            for finding in (getattr(verdict, name),)
        },
    }
