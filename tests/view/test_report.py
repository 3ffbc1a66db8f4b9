"""The page of a report: what others wrote stays text, nothing is loaded, its size is bounded, its figures are right."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from view.test_statistics import START, failure, line, stamp

from batcher.view.prices import Price, Prices
from batcher.view.report.axes import Course, linear, logarithmic, rounded
from batcher.view.report.contents import tiles
from batcher.view.report.page import BUDGET, TEXT, Report
from batcher.view.report.picks import EACH, Picks
from batcher.view.statistics.events import events_of
from batcher.view.statistics.statistics import SAMPLE, Statistics

VOID = {"meta", "link", "img", "br", "hr", "input"}
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "section",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
    ),
    *(
        "dl",
        "dt",
        "dd",
        "div",
        "ul",
        "li",
        "figure",
        "figcaption",
        "details",
        "summary",
        "table",
        "thead",
        "tbody",
        "tr",
    ),
    *(
        "th",
        "td",
        "bdi",
        "strong",
        "span",
        "pre",
        "a",
        "svg",
        "defs",
        "pattern",
        "rect",
        "line",
        "circle",
        "path",
        "text",
    ),
}


class Read(HTMLParser):
    """The elements of a page, and that each ends where it should."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(
    records: list[dict[str, Any]], failures: list[dict[str, Any]] | None = None, events: Any = None, **said: Any
) -> str:
    found, picks = Statistics(), Picks()
    if events is not None:
        found.know(events_of({"started_at": stamp(START), "events": events}))
    for place, record in enumerate(records):
        picks.look(place, found.add(record))
    for place, record in enumerate(failures or []):
        found.add_failure(record)
        picks.look_at_failure(place, record)
    found.settle()
    lines = (records.__getitem__, (failures or []).__getitem__)
    return Report(
        name=said.pop("name", "r.jsonl"),
        version="1",
        statistics=found,
        picks=picks,
        at=lines[0],
        failure_at=lines[1],
        **said,
    ).render()


HOSTILE = st.text(
    st.sampled_from("<>&\"'`{}%-/!a=;()\x00\x1b\u202e\ud800 script</pre><!--"), max_size=40
) | st.sampled_from(
    ["<script>alert(1)</script>", "]]>", "<!--", "</style><script>", "{{ 7 * 7 }}", "</title>", "&lt;b&gt;"]
)


@settings(max_examples=25)
@given(st.lists(HOSTILE, min_size=6, max_size=6))
def test_what_others_wrote_stays_text(words: list[str]) -> None:
    """Whatever an id, a model, a text, a flag, a code or a name says: the page has its own elements, well nested."""
    ident, model, text, flag, code, name = words
    records = [line(0, 1, model=model, id=ident, text=text, flags=[flag], server=text, meta={name: text})]
    failures = [failure(1, code, id=ident, model=model, partial=text)]
    read = Read(page_of(records, failures, name=name, run={"system": text, "params": {name: ident}}))
    assert read.names <= ELEMENTS
    assert not read.open
    assert not [attribute for attribute in read.attributes if attribute[1].startswith("on") or attribute[1] == "style"]
    links = [value or "" for _, attribute, value in read.attributes if attribute in {"href", "src"}]
    assert all(value.startswith("#line-") for value in links)


def test_nothing_is_loaded() -> None:
    """The policy allows this style and nothing else."""
    page = page_of([line(0, 1)])
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    [policy] = [
        value for tag, name, value in Read(page).attributes if tag == "meta" and (value or "").startswith("default-src")
    ]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style.replace("url(#", "")
    assert "@import" not in style


def test_a_page_is_no_larger_than_it_may_be() -> None:
    """Texts that are long, and long again as entities, are cut, and the page says so."""
    records = [line(n, 1 + n, seq=n, id="<" * 300, text="<" * 100_000, thinking="&" * 100_000) for n in range(60)]
    failures = [failure(n, f"code{n % 20}", partial='"' * 60_000, raw={}) for n in range(60)]
    page = page_of(records, failures)
    assert len(page.encode()) < 3_000_000
    assert "(100,000 characters in all)" in page
    assert "the page is full" in page
    assert page.count("&lt;" * TEXT) >= EACH // 2
    assert BUDGET < 3_000_000


