"""The simulator is as fast, as busy and as forgetful as it is set, and counts what was generated for nothing."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.rawhttp import (
    CHAT,
    EMBED,
    GENERATE,
    V1_CHAT,
    V1_TEXT,
    Reader,
    ask,
    body_for,
    connect,
    eventually,
    hear,
    send,
)

from batcher.simulator import Settings, Tally, simulator_thread
from batcher.simulator.pace import Pace
from batcher.simulator.texts import prose

if TYPE_CHECKING:
    import socket


def post(sock: socket.socket, path: str, prompt: str, **more: Any) -> None:
    send(sock, "POST", path, json.dumps(body_for(path, prompt) | more).encode())


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        ({}, [0, 0, 0]),
        ({"token_delay": 0.5}, [0.5, 0.5, 0.5]),
        ({"speed": 50}, [0.02, 0.02, 0.02]),
        ({"speed": 50, "total_speed": 1000}, [0.02, 0.021, 0.119]),
        ({"total_speed": 1000}, [0.001, 0.002, 0.1]),
    ],
)
def test_the_more_are_in_service_the_slower_is_each(settings: dict[str, Any], times: list[float]) -> None:
    """One stream has the speed of one; a hundred share what all may have."""
    tally = Tally()
    pace = Pace(Settings(**settings), tally)
    found = []
    for tally.in_service in (1, 2, 100):
        found.append(pace.token())
    assert found == pytest.approx(times)
    assert pace.token(0.25) == 0.25


def test_whole_answers_take_the_time_of_their_tokens() -> None:
    """What is generated takes its time also when nobody sees it grow, and prompts are read before it."""
    with simulator_thread(speed=1000, prompt_speed=1000) as sim:
        whole = ask(sim, GENERATE, "[[sim tokens=30]]" + "x" * 63, stream=False).json
    assert whole["eval_duration"] >= 30_000_000
    assert whole["prompt_eval_duration"] >= whole["prompt_eval_count"] * 1_000_000 == 21_000_000


def test_waiting_for_a_slot_is_not_loading() -> None:
    """As on Ollama, `load_duration` ends when the model is there; what a slot cost shows in no other duration."""
    with simulator_thread(slots=1) as sim, closing(connect(sim)) as first, closing(connect(sim)) as second:
        post(first, CHAT, "[[sim do=stall]]")
        eventually(lambda: sim.tally.in_service == 1)
        post(second, CHAT, "x")
        eventually(lambda: sim.tally.waiting == 1)
        time.sleep(0.02)
        first.close()
        last = hear(second).lines[-1]
    known = last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
    assert last["total_duration"] - known >= 20_000_000


def test_a_model_in_use_is_not_unloaded() -> None:
    """With room for one model, the next waits until nobody uses the first, and who uses it overtakes."""
    with simulator_thread(models=("a", "b"), max_loaded=1) as sim:
        with closing(connect(sim)) as first, closing(connect(sim)) as second:
            post(first, CHAT, "[[sim do=stall]]", model="a")
            eventually(lambda: sim.tally.in_service == 1)
            post(second, CHAT, "x", model="b")
            eventually(lambda: sim.tally.waiting == 1)
            assert ask(sim, CHAT, model="a").status == 200
            assert (sim.tally.loads, sim.tally.waiting) == ({"a:latest": 1}, 1)
            first.close()
            assert hear(second).lines[-1]["done"]
        assert sim.tally.loads == {"a:latest": 1, "b:latest": 1}
        assert ask(sim, "/api/ps", method="GET").json["models"][0]["name"] == "b:latest"


@pytest.mark.parametrize(
    ("keep_alive", "asked", "loads"),
    [(300, {}, 1), (0, {}, 3), (300, {"keep_alive": 0}, 3), (0, {"keep_alive": -1}, 1)],
)
def test_idle_models_go(keep_alive: float, asked: dict[str, Any], loads: int) -> None:
    """A model stays as long as the server or its last request says."""
    with simulator_thread(keep_alive=keep_alive) as sim:
        for _ in range(3):
            assert ask(sim, GENERATE, **asked).status == 200
        assert sim.tally.loads.total() == loads


def test_generations_for_nothing_are_counted() -> None:
    """Dropped by the client, broken off by the server, answered again: each by id, with its tokens."""
    with simulator_thread() as sim:
        with closing(connect(sim)) as sock:
            post(sock, V1_CHAT, "[[sim id=left tokens=5 do=keep_open]]", stream=True)
            Reader(sock).until(b"[DONE]")
        with closing(connect(sim)) as sock:
            post(sock, V1_CHAT, "[[sim id=dropped tokens=100 delay=0.01]]", stream=True)
            Reader(sock).until(b"w1")
        eventually(lambda: sim.tally.in_flight == 0)
        assert (sim.tally.answered, sim.tally.dropped, sim.tally.broken) == ({"left": 1}, {"dropped": 1}, {})
        assert 2 <= sim.tally.wasted == sim.tally.left < 100
        assert ask(sim, GENERATE, "[[sim id=broken do=reset after=3]]").end == "reset"
        eventually(lambda: sim.tally.broken == {"broken": 1})
        assert sim.tally.wasted == sim.tally.left + 3
        ask(sim, GENERATE, "[[sim id=busy do=busy]]")
        for _ in range(3):
            ask(sim, GENERATE, "[[sim id=again tokens=4]]")
        ask(sim, EMBED, ["[[sim id=one]]", "[[sim id=two]]"])
        assert (sim.tally.answered["one"], sim.tally.answered["two"]) == (1, 1)
        assert sim.tally.thrown_away == 1 + 1 + 2
        assert sim.tally.refused == {"busy": 1}
        assert ask(sim, "/_sim/counts", method="GET").json["thrown_away"] == 4


@pytest.mark.parametrize("path", [CHAT, V1_CHAT, V1_TEXT])
def test_a_dying_runner_takes_the_answers_in_the_making(path: str) -> None:
    """A stream that has begun ends in an error (lost on Ollama's /v1), one that has not in HTTP 500; both live on."""
    with simulator_thread() as sim, closing(connect(sim)) as begun, closing(connect(sim)) as waiting:
        post(begun, path, "[[sim do=stall after=2]]", stream=True)
        post(waiting, path, "[[sim ttft=60]]", stream=True)
        eventually(lambda: sim.tally.in_service == 2 and sim.tally.generated == 2)
        assert ask(sim, path, "[[sim do=runner_crash]]").status == 500
        cut, refused = hear(begun), hear(waiting)
        assert (cut.status, cut.end, refused.status) == (200, "clean", 500)
        assert (b"running the model" in cut.body) == (path == CHAT)
        assert (b"[DONE]" in cut.body, b'"done":true' in cut.body) == (False, False)
        assert b"unexpectedly stopped" in refused.body
        for sock in (begun, waiting):
            post(sock, path, "x")
            assert hear(sock).status == 200
        assert sim.tally.loads.total() == 2


def test_prompts_are_cut_unless_it_is_forbidden() -> None:
    """Ollama cuts in silence, or with `truncate: false` refuses in llama.cpp's words; others refuse."""
    with simulator_thread(context=10) as sim, simulator_thread(context=10, look="openai") as other:
        assert ask(sim, GENERATE, "x" * 400).lines[-1]["prompt_eval_count"] == 10
        assert ask(sim, V1_CHAT, "x" * 400).json["usage"]["prompt_tokens"] == 10
        refused = ask(sim, CHAT, "x" * 400, truncate=False)
        assert json.loads(refused.json["error"])["error"]["type"] == "exceed_context_size_error"
        assert "exceeds the context length" in ask(sim, EMBED, ["a", "x" * 400], truncate=False).json["error"]
        assert ask(sim, EMBED, ["a", "x" * 400]).json["prompt_eval_count"] == 11
        assert ask(other, V1_CHAT, "x" * 400).json["error"]["type"] == "exceed_context_size_error"


def test_a_frozen_server_takes_connections_and_says_nothing() -> None:
    """As after SIGSTOP: the kernel accepts, nothing is read or answered, and all goes on where it stood."""
    with simulator_thread() as sim:
        sim.suspend()
        with closing(connect(sim)) as sock:
            post(sock, CHAT, "[[sim id=frozen]]")
            sock.settimeout(0.02)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            assert sim.counts["frozen"] == 0
            sim.thaw()
            sock.settimeout(10)
            assert hear(sock).status == 200


def test_a_deaf_server_reads_nothing() -> None:
    """More than the kernels hold cannot be sent."""
    with simulator_thread(deaf=True) as sim, closing(connect(sim)) as sock:
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            send(sock, "POST", CHAT, b"x" * (64 << 20))
        assert sim.tally.in_flight == 0


def test_outages_come_and_go() -> None:
    """Down and up again by itself: connections are reset, models forgotten; a freeze loses nothing."""
    with simulator_thread(down_every=0.1, down_for=0.02) as sim:
        with closing(connect(sim)) as sock:
            post(sock, CHAT, "[[sim do=stall]]")
            assert hear(sock).end == "reset"
        eventually(lambda: sim.tally.outages >= 2)
        eventually(lambda: answers(sim.port))
        assert sim.tally.loads.total() >= 2
    with simulator_thread(freeze_every=0.03, freeze_for=0.02) as sim:
        eventually(lambda: sim.tally.outages >= 2)
        assert ask(sim, CHAT).lines[-1]["done"]


def test_storms_refuse_all_for_a_while() -> None:
    """They say how long they last in the way that was chosen, and it is known when they were over."""
    with simulator_thread(storm_every=0.3, storm_for=0.25, hint="ms") as sim:
        eventually(lambda: ask(sim, CHAT).status == 429)
        refused = ask(sim, CHAT)
        assert 0 < int(refused.headers["retry-after-ms"]) <= 250
        eventually(lambda: ask(sim, CHAT).status == 200)
        eventually(lambda: bool(sim.tally.recovered))
        assert sim.tally.refused["throttled"] >= 2


def answers(port: int) -> bool:
    import http.client

    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            connection.request("POST", GENERATE, json.dumps(body_for(GENERATE, "x")))
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_prose_is_pleasant_and_seeded() -> None:
    """Sentences of exactly as many tokens as asked for, the same for the same prompt and seed."""
    with simulator_thread(prose=True, tokens=40) as sim, simulator_thread(prose=True, tokens=40, seed=1) as other:
        said = [ask(s, GENERATE, "hello", stream=False).json["response"] for s in (sim, sim, other)]
        assert ask(sim, GENERATE, "hello", stream=False, options={"num_predict": 3}).json["eval_count"] == 3
    assert said[0] == said[1] != said[2]
    assert len(said[0].split()) == 40
    assert said[0][0].isupper()
    assert "{" not in said[0]
    assert prose("any", 0) == []
