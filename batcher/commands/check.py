"""`batcher check`: is all there that a run needs? Sends no generation; the exit code says it too."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio
import click
import orjson

from batcher.catalogue import OLLAMA
from batcher.commands.options import environ_of, option, options_from, server_options
from batcher.failures import Exit
from batcher.model import Api
from batcher.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.catalogue import About
    from batcher.checkup import Checkup
    from batcher.options import Options

MODELS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found out: the server, and the input if one was named."""

    server: str
    source: str
    about: About
    checkup: Checkup | None
    missing: list[tuple[str, str | None]]

    @property
    def exit(self) -> Exit:
        if self.checkup is not None and self.checkup.refused_count:
            return Exit.INPUT
        return Exit.CONFIG if self.missing or self.not_offered else Exit.OK

    @property
    def not_offered(self) -> list[str]:
        """Paths of Ollama's own API that jobs name, on a server that is no Ollama."""
        if self.checkup is None or self.about.api is Api.NATIVE or self.about.kind == OLLAMA:
            return []
        return [path for path in self.checkup.paths if path.startswith("/api/")]


@click.command("check")
@click.argument("input", required=False, type=click.Path(allow_dash=True), metavar="[INPUT]")
@server_options
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, /, input: str | None, *, as_json: bool, **values: Any) -> None:  # noqa: A002 - as run
    """Say whether the server is up and of which kind, which models it has, and whether the jobs in INPUT can run.

    Exit codes: 0 ready, 65 lines would be refused, 69 no server, 77 key refused, 78 a model is missing.
    """
    findings = anyio.run(look, input, options_from(values), environ_of(ctx))
    if as_json:
        click.echo(orjson.dumps(as_dict(findings)).decode())
    else:
        for line in screen(input, findings):
            click.echo(line)
    ctx.exit(findings.exit)


async def look(input_path: str | None, options: Options, environ: Mapping[str, str]) -> Findings:
    """Ask the server and read the input. Raises BatcherError."""
    from batcher import catalogue
    from batcher.checkup import Checkup
    from batcher.commands.console import Console
    from batcher.contact import contact, described
    from batcher.formats import format_of
    from batcher.source import Source
    from batcher.wiring import defaults_for

    async with contact(options, environ, Console(quiet=False, verbose=False, progress=False)) as server:
        checkup = None
        wanted: list[str] = [name for name in (options.model or environ.get("MODEL"),) if name]
        if input_path is not None:
            form = format_of(input_path, options.input_format)
            checkup = Checkup()
            source = Source(input_path, form)
            defaults = defaults_for(options, environ, server.model, input_path)
            if defaults.model is None and len(only := (await described(server)).models) == 1:
                defaults = replace(defaults, model=only[0].name)  # as a run does
            checkup.read(
                source.all_lines(),
                server.endpoint.api,
                parse=form.parse,
                defaults=defaults,
                limit=options.limit,
                needs_model=server.model is None,
            )
            source.close()
            wanted = list(checkup.models)
        about = await described(server, wanted)
        return Findings(
            server=server.endpoint.root,
            source=server.source,
            about=about,
            checkup=checkup,
            missing=catalogue.missing(wanted, about),
        )


def screen(input_path: str | None, findings: Findings) -> list[str]:
    """The findings on one screen."""
    about = findings.about
    names = [f"{model.name} (loaded)" if model.loaded else model.name for model in about.models]
    more = f" and {len(names) - MODELS_SHOWN} more" if len(names) > MODELS_SHOWN else ""
    slots = f", {about.slots} slots" if about.slots else ""
    version = f" {about.version}" if about.version else ""
    lines = [
        f"server   {findings.server} (from {findings.source}): {about.kind}{version}, {about.api} API{slots}",
        f"models   {len(names)}: {', '.join(names[:MODELS_SHOWN])}{more}",
    ]
    if findings.checkup is not None:
        lines += _input_lines(input_path or "", findings.checkup)
    for name, near in findings.missing:
        hint = f"; the nearest there is {near}" if near else ""
        pull = f", or: ollama pull {name}" if about.kind == "Ollama" else ""
        lines.append(f"missing  {name} is not on the server{hint} (use --alias {name}=MODEL or -m{pull})")
    lines += [f"missing  {path} is Ollama's; {about.kind} does not offer it" for path in findings.not_offered]
    lines.append("ready" if findings.exit is Exit.OK else f"not ready (exit code {int(findings.exit)})")
    return [printable(line) for line in lines]


def _input_lines(path: str, checkup: Checkup) -> list[str]:
    endpoints = ", ".join(f"{count} to {name}" for name, count in checkup.paths.most_common())
    models = ", ".join(f"{name} ({count})" for name, count in checkup.models.most_common(MODELS_SHOWN))
    repeats = f", {checkup.duplicates} repeated" if checkup.duplicates else ""
    lines = [f"input    {path}: {checkup.jobs} jobs{repeats}{': ' + endpoints if endpoints else ''}"]
    if models:
        lines.append(f"asks     {models}")
    lines += [f"refused  line {number}: {message} [{code}]" for number, code, message in checkup.refused]
    if checkup.refused_count > len(checkup.refused):
        lines.append(f"refused  … {checkup.refused_count} lines in all")
    return lines


def as_dict(findings: Findings) -> dict[str, Any]:
    """The findings for programs."""
    checkup = findings.checkup
    return {
        "ready": findings.exit is Exit.OK,
        "exit": int(findings.exit),
        "server": findings.server,
        "source": findings.source,
        "about": asdict(findings.about),
        "not_offered": findings.not_offered,
        "missing": [{"model": name, "nearest": near} for name, near in findings.missing],
        # `asdict` would count the entries of a Counter anew.
        "input": {name: getattr(checkup, name) for name in checkup.__slots__} if checkup is not None else None,
    }
