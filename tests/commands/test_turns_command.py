"""Conversations of several turns: each answer joins the history of the next, and one line has all of them."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.commandline import ended, running, until
from support.talkserver import Said, TalkServer, talking

if TYPE_CHECKING:
    from support.commandline import Desk, Ran

pytestmark = pytest.mark.slow


def run(desk: Desk, server: TalkServer, *args: str, dialect: str = "openai", output: str = "results.jsonl") -> Ran:
    return desk.call(
        "run", "jobs.jsonl", "-o", output, "--base-url", server.url, "--dialect", dialect, "-m", "m", *args
    )


def counted(said: Said) -> str:
    return f"answer {(len(said.words) + 1) // 2} to {said.words[-1]}"


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize(("path", "dialect"), [("", "openai"), ("", "native"), ("/v1/responses", "openai")])
def test_each_answer_joins_the_history_of_the_next(desk: Desk, path: str, dialect: str, stream: str) -> None:
    """One line with the answers in their order, and what all of it cost; no retry is counted for it."""
    where = {"url": path} if path else {}
    desk.write("jobs.jsonl", {"id": "a", "turns": ["One?", "Two?", "Three?"], "system": "Be brief.", **where})
    with talking(counted) as server:
        ran = run(desk, server, stream, "--retries", "0", dialect=dialect)
    assert ran.code == 0, ran.err
    assert "retries" not in ran.err
    (line,) = desk.lines()
    texts = [turn["text"] for turn in line["turns"]]
    assert line["text"] == texts[2]
    assert [text.split(" to ")[1] for text in texts] == ["One?", "Two?", "Three?"]
    assert line["usage"] == {"prompt_tokens": 15, "completion_tokens": 9}
    assert [turn["usage"]["completion_tokens"] for turn in line["turns"]] == [3, 3, 3]
    assert (line["attempts"], "asked_again" in line) == (3, False)
    last = [word for word in server.said[2].words if word != "Be brief."]
    assert last == ["One?", texts[0], "Two?", texts[1], "Three?"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"messages": [{"role": "user", "content": "m"}], "turns": ["t"]}, [["m"], ["m", "1", "t"]]),
        (
            {"messages": [{"role": "system", "content": "s"}], "turns": ["t", "u"]},
            [["s", "t"], ["s", "t", "1", "u"]],
        ),
        ({"prompt": "p", "turns": ["t"]}, [["p"], ["p", "1", "t"]]),
        (
            {"messages": [{"role": "user", "content": "m"}, {"role": "assistant", "content": "old"}], "turns": ["t"]},
            [["m", "old", "t"]],
        ),
        (
            {"turns": [[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "c"]},
            [["a", "b"], ["a", "b", "1", "c"]],
        ),
        ({"turns": ["only"]}, [["only"]]),
    ],
)
def test_how_a_conversation_may_begin(desk: Desk, line: dict[str, Any], words: list[list[str]]) -> None:
    """With messages, a prompt, or the first turn; what ends in a question is answered before the turns."""
    desk.write("jobs.jsonl", {"id": "a", **line})
    with talking(lambda _: "1") as server:
        assert run(desk, server).code == 0
    assert [said.words for said in server.said] == words
    (result,) = desk.lines()
    assert len(result.get("turns", [0])) == len(words)


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize("dialect", ["openai", "native"])
def test_turns_bring_the_results_of_tools(desk: Desk, dialect: str, stream: str) -> None:
    """The call stands in the history in the API's words, and its result under its id."""
    arguments: Any = {"city": "Oslo"} if dialect == "native" else '{"city": "Oslo"}'
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    if dialect == "openai":
        call["id"] = "c1"
    tool = {"role": "assistant", "content": "", "tool_calls": [call]}
    desk.write(
        "jobs.jsonl",
        {"id": "a", "tools": [TOOL], "turns": ["Weather?", {"role": "tool", "content": "rain"}, "Thanks."]},
        {"id": "b", "tools": [TOOL], "turns": ["Weather?", "And now?"]},
    )
    with talking(lambda said: tool if said.words == ["Weather?"] else "It rains.") as server:
        ran = run(desk, server, stream, dialect=dialect)
    assert ran.code == 3
    (line,) = desk.lines()
    assert [turn["text"] for turn in line["turns"]] == ["", "It rains.", "It rains."]
    assert line["turns"][0]["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}
    messages = next(said for said in server.said if said.words[-1] == "Thanks.").body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == arguments
    if dialect == "openai":
        assert messages[2]["tool_call_id"] == "c1"
    assert desk.errors() == {"b": "tool_call_open"}
    (error,) = desk.lines("results.errors.jsonl")
    assert "waits for the result of weather" in error["error"]["message"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ({"turns": []}, "input_invalid"),
        ({"turns": "text"}, "input_invalid"),
        ({"turns": ["a", 3]}, "input_invalid"),
        ({"turns": ["a", " "]}, "empty_prompt"),
        ({"turns": ["a", []]}, "empty_prompt"),
        ({"turns": ["a"], "url": "/v1/completions"}, "endpoint_mismatch"),
        ({"turns": ["a"], "url": "/api/embed", "input": "x"}, "endpoint_mismatch"),
    ],
)
def test_turns_that_are_none(desk: Desk, line: dict[str, Any], code: str) -> None:
    desk.write("jobs.jsonl", {"id": "a", **line})
    with talking(counted) as server:
        assert run(desk, server).code == 3
    assert desk.errors() == {"a": code}


