"""The command `batcher`: a group whose commands are loaded when they are used, and the place where errors end."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from signal import SIGINT
from typing import Any

import click

COMMANDS = {
    "run": "Run a file of jobs and write their results.",
    "check": "Say whether the server, its models and the jobs are fit to run.",
    "verify": "Hold a results file against its input: missing, failed, changed, repeated, unreadable lines.",
    "merge": "Put the results of parts (--shard) together: one file, in the order of their input.",
    "export": "Make a table of results, beside their input's columns, or batch lines, or training chats.",
    "stats": "Say what results were like: times, tokens, cost, failures, and what held the run up.",
    "report": "Make a page of results: charts, and the slowest and odd answers to open.",
    "bench": "Find out how many requests in flight are enough, on your own rows and server.",
    "compare": "Say where two results files of one input differ, or the answers to each row of one.",
    "models": "List the models that the server offers.",
    "status": "Say how a run stands, from another terminal, or how the last one ended.",
    "completion": "Print the script that completes commands and options in bash, zsh or fish.",
    "simulate": "Play a server of both APIs, with limits and faults, to try a job file on.",
}
"""Name → one line of help, so that `batcher --help` imports none of them."""
ALLOCATOR = ("ARROW_DEFAULT_MEMORY_POOL", "system")
"""Rows that are read a few at a time need no pool of their own: Arrow's keeps 40 MB that they are done with.

Source: https://arrow.apache.org/docs/cpp/env_vars.html
"""


class Commands(click.Group):
    """A group that imports `batcher.commands.NAME` when NAME is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"batcher.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(_no_command(args), ctx) from None


def _no_command(args: list[str]) -> str:
    """What to say to a first word that is no command: who names a file means to run it."""
    from pathlib import Path

    from batcher.failures import nearest

    name, *rest = args
    if not nearest(name, COMMANDS) and (Path(name).exists() or Path(name).suffix or name == "-"):
        return f"{name!r} is no command; did you mean: batcher run {' '.join([name, *rest[:2]])}"
    return f"there is no command {name!r}{nearest(name, COMMANDS)}"


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: Any) -> None:
    if wanted and not ctx.resilient_parsing:
        from batcher import __version__

        click.echo(f"batcher {__version__}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Say the version."
)
def group() -> None:
    """Run files of prompts through Ollama or any OpenAI-compatible server.

    \b
    Examples:
      batcher run jobs/hello.jsonl -m llama3.2 -o answers.jsonl
      batcher run jobs/hello.jsonl --local -o answers.jsonl
      batcher check jobs/hello.jsonl --base-url http://127.0.0.1:8080/v1

    Every option has a variable: --base-url is BATCHER_BASE_URL. Exit codes: 0 every job has a result, 2 usage,
    3 some jobs failed, 4 stopped by a rule, 65 the input, 69 no server, 73/74 the output, 75 locked, 77 key or quota,
    78 configuration, 129/130/143 by a signal.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped


def _one_line(error: click.ClickException) -> str:
    """What is wrong, and where to look: one line, as of every other error, for cron mails what it gets."""
    words = " ".join(error.format_message().split())
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None:
        return words
    joint = " See" if words.endswith("?") else "; see"
    return f"{words.rstrip('.')}{joint} {ctx.command_path} --help"


def _told(error: Exception) -> int | None:
    """Say what the user has to know or mend, and give the exit code that means it; None for a bug.

    What errors are is imported when there is one: `--help` costs little more than click itself.
    """
    from batcher.failures import BatcherError, Exit

    if not isinstance(error, BatcherError | OSError):
        return None
    from batcher.commands.console import say

    if isinstance(error, BatcherError):
        say(str(error), "error")
        return error.exit
    # of a name that is typed: too long, in a directory that may not be looked into
    say(f"{error.filename}: {error.strerror}" if error.filename else str(error), "error")
    return Exit.IO


def main() -> None:
    """Run the command line. Ends the process with the exit code."""
    if sys.platform not in ("linux", "darwin"):
        from batcher.failures import Exit

        click.echo(f"batcher: runs on Linux and macOS, not on {sys.platform}", err=True)
        sys.exit(Exit.CONFIG)
    os.environ.setdefault(*ALLOCATOR)
    try:
        code = group.main(prog_name="batcher", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        from batcher.redaction import sentence

        click.echo(f"batcher: {sentence(_one_line(error))}", err=True)
        code = error.exit_code
    except click.Abort:  # Ctrl-C where no run listens for it
        from batcher.running.signals import die_of

        die_of(SIGINT)
        code = 128 + SIGINT
    except Exception as error:
        code = _told(error)
        if code is None:
            raise
    sys.exit(code)
