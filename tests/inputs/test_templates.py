"""Templates: what is filled in, what fails the row, and what is refused before any row is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from batcher.failures import LineError, UsageError
from batcher.inputs import expense, outgrowth
from batcher.inputs.identity import canonical
from batcher.inputs.templates import Template

if TYPE_CHECKING:
    from collections.abc import Callable

ROW: dict[str, Any] = {
    "text": "good",
    "n": 3,
    "share": 0.5,
    "yes": True,
    "nothing": None,
    "list": ["a", None],
    "deep": {"a": {"b": 2}, "none": None, "items": 7},
    "Review text": "fine",
    "prompt": "a column",
}


def fill(source: str, row: dict[str, Any] = ROW) -> str:
    return Template(source, "--prompt").fill(row)


@pytest.mark.parametrize(
    ("source", "filled"),
    [
        ("Is {{ text }} good?", "Is good good?"),
        ("no column", "no column"),
        ("{{ prompt }}", "a column"),
        ("{{ n }} {{ share }} {{ yes }}", "3 0.5 true"),
        ("{{ deep }}", '{"a": {"b": 2}, "none": null, "items": 7}'),
        ("{{ list }}", '["a", null]'),
        ("{{ deep.a.b }}", "2"),
        ("{{ deep.items }}", "7"),
        ("{{ deep | tojson }}", '{"a": {"b": 2}, "none": null, "items": 7}'),
        ("{{ '<é>' | tojson }}", '"<é>"'),
        ("{{ row['Review text'] }}", "fine"),
        ("{{ row.text }}{{ row['Review text'] | upper }}", "goodFINE"),
        ("{{ text | upper | replace('O', '0') }}", "G00D"),
        ("{% if n > 2 %}many{% else %}few{% endif %}", "many"),
        ("{{ nothing | default('none given') }}", "none given"),
        ("{{ absent | default('none given') }}", "none given"),
        ("{{ deep.none | default('x') }}", "x"),
        ("{% if nothing %}a{% else %}b{% endif %}", "b"),
        ("{{ 'a' if nothing is none else 'b' }}", "a"),
        ("{{ 'a' if nothing == none else 'b' }}{{ nothing == 'x' }}", "afalse"),
        ("{% for x in list if x %}{{ x }}{% endfor %}", "a"),
        ("{# a remark #}{{ text }}\n", "good"),
    ],
)
def test_a_row_is_filled_in(source: str, filled: str) -> None:
    """Text as it is, other values as JSON; columns by name, by `row`, and through whatever Jinja can do."""
    assert fill(source) == filled


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("{{ txt }}", "template_column", 'did you mean "text"?'),
        ("{{ txt | upper }}", "template_column", 'did you mean "text"?'),
        ("{{ row['Reviewtext'] }}", "template_column", 'did you mean "Review text"?'),
        ("{% if absent %}x{% endif %}", "template_column", 'no column "absent"'),
        ("{{ deep.gone }}", "template_column", "no attribute 'gone'"),
        ("{{ nothing }}", "template_null", '"nothing"'),
        ("{{ text }} {{ nothing }}", "template_null", "{{ nothing | default('…') }}"),
        ("{{ nothing | upper }}", "template_null", '"nothing"'),
        ("{{ nothing ~ 'x' }}", "template_null", '"nothing"'),
        ("{{ nothing + 1 }}", "template_null", '"nothing"'),
        ("{{ nothing.part }}", "template_null", '"nothing"'),
        ("{{ deep.none }}", "template_null", '"none"'),
        ("{{ list | join(', ') }}", "template_null", '"list"'),
        ("{{ row.nothing }}", "template_null", '"nothing"'),
        ("{{ 1 / 0 }}", "template_failed", "division by zero"),
        ("{{ text.__class__ }}", "template_failed", "unsafe"),
        ("{{ list.append(1) }}", "template_failed", "unsafe"),
        ("{{ 'a' * 10000000000 }}", "template_failed", "more than a prompt can be"),
        ("{{ 9 ** 9 ** 9 }}{{ 2 ** 10000 }}", "template_failed", "too large"),
        ("{{ range(10000000) | list }}", "template_failed", "Range too big"),
    ],
)
def test_what_a_row_lacks_is_its_own_error(source: str, code: str, words: str) -> None:
    """A missing column, a null that is used, and whatever an expression raises: said in words that help."""
    with pytest.raises(LineError) as caught:
        fill(source)
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message


@pytest.mark.parametrize(
    "source",
    ["{{ text", "{% if %}", "{% foo %}", "{{ text | nosuch }}", "{% include 'x' %}", "{% extends 'x' %}", "{{ }}"],
)
def test_a_wrong_template_is_told_before_any_row(source: str) -> None:
    """What is no template, or wants another one, is a usage error that says where it stands."""
    with pytest.raises(UsageError, match=r"--prompt: .*line 1"):
        Template(source, "--prompt")


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        ("{{ b }} {{ a }} {{ b }}", ("a", "b")),
        ("{% for x in list %}{{ x }}{{ a }}{% endfor %}", ("a", "list")),
        ("{{ row['A b'] }} {{ row.c }} {{ d | upper }}", ("A b", "c", "d")),
        ("{{ row }}", None),
        ("{{ row[a] }}", None),
        ("{{ range(3) | list }}", ()),
    ],
)
def test_the_columns_that_a_template_names(source: str, columns: tuple[str, ...] | None) -> None:
    """By these a row without an id is known; `None` where any may be used."""
    assert Template(source, "--prompt").columns == columns


TEXTS = st.text("ab{}% é\n\0", max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES))
def test_the_short_way_says_what_the_long_one_says(row: dict[str, Any]) -> None:
    """A template of columns alone is filled in without Jinja, and nobody can tell."""

    def outcome(source: str) -> str:
        try:
            return fill(source, row)
        except LineError as error:
            return f"{error.code}: {error.message}"

    assert outcome("x {{ a }}\n{{ b }} y") == outcome("x {{ a }}\n{{ b }} y{% if false %}{% endif %}")


@given(st.dictionaries(TEXTS, VALUES))
def test_columns_are_known_again_in_any_order(row: dict[str, Any]) -> None:
    """The same columns give the same bytes, whatever their order and however large their numbers."""
    assert canonical(row) == canonical(dict(reversed(row.items())))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for i in range(900) %}{% for j in range(900) %}x{% endfor %}{% endfor %}", "turns of its loops"),
        ("{% for i in text.split() | map('upper') %}{% for j in range(900) %}x{% endfor %}{% endfor %}", "turns"),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}", "turns"),
        ("{% set n = namespace(x=9) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}", "too large"),
        ("{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}", "more text"),
        (
            "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "more than 64 MiB",
        ),
        ("{% for i in range(700) %}{{ 'x' * 100000 }}{% endfor %}", "more than 64 MiB"),
    ],
)
def test_a_template_that_would_not_end(template: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs its row, as any other mistake in it."""
    monkeypatch.setattr(expense, "STEPS", 2000)
    with pytest.raises(LineError, match=words) as caught:
        Template(template, "--prompt").fill({"text": "a b " * 50})
    assert caught.value.code == "template_failed"


