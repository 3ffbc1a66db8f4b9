"""How the process ends: the code, what it says, and what it leaves behind."""

from __future__ import annotations

import socket
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, names, next_words, prompts, running, until

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.slow

OUT = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator")


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


def nobody() -> str:
    """The URL of a server that is not there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        return f"http://127.0.0.1:{held.getsockname()[1]}"


def test_some_failed_is_3_and_the_next_run_asks_only_for_those(desk: Desk, sim: BackgroundSimulator) -> None:
    """Failed jobs have an error line, done ones a result; run again, the failed ones are asked and the file goes."""
    good, bad = names(3), ["bad"]
    desk.write("jobs.jsonl", *prompts(good), *prompts(bad, "do=bad times=1"))
    first = desk.call(*OUT, "--base-url", sim.url)
    assert first.code == 3
    assert desk.ids() == good
    assert desk.errors() == {"bad": "bad_request"}
    assert "top_logprobs must be between 0 and 20" in first.err  # the server's words
    assert "results.errors.jsonl" in first.err
    second = desk.call(*OUT, "--base-url", sim.url)
    assert second.code == 0, second.err
    assert desk.ids() == sorted([*good, *bad])
    assert not (desk.path / "results.errors.jsonl").exists()
    third = desk.call(*OUT, "--base-url", sim.url)
    assert third.code == 0
    assert sim.counts == dict.fromkeys(good, 1) | {"bad": 2}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run", "jobs.jsonl", "-o", "jobs.jsonl"), "jobs.jsonl is the input"),
        (("run", "jobs.jsonl", "-o", "link.jsonl"), "link.jsonl is the input"),
        (("run", "jobs.jsonl", "-o", "results.jsonl", "--errors", "jobs.jsonl"), "jobs.jsonl is the input"),
        (
            ("run", "jobs.jsonl", "-o", "results.jsonl", "--errors", "results.jsonl"),
            "results.jsonl is the results file",
        ),
        (("run", "jobs.jsonl", "-o", "results.jsonl", "--errors", "results.state.json"), "is the state file"),
        (("run", "jobs.jsonl", "-o", "results.jsonl", "--errors", "results.quarantine"), "is the quarantine"),
        (("run", "jobs.jsonl", "-o", "results.jsonl", "--summary-json", "link.jsonl"), "link.jsonl is the input"),
        (("run", "jobs.jsonl", "-o", "results.jsonl", "--summary-json", "results.jsonl"), "is the results file"),
        (("run", "jobs.jsonl", "-o", "-", "--errors", "e", "--summary-json", "./e"), "e is the errors file"),
        (("run", "old.superseded.jsonl", "-o", "old.jsonl"), "old.superseded.jsonl is the input"),
        (("run", "-"), "say where the results go"),
        (("run",), "Missing argument"),
        (("rum", "jobs.jsonl"), "did you mean 'run'?"),
        (("run", "jobs.jsonl", "--concurency", "3"), "--concurrency"),
        (("run", "jobs.jsonl", "-c", "0"), "'-c'"),
        (("run", "jobs.jsonl", "--timeout", "soon"), "write it as 30s, 5m or 1h30m"),
        (("run", "jobs.jsonl", "--idle-timeout", "0s"), "--idle-timeout must be longer than 0 s"),
        (("run", "jobs.jsonl", "--param", "temperature"), "is not key=value"),
        (("run", "jobs.jsonl", "--param", "temperature=hot"), '--param: "temperature" must be a number'),
        (("run", "jobs.jsonl", "--fail-on", "lenght"), "length"),
        (("run", "jobs.jsonl", "--endpoint", "/v1/chat/completion"), '"/v1/chat/completions"'),
        (("run", "jobs.jsonl", "--base-url", "example.org"), "does not say how to connect"),
        (("run", "jobs.jsonl", "--local", "--base-url", "http://127.0.0.1:9"), "say one of the two"),
        (("run", "jobs.jsonl", "--input-format", "xml"), "jsonl"),
        (("run", "jobs.jsonl", "--env-file", "no.env"), "no.env"),
    ],
)  # fmt: skip - a table
def test_usage_is_2_and_nothing_is_touched(
    desk: Desk, sim: BackgroundSimulator, args: tuple[str, ...], said: str
) -> None:
    """A wrong command line is refused before anything is sent or written, in words that name what is wrong."""
    jobs = desk.write("jobs.jsonl", *prompts(["q"]))
    (desk.path / "link.jsonl").symlink_to(jobs)
    desk.write("old.superseded.jsonl", *prompts(["q"]))
    before = jobs.read_bytes()
    ran = desk.call(*args, env={"LLM_ENDPOINT": sim.url, "MODEL": "simulator"})
    assert (ran.code, ran.out) == (2, "")
    *notes, last = ran.err.splitlines()
    assert said in last  # what is wrong is one line: cron mails what it gets
    assert all(line.startswith("batcher: ") for line in (*notes, last))
    assert jobs.read_bytes() == before
    assert not (desk.path / "results.jsonl").exists() or (desk.path / "results.jsonl").read_bytes() == b""
    assert sim.counts == {}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("nothing.jsonl", "-o", "results.jsonl"), 65, "nothing.jsonl does not exist"),
        ((".", "-o", "results.jsonl"), 2, "results.jsonl"),
        (("utf16.jsonl", "-o", "results.jsonl"), 65, "--encoding utf-16"),
        (("jobs.jsonl", "-o", "no/such/results.jsonl"), 73, "there is no directory"),
        (("jobs.jsonl", "-o", "full"), 73, "is a directory"),
        (("jobs.jsonl", "-o", "letter.txt"), 73, "holds none of our results"),
        (("jobs.jsonl", "-o", "results.jsonl", "--errors", "no/such/file"), 73, "name another file with --errors"),
        (("jobs.jsonl", "-o", "results.jsonl", "--errors", "full"), 73, "name another file with --errors"),
        (("jobs.jsonl", "-o", "results.jsonl", "--summary-json", "no/such"), 73, "--summary-json: no/such cannot be"),
        (("jobs.jsonl", "-o", "results.jsonl", "--summary-json", "full"), 73, "--summary-json: full cannot be"),
        (("jobs.jsonl", "-o", "results.jsonl", "--api-key-file", "no.key"), 78, "no.key"),
        (("jobs.jsonl", "-o", "results.jsonl", "--api-key-env", "NO_KEY"), 78, "NO_KEY is not set"),
        (("jobs.jsonl", "-o", "results.jsonl", "-m", "unknown"), 78, "unknown"),
    ],
)
def test_each_cause_has_its_code(
    desk: Desk, sim: BackgroundSimulator, args: tuple[str, ...], code: int, said: str
) -> None:
    """What cannot start ends with the code of its cause and a sentence that names it; no answer is generated."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    (desk.path / "utf16.jsonl").write_bytes('{"prompt":"hi"}\n'.encode("utf-16"))
    (desk.path / "letter.txt").write_text("Dear Ada,\n")
    (desk.path / "full").mkdir()
    ran = desk.call("run", *args, env={"LLM_ENDPOINT": sim.url, "MODEL": "simulator"})
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert sim.tally.answered == {}
    assert desk.lines() == []
    assert (desk.path / "letter.txt").read_text() == "Dear Ada,\n"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--concurency", "3"), 2),
        (("--errors", "jobs.jsonl"), 2),
        (("-n", "2"), 65),  # the results answer other requests
        (("-o", "no/such/results.jsonl"), 73),
        (("--summary-json", "no/such.json"), 73),
        (("--api-key-env", "NO_KEY"), 78),
    ],
)
def test_the_process_ends_with_the_code_and_one_line(
    desk: Desk, sim: BackgroundSimulator, args: tuple[str, ...], code: int
) -> None:
    """The codes of runs that cannot start, from the real process, as cron gets them."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    assert desk.call(*OUT, "--base-url", sim.url, "-q") == (0, "", "")
    if code == 65:
        desk.write("jobs.jsonl", *prompts(["q"], "tokens=3"))
    ran = desk.call(*OUT, "--base-url", sim.url, "-q", *args)
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert ran.err.startswith("batcher: ")
    assert sim.counts == {"q": 1}


def test_jobs_that_always_fail_are_3_each_time(desk: Desk, sim: BackgroundSimulator) -> None:
    """Where there are results, many failures alike are those jobs' own: no 78 on the second night."""
    desk.write("jobs.jsonl", *prompts(["good"]), *prompts(names(25), "do=bad"))
    for _ in range(2):
        assert desk.call(*OUT, "--base-url", sim.url, "-c", "1").code == 3
        assert sorted(desk.errors()) == names(25)


