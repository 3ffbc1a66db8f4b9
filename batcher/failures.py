"""What can go wrong, by class, and what each class means for the job and for the run.

Failure            one failed attempt, as data: class, code, the server's own words
AttemptError       carries a Failure out of an exchange; the only exception that crosses that seam
BatcherError       the caller's mistakes and the run's ends; carries an exit code
├── UsageError       2    the command line or the arguments contradict themselves
├── InputError       65   the input cannot be used, or contradicts the results
├── UnavailableError 69   no server within --max-wait
├── OutputError      73   the results file cannot be created (74: an I/O error on it)
├── LockedError      75   another run holds the results file
├── AccountError     77   the server refuses the key, or the account's quota is gone
└── ConfigError      78   configuration: a missing extra, an endpoint that is none
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import islice
from pathlib import Path
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Exit(IntEnum):
    """Exit codes; the sysexits numbers are known to cron, mail and systemd. 1 is a bug."""

    OK = 0
    BUG = 1
    USAGE = 2
    SOME_FAILED = 3
    STOPPED = 4
    INPUT = 65
    UNAVAILABLE = 69
    CANNOT_CREATE = 73
    IO = 74
    LOCKED = 75
    REFUSED = 77
    CONFIG = 78
    PIPE = 141


class FailureClass(StrEnum):
    """The classes by which the one retry loop decides."""

    PERMANENT = "permanent"  # this job will never succeed as it is: an error line
    FATAL = "fatal"  # no job (or none of this model) can succeed: they stay pending
    THROTTLE = "throttle"  # told to wait: gates the endpoint, uses no attempt
    TRANSIENT = "transient"  # may succeed next time: uses an attempt
    CONNECTION = "connection"  # nobody there: gates the endpoint, uses no attempt
    LOCAL = "local"  # this machine is short of something: uses no attempt
    SUSPECT = "suspect"  # an answer that --fail-on rejects: no second try


class Scope(StrEnum):
    """How far a fatal failure reaches."""

    MODEL = "model"  # no job of this model
    MODEL_ON_PATH = "model on path"  # no job of this model at this API path
    PATH = "path"  # no job of this API path
    ENDPOINT = "endpoint"  # no job at all


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt. `message` holds the server's own words, redacted and at most 2 KB; `retry_after` seconds."""

    kind: FailureClass
    code: str
    message: str
    status: int | None = None
    retry_after: float | None = None
    scope: Scope = Scope.ENDPOINT
    exit: Exit = Exit.CONFIG


class AttemptError(Exception):
    """An exchange that failed; the failure says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure


class LineError(Exception):
    """An input line that is no job. `code` is for programs, `message` says what to mend; `id` if the line had one."""

    def __init__(self, code: str, message: str, *, id: str | None = None) -> None:  # noqa: A002 - the field's name
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id


class BatcherError(Exception):
    """Something the caller has to know or mend. `exit` is the code the process ends with.

    `results` are those that there are all the same, where a program asked for results and not for a file.
    """

    exit: Exit = Exit.BUG
    results: Sequence[Any] = ()


class UsageError(BatcherError):
    exit = Exit.USAGE


class UnknownOptionError(UsageError, TypeError):
    """A name that no option has: a mistake in the program, as Python has it for its own functions."""


class InputError(BatcherError):
    exit = Exit.INPUT


class UnavailableError(BatcherError):
    exit = Exit.UNAVAILABLE


class OutputError(BatcherError):
    exit = Exit.CANNOT_CREATE


class OutputIOError(OutputError):
    exit = Exit.IO


class LockedError(BatcherError):
    exit = Exit.LOCKED


class AccountError(BatcherError):
    exit = Exit.REFUSED


class ConfigError(BatcherError):
    exit = Exit.CONFIG


@contextmanager
def ungrouped() -> Iterator[None]:
    """Let a BatcherError, or an OSError, out of the groups in which task groups wrap what they raise."""
    try:
        yield
    except BaseExceptionGroup as group:
        for error in _leaves(group):
            if isinstance(error, BatcherError | OSError):
                raise error from error.__cause__
        raise


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def truncated(what: str) -> Failure:
    """A stream that ended without proof of completion; `what` names the mark that is missing."""
    return Failure(FailureClass.TRANSIENT, "truncated", f"the answer ended without {what}")


SHOWN: Final = 120
"""Characters of a value that are told of it."""


class _Short(Repr):
    """`reprlib.Repr`, but for sorting all keys of an object to show the first."""

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return super().repr_dict(dict(islice(x.items(), self.maxdict + 1)), level)


_SHORT: Final = _Short()
_SHORT.maxstring = _SHORT.maxother = SHOWN


def shown(value: object) -> str:
    """The start of a value as it is told of; what it costs does not depend on the size of the value."""
    return _SHORT.repr(value)[:SHOWN]


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean …?` for a near miss, else nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def unfit_vector(words: str) -> Failure:
    """What came is no vector that may be kept: asking again brings the same."""
    return Failure(FailureClass.PERMANENT, "vector_unfit", words)


def malformed(what: str) -> Failure:
    """An answer that is not what the API promises."""
    return Failure(FailureClass.TRANSIENT, "malformed", what)


INTERNAL: Final = "internal"
"""The code of a failure that is a bug of ours."""


def internal(error: Exception) -> Failure:
    """A bug of ours that was met by one answer: it is the failure of that job, which says where, and costs no other."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"
    return Failure(FailureClass.PERMANENT, INTERNAL, f"{type(error).__name__}: {str(error)[:300]}{where}")


FLAGS: Final = {
    "length": "the answer was cut at the token limit; raise max_tokens",
    "content_filter": "the server's filter cut the answer",
    "incomplete": "the server marked the answer incomplete",
    "tool_call_cut": "the arguments of a tool call end in the middle; raise max_tokens",
    "empty": "the answer has no text, no tool call and no refusal",
    "invalid_json": "JSON was asked for and the answer is none",
    "schema_mismatch": "the answer does not fit what was asked for: its schema, or JSON at all",
    "fewer_choices": "fewer choices than n",
    "repeats": "the answer ends in a repetition of thousands of characters",
    "input_truncated": "the server read only a part of the prompt; shorten it or give the model more context (num_ctx)",
}
"""What `--fail-on` can name, and what it means."""
