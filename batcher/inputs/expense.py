"""What filling in a template may cost for one row: turns of its loops and calls, and the characters that it makes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jinja2 import nodes
    from jinja2.runtime import Context

LONGEST: Final = 64 * 1024 * 1024
"""Characters that a template may make, all in all or by repeating text."""
STEPS: Final = 1_000_000
"""Turns of loops and calls of one row, which take about a second."""
COUNT: Final = "\0steps"
"""Where they are counted among the columns, under a name that no template can say; the filter that counts, too."""
MADE: Final = "\0made"
"""The filter that looks how long a text has become."""
BITS: Final = 1 << 16
"""Bits of an integer."""
_WIDTH: Final = re.compile(r"[0-9]{8}|%[^a-zA-Z%]*\*")
"""In a format, a width of eight digits, or one that is told beside it."""


def refusal(words: str) -> Exception:
    """The error of the sandbox."""
    from jinja2.exceptions import SecurityError

    return SecurityError(words)


def count(context: Context, steps: int) -> None:
    """Count what a row takes. Raises SecurityError when it is too much."""
    taken = context.parent[COUNT]
    taken[0] += steps
    if taken[0] > STEPS:
        raise refusal(f"it takes more than {STEPS:,} turns of its loops")


def turns(context: Context, items: Any) -> Any:
    """What a loop goes through; counted before, if its length is known."""
    try:
        count(context, len(items))
    except TypeError:
        return _one_by_one(context, items)
    return items


def _one_by_one(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        count(context, 1)
        yield item


def joined(pieces: Iterable[str]) -> str:
    """The text of its pieces. Raises SecurityError when it is too long."""
    made: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > LONGEST:
            raise refusal(f"it makes more than {LONGEST >> 20} MiB")
        made.append(piece)
    return "".join(made)


def bounded(text: Any) -> Any:
    """A text. Raises SecurityError when it is too long."""
    if len(text) > LONGEST:
        raise refusal(f"{len(text)} characters are more than a prompt can be")
    return text


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Raise SecurityError for one that would make too much."""
    if operator == "*":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | list | tuple) and isinstance(other, int) and len(one) * other > LONGEST:
                raise refusal(f"{len(one)} times {other} is more than a prompt can be")
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > BITS:
            raise refusal("the product is too large")
    elif operator == "+" and isinstance(left, str) and isinstance(right, str):
        bounded(left + right)
    elif operator == "%" and isinstance(left, str) and _WIDTH.search(left):
        raise refusal("the width in a format is more than a prompt can be")
    elif operator == "**" and not (abs(left) < 1 << 64 and abs(right) < 1 << 8):
        raise refusal("the power is too large")


def counted(tree: nodes.Template) -> nodes.Template:
    """The template with its loops and the texts that `~` makes counted."""
    from jinja2 import nodes

    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, COUNT, [], [], None, None, lineno=loop.lineno)
    for whole in list(tree.find_all(nodes.Concat)):
        parts = nodes.Concat(whole.nodes, lineno=whole.lineno)
        whole.nodes = [nodes.Filter(parts, MADE, [], [], None, None, lineno=whole.lineno)]
    return tree
