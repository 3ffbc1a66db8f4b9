"""A small `make soak`, with the same checks; and whether these checks would see what they are there for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from soak.faults import KINDS, Faults, name
from soak.gauge import slope
from soak.journal import Journal, What, account
from soak.run import soak
from soak.stage import Plan
from soak.verdict import read_results

from batcher.simulator import text

if TYPE_CHECKING:
    from pathlib import Path

JOBS = 1400
"""Of 10 ms each, four at a time: long enough for kills and restarts that come every second."""


@pytest.mark.slow
@pytest.mark.timeout(200)  # it ends by itself: its run after 110 s at most, and then the results are checked
def test_soak(tmp_path: Path) -> None:
    """Killed and restarted in the midst of faults, a run ends with every job done once and little sent again."""
    plan = Plan(
        jobs=JOBS, kill_every=0.9, restart_every=2.0, faults=0.1, seed=1, concurrency=4, seconds=110, token_delay=0.005
    )
    verdict = soak(tmp_path, plan, quiet=True)
    missed = [str(target) for target in verdict.targets() if target.met is False]
    assert not missed, (missed, verdict.remarks())
    assert verdict.stage.kills >= 2
    assert verdict.stage.restarts >= 1
    assert (verdict.findings.lines, verdict.account.asked) == (JOBS, JOBS)
    assert verdict.account.faults > JOBS * 0.02
    assert json.loads(json.dumps(verdict.as_json()))["met"]


def test_faults_follow_from_seed_and_number() -> None:
    """The same jobs meet the same faults each time, in the share that was asked for, and another seed gives others."""
    kinds = [Faults(1, 0.2).kind(number) for number in range(5000)]
    assert kinds == [Faults(1, 0.2).kind(number) for number in range(5000)]
    assert kinds != [Faults(2, 0.2).kind(number) for number in range(5000)]
    assert 800 < sum(map(bool, kinds)) < 1200
    assert set(kinds) <= {"", *KINDS}
    job = json.loads(Faults(1, 1.0).line(7))
    assert (job["id"], job["prompt"].startswith(f"[[sim id=j7 do={Faults(1, 1.0).kind(7)} times=1 after=")) == (
        "j7",
        True,
    )


def test_account(tmp_path: Path) -> None:
    """A request that is made again is charged to what ended the life it was made in, or to nothing."""
    path = tmp_path / "journal"
    journal = Journal(path)
    for what, *numbers in (
        (What.CLIENT,),
        (What.PLAIN, 0, 1, 2, 3),
        (What.FAULT, 4),
        (What.PLAIN, 4, 5, 5),  # 4 had met a fault, 5 had not
        (What.CLIENT,),
        (What.PLAIN, 2, 3, 6),
        (What.SERVER,),
        (What.CLIENT,),
        (What.PLAIN, 6, 1),
    ):
        for number in numbers or (0,):
            journal.write(What(what), number)
    journal.close()
    found = account(path, 8)
    assert (found.requests, found.asked, found.faults, found.causeless) == (13, 7, 1, [5])
    assert dict(found.lost) == {What.CLIENT: 3, What.SERVER: 1}
    assert dict(found.most) == {What.CLIENT: 3, What.SERVER: 1}


def test_results_that_are_none(tmp_path: Path) -> None:
    """A result that is missing, twice there, of another job or cut short is found."""
    path = tmp_path / "results.jsonl"

    def line(number: int, said: int | None = None) -> str:
        answer = text(name(number if said is None else said), 3)
        return json.dumps({"id": name(number), "seq": number, "text": answer}) + "\n"

    path.write_text(line(0) + line(2) + line(1) + line(2))
    found = read_results(path, 4)
    assert (found.lines, found.lost, found.duplicated, found.wrong) == (4, 1, 1, [])
    path.write_text(line(0) + line(1, said=2) + "{}\n" + line(2)[:-9])
    found = read_results(path, 3)
    assert (found.lost, found.duplicated, len(found.wrong)) == (2, 0, 3)


def test_slope() -> None:
    """The line through points, and how far it is to be trusted."""
    assert slope([0.0, 1.0, 2.0], [1.0, 3.0, 5.0]) == (2.0, 0.0)
    wavering = slope([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 1.0])
    assert wavering is not None
    assert wavering.rise == pytest.approx(0.2)
    assert wavering.error > 0.2
    assert slope([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