def test_a_template_may_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row counts anew, and what a loop knows of itself stays."""
    monkeypatch.setattr(expense, "STEPS", 2000)
    made = Template("{% for i in row.all %}{{ loop.index }}/{{ loop.length }} {% else %}none{% endfor %}", "--prompt")
    for _ in range(3):
        assert made.fill({"all": list(range(1500))}).endswith("1500/1500 ")
    assert made.fill({"all": []}) == "none"


LARGE = 100_000_000


@pytest.mark.parametrize(
    "made",
    [
        *(f"'{{:{LARGE}}}'.format(1)", f"'{{:{{}}}}'.format(1, {LARGE})", f"'{{0:{{w}}}}'.format(1, w={LARGE})"),
        *(f"'{{:.{LARGE}f}}'.format(1.5)", f"'{{x:{LARGE}}}'.format_map({{'x': 1}})", "('{0}' * 99).format(long)"),
        *(f"'%{LARGE}s' % text", f"'%*s' % ({LARGE}, text)", f"'%.{LARGE}f' % 1.5", "('%s' * 99) % ((long,) * 99)"),
        *(f"'%{LARGE}s' | format(text)", f"'%*s' | format({LARGE}, text)", f"'%(a){LARGE}d' | format(a=1)"),
        *(f"text | center({LARGE})", f"text.center({LARGE})", f"text.ljust({LARGE})", f"text.rjust(width={LARGE})"),
        *(f"text.zfill({LARGE})", f"'\\t'.expandtabs({LARGE})", "text.encode('idna')", f"[1] | slice({LARGE}) | list"),
        *(
            f"text | indent({LARGE})",
            "lines | indent(90000)",
            "lines | indent(long)",
            f"[1] | batch({LARGE}, 1) | list",
        ),
        *("long.replace('x', long)", "long | replace('x', long)", "long.replace('', long)"),
        *("long | join(long)", "long.join(long)", "many | join(long)", "many | map('string') | join(long)"),
        *("long.translate({120: long})", "long | wordwrap(1, wrapstring=long)", "many | urlize(rel=long)"),
        *("long * 99", "99 * long", "many * 999", "many + many", "[[long] * 9999] * 9999", "([long] * 99) ~ 1"),
        *("[long] * 99", "([long] * 99) | string", "([long] * 99) | tojson"),
        *(
            f"many | tojson(indent={LARGE})",
            "long | list",
            "long | sort",
            "long | unique | list",
            "(long ~ long ~ long) | title",
        ),
        *("([many] * 99) | sum(start=[])", "'%s' | format([long] * 99)", "[9] | map('center', 100000000) | list"),
    ],
)
def test_what_would_make_too_much_is_not_done(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call, filter or operator that makes much of little is refused before it begins."""
    monkeypatch.setattr(expense, "LONGEST", 2_000_000)
    monkeypatch.setattr(expense, "REPEATED", 1_000_000)
    monkeypatch.setattr(expense, "MOST_SHIFTED", 10_000_000)
    monkeypatch.setattr(expense, "STEPS", 90_000)
    row = {"text": "a b " * 999, "long": "x" * 100_000, "lines": "a\n" * 9000, "many": [1] * 600_000}
    with pytest.raises(LineError) as caught:
        Template(f"{{{{ {made} }}}}", "--prompt").fill(row)
    assert caught.value.code == "template_failed"
    assert re.search("more text|a prompt can be|longer than|would take|turns of", str(caught.value)), caught.value


