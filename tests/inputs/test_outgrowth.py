"""Each row of the table of what filters and methods of a template make: it is told before, from what they are given."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.failures import LineError
from batcher.inputs import expense, outgrowth
from batcher.inputs.outgrowth import FILTERS, GOES_THROUGH, METHODS, Given, weight, would_shift
from batcher.inputs.templates import Template

MUCH = 100_000_000
LONG = "x" * 1000

ROWS: dict[str, tuple[Any, tuple[Any, ...], int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "batch", "slice", "indent"), ("x", (MUCH,), MUCH)),
    **dict.fromkeys(("split", "rsplit", "splitlines", "title"), (LONG, (), 8000)),
    **dict.fromkeys(("string", "pprint", "upper", "lower", "capitalize"), (LONG, (), 1000)),
    **{name: ([LONG] * 9, (), 9000) for name in ("urlencode", "e", "escape")},
    "expandtabs": ("\t\t", (MUCH,), 2 * MUCH),
    "format_map": (f"{{x:{MUCH}}}", ({"x": 1},), MUCH),
    "replace": ("xx", ("x", LONG), 2000),
    "tojson": ([1, 2, 3], (MUCH,), 3 * MUCH),
    "translate": (LONG, ({120: LONG},), 1_000_000),
    "urlize": ("a b", (None, False, LONG), 2000),
    "wordwrap": (LONG, (1, True, LONG), 1_000_000),
}
"""Name → what it is for, what it is given, and how much it makes of that at least."""
BY_FILTERS = {**ROWS, "format": (f"%{MUCH}s", ("x",), MUCH), "join": (["a"] * 1000, (LONG,), 1_000_000)}
BY_METHODS = {**ROWS, "format": (f"{{:{MUCH}}}", ("x",), MUCH), "join": (LONG, (["a"] * 1000,), 1_000_000)}


@pytest.mark.parametrize(
    ("measures", "rows"), [(FILTERS, BY_FILTERS), (METHODS, BY_METHODS)], ids=["filters", "methods"]
)
def test_each_row_tells_what_comes(measures: dict[str, Any], rows: dict[str, Any]) -> None:
    """No row without a test of it, and none that is silent about what makes much of little."""
    assert measures.keys() == rows.keys()
    for name, (value, args, least) in rows.items():
        assert measures[name](Given(value, args, {})) >= least, name
        if name != "format" or measures is METHODS:
            assert measures[name](Given("x" if isinstance(value, str) else [], (), {})) < 100, name


@pytest.mark.parametrize("name", sorted(GOES_THROUGH))
def test_what_takes_entry_by_entry_is_counted(name: str) -> None:
    """Of the filters of Jinja, those that go through what they are given: each a loop of as many turns."""

    argument = {"batch": "(2)", "slice": "(2)", "groupby": "('a')", "map": "('string')", "random": ""}.get(name, "")
    many: Any = {str(number): number for number in range(3000)} if name == "dictsort" else [{"a": 1}] * 3000
    if name in ("max", "min", "sort", "sum", "unique", "select", "reject"):
        many = [1] * 3000
    if name in ("selectattr", "rejectattr"):
        argument = "('a')"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expense, "STEPS", 2000)
        with pytest.raises(LineError, match="turns of its loops"):
            Template(f"{{{{ many | {name}{argument} | string | length }}}}", "--prompt").fill({"many": many})


def test_what_moves_more_than_it_makes() -> None:
    """Wrapping, adding up lists, and encodings of domain names take the square of the length."""
    assert would_shift("wordwrap", Given("x" * 10_000, (1,), {})) >= 10_000**2
    assert would_shift("sum", Given([[1] * 100] * 1000, (None, []), {})) >= 1000 * 1000 * 100
    assert would_shift("encode", Given("x" * 10_000, ("idna",), {})) == 10_000**2
    assert would_shift("upper", Given("x" * 10_000, (), {})) == 0


def test_the_weight_of_a_value_counts_no_further_than_it_must() -> None:
    """What is in a list twice counts twice; a value that holds itself ten times over and over is not gone through."""
    assert weight([LONG, LONG]) >= 2000
    assert weight({LONG: LONG}) >= 2000
    nested: Any = [LONG]
    for _ in range(60):
        nested = [nested] * 10
    assert outgrowth.LONGEST < weight(nested, 10**9) < 2 * 10**9
