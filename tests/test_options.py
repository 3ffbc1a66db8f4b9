"""Holds what a run can be told to values that make sense, and its mistakes to words that help."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from batcher.commands.values import setting
from batcher.failures import Exit, UsageError, nearest
from batcher.figures import AUTO, Concurrency, MaxErrors, amount, duration
from batcher.options import Options


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("90", 90.0),
        ("0.5", 0.5),
        ("0", 0.0),
        ("1m0.5s", 60.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Units add up; a plain number is seconds."""
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "5 m", "5M", "-5s", "+5s", "1h30", "30m-", "x5s", "5sx", "1e3", "inf", "nan", "9" * 400, "5,5s"],
)
def test_what_is_no_duration(text: str) -> None:
    """Whatever could be read in two ways is refused, and the message shows how to write it."""
    with pytest.raises(ValueError, match="write it as 30s"):
        duration(text)


@given(st.text(max_size=8))
def test_a_duration_is_a_finite_time_or_refused(text: str) -> None:
    """No text gives a negative or infinite time, or any other error."""
    try:
        assert 0 <= duration(text) < math.inf
    except ValueError:
        return


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("temperature=0", ("temperature", 0)),
        ("stop=END", ("stop", "END")),
        ('stop=["a","b"]', ("stop", ["a", "b"])),
        ("think=false", ("think", False)),
        ("name=", ("name", "")),
        ("a=b=c", ("a", "b=c")),
        (" key =1", ("key", 1)),
        ('text="5"', ("text", "5")),
    ],
)
def test_settings(text: str, expected: tuple[str, Any]) -> None:
    """The value is JSON if it reads as JSON, else the text itself."""
    assert setting(text) == expected


@pytest.mark.parametrize("text", ["", "temperature", "=1", " =1"])
def test_what_is_no_setting(text: str) -> None:
    """A key and an equals sign are needed."""
    with pytest.raises(ValueError, match="not key=value"):
        setting(text)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("auto", 1, 256), ("AUTO", 1, 256), ("8", 8, 8), (8, 8, 8), ("2-16", 2, 16), ("4-4", 4, 4), (" 2-3 ", 2, 3)],
)
def test_concurrency(text: str | int, least: int, most: int) -> None:
    """A number is fixed, a range is found out, and so is auto; each is written as it is read."""
    found = Concurrency.of(text)
    assert found == Concurrency(least, most)
    assert found.is_fixed == (least == most)
    assert Concurrency.of(str(found)) == found


@pytest.mark.parametrize(
    ("text", "number"), [("500", 500.0), ("30k", 30e3), ("2m", 2e6), ("1.5K", 1500.0), (500, 500.0), (0.5, 0.5)]
)
def test_amounts(text: str | float, number: float) -> None:
    """Thousands and millions have a letter."""
    assert amount(text) == number


@pytest.mark.parametrize("read", [Concurrency.of, MaxErrors.of, amount])
@pytest.mark.parametrize("text", ["", "sk-canary", "-1", "1e3", "1 2", "9" * 400, "50%%", "101%", "2-", "k"])
def test_what_is_no_number_is_not_repeated(read: Any, text: str) -> None:
    """A key that stands in the wrong place does not get into a message."""
    with pytest.raises(ValueError, match=r"^must be ") as caught:
        read(text)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "failed", "finished", "too_many"),
    [
        ("0", 0, 1, False),
        ("0", 1, 1, True),
        ("3", 3, 3, False),
        ("3", 4, 1000, True),
        ("5%", 99, 99, False),
        ("5%", 5, 100, False),
        ("5%", 6, 100, True),
        ("0%", 1, 100, True),
        ("2.5%", 25, 1000, False),
        ("2.5%", 26, 1000, True),
    ],
)
def test_max_errors(text: str, failed: int, finished: int, too_many: bool) -> None:  # noqa: FBT001 - a table
    """More than so many; or more than a share, once a hundred jobs have finished."""
    bound = MaxErrors.of(text)
    assert bound.exceeded(failed, finished) is too_many
    assert str(bound) == text


def test_numbers_and_texts_of_programs_are_read_as_flags_are() -> None:
    """From Python a number will do where the command line has text, and one server where several may be."""
    made = Options.of({"concurrency": 8, "rpm": 500, "tpm": "30k", "max_errors": 3, "base_url": "http://x"})
    assert (made.concurrency, made.rpm, made.tpm) == (Concurrency(8, 8), 500.0, 30_000.0)
    assert (made.max_errors, made.base_url) == (MaxErrors(3), ("http://x",))
    assert Options.of({"base_url": ["http://x", "http://y"], "concurrency": AUTO}).base_url == ("http://x", "http://y")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"concurrency": 0}, "concurrency must be at least 1, not 0"),
        ({"concurrency": True}, "concurrency must be auto, a number"),
        ({"concurrency": 1.5}, "concurrency must be auto, a number"),
        ({"concurrency": "9-3"}, "concurrency must go from less to more: 3-9"),
        ({"rpm": 0}, "rpm must be more than 0"),
        ({"tpm": "lots"}, "tpm must be an amount such as 500, 30k or 2m"),
        ({"max_errors": "many"}, "max_errors must be a number of jobs"),
        ({"min_speed": -1.0}, "min_speed must not be less"),
        ({"min_speed": math.nan}, "min_speed must not be less"),
        ({"keep_alive": "long"}, "keep_alive is a duration such as 30m, -1 for ever"),
        ({"pack": 0}, "pack must be auto, or a number of at least 1"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"limit": 10**12 + 1}, "limit must be at most 1,000,000,000,000"),
        ({"seed": 10**30}, "seed must be at most 1,000,000,000,000"),
        ({"repeat": 100_001}, "repeat must be at most 100,000"),
        ({"slots": 0}, "slots must be at least 1"),
        ({"timeout": 0.0}, "timeout must be longer than 0 s"),
        ({"idle_timeout": -1.0}, "idle_timeout must be longer"),
        ({"first_token_timeout": math.nan}, "first_token_timeout must be longer"),
        ({"connect_timeout": 0.0}, "connect_timeout must be longer"),
        ({"max_wait": -1.0}, "max_wait must not be less"),
        ({"max_duration": -1.0}, "max_duration must not be less"),
        ({"grace": math.nan}, "grace must not be less"),
        ({"runaway": "no"}, "runaway is cut or keep, not 'no'"),
        ({"embedding_format": "hex"}, "float or base64, not 'hex'"),
        ({"fail_on": frozenset({"lenght"})}, r"does not know lenght; did you mean 'length'\? It knows length"),
        ({"local": True, "base_url": "http://x"}, "say one of the two"),
        ({"local": Path("m.gguf"), "base_url": "http://x"}, "say one of the two"),
        ({"retrys": 3}, "no option is called 'retrys'; did you mean 'retries'"),
        ({"zzz": 3}, "no option is called 'zzz'$"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], words: str) -> None:
    """Each mistake is a usage error that says which value is wrong and what would be right."""
    with pytest.raises(UsageError, match=words) as caught:
        Options.of(values)
    assert caught.value.exit is Exit.USAGE


def test_the_defaults_are_valid_and_the_least_values_too() -> None:
    """Nothing has to be said; and what is at its bound is within it."""
    assert Options.of({}) == Options()
    Options.of(
        {"retries": 0, "max_wait": 0.0, "grace": 0.0, "limit": 1, "fail_on": frozenset({"length"}), "local": True}
    )


def test_nearest() -> None:
    """A near miss is answered with a name, anything else with silence."""
    assert nearest("modell", ["model", "mode"]) == "; did you mean 'model'?"
    assert nearest("xyz", ["model"]) == ""