@pytest.mark.parametrize(
    ("fault", "said"), [("unauthorized", "Incorrect API key"), ("insufficient_quota", "quota"), ("payment", "credits")]
)
def test_a_refused_account_is_77_and_leaves_the_jobs_pending(desk: Desk, fault: str, said: str) -> None:
    """A few jobs are asked, as one may be refused for itself; none fails where all are, and the next run does them."""
    wanted = names(40)
    desk.write("jobs.jsonl", *prompts(wanted, f"do={fault}"))
    with simulator_thread(look="openai") as sim:
        ran = desk.call(*OUT, "--base-url", f"{sim.url}/v1", "-c", "2")
        assert ran.code == 77
        assert said in ran.err
        assert len(sim.counts) <= 10
        assert desk.ids() == []
        assert desk.errors() == {}
        desk.write("jobs.jsonl", *prompts(wanted, "do=bad times=0"))
        assert desk.call(*OUT, "--base-url", f"{sim.url}/v1").code == 0
    assert desk.ids() == wanted


def test_nobody_there_is_69(desk: Desk) -> None:
    """With nobody at the address the run waits as long as it is told, says whom it asked and what to do."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    url = nobody()
    for where in (("--base-url", url), ("--base-url", f"{url}/v1")):
        ran = desk.call(*OUT, *where, "--max-wait", "0.3s")
        assert ran.code == 69
        assert url in ran.err
        assert "connection refused" in ran.err
        assert "Start the server" in ran.err or "run the same command again" in ran.err
    assert desk.lines() == []
    assert desk.errors() == {}


def test_a_server_that_dies_and_stays_away_costs_no_job(desk: Desk, sim: BackgroundSimulator) -> None:
    """69 after --max-wait: what was answered is kept, all the rest is pending, and the next run finishes it."""
    wanted = names(60)
    desk.write("jobs.jsonl", *prompts(wanted, "delay=0.01"))
    with running(desk.start(*OUT, "--base-url", sim.url, "--max-wait", "0.5s", "-c", "4")) as process:
        until(lambda: sim.tally.answered.total() >= 10)
        sim.kill()
        ran = ended(process)
    assert ran.code == 69
    done = desk.ids()
    assert 10 <= len(done) < len(wanted)
    assert len(set(done)) == len(done)
    assert desk.errors() == {}
    assert "pending" in ran.err or " left" in ran.err
    sim.revive()
    assert desk.call(*OUT, "--base-url", sim.url).code == 0
    assert desk.ids() == wanted
    assert max(sim.counts.values()) <= 2
    assert sum(count - 1 for count in sim.counts.values()) <= 4  # those in flight when it died


def test_a_server_that_comes_back_is_waited_for(desk: Desk, sim: BackgroundSimulator) -> None:
    """An outage in mid-run pauses it: no error lines, every job once, and it is said when it begins and ends."""
    wanted = names(40)
    desk.write("jobs.jsonl", *prompts(wanted, "delay=0.01"))
    with running(desk.start(*OUT, "--base-url", sim.url, "--max-wait", "20s")) as process:
        until(lambda: sim.tally.answered.total() >= 5)
        sim.kill()
        assert process.stderr is not None
        assert f"waiting for {sim.url}" in next_words(process.stderr)
        sim.revive()
        ran = ended(process)
    assert ran.code == 0, ran.err
    assert "going on after" in ran.err
    assert desk.ids() == wanted
    assert desk.errors() == {}


def test_two_runs_at_once_are_75(desk: Desk, sim: BackgroundSimulator) -> None:
    """The second says who is in the way and touches nothing; the first is not disturbed."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    first = ("run", "-", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url)
    with running(desk.start(*first, stdin=subprocess.PIPE)) as process:  # runs until its input ends
        assert process.stdin is not None
        process.stdin.write((desk.path / "jobs.jsonl").read_text())
        process.stdin.flush()
        until(desk.lines)
        for extra in ((), ("--overwrite",)):
            second = desk.call(*OUT, "--base-url", sim.url, *extra)
            assert second.code == 75
            assert "another run is writing this file" in second.err
        assert ended(process).code == 0
    assert sim.counts == {"q": 1}
    assert desk.ids() == ["q"]


