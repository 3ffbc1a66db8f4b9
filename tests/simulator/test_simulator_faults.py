"""Each fault of the simulator does what it says."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.rawhttp import (
    CHAT,
    EMBED,
    GENERATE,
    RESPONSES,
    V1_CHAT,
    V1_EMBED,
    V1_TEXT,
    Heard,
    Reader,
    ask,
    body_for,
    connect,
    eventually,
    send,
)

from batcher.simulator import BackgroundSimulator, simulator_thread, vector
from batcher.simulator.behaviours import STOPPING, WIRE_FAULTS
from batcher.simulator.refusals import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


@pytest.mark.parametrize("name", sorted(REFUSALS))
@pytest.mark.parametrize("path", [GENERATE, V1_CHAT])
def test_refusals_come_with_their_status(sim: BackgroundSimulator, path: str, name: str) -> None:
    """Every error reply has its status and says its words in the shape of the API."""
    heard = ask(sim, path, f"[[sim do={name} retry_after=7]]")
    refusal = REFUSALS[name]
    assert (heard.status, heard.headers["retry-after"]) == (refusal.status, "7")
    if refusal.raw is not None:
        assert heard.body == refusal.raw
    else:
        error = heard.json["error"]
        assert (error if path == GENERATE else error["message"]) == refusal.message


def test_a_status_takes_its_usual_body_and_any_header(sim: BackgroundSimulator) -> None:
    """`status` alone is enough, `message` replaces the words, `header.` adds hints of rate limits."""
    heard = ask(sim, V1_CHAT, "[[sim status=429 message=try%20in%202s header.x-ratelimit-reset-tokens=6m0s]]")
    assert heard.json["error"]["message"] == "try in 2s"
    assert heard.headers["x-ratelimit-reset-tokens"] == "6m0s"
    assert ask(sim, V1_CHAT, "[[sim status=418]]").json["error"]["message"] == "simulated status 418"
    assert "location" in ask(sim, V1_CHAT, "[[sim status=307]]").headers


@pytest.mark.parametrize("path", [GENERATE, CHAT, V1_CHAT, V1_TEXT, RESPONSES])
@pytest.mark.parametrize("fault", sorted(STOPPING - {"stall", "pings", "endless_line"}))
def test_stopped_streams_lack_the_terminal_mark(sim: BackgroundSimulator, path: str, fault: str) -> None:
    """A stream that a fault stops holds `after` records, ends as the fault says, and bears no proof of its end."""
    key = f"{fault}{path}"
    heard = ask(sim, path, f"[[sim id={key} do={fault} after=4]]", stream=True)
    assert heard.end == {"cut": "cut", "reset": "reset"}.get(fault, "clean")
    assert heard.body.count(b'"w') <= 4
    assert b'"done":true' not in heard.body
    assert b'"finish_reason":"' not in heard.body
    assert b"response.completed" not in heard.body
    assert (b"[DONE]" in heard.body) == (fault == "error_line" and path.startswith("/v1"))
    assert (b"runner" in heard.body or b"running the model" in heard.body) == fault.startswith("error_")
    assert sim.tally.answered[key] == 0


def test_lost_errors_look_as_on_ollama(sim: BackgroundSimulator) -> None:
    """Ollama's /v1 makes an empty delta of an error; llama.cpp wrote a field `error`; others name the event."""
    *_, last = ask(sim, V1_CHAT, "[[sim do=empty_delta after=2]]", stream=True).data
    assert (last["model"], last["choices"]) == ("", [{"index": 0, "delta": {"content": ""}, "finish_reason": None}])
    assert b'\n\nerror: {"code":500' in ask(sim, V1_CHAT, "[[sim do=error_field]]", stream=True).body
    assert b"event: error\ndata: {" in ask(sim, V1_CHAT, "[[sim do=error_event]]", stream=True).body
    assert "running the model" in ask(sim, GENERATE, "[[sim do=error_line]]").lines[-1]["error"]


