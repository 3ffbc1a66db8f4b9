"""The simulator counts what it sees, serves in turn, and keeps or drops its connections as it is told."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.rawhttp import CHAT, GENERATE, V1_CHAT, V1_TEXT, Reader, ask, body_for, connect, eventually, hear, send

from batcher.simulator import BackgroundSimulator, simulator_thread, text
from batcher.simulator.behaviours import behaviour_of, parse
from batcher.simulator.http import RequestParser

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


def test_requests_are_counted_and_remembered(sim: BackgroundSimulator) -> None:
    """Every request counts under its id, `times` counts by id, and can be read back, here and over HTTP."""
    for _ in range(3):
        ask(sim, CHAT, "[[sim id=count do=busy times=2]]")
    assert (sim.counts["count"], sim.tally.answered["count"]) == (3, 1)
    seen = sim.requests("count")
    assert [(one.path, one.headers["host"], one.body["model"]) for one in seen] == [
        (CHAT, "localhost", "simulator")
    ] * 3
    assert seen[0].time <= seen[1].time <= seen[2].time
    assert [one.faults for one in seen] == [{"busy"}, {"busy"}, set()]
    ask(sim, GENERATE, "x" * 100)
    counts = ask(sim, "/_sim/counts", method="GET").json
    assert counts["counts"]["count"] == 3
    assert counts["counts"]["x" * 80] == 1
    assert counts["in_flight"] == 0


def test_memory_of_requests_is_bounded() -> None:
    """Beyond `keep` the oldest request is forgotten, its count is not."""
    with simulator_thread(keep=2) as sim:
        for _ in range(3):
            ask(sim, GENERATE, "again")
        assert (sim.counts["again"], len(sim.requests("again"))) == (3, 2)


def test_memory_of_an_earlier_server() -> None:
    """A server that is given the memory of another goes on where that one was."""
    with simulator_thread() as sim:
        assert ask(sim, CHAT, "[[sim id=once do=busy times=1]]").status == 503
    with simulator_thread(tally=sim.tally) as heir:
        assert ask(heir, CHAT, "[[sim id=once do=busy times=1]]").status == 200
        assert heir.counts["once"] == 2


def test_slots_serve_in_turn_and_the_queue_has_an_end() -> None:
    """One slot serves one request at a time, the next waits without a byte, and the one beyond the queue gets 503."""
    with simulator_thread(slots=1, max_queue=1) as sim, closing(connect(sim)) as first, closing(connect(sim)) as second:
        send(first, "POST", CHAT, json.dumps(body_for(CHAT, "[[sim id=a do=stall after=1]]")).encode())
        eventually(lambda: sim.tally.in_service == 1)
        send(second, "POST", CHAT, json.dumps(body_for(CHAT, "[[sim id=b]]")).encode())
        eventually(lambda: sim.tally.in_flight == 2)
        assert ask(sim, CHAT, "[[sim id=c]]").status == 503
        assert sim.tally.answered["b"] == 0
        first.close()
        assert hear(second).lines[-1]["done"]
        assert (sim.tally.peak_in_service, sim.peak_in_flight, sim.tally.aborted) == (1, 3, 1)


def test_models_load_once_and_again_when_their_options_change() -> None:
    """A model loads for its first request, for other load options, and after another took its place."""
    with simulator_thread(models=("a", "b"), max_loaded=1) as sim:
        for model, options in (("a", {}), ("A:latest", {}), ("a", {"num_ctx": 9}), ("b", {}), ("a", {"num_ctx": 9})):
            ask(sim, GENERATE, model=model, options=options)
        assert sim.tally.loads == {"a:latest": 3, "b:latest": 1}


def test_a_key_is_demanded() -> None:
    """With `key`, only the right Authorization header gets an answer."""
    with simulator_thread(key="k1") as sim, closing(connect(sim)) as sock:
        assert ask(sim, GENERATE).status == 401
        send(sock, "POST", CHAT, json.dumps(body_for(CHAT, "x")).encode(), "Authorization: Bearer k1\r\n")
        assert hear(sock).status == 200


def test_connections_are_kept_until_a_fault_ends_them(sim: BackgroundSimulator) -> None:
    """Keep-alive serves many requests, and a stale connection closes at the next, without a byte."""
    with closing(connect(sim)) as sock:
        numbers = []
        for _ in range(3):
            send(sock, "POST", V1_CHAT, json.dumps(body_for(V1_CHAT, "x")).encode())
            assert hear(sock).status == 200
            numbers.append(sim.tally.connections)
        assert len(set(numbers)) == 1
        send(sock, "POST", V1_CHAT, json.dumps(body_for(V1_CHAT, "[[sim do=stale]]")).encode())
        assert hear(sock).status == 200
        send(sock, "POST", V1_CHAT, json.dumps(body_for(V1_CHAT, "lost")).encode())
        assert hear(sock).end == "nothing"
    assert sim.counts["lost"] == 0


def test_requests_arrive_in_any_pieces() -> None:
    """Byte by byte, chunked or with a length, two in a row: the parser gives the same requests."""
    raw = (
        b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
        b"POST /b?x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n"
        b"GET /c HTTP/1.0\r\n\r\n"
    )
    parser, found = RequestParser(), []
    for i in range(len(raw)):
        parser.feed(raw[i : i + 1])
        if (request := parser.next()) is not None:
            found.append((request.path, request.body, request.keep_alive))
    assert found == [("/a", b"abc", True), ("/b", b"abc", True), ("/c", b"", False)]


def test_a_crash_takes_all_connections_with_it() -> None:
    """`do=crash` resets every request in flight, and the server is there again."""
    with simulator_thread() as sim, closing(connect(sim)) as other:
        send(other, "POST", CHAT, json.dumps(body_for(CHAT, "[[sim do=stall after=0]]")).encode())
        eventually(lambda: sim.tally.in_service == 1)
        assert ask(sim, CHAT, "[[sim do=crash]]").end == "reset"
        assert hear(other).end == "reset"
        assert ask(sim, CHAT).status == 200


def test_a_killed_server_refuses_and_comes_back_on_its_port() -> None:
    """An outage can be played: kill, connections are refused, revive, same port."""
    with simulator_thread() as sim:
        sim.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(sim, CHAT)
        sim.revive()
        assert ask(sim, CHAT).status == 200


def test_a_default_holds_for_texts_without_a_directive() -> None:
    """`default` gives every prompt a behaviour; a directive overrides it key by key."""
    with simulator_thread(default="do=busy times=1 tokens=2") as sim:
        assert [ask(sim, GENERATE, "p").status for _ in range(2)] == [503, 200]
        assert len(ask(sim, GENERATE, "p").lines) == 3
        assert len(ask(sim, GENERATE, "[[sim tokens=4 times=0]]").lines) == 5


def test_directives_are_read_whole() -> None:
    """Values are percent-decoded, faults are a list, and what is no directive changes nothing."""
    default = parse("")
    found = behaviour_of("before [[sim id=q%207 do=crlf,cut delay=0.5]] after", default)
    assert (found.id, sorted(found.do), found.delay) == ("q 7", ["crlf", "cut"], 0.5)
    assert behaviour_of("[[simple]] prompt", default) is default
    for wrong in ("tokens=many", "do=", "alone"):
        with pytest.raises(ValueError, match=r"simulator|invalid literal"):
            parse(wrong)


def test_many_clients_are_counted_right(sim: BackgroundSimulator) -> None:
    """Eight clients at once: no request is lost from the counts."""
    before = sim.tally.paths[V1_TEXT]
    clients = [threading.Thread(target=lambda: [ask(sim, V1_TEXT, "many") for _ in range(20)]) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert (sim.tally.paths[V1_TEXT] - before, sim.counts["many"], sim.tally.answered["many"]) == (160, 160, 160)
    eventually(lambda: sim.tally.in_flight == 0)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stdin", "SIGTERM"])
def test_the_command_prints_its_url_and_ends(end: str) -> None:
    """`python -m batcher.simulator` says where it is and goes when stdin closes or SIGTERM comes."""
    command = [sys.executable, "-m", "batcher.simulator", "--slots", "2", "--default", "tokens=3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as sock:
            send(sock, "POST", GENERATE, json.dumps(body_for(GENERATE, "x")).encode())
            assert len(hear(sock).lines) == 4
        if end == "stdin":
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_pipelined_requests_are_answered_in_turn(sim: BackgroundSimulator) -> None:
    """Two requests sent at once on one connection get their two answers, in order."""
    with closing(connect(sim)) as sock:
        one, two = (json.dumps(body_for(GENERATE, name) | {"stream": False}).encode() for name in ("one", "two"))
        head = "POST /api/generate HTTP/1.1\r\nConnection: {}\r\nContent-Length: {}\r\n\r\n"
        sock.sendall(head.format("keep-alive", len(one)).encode() + one + head.format("close", len(two)).encode() + two)
        reader = Reader(sock)
        heard = reader.exactly(1 << 20)
    assert 0 < heard.index(text("one").encode()) < heard.index(text("two").encode())


def test_bodies_may_come_chunked_and_after_a_continue(sim: BackgroundSimulator) -> None:
    """A client that waits for 100 Continue is told to go on, and its chunked body is read."""
    with closing(connect(sim)) as sock:
        sock.sendall(b"POST /api/generate HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert hear_continue(sock)
        body = json.dumps(body_for(GENERATE, "[[sim id=chunked]]")).encode()
        sock.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert hear(sock).lines[-1]["done"]
    assert sim.counts["chunked"] == 1


def hear_continue(sock: socket.socket) -> bool:
    return sock.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_what_is_no_http_gets_400(sim: BackgroundSimulator) -> None:
    """Bytes that are no request line are refused, and the connection ends."""
    with closing(connect(sim)) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert hear(sock).status == 400
        assert sock.recv(1) == b""


def test_delays_show_in_the_durations() -> None:
    """Loading, prompt and tokens take the time they are set to, and the last record says so in nanoseconds."""
    with simulator_thread(load=0.02, prompt_delay=0.01, token_delay=0.001) as sim:
        last = ask(sim, GENERATE, "[[sim tokens=6]]").lines[-1]
        assert last["load_duration"] >= 20_000_000
        assert last["prompt_eval_duration"] >= 10_000_000
        assert last["eval_duration"] >= 4_500_000
        assert last["total_duration"] >= last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
