"""`batcher simulate`: a server of both APIs that calls no model, to try a job file and its settings on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from batcher.commands.console import say, tell
from batcher.failures import ConfigError
from batcher.figures import count
from batcher.simulator import Settings, Simulator, serve
from batcher.simulator.settings import checked, flag_of, options, seconds

if TYPE_CHECKING:
    from collections import Counter
    from dataclasses import Field

    from batcher.simulator import Tally

FOR_PEOPLE = {"tokens": 100, "prose": True, "keep": 0}
"""Settings that are others here than in tests. The last two cannot be chosen."""


def _option(setting: Field[Any]) -> click.Option:
    read, words = setting.metadata["read"], setting.metadata["words"]
    names = [flag_of(setting), setting.name]
    if read is None:
        return click.Option(names, is_flag=True, help=words)
    default = FOR_PEOPLE.get(setting.name, setting.default)
    if default not in (None, "", ()) and default != 0:
        shown = default[0] if isinstance(default, tuple) else default
        words += f" (default: {shown:g}s)" if read is seconds else f" (default: {shown})"
    if isinstance(read, tuple):
        return click.Option(names, type=click.Choice(read), help=words)
    multiple = isinstance(setting.default, tuple)
    return click.Option(names, type=_Reader(read), multiple=multiple, metavar=setting.metadata["unit"], help=words)


class _Reader(click.ParamType[Any]):
    """A setting's own reader, whose complaint the user hears."""

    name = "setting"

    def __init__(self, read: Any) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("simulate", params=[_option(s) for s in options() if s.name not in ("prose", "keep")])
def command(**values: Any) -> None:
    """Play a server of both APIs that calls no model: settable speed, slots, queue, limits and faults.

    \b
    Examples:
      batcher simulate --slots 4 --speed 30 --load 20s
      batcher simulate --look openai --rpm 300 --tpm 60k --fault 503=2% --down-every 2m

    It listens on this machine alone and prints its URL. Ctrl-C ends it; then it says what it has seen. Times are
    written 30s, 5m. Names of faults and directives for single prompts: docs/simulator.md.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    try:
        settings = checked(FOR_PEOPLE | {name: value for name, value in values.items() if value is not None})
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        simulator = serve(settings, _introduce)
    except OSError as error:
        raise ConfigError(f"cannot listen on port {settings.port}: {error.strerror}") from None
    for line in report(simulator.tally):
        tell(line)


def _introduce(simulator: Simulator) -> None:
    settings = simulator.settings
    url = simulator.url if settings.look == "native" else f"{simulator.url}/v1"
    click.echo(url)
    say(f"simulating {_named(settings)}; Ctrl-C ends it and says what it has seen")
    say(f"try: batcher run jobs/hello.jsonl -m {settings.models[0]} --base-url {url} -o simulated.jsonl")


def _named(settings: Settings) -> str:
    who = "an Ollama" if settings.look == "native" else "an OpenAI-compatible server"
    return f"{who} with {settings.slots} slots" if settings.slots else who


def report(tally: Tally) -> list[str]:
    """What a server has seen, in lines for people."""
    again = [times - 1 for times in tally.counts.values() if times > 1]
    repeats = f"; {count(sum(again), 'requests')} were repeats, of {count(len(again), 'prompts')}" if again else ""
    rows = (
        ("requests", f"{tally.counts.total():,} for {count(len(tally.counts), 'prompts')}{repeats}"),
        ("answered", f"{tally.answered.total():,} ({count(tally.generated, 'tokens')} generated)"),
        ("wasted", _waste(tally)),
        ("refused", _listed(tally.refused)),
        (
            "at most",
            f"{tally.peak_in_flight:,} in flight, {tally.peak_in_service:,} in service, {tally.peak_waiting:,} waiting",
        ),
        ("loads", _listed(tally.loads)),
        ("away", count(tally.outages, "times") if tally.outages else ""),
    )
    return [f"{name:<8} {words}" for name, words in rows if words]


def _waste(tally: Tally) -> str:
    parts = (
        (tally.dropped.total(), "dropped by the client"),
        (tally.broken.total(), "broken off by a fault"),
        (tally.repeated, "answered again"),
    )
    words = ", ".join(f"{number:,} {what}" for number, what in parts if number)
    return f"{count(tally.thrown_away, 'answers')}: {words}" if words else ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.most_common())
