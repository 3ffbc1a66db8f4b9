"""Figures of a results file, held against others that are worked out from its lines in the plainest way."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from batcher.outcome import Usage
from batcher.view.histogram import ERROR, Histogram
from batcher.view.prices import prices_of
from batcher.view.statistics.events import events_of
from batcher.view.statistics.groups import MOST as NAMES, OTHERS, UNTOLD
from batcher.view.statistics.measures import measures_of, moment_of, taken_by
from batcher.view.statistics.statistics import SAMPLE, Statistics
from batcher.view.statistics.telling import as_dict
from batcher.view.statistics.timeline import MOST, PAUSE, Timeline
from batcher.view.statistics.words import lines

START = datetime(2026, 11, 30, 12, 0, tzinfo=UTC).timestamp()


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(at: float, took: float, *, seq: int = 0, model: str = "m", **fields: Any) -> dict[str, Any]:
    """A line of results: sent `at` seconds after the start, answered `took` seconds later."""
    timing = {"started_at": stamp(START + at), "waited_s": 0.5, "ttft_s": took / 4, "itl_p50_s": 0.01, "total_s": took}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 4}
    record = {"id": f"q{seq}", "seq": seq, "hash": "0" * 16, "model": model, "server": "http://a", "attempts": 2}
    return {**record, "text": "x", "usage": usage, "timing": timing, **fields}


def failure(at: float, code: str = "timeout_idle", **fields: Any) -> dict[str, Any]:
    error = {"class": "transient", "code": code, "message": f"none for {at} s"}
    return {"id": f"f{at}", "seq": 0, "error": error, "attempts": 3, "at": stamp(START + at), **fields}


def statistics(
    records: list[dict[str, Any]], failures: list[dict[str, Any]] | None = None, **prices: float
) -> Statistics:
    found = Statistics(prices_of(prices.get("prompt"), prices.get("cached"), prices.get("completion")))
    for record in records:
        found.add(record)
    for record in failures or []:
        found.add_failure(record)
    found.settle()
    return found


def nearest_rank(values: list[float], q: float) -> float:
    return sorted(values)[max(ceil(q * len(values)), 1) - 1]


times = st.floats(0.001, 4000).map(lambda x: round(x, 6))
moments = st.floats(0, 3000).map(lambda x: round(x, 3))
counts = st.none() | st.integers(0, 100_000)
models = st.sampled_from(["a", "b", None])


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """A line as runs write them, with fields that may be absent."""
    took = draw(times)
    usage = {
        "prompt_tokens": draw(counts),
        "completion_tokens": draw(counts),
        "cached_tokens": draw(st.none() | st.integers(0, 50)),
    }
    timing = {"started_at": stamp(START + draw(moments)), "total_s": took, "ttft_s": draw(st.none() | times)}
    record = {
        "id": "q", "seq": 0, "model": draw(models), "endpoint": "/v1/embeddings", "attempts": draw(st.integers(1, 4)),
        "usage": {name: n for name, n in usage.items() if n is not None},
        "timing": {name: x for name, x in timing.items() if x is not None},
        "flags": draw(st.lists(st.sampled_from(["length", "empty"]), unique=True)),
    }  # fmt: skip
    if draw(st.integers(0, 5)) == 0:
        record["pack"] = {"place": draw(st.integers(0, 2)), "size": 3}
    if draw(st.integers(0, 5)) == 0:
        record |= {"copy_of": "p", "attempts": None, "usage": None, "timing": None}
    return {name: value for name, value in record.items() if value is not None}


@settings(max_examples=40)
@given(moments.map(lambda x: x * 7e7), st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))]))
def test_moments_are_those_of_iso_8601(seconds: float, zone: timezone) -> None:
    """As Python reads them, whatever their form; the hour is that of UTC."""
    for precision in ("milliseconds", "microseconds", "seconds"):
        told = datetime.fromtimestamp(seconds, zone).isoformat(timespec=precision)
        moment = datetime.fromisoformat(told)
        for form in (told, told.replace("+00:00", "Z")):
            hour, found = moment_of(form)
            assert hour == moment.astimezone(UTC).isoformat()[:13]
            assert found == pytest.approx(moment.timestamp(), abs=1e-6)


NO_MOMENTS = (
    *("2026-11-30T20:00:60.000Z", "2026-11-30T24:00:00.000Z", "2026-11-30T20:60:00.000Z", "2026-11-31T20:00:00.000Z"),
    *("1969-12-31T20:00:00.000Z", "9999-12-31T20:00:00.000Z", "2026-11-30T20:00:0x.000Z", "2026-11-30T20:00:00.000"),
)


@pytest.mark.parametrize("told", NO_MOMENTS)
def test_what_is_no_moment(told: str) -> None:
    """It is none, and nothing near it either."""
    assert moment_of(told) == (None, None)


@given(st.lists(records(), min_size=1, max_size=40))
def test_sums_and_quantiles_are_those_of_the_lines(told: list[dict[str, Any]]) -> None:
    """Counts and sums exactly, quantiles within the promise, groups that add up; costs token by token."""
    shown = as_dict(statistics(told, prompt=2.0, cached=0.5, completion=4.0))
    own = [record for record in told if not record.get("pack", {}).get("place") and "copy_of" not in record]
    usages = [record.get("usage", {}) for record in told]
    assert shown["answers"] == len(told)
    assert shown["tokens"]["prompt"] == sum(usage.get("prompt_tokens", 0) for usage in usages)
    assert shown["tokens"]["completion"] == sum(usage.get("completion_tokens", 0) for usage in usages)
    assert shown["attempts"] == sum(record["attempts"] for record in own)
    assert shown["flags"] == {
        name: n for name in ("length", "empty") if (n := sum(name in record["flags"] for record in told))
    }
    for field, name in (("latency_s", "total_s"), ("ttft_s", "ttft_s")):
        values = [record["timing"][name] for record in own if name in record["timing"]]
        if not values:
            assert shown[field] is None
            continue
        assert (shown[field]["count"], shown[field]["min"], shown[field]["max"]) == (
            len(values), min(values), max(values),
        )  # fmt: skip
        assert shown[field]["sum"] == pytest.approx(sum(values))
        for q in (0.5, 0.9, 0.95, 0.99):
            assert shown[field][f"p{q * 100:g}"] == pytest.approx(nearest_rank(values, q), rel=ERROR * 1.001)
        assert sum(number for _, _, number in shown[field]["bars"]) == len(values)
        for low, high, number in shown[field]["bars"]:
            assert number == sum(low < value <= high for value in values)
    for name in ("a", "b"):
        [*group] = [group for group in shown["models"] if group["name"] == name]
        assert sum(one["answers"] for one in group) == sum(record.get("model") == name for record in told)
    priced, unpriced = 0.0, 0
    for record, usage in zip(told, usages, strict=True):
        if "prompt_tokens" not in usage:
            unpriced += "copy_of" not in record
            continue
        cached = usage.get("cached_tokens", 0)
        priced += 2.0 * max(0, usage["prompt_tokens"] - cached) + 0.5 * cached + 4.0 * usage.get("completion_tokens", 0)
    assert (shown["cost"] or 0.0) == pytest.approx(priced / 1e6, abs=1e-12)
    assert shown["unpriced"] == unpriced


@given(st.lists(st.tuples(moments, st.floats(0.0, 400).map(lambda x: round(x, 3))), min_size=1, max_size=40))
def test_in_flight_is_what_was_in_flight(requests: list[tuple[float, float]]) -> None:
    """In each slot the seconds in flight are those of each request within it, added up; nothing is counted twice."""
    timeline = Timeline()
    for at, took in requests:
        timeline.answered(START + at, took, tokens=3)
    stretches = timeline.stretches(20)
    slots = [slot for stretch in stretches for slot in stretch.slots]
    for slot in slots:
        overlaps = [min(slot.end, START + at + took) - max(slot.start, START + at) for at, took in requests]
        assert slot.busy == pytest.approx(sum(max(0.0, overlap) for overlap in overlaps), abs=1e-3)
    assert sum(slot.answers for slot in slots) == len(requests)
    assert sum(slot.tokens for slot in slots) == 3 * len(requests)
    assert sum(slot.busy for slot in slots) == pytest.approx(sum(took for _, took in requests), abs=1e-3)
    for before, after in itertools.pairwise(stretches):
        assert after.start - before.end > PAUSE


def test_a_long_time_takes_no_more_bins() -> None:
    """A year of answers, in any order, widens the bins and loses none."""
    timeline = Timeline()
    for n in range(20_000):
        timeline.answered(START + (n * 7919 % 20_000) * 1577.0, 900.0)
    assert len(timeline._bins) <= MOST
    stretches = timeline.stretches(100)
    assert sum(slot.answers for stretch in stretches for slot in stretch.slots) == 20_000
    assert sum(slot.busy for stretch in stretches for slot in stretch.slots) == pytest.approx(20_000 * 900.0, rel=1e-6)


def test_pauses_are_no_work_and_holds_are() -> None:
    """Two nights are two stretches; an outage of the last run is in its time."""
    told = [line(0, 10), line(90_000, 10), line(90_000 + 2000, 10)]
    assert statistics(told).worked() == pytest.approx(30)
    found = Statistics()
    outage = {"kind": "away", "server": "http://a", "start": 10.0, "end": 1995.0, "words": "refused", "count": 2}
    found.know(events_of({"started_at": stamp(START + 90_000), "events": [outage]}))
    for record in told:
        found.add(record)
    found.settle()
    assert [round(stretch.span) for stretch in found.stretches()] == [10, 2010]
    assert found.events.seconds("away") == 1985.0


def test_what_happened_to_the_runs_before() -> None:
    """Each event counts from the start of its own run; one that was never ended was over when it began."""
    events: list[Any] = [
        {"run": stamp(START), "kind": "away", "server": "http://a", "start": 1.0, "end": 5.0},
        {"run": stamp(START), "kind": "told", "server": "http://a", "start": 7.0},
        {"run": "no time", "kind": "told", "server": "http://a", "start": 8.0},
        {"kind": "told", "server": "http://a", "start": 1.0},
    ]
    report = {"started_at": stamp(START + 100), "written_at": stamp(START + 110), "events": events}
    found = [(event.kind, event.start - START, event.end - START) for event in events_of(report).all]
    assert found == [("away", 1, 5), ("told", 7, 7), ("told", 101, 110)]


def test_the_limit_and_what_held_it_up() -> None:
    """How full the slots were is of the limit where that is told; an outage of most of the time is the sentence."""
    found = Statistics()
    events = [
        {"kind": "limit", "server": "http://a", "start": 1.0, "end": 1.0, "words": "4 in flight", "count": 1},
        {"kind": "away", "server": "http://a", "start": 20.0, "end": 90.0, "words": "", "count": 1},
    ]
    found.know(events_of({"started_at": stamp(START), "events": events}))
    for n in range(10):
        found.add(line(n * 10, 10, seq=n))
    found.settle()
    shown = as_dict(found)
    assert (shown["in_flight"]["most"], shown["in_flight"]["most_is_told"]) == (4.0, True)
    assert shown["in_flight"]["full"] == pytest.approx(0.25, rel=0.01)
    assert shown["bottleneck"].startswith("outages: the server was away, or failed, for 1m 10s of 1m 40s")
    assert not shown["bottleneck_is_told"]
    assert [event["kind"] for event in shown["events"]] == ["limit", "away"]


def test_failures_by_cause_model_and_hour() -> None:
    """Numbers in words make no other cause; what was never sent is told apart, and blames no model."""
    failures = [failure(1), failure(3700), failure(2, "input_invalid", attempts=0)]
    shown = as_dict(statistics([line(0, 1)], failures))
    assert (shown["failed"], shown["invalid"]) == (3, 1)
    assert shown["failures"] == {"timeout_idle": 2, "input_invalid": 1}
    assert [(cause["code"], cause["count"]) for cause in shown["causes"]] == [("timeout_idle", 2), ("input_invalid", 1)]
    assert {group["name"]: group["failed"] for group in shown["models"]} == {"m": 0, UNTOLD: 2}
    assert {group["name"]: (group["answers"], group["failed"]) for group in shown["hours"]} == {
        "2026-11-30T12": (1, 2), "2026-11-30T13": (0, 1),
    }  # fmt: skip


def test_names_are_bounded() -> None:
    """However many models there are, so many are told apart, and all answers are counted."""
    shown = as_dict(statistics([line(n, 1, seq=n, model=f"m{n}") for n in range(NAMES + 50)]))
    assert len(shown["models"]) == NAMES + 1
    assert next(group for group in shown["models"] if group["name"] == OTHERS)["answers"] == 50


def test_the_sample_is_of_all() -> None:
    """Of more answers than are drawn early and late ones come alike."""
    found = statistics([line(n, 1 + n, seq=n) for n in range(4 * SAMPLE)])
    assert (len(found.sample), found.sampled_of) == (SAMPLE, 4 * SAMPLE)
    assert 0.45 < sum(took > 2 * SAMPLE for _, took in found.sample) / SAMPLE < 0.55


HOSTILE: list[Any] = [
    None, True, -1, 1e308, 10**30, float("1e400"), "", "x" * 10_000, "\x1b[31m", [], [[]], {}, {"a": 1},
    "9999-12-31T23:59:59Z",
    "2026-11-30T12:00:00", "2026-11-30T12:00:00+23:59", "0001-01-01T00:00:00Z", -0.0, 1e-320,
]  # fmt: skip


TAKEN = ("model", "total", "ttft", "speed", *Usage.__dataclass_fields__, "place", "is_copy")


@given(st.data())
def test_lines_that_are_made_up_cost_nothing_but_themselves(data: st.DataObject) -> None:
    """Whatever stands in the place of a number, a time or a name: all of it can be told."""
    value = st.sampled_from(HOSTILE)
    names = ("started_at", "total_s", "ttft_s", "itl_p50_s", "itl_p95_s", "tokens_per_s", "waited_s", "server")
    usage = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
    record: dict[str, Any] = {
        name: data.draw(value)
        for name in (
            "id",
            "model",
            "server",
            "flags",
            "attempts",
            "asked_again",
            "pack",
            "finish_reason",
            "error",
            "at",
        )
    }
    record["timing"] = {name: data.draw(value) for name in names}
    record["usage"] = {name: data.draw(value) for name in usage}
    found = statistics([record, line(0, 1)], [record, {**record, "error": {"code": data.draw(value)}}], prompt=1.0)
    assert as_dict(found)["answers"] == 2
    assert len([*lines(found)]) > 5
    for made in (record, {**record, "timing": data.draw(value), "usage": data.draw(value)}, line(0, 1), {"copy_of": 1}):
        short, whole = taken_by(made), measures_of(made)  # what is told in short is what is told in full
        assert [getattr(short, name) for name in TAKEN] == [getattr(whole, name) for name in TAKEN]


def test_bars_are_of_one_width_and_leave_nothing_out() -> None:
    """Zeros are told apart; the others are in bars that follow on one another."""
    histogram = Histogram()
    histogram.add_all([0.0, 0.0, 1.0, 1.0, 3.0, 900.0])
    bars = histogram.bars(8)
    assert histogram.nothing == 2
    assert sum(number for _, _, number in bars) == 4
    assert len(bars) <= 8
    assert [high for _, high, _ in bars[:-1]] == pytest.approx([low for low, _, _ in bars[1:]])
    assert bars[0][0] < 1.0 <= bars[0][1]
    assert bars[-1][0] < 900.0 <= bars[-1][1]


def test_limits_of_earlier_runs_are_none_of_the_last() -> None:
    events: list[Any] = [
        {"run": stamp(START), "kind": "limit", "server": "http://a", "start": 1.0, "end": 1.0, "words": "60 in flight"},
        {"kind": "limit", "server": "http://b", "start": 1.0, "end": 1.0, "words": "4 in flight"},
    ]
    found = events_of({"started_at": stamp(START + 100), "events": events})
    assert [limit for _, limit in found.limits] == [60, 4]
    assert found.last_limit == (START + 101, 4)
    assert events_of({"started_at": stamp(START + 100), "events": events[:1]}).last_limit is None


@pytest.mark.parametrize(
    "event", [{"kind": ["away"], "start": 1.0}, {"kind": {}, "start": 1.0}, {"kind": "away", "start": 1000, "end": 700}]
)
def test_events_that_nobody_writes(event: dict[str, Any]) -> None:
    found = Statistics()
    found.know(events_of({"started_at": stamp(START), "events": [{"server": "http://a", "words": "", **event}]}))
    found.settle()
    assert found.events.seconds("away") == 0.0


@pytest.mark.parametrize("form", ["2026-11-30T08:02:00Z", "20261130T080200Z", "2026-11-30 08:02:00+00:00"])
def test_an_hour_has_one_name(form: str) -> None:
    assert moment_of(form)[0] == "2026-11-30T08"


def test_cells_stand_apart_however_wide_they_are() -> None:
    """Of a table for a terminal: large sums make its columns wider."""
    usage = {"prompt_tokens": 9 * 10**11, "completion_tokens": 10**12}
    told = [line(seq, 9e8, seq=seq, usage=usage, model="m" * (seq + 1)) for seq in range(3)]
    rows = [row.split() for row in lines(statistics(told, prompt=1.0, completion=10.0))]
    assert ["latency", *["900,000,000", "s"] * 6] in rows
    assert ["tokens", "out", *["1,000,000,000,000"] * 6] in rows
    assert ["mm", "1", "0", "900,000,000,000", "1,000,000,000,000", *["900,000,000", "s"] * 2, "10,900,000"] in rows