def test_other_turns_are_another_request(desk: Desk) -> None:
    """The hash is over all of them."""
    desk.write("jobs.jsonl", {"id": "a", "turns": ["x", "y"]})
    with talking(counted) as server:
        assert run(desk, server).code == 0
        assert run(desk, server).code == 0
        assert len(server.said) == 2
        desk.write("jobs.jsonl", {"id": "a", "turns": ["x", "z"]})
        assert run(desk, server).code == 65


def test_each_turn_has_to_fit_a_schema(desk: Desk) -> None:
    """What is asked again does not stay in the history."""
    desk.write("jobs.jsonl", {"id": "a", "turns": ["One?", "Two?"], "schema": {"type": "object"}})
    with talking(lambda said: "{}" if "cannot be used" in said.words[-1] else "no") as server:
        assert run(desk, server).code == 0
    (line,) = desk.lines()
    assert (line["asked_again"], line["attempts"]) == (2, 4)
    assert [turn["parsed"] for turn in line["turns"]] == [{}, {}]
    assert server.said[2].words == ["One?", "{}", "Two?"]


def test_flags_of_any_turn_are_the_line_s(desk: Desk) -> None:
    desk.write("jobs.jsonl", {"id": "a", "turns": ["One?", "Two?"]})
    with talking(lambda said: "" if said.words == ["One?"] else "here") as server:
        assert run(desk, server).code == 0
        assert desk.lines()[0]["flags"] == ["empty"]
        assert run(desk, server, "--fail-on", "empty", "--overwrite").code == 3


@pytest.mark.parametrize(
    ("stop", "dialect", "stream"),
    [
        (signal.SIGKILL, "openai", "--stream"),
        (signal.SIGKILL, "openai", "--no-stream"),
        (signal.SIGKILL, "native", "--stream"),
        (signal.SIGTERM, "openai", "--stream"),
    ],
)
def test_a_conversation_that_is_cut_starts_again_whole(
    desk: Desk, stop: signal.Signals, dialect: str, stream: str
) -> None:
    """After a kill behind a call of a tool; one that is asked to stop lets those in flight end within `--grace`."""
    turns = ["One?", {"role": "tool", "content": "rain"}, "Two?"]
    desk.write("jobs.jsonl", *({"id": name, "tools": [TOOL], "turns": turns} for name in "ab"))
    waits, goes = threading.Event(), threading.Event()
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    if dialect == "openai":
        call["function"] = {"name": "weather", "arguments": '{"city": "Oslo"}'}

    def answer(said: Said) -> str | dict[str, Any]:
        if said.words == ["One?"]:
            return {"role": "assistant", "content": "", "tool_calls": [call]}
        if said.words[-1] == "Two?" and not goes.is_set():
            waits.set()
            goes.wait(60)
        return counted(said)

    with talking(answer) as server:
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", server.url, "--dialect", dialect, "-m", "m")
        with running(desk.start(*args, stream, "-c", "1")) as process:
            until(waits.is_set)
            process.send_signal(stop)
            if stop is signal.SIGTERM:
                assert process.stderr is not None
                assert any("in flight" in line for line in iter(process.stderr.readline, ""))
            goes.set()
            assert ended(process).code == -stop
        done = desk.ids()
        assert done == ([] if stop is signal.SIGKILL else ["a"])
        assert run(desk, server, stream, dialect=dialect).code == 0
    assert desk.ids() == ["a", "b"]
    for line in desk.lines():
        assert [bool(turn.get("tool_calls")) for turn in line["turns"]] == [True, False, False]
        assert [turn["text"] for turn in line["turns"]] == ["", "answer 2 to rain", "answer 3 to Two?"]
    starts = [said for said in server.said if said.words == ["One?"]]
    assert len(starts) == (3 if stop is signal.SIGKILL else 2)


def test_a_conversation_is_a_chat_to_train_on(desk: Desk) -> None:
    """All turns, what was asked and what was answered."""
    desk.write("jobs.jsonl", {"id": "a", "turns": ["One?", "Two?"], "system": "s"})
    with talking(lambda said: f"to {said.words[-1]}") as server:
        assert run(desk, server).code == 0
    assert desk.call("export", "results.jsonl", "-o", "chats.jsonl", "--format", "messages").code == 0
    chat = orjson.loads((desk.path / "chats.jsonl").read_bytes())
    assert [message["content"] for message in chat["messages"]] == ["s", "One?", "to One?", "Two?", "to Two?"]