def test_what_held_the_run_is_marked() -> None:
    """An outage and a hold are boxes behind the course of time, where they were, with their words."""
    events = [
        {"kind": "away", "server": "http://a", "start": 25.0, "end": 50.0, "words": "refused"},
        {"kind": "requests", "server": "http://a", "start": 60.0, "end": 80.0, "words": ""},
        {"kind": "limit", "server": "http://a", "start": 1.0, "end": 1.0, "words": "4 in flight"},
    ]
    page = page_of([line(n, 1, seq=n) for n in range(100)], events=events)
    assert re.search(r'<rect class="outage" x="25\.\d+%" y="0%" width="25\.\d+%"', page)
    assert re.search(r'<rect class="hold" x="60\.\d+%" y="0%" width="20\.\d+%"', page)
    assert "the server was away from 2026-11-30 12:00:25 for 25 s http://a" in page
    assert "the limit, where it moved" in page
    assert "not known: there is no state file" in page_of([line(0, 1)])


@pytest.mark.parametrize(
    ("number", "words"), [(SAMPLE, "Every answer is drawn"), (SAMPLE + 1, "2,000 of 2,001 answers")]
)
def test_a_sample_says_so(number: int, words: str) -> None:
    page = page_of([line(n, 1 + n % 7, seq=n) for n in range(number)])
    assert words in page
    assert page.count('<circle class="dot"') == SAMPLE


def test_bars_tell_their_numbers() -> None:
    """Each bar's words and its row in the table are counts of the lines, and they add up."""
    page = page_of([line(0, took) for took in (1.0, 1.0, 2.0, 30.0)])
    chart = page[page.index('id="chart-latency"') : page.index('id="chart-ttft"')]
    told = [int(number) for number in re.findall(r"<title>[^<]*: (\d+) requests?</title>", chart)]
    assert sum(told) == 4
    assert max(told) == 2
    rows = re.findall(r"<td><bdi>(\d+)</bdi></td></tr>", chart)
    assert [int(number) for number in rows] == told
    assert "p50 1.00 s" in chart


def test_answers_are_picked_by_what_is_odd() -> None:
    """The slowest first; each once, and then by a link; those with flags and those that failed."""
    records = [line(n, 1 + n, seq=n, flags=["length"] if n == 3 else []) for n in range(20)]
    page = page_of(records, [failure(1)])
    slowest = page[page.index("Slowest answers") : page.index("Slowest first tokens")]
    assert re.findall(r"<summary><bdi>(q\d+)</bdi>", slowest) == [f"q{n}" for n in range(19, 11, -1)]
    assert 'href="#line-r19"' in page
    assert "Flagged length" in page
    assert "Failed: timeout_idle" in page


def test_a_slot_is_said_to_be_as_long_as_most_are() -> None:
    """The first may have taken in a part of another, and the last be cut."""
    page = page_of([line(10.3, 1), *(line(n / 4, 1, seq=n) for n in range(40))])
    assert "at most, in slots of 1 s." in page


def test_rows_closer_than_seconds_tell_tenths() -> None:
    """Else several would be of the same time; of a longer run seconds are enough."""
    times = [re.findall(r"<bdi>2026-11-30 ([\d:.]+)</bdi>", page_of([line(0, took)])) for took in (2, 600)]
    assert times[0][:3] == ["12:00:00.0", "12:00:00.2", "12:00:00.5"]
    assert times[1][:2] == ["12:00:00", "12:00:50"]


def test_the_day_of_a_run_is_told_once() -> None:
    """Unless it went into another one."""
    assert "2026-11-30 12:00:00 to 12:00:40 UTC" in page_of([line(0, 40)])
    assert "2026-11-30 12:00:00 to 2026-12-01 12:00:00 UTC" in page_of([line(0, 86400)])


def test_of_failures_alone_nothing_is_drawn_of_answers() -> None:
    """No axis without a line on it, no column of nothing, no rate of none."""
    page = page_of([], [failure(1), failure(5)])
    assert re.findall(r'id="chart-(\w+)"', page) == ["failures"]
    for absent in ("answers/s", "TTFT", "latency p50", "tokens in"):
        assert absent not in page


def test_embeddings_have_no_columns_of_first_tokens() -> None:
    """Nor of tokens out, which there are none of."""
    timing = {"started_at": stamp(START), "total_s": 1.0}
    page = page_of([line(0, 1, timing=timing, usage={"prompt_tokens": 10}, embedding=[0.5])])
    assert "TTFT" not in page
    assert "tokens out" not in page
    assert "tokens in" in page


