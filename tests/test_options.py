"""Holds what a run can be told to values that make sense, and its mistakes to words that help."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from batcher.failures import Exit, UsageError
from batcher.options import Options, duration, nearest, setting


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
    ("values", "words"),
    [
        ({"concurrency": 0}, "concurrency must be at least 1, not 0"),
        ({"pack": 0}, "pack must be at least 1"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"slots": 0}, "slots must be at least 1"),
        ({"timeout": 0.0}, "timeout must be longer than 0 s"),
        ({"idle_timeout": -1.0}, "idle_timeout must be longer"),
        ({"first_token_timeout": math.nan}, "first_token_timeout must be longer"),
        ({"connect_timeout": 0.0}, "connect_timeout must be longer"),
        ({"max_wait": -1.0}, "max_wait must not be less"),
        ({"max_duration": -1.0}, "max_duration must not be less"),
        ({"grace": math.nan}, "grace must not be less"),
        ({"embedding_format": "hex"}, "float or base64, not 'hex'"),
        ({"fail_on": frozenset({"lenght"})}, "does not know lenght; it knows length"),
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
