"""What tokens cost: numbers in, a number out, or that it is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batcher.failures import UsageError
from batcher.outcome import Usage
from batcher.view.prices import Price, Prices, prices_of

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
        ({"model": 7, "usage": {"prompt_tokens": 1000}}, 0.008),
        ({"model": 7, "usage": {"prompt_tokens": 1000}, "finish_reason": "stop"}, None),
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
    asked = Usage(prompt_tokens=1_000_000)
    names = ("llama3.2", "llama3.2:latest", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "a:b", "other", None)
    assert [prices.of(name, asked) for name in names] == [1, 1, 2, 3, 4, 9, 9]
    assert Prices({"m": Price(1.0)}).of("other", asked) is None
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
