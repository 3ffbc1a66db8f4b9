"""The corpus, whole, against all that reads what others wrote; and a watch over what each step takes of the loop."""

from __future__ import annotations

import random
import time
from functools import cache
from typing import TYPE_CHECKING

import pytest
from fuzz.case import Case
from fuzz.corpus import CASES
from fuzz.large import large
from fuzz.mutation import Mutator, honest
from fuzz.readers import READERS, feeds
from fuzz.run import fault, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

HELD = 0.050
"""Seconds of CPU for which one step may hold the loop."""
A_MEGABYTE = 0.050
"""Seconds of CPU a megabyte of a record above the first two, which is parsed in one go; 0.030 were found at most."""
YARDSTICK = 0.010
"""Seconds of CPU of `pace` on the machine of these figures."""
TRIES = 12
"""A machine that does something else as well makes a step longer and never shorter: the best of these counts."""
LARGE = {f"{case.reader}: {case.name}": case for case in large()}
SMALL = {f"{case.reader}: {case.name}": case for case in CASES}


def test_every_reader_has_its_cases_and_each_case_its_name() -> None:
    """What is added with a name that is taken would hide another."""
    assert {case.reader for case in (*CASES, *LARGE.values())} | {"framing"} == set(READERS)
    assert len(SMALL) == len(CASES)
    assert all(Case.of(case.line().encode()) == case for case in CASES)


@pytest.mark.parametrize("name", SMALL)
def test_the_corpus(name: str) -> None:
    """An answer, a job, a line, or an error of ours; never a crash, nor a line that is not read back."""
    READERS[SMALL[name].reader](SMALL[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_what_is_large(name: str) -> None:
    """The same near the bounds."""
    READERS[LARGE[name].reader](LARGE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in (*SMALL, *LARGE) if name.startswith("reading")])
def test_no_step_holds_the_loop(name: str) -> None:
    """Chunk by chunk, the end, and the writing of the line: by CPU time, at the best of some tries."""
    case = (SMALL | LARGE)[name]
    allowed = (HELD + A_MEGABYTE * max(0.0, len(case.data) / 1e6 - 2)) * pace()
    assert any(held(case, allowed) <= allowed for _ in range(TRIES))


@cache
def pace() -> float:
    """How many times slower this machine is, if it is."""

    def work() -> None:
        found = {}
        for number in range(200_000):
            found[number & 255] = [number]

    return max(1.0, min(spent(work) for _ in range(5)) / YARDSTICK)


def held(case: Case, enough: float) -> float:
    """Seconds of CPU of the longest step."""
    longest = 0.0
    for step in feeds(case, []):
        longest = max(longest, spent(step))
        if longest > enough:
            break
    return longest


def spent(step: Callable[[], object]) -> float:
    began = time.thread_time()
    step()
    return time.thread_time() - began


@pytest.mark.slow
def test_a_sample_of_the_fuzzer() -> None:
    """What `make fuzz` does, for a fixed seed and some inputs."""
    mutator = Mutator(random.Random(7), honest())
    for _ in range(1500):
        case = mutator.draw()
        assert fault(case) is None, case.line()


def test_the_same_seed_makes_the_same_cases() -> None:
    """A finding can be had again."""
    first, again = (Mutator(random.Random(3), honest()) for _ in range(2))
    assert [first.draw() for _ in range(50)] == [again.draw() for _ in range(50)]


def test_a_finding_is_told_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised is a finding; what it does not need is left out."""

    def stumble(case: Case) -> None:
        if b"x" in case.data:
            raise KeyError("x")

    monkeypatch.setitem(READERS, "jobs", stumble)
    case = Case("jobs", b"a" * 500 + b"x" + b"b" * 500)
    found = fault(case)
    assert found is not None
    assert found.startswith("KeyError at test_corpus.py:")
    assert shortened(case, found.partition(": ")[0]).data == b"x"
    assert fault(Case("jobs", b"a")) is None
