"""Names options as programs write them, in words that were written for the command: `--on-change rerun` is
`on_change="rerun"`.

What a server said is left as it is: behind `it says`, and in failures that have a status.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from batcher.api.arguments import RunOptions
from batcher.failures import BatcherError
from batcher.inputs.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.failures import Failure
    from batcher.view.summary import Summary

_FLAG: Final = re.compile(
    r"(?<![\w/-])(--[a-z]+(?:-[a-z]+)*|-[cmo])(?![\w-])"
    r"(?: ('[^']*'|[A-Za-z0-9%-]+(?:[./][A-Za-z0-9%_-]+)*|(?:/[A-Za-z0-9.%_-]+)+))?"
)
"""An option as the command has it, and the word behind it, which may be its value."""
_THEIRS: Final = "; it says: "
"""What stands before the words of a server."""
_ELSEWHERE: Final = ", or write to a pipe with -o -"
"""What the command alone can do."""
_OTHERWISE: Final = {
    "-c": "concurrency",
    "-m": "model",
    "-o": "output",
    "--alias": "aliases",
    "--param": "params",
    "--no-stream": "stream=False",
}
"""Options whose names are not those of the command with underscores."""
_ANY: Final = r"\S*[\d/]\S*"
_VALUES: Final = {
    "on_change": "rerun|keep",
    "embedding_format": "float|base64",
    "dialect": "native|openai",
    "input_format": "|".join(FORMATS),
    "shard": rf"auto|{_ANY}",
    "local": r"\S+\.gguf",
}
"""Which words are values of an option; of others those with a digit, or of a path."""


def in_python(words: str) -> str:
    """Name options as programs do."""
    ours, mark, theirs = words.replace(_ELSEWHERE, "").partition(_THEIRS)
    return _FLAG.sub(_renamed, ours) + mark + theirs


def _renamed(match: re.Match[str]) -> str:
    flag, value = match.groups()
    name = _OTHERWISE.get(flag) or flag.removeprefix("--").replace("-", "_")
    if name.partition("=")[0] not in {*RunOptions.__annotations__, "output"}:
        return match[0]
    if value is None or (name == "output" and value == "FILE"):
        return name
    if value.startswith("'"):
        return f"{name}={value}"
    if re.fullmatch(_VALUES.get(name, _ANY), value):
        return f"{name}={value}" if value.isdecimal() else f'{name}="{value}"'
    return f"{name} {value}"


@contextmanager
def in_programs() -> Iterator[None]:
    """Have errors that leave the block name options as programs do."""
    try:
        yield
    except BatcherError as error:
        reword(error)
        raise


def reword(error: BaseException) -> None:
    """Have an error name options as programs do; Ctrl-C and bugs stay what they are."""
    if isinstance(error, BatcherError):
        error.args = tuple(in_python(one) if isinstance(one, str) else one for one in error.args)


def failure_in_python(failure: Failure) -> Failure:
    """The failure in words for programs, if they are ours."""
    return failure if failure.status is not None else replace(failure, message=in_python(failure.message))


def reword_sums(summary: Summary) -> None:
    """Have the sums say in words for programs why a run ended."""
    if summary.stop is not None:
        summary.stop = replace(summary.stop, message=in_python(summary.stop.message))
    summary.refused = [replace(why, message=in_python(why.message)) for why in summary.refused]
    summary.samples = {code: in_python(words) for code, words in summary.samples.items()}
    summary.unwritten = [in_python(words) for words in summary.unwritten]
