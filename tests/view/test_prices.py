"""What tokens cost: numbers in, a number out, or that it is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import example, given, strategies as st

from batcher.failures import Failure, FailureClass, UsageError
from batcher.ledger.lines import error_line, result_line
from batcher.model import ENDPOINTS
from batcher.outcome import Choice, Completion, Result, Usage
from batcher.view.comparison.sides import Side
from batcher.view.prices import Price, Prices, prices_of
from batcher.view.statistics.statistics import Statistics
from batcher.view.sums import Sums

if TYPE_CHECKING:
    from pathlib import Path

THOUSAND = Usage(prompt_tokens=1000, completion_tokens=500)


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        (Price(1.0, None, 2.0), THOUSAND, 0.002),
        (Price(1.0, 0.5, 2.0), Usage(prompt_tokens=1000, completion_tokens=500, cached_tokens=400), 0.0018),
        (Price(1.0, None, 2.0), Usage(prompt_tokens=1000, completion_tokens=500, cached_tokens=400), 0.002),
        (Price(1.0, 0.5, 2.0), Usage(prompt_tokens=100, completion_tokens=0, cached_tokens=400), 0.0002),
        (Price(0.0, None, 0.0), THOUSAND, 0.0),
        (Price(1.0), THOUSAND, None),
        (Price(1.0), Usage(prompt_tokens=1000), 0.001),
        (Price(None, None, 2.0), THOUSAND, None),
        (Price(1.0, None, 2.0), Usage(completion_tokens=3), None),
    ],
)
def test_what_an_answer_costs(price: Price, usage: Usage, cost: float | None) -> None:
    """Cached tokens are among those that go in; tokens that have no price, or are not told, make it unknown."""
    found = price.of(usage)
    assert found == (None if cost is None else pytest.approx(cost))


def test_an_answer_of_text_whose_tokens_are_not_told_has_no_cost() -> None:
    """Vectors have none; a text has some, and what they cost is not known."""
    price = Price(1.0, None, 2.0)
    assert price.of(Usage(prompt_tokens=1000)) == pytest.approx(0.001)
    assert price.of(Usage(prompt_tokens=1000), is_text=True) is None
    assert price.of(Usage(prompt_tokens=1000, completion_tokens=0), is_text=True) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("line", "cost"),
    [
        ({"model": "m", "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "cached_tokens": 400}}, 0.0018),
        ({"model": "other", "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}, 0.008),
        ({"model": 7, "usage": {"prompt_tokens": 1000}, "endpoint": "/v1/embeddings"}, 0.008),
        ({"model": 7, "usage": {"prompt_tokens": 1000}, "endpoint": "/v1/images/generations"}, 0.008),
        ({"model": 7, "usage": {"prompt_tokens": 1000}, "endpoint": "/v1/completions"}, None),
        ({"model": 7, "usage": {"prompt_tokens": 1000}, "endpoint": ["/v1/embeddings"]}, None),
        ({"model": 7, "usage": {"prompt_tokens": 1000}}, None),
        ({"model": "m", "usage": {"completion_tokens": 500}}, None),
        ({"model": "m", "usage": {"prompt_tokens": "1000", "completion_tokens": -5}}, None),
        ({"model": "m", "usage": []}, None),
        ({"model": "m"}, None),
        ({}, None),
        ({"model": "m", "copy_of": "a"}, 0.0),
    ],
)
def test_what_a_line_cost(line: dict[str, Any], cost: float | None) -> None:
    """By its own model and tokens, however odd; a copy cost nothing."""
    prices = Prices({"m": Price(1.0, 0.5, 2.0)}, Price(8.0, None, 0.0))
    assert prices.of_line(line) == (None if cost is None else pytest.approx(cost))


def test_prices_by_name(tmp_path: Path) -> None:
    """Exactly, else by the first pattern that fits, else what is for all; points in names want no quotes."""
    path = tmp_path / "prices.toml"
    path.write_bytes(b"\xef\xbb\xbf[llama3.2]\nin = 1\n['gpt-4o-mini']\nin = 2\n['gpt-4o*']\nin = 3\n['a:b']\nin = 4\n")
    prices = prices_of(9.0, None, None, path)
    assert prices is not None
    asked = Usage(prompt_tokens=1_000_000, completion_tokens=0)
    names = ("llama3.2", "llama3.2:latest", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "a:b", "other", None)
    assert [prices.of(name, None, asked) for name in names] == [1, 1, 2, 3, 4, 9, 9]
    assert Prices({"m": Price(1.0)}).of("other", None, asked) is None
    assert prices_of(None, None, None) is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no price"),
        ("[m]\n", "no price"),
        ("in = 3\n", "says in"),
        ("[m]\ninput = 3\n", "says m.input"),
        ("[m]\nin = '3'\n", "in of m is no price"),
        ("[m]\nin = -1\n", "in of m is no price"),
        ("[m]\nin = true\n", "in of m is no price"),
        ("[m]\nin = nan\n", "in of m is no price"),
        ("[a:b]\nin = 1\n", "want quotes"),
        ("\0", "no TOML"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, wrong: str) -> None:
    """Is told with the file and the key."""
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"prices.toml.*{wrong}"):
        prices_of(None, None, None, path)
    with pytest.raises(UsageError, match="cannot be read"):
        prices_of(None, None, None, tmp_path / "gone.toml")


tokens = st.none() | st.integers(0, 9000)
usages = st.none() | st.builds(Usage, tokens, tokens, tokens, tokens)
PATHS = [*ENDPOINTS, None]
CUT = Failure(FailureClass.TRANSIENT, "cut", "it broke off")


@st.composite
def jobs(draw: st.DrawFn) -> Result:
    """One that was answered, or failed with or without a part of an answer; of one exchange or more."""
    choices = {n: Choice(draw(st.sampled_from([[], ["so"]])), finish_reason=draw(st.sampled_from(["stop", "", None])))
               for n in range(draw(st.integers(0, 2)))}  # fmt: skip
    completion = Completion(choices, draw(usages), spent=draw(usages))
    failure = draw(st.sampled_from([None, CUT]))
    if failure is not None and draw(st.booleans()):
        return Result("q", 0, model="m", path=draw(st.sampled_from(PATHS)), failure=failure, attempts=1)
    return Result(
        "q", 0, model=draw(st.sampled_from(["m", "other", None])), path=draw(st.sampled_from(PATHS)),
        completion=completion, failure=failure, attempts=1,
    )  # fmt: skip


@given(st.lists(jobs(), max_size=8))
@example([Result("q", 0, completion=Completion({}, Usage()), failure=CUT, attempts=1)])
@example([Result("q", 0, path="/api/chat", completion=Completion({0: Choice()}, Usage(9)), failure=CUT, attempts=1)])
@example([Result("q", 0, path="/api/chat", completion=Completion({0: Choice(["so"])}, Usage(9)), attempts=1)])
def test_what_a_run_says_it_cost_is_what_its_lines_say(results: list[Result]) -> None:
    """In the sums of the run, in those of its file, and of the rows that are compared; unknown ones too."""
    prices = Prices({"m": Price(3.0, 1.0, 7.0)}, Price(5.0))
    run, file, side = Sums(started=0.0, prices=prices), Statistics(prices), Side(prices)
    for result in results:
        run.add(result)
        if result.ok:
            line = orjson.loads(result_line(result))
            file.add(line)
            side.add(line)
        else:
            file.add_failure(orjson.loads(error_line(result)))
    file.settle()
    side.settle()
    assert (file.cost or 0.0) == pytest.approx(run.cost or 0.0)
    assert file.unpriced == run.unpriced
    answered = Sums(started=0.0, prices=prices)
    for result in filter(lambda one: one.ok, results):
        answered.add(result)
    assert (side.group.cost or 0.0) == pytest.approx(answered.cost or 0.0)
    assert side.group.unpriced == answered.unpriced


def test_the_tokens_of_a_job_are_those_of_all_its_requests() -> None:
    """What none of them told is not known, and not 0."""
    assert Completion().used is None
    assert Completion(usage=Usage(1)).used == Usage(1)
    assert Completion(spent=Usage(2)).used == Usage(2)
    assert Completion(usage=Usage(1, 2, None, None), spent=Usage(3, None, 5, None)).used == Usage(4, 2, 5, None)
