"""Makes a run for each of several models (`-m a -m b`), one after the other, each with files of its own.

One after the other, since a server that has one model loaded would load the other for each call, and since what two
at once make of a server says nothing of either. Each is the run that `-m` of that model alone would be.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import monotonic as now
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.commands.conclusion import check_summary, end, tell_end, write_summary
from batcher.commands.console import Console, Log, answer, say, tell
from batcher.commands.conversion import options_from
from batcher.commands.options import environ_of, notes_of
from batcher.commands.single import STDOUT, made, results_path
from batcher.failures import BatcherError, Exit, OutputError, UsageError
from batcher.figures import count
from batcher.inputs.formats.defaults import ANY
from batcher.ledger.names import MODEL, for_model, model_word
from batcher.opening import is_directory
from batcher.running.chosen import by_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import click

    from batcher.options import Options

OF_ALL: Final = ("max_duration", "max_cost")
"""What ends a run and holds for all of them together."""


class Plan(NamedTuple):
    """The run of one model, `output` as `-o` would name it."""

    model: str
    output: str
    options: Options
    typed: bool
    """Whether the user named what `output` was made of."""


def several(ctx: click.Context, inputs: str | tuple[str, ...], output: str | None, values: dict[str, Any]) -> None:
    """Make the runs and end the process with the worst of what they ended with, or by the signal that ended one.

    Raises BatcherError for what keeps them all from beginning: nothing was sent then.
    """
    plans = _plans(inputs, output, values)
    if values["dry_run"]:
        from batcher.commands.preview import preview

        for plan in plans:
            answer(f"# {plan.model} → {plan.output}")
            preview(inputs, plan.options, environ_of(ctx))
        return
    _check(inputs, plans, values["summary_json"])
    _tell_plans(ctx, plans, output, values)
    Runs(ctx, inputs, values, plans).make()


def _plans(inputs: str | tuple[str, ...], output: str | None, values: Mapping[str, Any]) -> list[Plan]:
    """The run of each model. Raises UsageError for what does not go with several."""
    models: tuple[str, ...] = values["model"]
    _refuse(inputs, output, values)
    aliases = dict(values["aliases"])
    plans: list[Plan] = []
    words: dict[str, str] = {}
    for model in models:
        word = model_word(model).casefold()  # there are file systems to which upper and lower case are one
        if word in words:
            raise UsageError(
                f"-m {words[word]!r} and -m {model!r} would have one name for their files; give each a run of its own"
            )
        words[word] = model
        files = {
            name: for_model(str(values[name]), model) for name in ("errors", "vectors") if values[name] is not None
        }
        asked = (
            aliases.get(model) or aliases.get(f"{model}:latest") or aliases.get(model.removesuffix(":latest"), model)
        )
        # whatever rows name is asked of this one
        said = {**values, **{name: Path(path) for name, path in files.items()}, "aliases": [(ANY, asked)]}
        options = options_from({**said, "model": model})
        if output is not None or options.vectors is None:
            path = for_model(output or str(results_path(inputs, None, None)), model)
        else:
            path = str(results_path(inputs, None, options.vectors))
        path = str(by_part(Path(path), options.shard))
        plans.append(Plan(model, path, options, typed=output is not None))
    return plans


def _refuse(inputs: str | tuple[str, ...], output: str | None, values: Mapping[str, Any]) -> None:
    models: tuple[str, ...] = values["model"]
    if not all(name.strip() for name in models):
        raise UsageError("one of several -m is empty")
    if len(set(models)) < len(models):
        twice = next(name for name in models if models.count(name) > 1)
        raise UsageError(f"-m {twice} is said twice; to ask one model several times there is --repeat")
    for name in (inputs,) if isinstance(inputs, str) else inputs:
        if name == "-" or _is_read_once(Path(name)):
            raise UsageError(f"several models (-m) each read the input, and {name} can be read once: name a file")
    if output in STDOUT:
        raise UsageError(
            "several models (-m) have a file each, and cannot share standard output: name one with -o FILE"
        )
    if output is not None and is_directory(Path(output)):
        raise UsageError(f"{output} is a directory: name a file in it, such as -o {Path(output) / 'answers.jsonl'}")
    if values["model_field"] is not None:
        raise UsageError(
            "several models (-m) are each asked all rows, and --model-field has rows choose: say one of the two"
        )
    if ANY in dict(values["aliases"]):
        raise UsageError(f"--alias {ANY}=… would have one model asked in the place of several (-m): leave it out")
    if values["local"]:
        raise UsageError("--local starts a server of one model; for several (-m) make a run for each")


def _is_read_once(path: Path) -> bool:
    """Whether it is a pipe, or something else that is empty when it is read again."""
    return path.exists() and not (path.is_file() or path.is_dir())


def _check(inputs: str | tuple[str, ...], plans: Sequence[Plan], summary_json: Path | None) -> None:
    """Find out before anything is sent whether the files of each can be written. Raises BatcherError if not."""
    from batcher.ledger import neighbours
    from batcher.running.files import Files

    for plan in plans:
        files = Files.of(Path(plan.output), plan.options)
        files.check()
        if summary_json is not None:
            check_summary(summary_json, inputs, files)
        assert files.results is not None
        if not files.results.parent.is_dir():
            raise OutputError(f"{plan.output}: there is no directory {files.results.parent}; make it first")
        neighbours.check(files.results)


def _tell_plans(ctx: click.Context, plans: Sequence[Plan], output: str | None, values: Mapping[str, Any]) -> None:
    """Say before anything is sent who is asked, where the answers go, and who is not there. Raises BatcherError."""
    from batcher.ledger.neighbours import holds_results
    from batcher.running.loops import on_loop

    log = Log(as_json=values["log_format"] == "json")
    console = Console(quiet=values["quiet"], verbose=False, progress=False, log=log)
    for note in notes_of(ctx):
        console.note(note)
    if not values["quiet"]:
        words = (
            f"{count(len(plans), 'models')}, one after the other; each is asked every row, whatever model that names:"
        )
        files = [{"model": plan.model, "results": plan.output} for plan in plans]
        say("\n".join([words, *(f"  {plan.model} → {plan.output}" for plan in plans)]), "plan", models=files)
    if output is not None and MODEL not in output and holds_results(Path(output)):
        console.note(f"{output} has results of a run of one model: it is neither read nor changed")
    if not values["quiet"]:
        for words in on_loop(partial(_absent, plans, environ_of(ctx))):
            console.note(f"{words}; its jobs will stay pending")


async def _absent(plans: Sequence[Plan], environ: Mapping[str, str]) -> list[str]:
    """Which models none of the servers has, in sentences, as far as they say what they have. Raises as `contact`."""
    from batcher.servers.catalogue import missing
    from batcher.servers.contact import contact
    from batcher.servers.described import all_described
    from batcher.servers.diagnosis import model_missing
    from batcher.view.observer import Silent

    async with contact(plans[0].options, environ, Silent()) as server:
        try:
            found = await all_described(server)
        except BatcherError:  # the runs find out, and wait
            return []
    there = [about for about in found.values() if not isinstance(about, BatcherError) and about.models]
    words = []
    for name in [plan.options.aliases[ANY] for plan in plans]:
        lacks = [(about, near) for about in there for _, near in missing([name], about)]
        if lacks and len(lacks) == len(there):
            words.append(server.redactor.text(model_missing(name, lacks[0][1], lacks[0][0])))
    return words


class Runs:
    """The runs, as far as they were made."""

    def __init__(
        self, ctx: click.Context, inputs: str | tuple[str, ...], values: Mapping[str, Any], plans: Sequence[Plan]
    ) -> None:
        from batcher.view.together import Part

        self._ctx = ctx
        self._inputs = inputs
        self._values = {**values, "summary_json": None}
        self._summary_json: Path | None = values["summary_json"]
        self._quiet: bool = values["quiet"]
        self._plans = plans
        self._parts = [Part(plan.model, plan.output) for plan in plans]
        self._codes = [int(Exit.OK)]
        self._signal: int | None = None
        self._until = None if values["max_duration"] is None else now() + values["max_duration"]

    def make(self) -> None:
        """Make one after the other until something ends them all, tell how it went, and end the process."""
        for at, plan in enumerate(self._plans):
            if why := self._spent():
                self._codes.append(Exit.STOPPED)
                say(why)
                break
            if not self._quiet:
                say(f"model {at + 1} of {len(self._plans)}: {plan.model} → {plan.output}", "model", model=plan.model)
            try:
                is_over = self._make(at, plan)
            except BatcherError as error:
                if not self._is_any_made():
                    raise
                say(str(error), "error")
                self._codes.append(error.exit)
                self._parts[at] = self._parts[at]._replace(words="it could not be made")
                break
            if is_over:
                break
        self._end()

    def _make(self, at: int, plan: Plan) -> bool:
        """Make one; whether what ended it ends them all. Raises BatcherError."""
        options = self._rest(plan.options)
        run = made(self._ctx, self._inputs, plan.output, options, self._values, typed=plan.typed)
        if run is None:
            self._parts[at] = self._parts[at]._replace(words="left to another run")
            return False
        summary = run.summary
        assert summary is not None  # nothing of it goes to standard output
        tell_end(summary, run.destination, quiet=self._quiet)
        self._parts[at] = self._parts[at]._replace(sums=summary)
        self._codes.append(summary.exit_code())
        self._signal = summary.signal
        return summary.signal is not None or (summary.stop is not None and summary.stop.code in OF_ALL)

    def _rest(self, options: Options) -> Options:
        """The options of the next run: of time and money what those before have left."""
        from dataclasses import replace

        left: dict[str, Any] = {}
        if self._until is not None:
            left["max_duration"] = max(0.0, self._until - now())
        if options.max_cost is not None:
            left["max_cost"] = max(0.0, options.max_cost - self._cost())
        return replace(options, **left) if left else options

    def _spent(self) -> str:
        """Why no other run begins, if time or money are used up."""
        done = self._is_any_made()
        most = self._values["max_cost"]
        if done and self._until is not None and now() >= self._until:
            return "--max-duration is over"
        return f"--max-cost {most:g} is used up" if done and most is not None and self._cost() >= most else ""

    def _is_any_made(self) -> bool:
        return any(part.sums is not None for part in self._parts)

    def _cost(self) -> float:
        return sum(part.sums.cost or 0.0 for part in self._parts if part.sums is not None)

    def _end(self) -> None:
        from batcher.view.together import as_dict, lines

        code = 128 + self._signal if self._signal is not None else max(self._codes)
        if self._summary_json is not None:
            try:
                write_summary(self._summary_json, as_dict(self._parts, code))
            except OutputError as error:
                code = max(code, error.exit)
                say(str(error), "error")
        if not self._quiet or code != Exit.OK:
            told = list(lines(self._parts))
            if self._values["log_format"] == "json":
                say(told[len(self._parts)].removeprefix("all").strip(), "models", summary=as_dict(self._parts, code))
            else:
                tell("\n".join(told))
        end(code, self._signal)
