"""What `stats` and `compare` tell of files, beside the same figures worked out from the lines in the plainest way."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest
from browser.pages import compared, write

if TYPE_CHECKING:
    from support.commandline import Desk

PRICES = ("--price-in", "1", "--price-cached", "0.25", "--price-out", "4")
Lines = list[dict[str, Any]]


def told(desk: Desk, *args: str) -> dict[str, Any]:
    ran = desk.call(*args, "--json", *PRICES)
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def read(desk: Desk, name: str) -> Lines:
    return [json.loads(line) for line in (desk.path / name).read_text().splitlines()]


def cost(line: dict[str, Any]) -> float:
    usage = line["usage"]
    cached = usage["cached_tokens"]
    return float(usage["prompt_tokens"] - cached + 0.25 * cached + 4 * usage["completion_tokens"]) / 1e6


def ranked(values: list[float], part: float) -> float:
    """A quantile as the nearest rank."""
    return sorted(values)[ceil(part * len(values)) - 1]


def test_statistics_are_those_of_the_lines(desk: Desk) -> None:
    """Counts, sums, cost and groups exactly; quantiles within one in a hundred."""
    write(desk.path / "answers.jsonl", 600)
    lines, failures = read(desk, "answers.jsonl"), read(desk, "answers.errors.jsonl")
    found = told(desk, "stats", "answers.jsonl")
    assert (found["answers"], found["failed"]) == (len(lines), len(failures))
    assert found["attempts"] == sum(line["attempts"] for line in (*lines, *failures))
    assert found["retries"] == sum(line["attempts"] - 1 for line in (*lines, *failures))
    for name in ("prompt", "completion", "cached"):
        assert found["tokens"][name] == sum(line["usage"][f"{name}_tokens"] for line in lines)
    assert (found["cost"], found["unpriced"]) == (pytest.approx(sum(map(cost, lines))), 0)
    assert found["flags"] == Counter(flag for line in lines for flag in line["flags"])
    assert found["failures"] == Counter(line["error"]["code"] for line in failures)
    for field, name in (("ttft_s", "ttft_s"), ("latency_s", "total_s"), ("itl_p50_s", "itl_p50_s")):
        values = [line["timing"][name] for line in lines]
        assert found[field]["mean"] == pytest.approx(sum(values) / len(values))
        for part in (0.5, 0.9, 0.95, 0.99):
            assert found[field][f"p{100 * part:g}"] == pytest.approx(ranked(values, part), rel=0.0101)
    for group in found["models"]:
        of = [line for line in lines if line["model"] == group["name"]]
        assert group["answers"] == len(of)
        assert group["failed"] == sum(line["model"] == group["name"] for line in failures)
        assert group["cost"] == pytest.approx(sum(map(cost, of)))
        assert group["latency_p95_s"] == pytest.approx(ranked([x["timing"]["total_s"] for x in of], 0.95), rel=0.0101)
    assert sum(hour["completion_tokens"] for hour in found["hours"]) == found["tokens"]["completion"]


def pairs(text: str) -> Counter[tuple[str, str]]:
    """The pairs of neighbouring words of a text in which words are parted by blanks alone."""
    words = ["", *text.split(" "), ""]
    return Counter(pairwise(words))


def dice(a: str, b: str) -> float:
    one, other = pairs(a), pairs(b)
    return 2 * (one & other).total() / (one.total() + other.total())


def flat(value: dict[str, Any]) -> dict[str, str]:
    """Fields of JSON two levels deep, each as what is equal for equal values."""
    found: dict[str, str] = {}
    for key, item in value.items():
        inner = {f"{key}.{name}": each for name, each in item.items()} if isinstance(item, dict) else {key: item}
        found |= {name: repr(float(x)) if type(x) in (int, float) else repr(x) for name, x in inner.items()}
    return found


def test_a_comparison_is_that_of_the_lines(desk: Desk) -> None:
    """Who is joined, how far texts and fields agree, what each took, and which rows differ most."""
    compared(desk.path, 300)
    files = {side: {line["id"]: line for line in read(desk, f"{side}.jsonl")} for side in "ab"}
    failed = {side: {line["id"] for line in read(desk, f"{side}.errors.jsonl")} - files[side].keys() for side in "ab"}
    found = told(desk, "compare", "a.jsonl", "b.jsonl", "-n", "12")
    both = [(files["a"][name], line) for name, line in files["b"].items() if name in files["a"]]
    rows = found["rows"]
    assert rows["both"] == len(both) > 100
    assert rows["only_a"]["count"] == len((files["a"].keys() | failed["a"]) - files["b"].keys() - failed["b"]) > 0
    assert rows["only_b"]["count"] == len((files["b"].keys() | failed["b"]) - files["a"].keys() - failed["a"]) > 0
    assert rows["failed_in_a"]["count"] == len(failed["a"] & files["b"].keys()) > 0
    assert rows["failed_in_b"]["count"] == len(failed["b"] & files["a"].keys()) > 0
    assert found["text"]["exact"] == sum(a["text"] == b["text"] for a, b in both) > 0
    alike = [dice(a["text"], b["text"]) for a, b in both]
    assert found["text"]["similarity"]["mean"] == pytest.approx(sum(alike) / len(alike))
    fields: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    distances = {}
    for (a, b), similar in zip(both, alike, strict=True):
        of_a, of_b = flat(a.get("parsed", {})), flat(b.get("parsed", {}))
        for name in of_a.keys() & of_b.keys():
            fields[name].append((of_a[name], of_b[name]))
        names = of_a.keys() | of_b.keys()
        differing = sum(of_a.get(name) != of_b.get(name) for name in names)
        distances[a["id"]] = differing / len(names) if names else 1 - similar
    for name, values in fields.items():
        assert found["fields"][name]["both"] == len(values)
        assert found["fields"][name]["same"] == sum(a == b for a, b in values)
    assert rows["differing"] == sum(distance > 0 for distance in distances.values())
    shown = [(row["id"], row["distance"]) for row in found["most_different"]]
    assert [distance for _, distance in shown] == pytest.approx(sorted(distances.values(), reverse=True)[:12])
    assert all(distance == pytest.approx(distances[name]) for name, distance in shown)
    for place, side in enumerate("ab"):
        of = [pair[place] for pair in both]
        for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
            assert found["figures"][name][side] == sum(line["usage"][name] for line in of)
        assert found["figures"]["cost"][side] == pytest.approx(sum(map(cost, of)))
        for part in (50, 95):
            median = ranked([line["timing"]["total_s"] for line in of], part / 100)
            assert found["figures"][f"latency_p{part}_s"][side] == pytest.approx(median, rel=0.0101)
    of_cost = found["figures"]["cost"]
    assert of_cost["change"] == pytest.approx(of_cost["b"] / of_cost["a"] - 1)


def test_agreement_within_rows_is_that_of_the_lines(desk: Desk) -> None:
    """Of the answers to each row, as `--repeat` makes them: pairs that are the same, rows that agree, and fields."""
    compared(desk.path, 200, repeats=4)
    rows: defaultdict[str, Lines] = defaultdict(list)
    for line in read(desk, "a.jsonl"):
        rows[line["id"].rpartition("~")[0]].append(line)
    several = [row for row in rows.values() if len(row) > 1]
    found = told(desk, "compare", "a.jsonl")
    assert (found["rows"], found["answers"]) == (len(several), sum(map(len, several)))
    assert found["single"] == sum(len(row) == 1 for row in rows.values())

    def agreeing(values: list[str | None]) -> float:
        both = [(a, b) for place, a in enumerate(values) for b in values[place + 1 :]]
        return sum(a == b for a, b in both) / len(both)

    of_texts = [agreeing([line["text"] for line in row]) for row in several]
    assert found["text"]["pairs_that_agree"] == pytest.approx(sum(of_texts) / len(of_texts))
    assert found["text"]["unanimous"] == of_texts.count(1)
    for name in ("label", "where.city"):
        having = [row for row in several if any("parsed" in line for line in row)]
        parts = [agreeing([flat(line.get("parsed", {})).get(name) for line in row]) for row in having]
        assert found["fields"][name]["pairs_that_agree"] == pytest.approx(sum(parts) / len(parts))
        assert found["fields"][name]["unanimous"] == parts.count(1)