def test_a_reader_that_goes_away_is_141(desk: Desk, sim: BackgroundSimulator) -> None:
    """`-o - | head -1` ends the run quietly, and soon."""
    desk.write("jobs.jsonl", *prompts(names(300), "delay=0.002"))
    with running(desk.start("run", "jobs.jsonl", "-o", "-", "-m", "simulator", "--base-url", sim.url)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"id":"q')
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr is not None
        assert next_words(process.stderr) == ""
    assert sim.counts.total() < 300


@pytest.mark.parametrize(
    "out",
    [
        ("-o", "out.jsonl"),
        ("-o", "out.csv"),
        ("-o", "out.jsonl", "--atomic"),
        ("-o", "out.jsonl", "--vectors", "v.npy", "--errors", "e.jsonl", "--overwrite"),
        ("-o", "sqlite:out.db"),
    ],
    ids=" ".join,
)
def test_a_run_that_cannot_begin_leaves_no_file(desk: Desk, out: tuple[str, ...]) -> None:
    """69 and 77 before anything was done: no results, state, table, store that was not there, and that is said."""
    desk.write("jobs.jsonl", {"id": "a", "input": "Hi"}, {"id": "b", "input": "Hello"})
    with simulator_thread(look="openai", key="sesame") as sim:
        refused = desk.call("run", "jobs.jsonl", *out, "-m", "simulator", "--base-url", f"{sim.url}/v1")
    away = desk.call("run", "jobs.jsonl", *out, "-m", "m", "--base-url", f"{nobody()}/v1", "--max-wait", "0.3s")
    assert (refused.code, away.code) == (77, 69)
    assert [file.name for file in desk.path.iterdir()] == ["jobs.jsonl"]
    name = out[1]
    for ran in (refused, away):
        assert f"results  {name} is not made: there is nothing to put into it" in ran.err


def test_a_state_stays_whose_results_were_moved_away(desk: Desk, sim: BackgroundSimulator) -> None:
    desk.write("jobs.jsonl", *prompts(["a"]))
    assert desk.call(*OUT, "--base-url", sim.url).code == 0
    (desk.path / "results.jsonl").rename(desk.path / "kept.jsonl")
    assert desk.call(*OUT, "--base-url", f"{nobody()}/v1", "--max-wait", "0.3s").code == 69
    assert (desk.path / "results.state.json").exists()


def test_what_was_there_stays_where_a_run_cannot_begin(desk: Desk, sim: BackgroundSimulator) -> None:
    """Results of before, though they be none, and failures are kept; so are those of a run that only found failures."""
    results = desk.path / "results.jsonl"
    desk.write("jobs.jsonl", *prompts(["a"]))
    results.touch()
    away = (*OUT, "--base-url", f"{nobody()}/v1", "--max-wait", "0.3s")
    assert desk.call(*away).code == 69
    assert results.exists()
    results.unlink()
    desk.write("jobs.jsonl", *prompts(["a"], "do=bad"))
    assert desk.run(*OUT, "--base-url", sim.url).code == 3
    assert results.exists()
    assert desk.call(*away).code == 69
    assert results.exists()
    assert len(desk.lines("results.errors.jsonl")) == 1