def test_what_people_write_is_done() -> None:
    """Numbers that are no widths, and texts of a megabyte, are as they were."""
    row = {"text": "two words\n" * 100_000, "id": 202611301234567, "all": ["a", "b"]}
    for made, length in [
        ("'{}'.format(id)", 15),
        ("'{:>20} 123456789012'.format(id)", 33),
        ("'%d of 999999999999' % id", 31),
        ("'%s' | format(id)", 15),
        ("text | truncate(2000, true)", 2000),
        ("text | replace('two', 'three') | length", 7),
        ("text | indent(4) | length", 7),
        ("text | wordwrap(79) | length", 6),
        ("text.split() | length", 6),
        ("text | title | length", 7),
        ("all | map('upper') | join(', ')", 4),
        ("'-' * 80", 80),
        ("all ~ all", 20),
    ]:
        assert len(Template(f"{{{{ {made} }}}}", "--prompt").fill(row)) == length, made


@pytest.mark.parametrize("name", ["center", "ljust", "rjust", "zfill", "batch", "slice"])
@pytest.mark.parametrize("measures", [outgrowth.FILTERS, outgrowth.METHODS], ids=["filters", "methods"])
def test_a_width_is_known_before_it_is_made(name: str, measures: dict[str, Callable[[outgrowth.Given], int]]) -> None:
    """By its place and by its name."""
    assert measures[name](outgrowth.Given("x", (LARGE,), {})) == LARGE
    assert measures[name](outgrowth.Given("x", (), {"width": LARGE})) == LARGE
