"""Nothing lost, nothing twice: kills, torn files, changed inputs, and the same command again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import names, prompts, running, until

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.slow

RUN = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator")


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


def test_kill_9_loses_nothing_and_repeats_only_what_was_in_flight(desk: Desk, sim: BackgroundSimulator) -> None:
    """Killed again and again, the same command ends with each id once; what is asked twice was in flight."""
    wanted, kills, width = names(120), 3, 6
    desk.write("jobs.jsonl", *prompts(wanted, "delay=0.002"))
    for kill in range(1, kills + 1):
        with running(desk.start(*RUN, "--base-url", sim.url, "-c", str(width))) as process:
            until(lambda: sim.tally.answered.total() >= 25 * kill)  # noqa: B023 - called before the next turn
            process.kill()
            process.wait()
    assert 0 < len(desk.ids()) < len(wanted)
    assert desk.call(*RUN, "--base-url", sim.url, "-c", str(width)).code == 0
    assert desk.ids() == wanted
    assert sum(count - 1 for count in sim.counts.values()) <= kills * width
    before = sim.counts.total()
    assert desk.call(*RUN, "--base-url", sim.url).code == 0
    assert sim.counts.total() == before


def test_a_torn_file_is_mended_and_said(desk: Desk, sim: BackgroundSimulator) -> None:
    """Half a line at the end, rubbish in the middle: moved to the quarantine, and only their jobs are asked again."""
    wanted = names(6)
    desk.write("jobs.jsonl", *prompts(wanted))
    assert desk.call(*RUN, "--base-url", sim.url, "-c", "1").code == 0
    path = desk.path / "results.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*whole[:2], b"rubbish\n", *whole[3:5], whole[5][:40]]))
    ran = desk.call(*RUN, "--base-url", sim.url)
    assert ran.code == 0
    assert "results.quarantine" in ran.err
    assert desk.ids() == wanted
    assert (desk.path / "results.quarantine").read_bytes() == b"rubbish\n" + whole[5][:40] + b"\n"
    assert {name for name, count in sim.counts.items() if count == 2} == {wanted[2], wanted[5]}


@pytest.mark.parametrize(
    ("changed", "args"),
    [
        ({"prompt": "something else"}, ()),
        ({"temperature": 0.5}, ()),
        ({"model": "other"}, ()),
        ({}, ("--alias", "simulator=other")),
        ({}, ("--system", "Be brief.")),
        ({}, ("--param", "seed=1")),
    ],
)
def test_a_changed_job_stops_the_run_before_anything_is_sent(
    desk: Desk, sim: BackgroundSimulator, changed: dict[str, Any], args: tuple[str, ...]
) -> None:
    """65, with the line named, also when new jobs stand before it; --overwrite starts anew."""
    jobs = prompts(names(3))
    desk.write("jobs.jsonl", *jobs)
    assert desk.call(*RUN, "--base-url", sim.url).code == 0
    before = (desk.path / "results.jsonl").read_bytes()
    desk.write("jobs.jsonl", *prompts(["new"]), *jobs[:2], jobs[2] | changed)
    ran = desk.call(*RUN, "--base-url", sim.url, *args)
    assert ran.code == 65
    assert "line 4 (id 'q002'" in ran.err
    assert "--on-change rerun" in ran.err
    assert sim.counts.total() == 3
    assert (desk.path / "results.jsonl").read_bytes() == before


def test_lines_may_be_added_moved_and_repeated(desk: Desk, sim: BackgroundSimulator) -> None:
    """What is done is told by id and content, not by place; lines without an id too."""
    unnamed = [{"prompt": f"[[sim id=u{number}]]"} for number in range(3)]
    named = prompts(names(3))
    desk.write("jobs.jsonl", *unnamed, *named)
    assert desk.call(*RUN, "--base-url", sim.url).code == 0
    desk.write("jobs.jsonl", *prompts(["new"]), *reversed(named), named[0], *reversed(unnamed))
    ran = desk.call(*RUN, "--base-url", sim.url)
    assert ran.code == 0
    assert "7 of 7 jobs done (6 before this run)" in ran.err
    assert "1 repeated" in ran.err
    assert set(sim.counts.values()) == {1}
    assert len(set(desk.ids())) == 7


def test_the_same_prompt_without_an_id_is_a_job_each_time(desk: Desk, sim: BackgroundSimulator) -> None:
    """Equal lines without ids are asked as often as they stand there, and resumed as often."""
    desk.write("jobs.jsonl", *[{"prompt": "[[sim id=same]]"}] * 3)
    for _ in range(2):
        assert desk.call(*RUN, "--base-url", sim.url).code == 0
        assert sim.counts["same"] == 3
        assert len(set(desk.ids())) == 3


def test_an_id_twice_with_different_content_is_an_error_line(desk: Desk, sim: BackgroundSimulator) -> None:
    """The first line of an id is the job; a later one that asks for something else fails, now and in later runs."""
    [first] = prompts(["q"])
    desk.write("jobs.jsonl", first, first | {"prompt": "[[sim id=other]]"}, first)
    for _ in range(2):
        ran = desk.call(*RUN, "--base-url", sim.url)
        assert ran.code == 3, ran.err
        assert list(desk.errors().values()) == ["duplicate_id"]
        assert desk.lines("results.errors.jsonl")[0]["line"] == 2
        assert desk.ids() == ["q"]
        assert sim.counts == {"q": 1}


def test_a_mended_line_takes_its_complaint_with_it(desk: Desk, sim: BackgroundSimulator) -> None:
    """The errors file holds what still stands after the last run, and goes when nothing does."""
    path = desk.write("jobs.jsonl", *prompts(["a"]))
    path.write_text(path.read_text() + '{"id":"b","prompt"\n{"id":"c","promt":"x"}\n')
    assert desk.call(*RUN, "--base-url", sim.url).code == 3
    assert len(desk.errors()) == 2
    desk.write("jobs.jsonl", *prompts(["a", "b", "c"]))
    assert desk.call(*RUN, "--base-url", sim.url).code == 0
    assert desk.ids() == ["a", "b", "c"]
    assert not (desk.path / "results.errors.jsonl").exists()


def test_overwrite_starts_anew(desk: Desk, sim: BackgroundSimulator) -> None:
    """Results and errors of before are gone, and every job is asked again."""
    desk.write("jobs.jsonl", *prompts(["old"]), *prompts(["bad"], "do=bad"))
    assert desk.call(*RUN, "--base-url", sim.url).code == 3
    desk.write("jobs.jsonl", *prompts(["old", "new"]))
    assert desk.call(*RUN, "--base-url", sim.url, "--overwrite").code == 0
    assert desk.ids() == ["new", "old"]
    assert desk.errors() == {}
    assert sim.counts["old"] == 2


def test_a_limit_makes_the_first_lines_the_whole_job(desk: Desk, sim: BackgroundSimulator) -> None:
    """With -n N only N lines are asked, and the exit code is about those; a later run without it does the rest."""
    wanted = names(5)
    desk.write("jobs.jsonl", *prompts(wanted))
    ran = desk.call(*RUN, "--base-url", sim.url, "-n", "2")
    assert ran.code == 0
    assert "2 of 2 jobs done" in ran.err
    assert desk.ids() == wanted[:2]
    assert desk.call(*RUN, "--base-url", sim.url).code == 0
    assert sim.counts == dict.fromkeys(wanted, 1)


def test_the_output_is_named_after_the_input(desk: Desk, sim: BackgroundSimulator) -> None:
    """Without -o the results and errors stand beside the input, and the run says where."""
    (desk.path / "deep").mkdir()
    desk.write("deep/jobs.jsonl", *prompts(["q"]), *prompts(["bad"], "do=bad"))
    ran = desk.call("run", "deep/jobs.jsonl", "-m", "simulator", "--base-url", sim.url)
    assert ran.code == 3
    assert "results go to deep/jobs.results.jsonl" in ran.err
    assert desk.ids("deep/jobs.results.jsonl") == ["q"]
    assert desk.errors("deep/jobs.results.errors.jsonl") == {"bad": "bad_request"}