@pytest.mark.parametrize("fault", ["done_false", "truncate"])
def test_a_whole_answer_can_be_lost(sim: BackgroundSimulator, fault: str) -> None:
    """HTTP 200 with done:false and no metrics; on /v1 no finish reason and zero counts; errors become HTTP 500."""
    whole = ask(sim, GENERATE, f"[[sim do={fault}]]", stream=False).json
    assert (whole["done"], "eval_count" in whole, "done_reason" in whole) == (False, False, False)
    whole = ask(sim, V1_CHAT, f"[[sim do={fault}]]").json
    assert (whole["choices"][0]["finish_reason"], whole["usage"]["total_tokens"]) == (None, 0)
    assert ask(sim, V1_CHAT, "[[sim do=error_line]]").status == 500
    assert ask(sim, V1_CHAT, "[[sim do=cut]]").end == "cut"
    assert ask(sim, V1_CHAT, "[[sim do=reset]]").end == "reset"


@pytest.mark.parametrize(("fault", "end"), [("reset_before", "reset"), ("close_before", "nothing")])
def test_no_byte_may_come(sim: BackgroundSimulator, fault: str, end: str) -> None:
    """A connection can go before the first byte, by RST or by FIN, and after that the id works again."""
    assert ask(sim, CHAT, f"[[sim id={fault} do={fault} times=1]]").end == end
    assert ask(sim, CHAT, f"[[sim id={fault} do={fault} times=1]]").lines[-1]["done"]


@pytest.mark.parametrize("fault", ["stall", "pings", "keep_open", "silent"])
@pytest.mark.parametrize("path", [CHAT, V1_CHAT])
def test_held_streams_last_until_the_client_leaves(path: str, fault: str) -> None:
    """A stalled stream stays in flight until the client closes, and then counts as aborted."""
    with simulator_thread() as sim:
        with closing(connect(sim)) as sock:
            send(
                sock,
                "POST",
                path,
                json.dumps(body_for(path, f"[[sim do={fault} after=2]]") | {"stream": True}).encode(),
            )
            reader = Reader(sock)
            if fault == "silent":
                eventually(lambda: sim.tally.in_service == 1)
            else:
                mark = {"stall": b"w1", "pings": b"\r\n\n\r\n" if path == CHAT else b": ping\n\n"}.get(fault)
                assert reader.until(mark or (b'"done":true' if path == CHAT else b"[DONE]")) is not None
            assert sim.tally.in_flight == 1
        eventually(lambda: sim.tally.aborted == 1 and sim.tally.in_flight == 0 == sim.tally.in_service)


@pytest.mark.parametrize(
    "fault", ["comments", "crlf", "nospace", "multiline", "bom", "no_last_newline", "slice", "gzip"]
)
def test_other_bytes_say_the_same(sim: BackgroundSimulator, fault: str) -> None:
    """Faults of framing change the bytes and not the answer, and they compose."""
    plain = ask(sim, V1_CHAT, "[[sim id=bytes]]", stream=True)
    heard = ask(sim, V1_CHAT, f"[[sim id=bytes do={fault},hangup]]", stream=True)
    body = gzip.decompress(heard.body) if fault == "gzip" else heard.body
    expected = {
        "comments": b": SIMULATOR PROCESSING\n\ndata: {",
        "crlf": b"}\r\n\r\ndata: [DONE]\r\n\r\n",
        "nospace": b"data:{",
        "multiline": b"data: {\ndata:   ",
        "bom": b"\xef\xbb\xbfdata: {",
    }
    assert expected.get(fault, b"data: [DONE]") in body
    assert body.endswith(b"\n") == (fault != "no_last_newline")
    assert contents(body) == contents(plain.body)


def contents(body: bytes) -> str:
    """A small, lenient reader of event streams; it knows nothing of the simulator."""
    found = []
    for event in body.decode("utf-8-sig").replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].lstrip(" ") for line in event.split("\n") if line.startswith("data:"))
        if data.startswith("{"):
            found += [choice["delta"].get("content", "") for choice in json.loads(data)["choices"]]
    return "".join(found)