def test_of_one_value_there_are_no_quantiles() -> None:
    """One request took so long; several that took as long all did."""
    assert "1 request: 4.00 s." in page_of([line(0, 4)])
    several = page_of([line(0, 4), line(9, 4)])
    assert "2 requests: all 4.00 s." in several
    assert 'class="p99"' not in several


def test_few_values_have_few_bars() -> None:
    """Forty bars of nine values would be a fence."""
    page = page_of([line(10 * n, 1.5**n, seq=n) for n in range(9)])
    chart = page[page.index('id="chart-latency"') : page.index('id="chart-ttft"')]
    assert chart.count('<rect class="bar"') <= 8


def test_hours_are_written_for_people() -> None:
    """As they stand on a clock."""
    assert "<bdi>2026-11-30 12:00</bdi>" in page_of([line(0, 1)])


def test_of_nothing_there_is_a_page() -> None:
    """A run without an answer, and one of failures alone."""
    assert "0 answers" in page_of([])
    assert "1 failed" in page_of([], [failure(1)])
    assert "1 answer " in page_of([{"id": "a", "seq": 0, "hash": "0"}])


def test_a_price_of_nothing_is_not_unknown() -> None:
    """Where nothing was answered there is no cost to tell; an answer whose tokens are not told has one."""
    found = Statistics(Prices(rest=Price(1.0, None, 1.0)))
    found.add_failure(failure(1))
    assert "cost" not in " ".join(tile.words for tile in tiles(found, []))
    found.add({"id": "a", "seq": 0, "hash": "0"})
    found.settle()
    assert ("cost, as far as known", "?") in [*tiles(found, [])]


@given(st.floats(1e-6, 1e9), st.floats(1.0, 1e9))
def test_marks_of_axes_stand_in_order_within_it(low: float, times: float) -> None:
    """None outside, none twice, seven at most, two at least of an axis from nothing."""
    for scale in (linear(low, str), logarithmic(low, low * times, str)):
        places = [mark.at for mark in scale.marks]
        assert places == sorted(places)
        assert all(0 <= place <= 100 for place in places)
        assert 1 <= len(places) <= 7
    assert linear(low, str).high >= low * 0.999


@given(st.integers(1, 10**9))
def test_marks_of_what_is_counted_are_whole(most: int) -> None:
    """Nobody failed half a job."""
    scale = linear(most, str, counts=True)
    assert all(float(mark.words).is_integer() for mark in scale.marks)
    assert 0.999 * most <= scale.high <= 3 * most


def test_what_is_at_its_round_number_but_for_an_error_has_no_mark_above() -> None:
    """A mean of one in flight is now and then a billionth more."""
    assert linear(1.0000001, str).high == 1.0


@given(st.floats(1e-6, 1e6))
def test_one_value_stands_in_the_middle_of_a_logarithmic_axis(value: float) -> None:
    """Not at its edge, where half of it is cut off."""
    assert logarithmic(value, value, str).at(value) == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("words", "short"),
    [
        ("50.0 ms", "50 ms"),
        ("1.00 s", "1 s"),
        ("2.50 s", "2.5 s"),
        ("0.05", "0.05"),
        ("0.10", "0.1"),
        ("10.5 ms", "10.5 ms"),
        ("1,000", "1,000"),
        ("100", "100"),
    ],
)
def test_marks_have_no_zeros_behind_their_point(words: str, short: str) -> None:
    """A round number needs none; what is before the point stays."""
    assert rounded(words) == short


def test_marks_of_time_tell_the_day_where_there_are_several() -> None:
    """`00:00` twice on an axis would be two moments."""
    found = Statistics()
    for record in [line(0, 40 * 3600), line(1, 1)]:
        found.add(record)
    found.settle()
    assert "12-01 00:00" in [mark.words for mark in Course(found.stretches()).marks]


def test_the_axis_of_time_leaves_pauses_out() -> None:
    """Two nights stand side by side, the second marked where it begins."""
    found = Statistics()
    for record in [line(0, 100), line(90_000, 300)]:
        found.add(record)
    found.settle()
    course = Course(found.stretches())
    assert course.at(START) == 0.0
    assert course.at(START + 100) == pytest.approx(0.25 * 98.5)
    assert course.at(START + 90_000) == pytest.approx(0.25 * 98.5 + 1.5)
    assert course.at(START + 90_300) == pytest.approx(100.0)
    assert len(course.cuts) == 1
    assert [mark.words for mark in course.marks] == ["11-30 12:00", "12-01 13:00"]
