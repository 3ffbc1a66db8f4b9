"""What filling in a template may cost for one row: turns of its loops and calls, and the characters that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batcher.inputs.outgrowth import (
    FILTERS,
    GOES_THROUGH,
    LONGEST,
    METHODS,
    MOST_SHIFTED,
    REPEATED,
    Given,
    weight,
    widths,
    would_shift,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from jinja2 import nodes
    from jinja2.runtime import Context

STEPS: Final = 1_000_000
"""Turns of loops and calls of one row, which take about a second."""
COUNT: Final = "\0steps"
"""Where they are counted among the columns, under a name that no template can say; the filter that counts, too."""
MADE: Final = "\0made"
"""The filter that puts texts together and looks how long they become."""
BITS: Final = 1 << 16
"""Bits of an integer."""


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


def tied(values: Iterable[Any]) -> str:
    """The text of values that `~` puts together. Raises SecurityError when it is too long."""
    return joined(value if isinstance(value, str) else str(bounded(value)) for value in values)


def bounded(value: Any) -> Any:
    """A value. Raises SecurityError when it is too long, written out."""
    check_made(weight(value))
    return value


def check_made(characters: int) -> None:
    """Raise SecurityError for more than a template may make."""
    if characters > LONGEST:
        raise refusal("it makes more text than a prompt can be")


def check_call(context: Context, called: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Count a call. Raises SecurityError for a method of a text that would make too much."""
    count(context, 1)
    method = getattr(called, "__wrapped__", called)  # Jinja's own `format` in the place of Python's
    value, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    if isinstance(value, str):
        _check(name, Given(value, args, named), METHODS)


def guarded(name: str, filtered: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is not called where it would make too much, and whose entries are counted as turns."""
    from jinja2 import pass_context

    wants = str(getattr(getattr(filtered, "jinja_pass_arg", None), "name", ""))

    def filter_(context: Context, value: Any, /, *args: Any, **named: Any) -> Any:
        _check(name, Given(value, args, named), FILTERS)
        if name in GOES_THROUGH:
            value = turns(context, bounded(value))
        elif name == "join" and not hasattr(value, "__len__"):
            value = _weighed(value, args)
        first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        return filtered(*([first[wants]] if wants else []), value, *args, **named)

    return pass_context(filter_)


def _check(name: str, given: Given, measures: Mapping[str, Callable[[Given], int]]) -> None:
    measure = measures.get(name)
    if measure is not None:
        check_made(measure(given))
    if would_shift(name, given) > MOST_SHIFTED:
        raise refusal(f"{name} would take too long")


def _weighed(items: Iterable[Any], args: tuple[Any, ...]) -> Iterator[Any]:
    """What is joined one by one. Raises SecurityError when it is too much."""
    between, made = len(str(args[0])) if args else 0, 0
    for item in items:
        made += weight(item) + between
        check_made(made)
        yield item


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Raise SecurityError for one that would make too much."""
    if operator == "*":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | list | tuple) and isinstance(other, int) and len(one) * other > REPEATED:
                raise refusal(f"{len(one)} times {other} is more than a prompt can be")
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > BITS:
            raise refusal("the product is too large")
    elif operator == "+" and isinstance(left, str) and isinstance(right, str):
        check_made(len(left) + len(right))
    elif operator == "+" and isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if len(left) + len(right) > REPEATED:
            raise refusal(f"a list of {len(left) + len(right)} is longer than any that a template may make")
    elif operator == "%" and isinstance(left, str):
        given = right if isinstance(right, tuple) else (right,)
        check_made(widths(left, given))
    elif operator == "**" and not (abs(left) < 1 << 64 and abs(right) < 1 << 8):
        raise refusal("the power is too large")


def counted(tree: nodes.Template) -> nodes.Template:
    """The template with its loops and the texts that `~` makes counted."""
    from jinja2 import nodes

    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, COUNT, [], [], None, None, lineno=loop.lineno)
    for whole in list(tree.find_all(nodes.Concat)):
        parts = nodes.List(whole.nodes, lineno=whole.lineno)
        whole.nodes = [nodes.Filter(parts, MADE, [], [], None, None, lineno=whole.lineno)]
    return tree