def test_the_answer_itself_can_be_odd(sim: BackgroundSimulator) -> None:
    """One table of the remaining faults, each with what it must show."""

    def chat(fault: str, **more: Any) -> Heard:
        return ask(sim, V1_CHAT, f"[[sim do={fault} tokens=40]]", **({"stream": True} | more))

    assert chat("json_for_sse").json["object"] == "chat.completion"
    assert chat("stream_unasked", stream=False).data[-1] == "[DONE]"
    assert max(map(len, chat("big").chunks)) > 1 << 20
    assert chat("extra_after_done").data.count("[DONE]") == 2
    assert len({d["choices"][0]["delta"].get("content") for d in chat("loop").data[1:-2]}) == 1
    assert chat("length").data[-2]["choices"][0]["finish_reason"] == "length"
    assert chat("empty", stream=False).json["choices"][0]["message"]["content"] == ""
    assert b"\ndata: oops\n" in chat("oops").body
    assert b"\xffid:" in chat("bad_utf8").body
    assert "usage" not in chat("no_usage", stream=False).json
    assert "content-length" not in (heard := chat("close_delimited")).headers
    assert (heard.chunks, heard.data[-1]) == ([], "[DONE]")
    assert ask(sim, GENERATE, "[[sim do=load_done_reason]]").json["done_reason"] == "load"
    assert "done_reason" not in ask(sim, GENERATE, "[[sim do=null_finish]]").lines[-1]
    assert ask(sim, GENERATE, "[[sim say=a%20b%0A prompt_tokens=2050]]", stream=False).json["response"] == "a b\n"


def test_bombs_and_endless_lines_are_bounded(sim: BackgroundSimulator) -> None:
    """A gzip bomb is small on the wire and large inside; an endless line ends after 64 MiB."""
    bomb = ask(sim, CHAT, "[[sim do=bomb]]")
    assert len(bomb.body) < 1 << 20
    assert bomb.headers["content-encoding"] == "gzip"
    with closing(connect(sim)) as sock:
        send(sock, "POST", CHAT, json.dumps(body_for(CHAT, "[[sim do=endless_line]]")).encode())
        seen = 0
        while seen < 64 << 20 and (data := sock.recv(1 << 20)):
            seen += len(data)
    assert seen >= 64 << 20


def test_spoilt_vectors_touch_only_their_input(sim: BackgroundSimulator) -> None:
    """In a pack, the fault of one input shows on that input alone, and each input counts under its own id."""
    for fault, odd in (("zero_vector", [0.0] * 8), ("wrong_dims", vector("[[sim id=wrong_dims do=wrong_dims]]", 9))):
        rows = ask(sim, EMBED, ["a", f"[[sim id={fault} do={fault}]]"]).json["embeddings"]
        assert rows == [vector("a"), odd]
        assert sim.counts[fault] == 1
    assert len(ask(sim, EMBED, ["a", "[[sim do=missing_vector]]"]).json["embeddings"]) == 1
    assert b",[NaN," in ask(sim, EMBED, ["a", "[[sim do=nan_vector]]"]).body
    shuffled = ask(sim, V1_EMBED, ["a", "[[sim do=shuffled_index]]"]).json["data"]
    assert [row["index"] for row in shuffled] == [1, 0]
    assert shuffled[1]["embedding"] == vector("a")
    assert ask(sim, EMBED, ["a", "[[sim id=poison do=embed_crash]]"]).status == 400
    assert ask(sim, EMBED, "[[sim do=truncate]]").body.endswith(b"}") is False


def test_every_fault_is_told_apart_and_described() -> None:
    """The two tables of faults do not overlap, and a stopping fault is a wire fault."""
    assert not WIRE_FAULTS.keys() & REFUSALS.keys()
    assert WIRE_FAULTS.keys() >= STOPPING
    assert all(WIRE_FAULTS.values())


@pytest.mark.parametrize("after", [0, 1, 5])
def test_after_counts_records(sim: BackgroundSimulator, after: int) -> None:
    """`after` records come before the fault, neither more nor fewer; without it, all of the content."""
    assert len(ask(sim, GENERATE, f"[[sim do=truncate after={after}]]").lines) == after
    assert len(ask(sim, V1_CHAT, f"[[sim do=truncate after={after}]]", stream=True).data) == after
    assert len(ask(sim, GENERATE, "[[sim do=truncate tokens=6]]").lines) == 6
