"""`batcher check`: is all there that a run needs? Sends no generation; the exit code says it too."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
import click

from batcher.commands.console import answer, print_json
from batcher.commands.conversion import options_from
from batcher.commands.grouped import Grouped
from batcher.commands.options import Inputs, environ_of, option, server_options
from batcher.failures import Exit, UnavailableError
from batcher.figures import count
from batcher.model import Api
from batcher.servers.diagnosis import model_missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.commands.checkup import Checkup
    from batcher.options import Options
    from batcher.servers.catalogue import About

MODELS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One server, held against what the jobs need of it; `about` is why it said nothing, if it is away."""

    server: str
    about: About | UnavailableError
    missing: list[tuple[str, str | None]] = field(default_factory=list)
    lacking: list[tuple[str, str, int]] = field(default_factory=list)
    not_offered: list[str] = field(default_factory=list)
    """Paths of Ollama's own API that jobs name, on a server that is no Ollama."""

    @property
    def is_fit(self) -> bool:
        return not (self.missing or self.lacking or self.not_offered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found out: the servers, at least one of which is there, and the input if one was named."""

    source: str
    servers: list[Found]
    checkup: Checkup | None

    @property
    def exit(self) -> Exit:
        if self.checkup is not None and (self.checkup.refused_count or self.checkup.damage):
            return Exit.INPUT
        return Exit.OK if all(found.is_fit for found in self.servers) else Exit.CONFIG


@click.command("check", cls=Grouped)
@click.argument("input", cls=Inputs, required=False, metavar="[INPUT]...")
@server_options
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, /, input: str | tuple[str, ...] | None, *, as_json: bool, **values: Any) -> None:  # noqa: A002 - as run
    """Say whether the servers are up and of which kind, which models they have, and whether the jobs in INPUT can run.

    \b
    Examples:
      batcher check jobs/chat.jsonl -m llama3.2
      batcher check jobs/chat.jsonl -m llama3.2 -m qwen2.5:7b
      batcher check reviews.csv --prompt 'Classify: {{ text }}' --base-url http://127.0.0.1:8080/v1 -m qwen3

    Exit codes: 0 ready, 65 lines would be refused, 69 no server, 77 key refused, 78 a model is missing or cannot do
    what jobs ask of it.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    models: tuple[str | None, ...] = values["model"] if isinstance(values["model"], tuple) else (values["model"],)
    found: dict[str | None, Findings] = {}
    for model in dict.fromkeys(models):
        found[model] = anyio.run(look, input, options_from({**values, "model": model}), environ_of(ctx))
        if not as_json:
            if len(models) > 1:
                answer(f"model    {model}")
            for line in screen(input, found[model]):
                answer(line)
    code = max(findings.exit for findings in found.values())
    if as_json and len(models) == 1:
        print_json(as_dict(found[models[0]]))
    elif as_json:
        each = [{"model": model, **as_dict(findings)} for model, findings in found.items()]
        print_json({"ready": code is Exit.OK, "exit": int(code), "models": each})
    ctx.exit(code)


async def look(inputs: str | tuple[str, ...] | None, options: Options, environ: Mapping[str, str]) -> Findings:
    """Ask the servers and read the input. Raises BatcherError."""
    from batcher.commands.checkup import Checkup
    from batcher.commands.console import Console
    from batcher.inputs.formats import parse_job
    from batcher.running.chosen import ready
    from batcher.running.wiring import defaults_for, source_for
    from batcher.servers.contact import contact
    from batcher.servers.described import all_described, models_of

    async with contact(options, environ, Console(quiet=False, verbose=False, progress=False)) as server:
        checkup = None
        wanted: list[str] = [name for name in (options.model or environ.get("MODEL"),) if name]
        if inputs is not None:
            source = source_for(inputs, options)
            checkup = Checkup(source.place)
            defaults = defaults_for(options, environ, server.model, source.path)
            if defaults.model is None and len(only := models_of(await all_described(server))) == 1:
                defaults = replace(defaults, model=only[0])  # as a run does
            checkup.read(
                source.all_lines(),
                server.endpoint.api,
                parse=parse_job,
                defaults=defaults,
                at_most=options.limit,
                selection=ready(options, source),
                needs_model=server.model is None,
            )
            checkup.damage = source.damage
            source.close()
            wanted = list(checkup.models)
        servers = await all_described(server, wanted)
        return Findings(
            source=server.source,
            servers=[held_against(root, about, wanted, checkup) for root, about in servers.items()],
            checkup=checkup,
        )


def held_against(root: str, about: About | UnavailableError, wanted: list[str], checkup: Checkup | None) -> Found:
    """What one server has, and what it lacks for the jobs."""
    from batcher.servers import catalogue

    if isinstance(about, UnavailableError):
        return Found(server=root, about=about)
    is_ollama = about.api is Api.NATIVE or about.kind == catalogue.OLLAMA
    paths = checkup.paths if checkup is not None else ()
    return Found(
        server=root,
        about=about,
        missing=catalogue.missing(wanted, about),
        lacking=catalogue.lacking(checkup.needs, about) if checkup is not None else [],
        not_offered=[] if is_ollama else [path for path in paths if path.startswith("/api/")],
    )


def screen(inputs: str | tuple[str, ...] | None, findings: Findings) -> list[str]:
    """The findings on one screen."""
    lines = [line for found in findings.servers for line in _server_lines(found, findings.source)]
    if findings.checkup is not None:
        lines += _input_lines(inputs if isinstance(inputs, str) else ", ".join(inputs or ()), findings.checkup)
    several = len(findings.servers) > 1
    for found in findings.servers:
        lines += _lines_of_lacks(found, found.server if several else "the server")
    lines.append("ready" if findings.exit is Exit.OK else f"not ready (exit code {int(findings.exit)})")
    return lines


def _server_lines(found: Found, source: str) -> list[str]:
    about = found.about
    if isinstance(about, UnavailableError):
        return [f"away     {about}"]
    names = [f"{model.name} (loaded)" if model.loaded else model.name for model in about.models]
    more = f" and {len(names) - MODELS_SHOWN} more" if len(names) > MODELS_SHOWN else ""
    slots = f", {about.slots} slots" if about.slots else ""
    version = f" {about.version}" if about.version else ""
    there = f"{len(names)}: {', '.join(names[:MODELS_SHOWN])}{more}" if names else "none"
    return [
        f"server   {found.server} (from {source}): {about.kind}{version}, {about.api} API{slots}",
        f"models   {there}",
    ]


def _lines_of_lacks(found: Found, where: str) -> list[str]:
    about = found.about
    if isinstance(about, UnavailableError):
        return []
    lines = []
    for name, near in found.missing:
        lines.append(f"missing  {model_missing(name, near, about, where)}")
    for name, capability, jobs in found.lacking:
        model = about.find(name)
        can = ", ".join(model.capabilities) if model is not None else "nothing"
        lines.append(f"unable   {name} cannot do {capability}, needed for {count(jobs, 'jobs')}; it can do {can}")
    lines += [f"missing  {path} is Ollama's; {about.kind} does not offer it" for path in found.not_offered]
    return lines


def _input_lines(path: str, checkup: Checkup) -> list[str]:
    endpoints = ", ".join(f"{count} to {name}" for name, count in checkup.paths.most_common())
    models = ", ".join(f"{name} ({count})" for name, count in checkup.models.most_common(MODELS_SHOWN))
    repeats = f", {checkup.duplicates} repeated" if checkup.duplicates else ""
    lines = [f"input    {path}: {count(checkup.jobs, 'jobs')}{repeats}{': ' + endpoints if endpoints else ''}"]
    if models:
        lines.append(f"asks     {models}")
    lines += [f"note     {note}" for note in checkup.notes]
    lines += [f"refused  {checkup.where(number - 1)}: {message} [{code}]" for number, code, message in checkup.refused]
    if checkup.refused_count > len(checkup.refused):
        lines.append(f"refused  … {checkup.refused_count} lines in all")
    lines += [f"damaged  {damage}" for damage in checkup.damage]
    return lines


def as_dict(findings: Findings) -> dict[str, Any]:
    """The findings for programs."""
    checkup = findings.checkup
    return {
        "ready": findings.exit is Exit.OK,
        "exit": int(findings.exit),
        "source": findings.source,
        "servers": [_server_dict(found) for found in findings.servers],
        # `asdict` would count the entries of a Counter anew.
        "input": {name: getattr(checkup, name) for name in checkup.__slots__ if name != "where"}
        if checkup is not None
        else None,
    }


def _server_dict(found: Found) -> dict[str, Any]:
    away = isinstance(found.about, UnavailableError)
    return {
        "server": found.server,
        "away": str(found.about) if away else None,
        "about": None if isinstance(found.about, UnavailableError) else asdict(found.about),
        "missing": [{"model": name, "nearest": near} for name, near in found.missing],
        "lacking": [{"model": name, "capability": what, "jobs": jobs} for name, what, jobs in found.lacking],
        "not_offered": found.not_offered,
    }
