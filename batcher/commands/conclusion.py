"""How `batcher run` ends: the sums for people and in `--summary-json`, and the code or the signal that they mean."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

from batcher.failures import Exit, OutputError, UsageError

if TYPE_CHECKING:
    from batcher.running.destination import Destination
    from batcher.running.files import Files
    from batcher.view.summary import Summary


def check_summary(path: Path, inputs: str | tuple[str, ...], written: Files) -> None:
    """Raise UsageError if the summary would replace another file of the run, OutputError if it cannot be written."""
    from batcher.running.apart import same_as

    names = [inputs] if isinstance(inputs, str) else inputs
    files = {Path("/dev/stdin" if name == "-" else name): "the input" for name in names} | written.named()
    if written.errors is not None:
        files[written.errors] = "the errors file"
    if not _is_device(path) and (what := same_as(path, files)):
        raise UsageError(f"--summary-json: {path} is {what}; name another")
    asked = path if _is_device(path) else Path(os.path.realpath(path)).parent
    if path.is_dir() or not os.access(asked, os.W_OK):
        raise OutputError(f"--summary-json: {path} cannot be written; name another")


def _is_device(path: Path) -> bool:
    """Whether it is something that is written to, and not replaced: /dev/null, a pipe."""
    return path.exists() and not path.is_file()


def conclude(summary: Summary, destination: Destination, *, quiet: bool, summary_json: Path | None) -> None:
    """Show the sums and end the process with the code that they mean, or by the signal that ended the run."""
    if summary_json is not None:
        try:
            write_summary(summary_json, summary.to_dict())
        except OutputError as error:  # the results are safe: this must not hide what became of them
            summary.unwritten.append(str(error))
    tell_end(summary, destination, quiet=quiet)
    end(summary.exit_code(), summary.signal)


def tell_end(summary: Summary, destination: Destination, *, quiet: bool) -> None:
    """Show the sums of a run."""
    from batcher.commands.console import say, tell_sums

    results, errors = destination.shown, destination.files.errors
    if not quiet:
        shown = (
            (results or "stdout") if destination.is_made else f"{results} is not made: there is nothing to put into it"
        )
        tell_sums(summary.render(shown, errors), summary.to_dict)
    elif summary.exit_code() is not Exit.OK:
        say(f"{results or 'stdout'}: {summary.one_line(errors)}")


def end(code: int, signal: int | None) -> None:
    """End the process with a code, or by the signal that ended its work."""
    from batcher.running.signals import die_of

    if signal is not None:
        die_of(Signals(signal))
    sys.exit(code)


def write_summary(path: Path, value: Any) -> None:
    """Write JSON so that whoever polls for the file sees it whole, to a pipe as it is. Raises OutputError."""
    import orjson

    from batcher import codec
    from batcher.ledger import disk
    from batcher.opening import write_given

    data = codec.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        if _is_device(path):
            write_given(path, data)
        else:
            disk.replace(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def end_quietly() -> None:
    """The reader of stdout is gone: nothing more can be said, and nothing went wrong."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(Exit.PIPE)
