"""Comparisons as JSON: the names in it stay, as `docs/statistics.md` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batcher.view.comparison.sides import figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batcher.model import Json
    from batcher.view.comparison.comparison import Agreement, Comparison, Named, Row
    from batcher.view.comparison.repeats import Repeats, Steadiness
    from batcher.view.comparison.sides import Side
    from batcher.view.histogram import Histogram

_SHOWN: Final = ("text", "parsed", "tool_calls", "mismatch", "flags")


def comparison_as_dict(of: Comparison, rows: Iterable[Row]) -> dict[str, Json]:
    """All of it in JSON types; `rows` are those that differ most: how much, the id, both lines."""
    return {
        "rows": {
            "both": of.joined,
            "differing": of.differing.count,
            "only_a": _named(of.only_a),
            "only_b": _named(of.only_b),
            "failed_in_a": _named(of.failed_a),
            "failed_in_b": _named(of.failed_b),
            "failed_in_both": _named(of.failed_both),
            "asked_otherwise": _named(of.asked_otherwise),
            "of_other_models": of.other_models,
            "uncompared": of.uncompared,
        },
        "told_otherwise": of.told_otherwise,
        "a": _side(of.a),
        "b": _side(of.b),
        "figures": {
            figure.key: {"a": figure.a, "b": figure.b, "change": figure.change} for figure in figures(of.a, of.b)
        },
        "text": {"compared": of.texts, "exact": of.exact, "similarity": _similarity(of.similarities)},
        "tool_calls": _agreement(of.calls),
        "parsed": _agreement(of.parsed),
        "fields": {name: _agreement(agreement) for name, agreement in sorted(of.fields.items())},
        "most_different": [
            {"id": ident, "distance": distance, **{side: _answer(line) for side, line in zip("ab", lines, strict=True)}}
            for distance, ident, lines in rows
        ],
    }


def repeats_as_dict(of: Repeats, rows: Iterable[Row]) -> dict[str, Json]:
    """All of it in JSON types; `rows` are those that agree least: how little, the id, their lines."""
    return {
        "rows": of.rows,
        "answers": of.answers,
        "single": of.single,
        "failed": of.side.failed,
        "differing": of.differing.count,
        "unreadable": of.side.unreadable,
        "models": dict(of.side.models.most_common()),
        "tokens": {
            "prompt": of.side.group.prompt_tokens,
            "cached": of.side.cached_tokens,
            "completion": of.side.group.completion_tokens,
        },
        "cost": of.side.group.cost,
        "unpriced": of.side.group.unpriced if of.side.prices is not None else None,
        "text": {**_steadiness(of.texts), "similarity": _similarity(of.similarities)},
        "tool_calls": _steadiness(of.calls),
        "fields": {name: _steadiness(field) for name, field in sorted(of.fields.items())},
        "most_different": [
            {"id": ident, "distance": distance, "answers": [_answer(line) for line in lines]}
            for distance, ident, lines in rows
        ],
    }


def _named(of: Named) -> Json:
    return {"count": of.count, "ids": of.ids}


def _side(of: Side) -> Json:
    return {
        "answers": of.lines,
        "failed": of.failed,
        "unreadable": of.unreadable,
        "repeated": of.repeated,
        "models": dict(of.models.most_common()),
    }


def _similarity(of: Histogram) -> Json:
    return {"mean": of.mean, **{f"p{100 * q:g}": of.quantile(q) for q in (0.1, 0.5)}} if of.count else None


def _agreement(of: Agreement) -> Json:
    return {"both": of.both, "same": of.same, "only_a": of.only_a, "only_b": of.only_b}


def _steadiness(of: Steadiness) -> dict[str, Json]:
    return {"rows": of.rows, "unanimous": of.unanimous, "pairs_that_agree": of.mean}


def _answer(line: Mapping[str, Any]) -> Json:
    known = {name: line[name] for name in _SHOWN if name in line}
    return {"id": line.get("id"), "model": line.get("model"), **known}
