"""What ends a run early: the code, the words, no error lines for jobs that are not to blame, a next run that ends."""

from __future__ import annotations

import json
import re
import socketserver
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import ended, names, prompts, running, until
from support.faultcells import short_waits

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk

pytestmark = pytest.mark.slow

OUT = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator")
CAP = "Rate%20limit%20exceeded:%20free-models-per-day.%20Add%2010%20credits%20to%20unlock%201000%20requests%20per%20day"


@pytest.mark.parametrize(
    ("look", "fault", "code", "said"),
    [
        ("openai", "do=throttled retry_after=7200", 4, "it asks to wait 2h 00m, which is longer than --max-wait"),
        ("openai", f"status=429 message={CAP} retry_after=40000", 4, "come back after 20"),
        ("openai", "do=unauthorized", 77, "Incorrect API key"),
        (
            "openai",
            "do=unauthorized status=403",
            77,
            "none was sent: it answers 403 (simulated status 403",
        ),
        ("native", "do=forbidden", 78, "a Host that it does not know"),
        ("openai", "do=insufficient_quota", 77, "exceeded your current quota"),
        ("openai", "do=payment", 77, "Insufficient credits"),
        ("openai", "do=login", 78, "redirect"),
        ("openai", "do=html200", 78, "not_an_llm"),
        ("openai", "do=model_missing", 78, "cannot serve the model simulator"),
        ("native", "do=model_missing", 78, "cannot serve the model simulator"),
        ("native", "do=path_missing", 78, "does not offer /api/generate"),
        ("native", "do=busy", 69, "maximum pending requests exceeded"),
        ("native", "do=html502", 69, "502"),
        ("openai", "do=loading", 69, "Loading model"),
    ],
)
def test_jobs_that_are_not_to_blame_stay_pending(desk: Desk, look: Any, fault: str, code: int, said: str) -> None:
    """The run stops soon, says why, leaves no line for any job, and the next one does them all."""
    wanted = names(30)
    desk.write("jobs.jsonl", *prompts(wanted, fault))
    with simulator_thread(look=look) as sim, short_waits():
        url = ("--base-url", sim.url, "--dialect", look)
        ran = desk.call(*OUT, *url, "--max-wait", "0.2s", "--summary-json", "sums.json")
        assert ran.code == code, ran.err
        assert said in ran.err
        assert sim.counts.total() < len(wanted)
        assert desk.lines() == []
        assert desk.errors() == {}
        sums = json.loads((desk.path / "sums.json").read_text())
        assert (sums["exit_code"], sums["jobs"]["ok"], sums["jobs"]["failed"]) == (code, 0, 0)
        desk.write("jobs.jsonl", *prompts(wanted))
        again = desk.call(*OUT, *url)
    assert again.code == 0, again.err
    assert desk.ids() == wanted
    if code == 4:
        away = datetime.fromisoformat(sums["come_back_at"]).timestamp() - time.time()
        assert 7000 < away < 40_000


def test_https_where_there_is_none_is_78(desk: Desk) -> None:
    """A wrong scheme is a setting: nothing is waited for."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    with socketserver.TCPServer(("127.0.0.1", 0), _Plain) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        ran = desk.call(*OUT, "--base-url", f"https://127.0.0.1:{server.server_address[1]}/v1")
        server.shutdown()
    assert ran.code == 78, ran.err
    assert "https to a port that does not speak it" in ran.err
    assert desk.errors() == {}
    with simulator_thread() as sim:
        assert desk.call(*OUT, "--base-url", f"{sim.url}/v1").code == 0
    assert desk.ids() == ["q"]


class _Plain(socketserver.BaseRequestHandler):
    """What web servers say to what they cannot read."""

    def handle(self) -> None:
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(("bound", "failed"), [("3", range(4, 7)), ("5%", range(6, 20))])
def test_more_than_max_errors_is_4(desk: Desk, bound: str, failed: range) -> None:
    """What is in flight is finished, the failures have their lines, the rest is pending; the next run goes on."""
    good, bad = names(150), [f"bad{n}" for n in range(60)]
    before = 1 if bound == "3" else 97
    desk.write("jobs.jsonl", *prompts(good[:before]), *prompts(bad, "do=bad"), *prompts(good[before:]))
    with simulator_thread() as sim:
        ran = desk.call(*OUT, "--base-url", sim.url, "--max-errors", bound, "-c", "2")
        assert ran.code == 4, ran.err
        assert f"--max-errors {bound}: " in ran.err
        assert " left" in ran.err
        assert len(desk.errors()) in failed
        desk.write("jobs.jsonl", *prompts(good), *prompts(bad))
        again = desk.call(*OUT, "--base-url", sim.url, "--max-errors", "0", "--on-change", "rerun")
    assert again.code == 0, again.err
    assert desk.ids() == sorted([*good, *bad])


def test_the_last_job_is_no_reason_to_stop(desk: Desk) -> None:
    """Too many failures when all is done: the code is that of a run with failures."""
    desk.write("jobs.jsonl", *prompts(["a", "b"], "do=bad"))
    with simulator_thread() as sim:
        ran = desk.call(*OUT, "--base-url", sim.url, "--max-errors", "1", "-c", "1")
    assert ran.code == 3
    assert sorted(desk.errors()) == ["a", "b"]


def test_two_servers_share_the_work_and_one_may_die(desk: Desk) -> None:
    """One that is away at the start is used when it comes; one that dies costs no job; the sums tell them apart."""
    wanted = names(200)
    desk.write("jobs.jsonl", *prompts(wanted, "delay=0.005"))
    with simulator_thread() as first, simulator_thread() as second:
        second.kill()
        both = ("--base-url", first.url, "--base-url", second.url, "--summary-json", "sums.json")
        with running(desk.start(*OUT, *both, "-c", "4", "--max-wait", "20s")) as process:
            until(lambda: first.tally.answered.total() >= 10)
            second.revive()
            until(lambda: second.tally.answered.total() >= 10)
            first.kill()
            ran = ended(process)
    assert ran.code == 0, ran.err
    assert desk.ids() == wanted
    assert desk.errors() == {}
    assert f"{second.url} is not there" in ran.err
    assert f"{second.url} is back after" in ran.err
    assert f"{first.url} is away" in ran.err
    servers = {server["server"]: server for server in json.loads((desk.path / "sums.json").read_text())["servers"]}
    assert set(servers) == {first.url, second.url}
    assert sum(server["ok"] for server in servers.values()) == len(wanted)
    assert all(server["ok"] >= 10 and server["requests"] >= server["ok"] for server in servers.values())
    assert servers[second.url]["away_s"] > 0
    assert ran.err.count("\nserver   ") == 2


def test_several_servers_that_are_all_away_are_69(desk: Desk) -> None:
    """As for one: they are waited for, and all are named."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    with simulator_thread() as first, simulator_thread() as second:
        urls = (first.url, second.url)
    for suffix in ("", "/v1"):
        ran = desk.call(*OUT, *(word for url in urls for word in ("--base-url", url + suffix)), "--max-wait", "0.3s")
        assert ran.code == 69, ran.err
        assert all(url in ran.err for url in urls)
    assert desk.lines() == []
    assert desk.errors() == {}


def test_a_dry_run_names_all_servers(desk: Desk) -> None:
    """The requests are those of the first; nobody is asked."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    ran = desk.call(*OUT, "--dry-run", "--base-url", "http://a:1/v1", "--base-url", "http://b:2/v1")
    assert ran.code == 0
    assert "POST http://a:1/v1/chat/completions" in ran.out
    assert "shared among http://a:1, http://b:2" in ran.err


def test_auto_says_where_it_settled(desk: Desk) -> None:
    """On a server with two slots the limit finds out, and the sums say so; a fixed number needs no words.

    Why it is so many is said only where it was measured, which so short a run may be too short for.
    """
    desk.write("jobs.jsonl", *prompts(names(60), "ttft=0.02 delay=0.002"))
    with simulator_thread(slots=2) as sim:
        ran = desk.call(*OUT, "--base-url", sim.url)
        fixed = desk.call(*OUT, "--base-url", sim.url, "-c", "2", "--overwrite")
    assert (ran.code, fixed.code) == (0, 0)
    assert re.search(r"^limit    \d+ in flight", ran.err, re.MULTILINE)
    assert "limit    " not in fixed.err


def test_rpm_is_kept(desk: Desk) -> None:
    """At 2,400 a minute and a burst of one second's worth, 120 jobs take two seconds however many are in flight."""
    desk.write("jobs.jsonl", *prompts(names(120)))
    with simulator_thread() as sim:
        ran = desk.call(*OUT, "--base-url", sim.url, "--rpm", "2400", "-c", "50", "--summary-json", "sums.json")
    assert ran.code == 0, ran.err
    assert json.loads((desk.path / "sums.json").read_text())["elapsed_s"] > 1.8
