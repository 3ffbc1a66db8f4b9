"""Answers in the words of /v1 (all but responses), as Ollama's openai/openai.go writes them.

In the look "openai" they differ where llama.cpp and OpenAI do: `n` choices, tool arguments in pieces,
`reasoning_content`. Pure.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson

from batcher.simulator.asks import Ask, Durations, Event, Whole, tool_arguments, tool_names
from batcher.simulator.native import logprob, numbers, vectors
from batcher.simulator.texts import picture

DONE: Event = ("", b"[DONE]")


def usage_of(ask: Ask) -> dict[str, int]:
    prompt, completion = ask.prompt_tokens, ask.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def wants_usage(ask: Ask) -> bool:
    options = ask.body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage")) and "no_usage" not in ask.faults


def is_lost(ask: Ask) -> bool:
    """True for a whole answer that Ollama's runner lost on the way: no finish reason, all counts zero."""
    return not ask.faults.isdisjoint(("done_false", "truncate"))


class ChatAnswer:
    """An answer of /v1/chat/completions."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._thought = "reasoning" if ask.look == "native" else "reasoning_content"
        self._names = tool_names(ask)
        self._id = f"chatcmpl-{ask.number % 999}"
        self._head = (
            b'{"id":"%b","object":"chat.completion.chunk","created":%d,"model":%b,"system_fingerprint":"fp_ollama",'
            % (self._id.encode(), int(ask.created), orjson.dumps(ask.model))
        )
        self._finish = "tool_calls" if self._names and ask.finish == "stop" else ask.finish

    def records(self) -> list[Event]:
        ask = self._ask
        deltas: list[tuple[bytes, str]] = [
            (b'"content":"",' + orjson.dumps({self._thought: thought})[1:-1], "") for thought in ask.thoughts
        ]
        deltas += [(b'"content":' + orjson.dumps(word), word) for word in ask.words]
        deltas += [(b'"content":"","tool_calls":' + orjson.dumps(calls), "") for calls in self._call_pieces()]
        found: list[Event] = []
        role = b'"role":"assistant",'
        for delta, word in deltas or [(b'"content":""', "")]:
            found += [self._chunk(index, role + delta, b"null", word) for index in range(ask.choices)]
            role = b""
        return found

    def ending(self, took: Durations) -> list[Event]:  # noqa: ARG002 - /v1 tells no durations
        ask = self._ask
        finish = orjson.dumps(self._finish)
        found = [self._chunk(index, b"", finish) for index in range(ask.choices)]
        if wants_usage(ask):
            found.append(("", self._head + b'"choices":[],"usage":%b}' % orjson.dumps(usage_of(ask))))
        return [*found, DONE]

    def whole(self, took: Durations) -> bytes:  # noqa: ARG002 - /v1 tells no durations
        ask = self._ask
        message: dict[str, Any] = {"role": "assistant", "content": "".join(ask.words)}
        if ask.thoughts:
            message[self._thought] = "".join(ask.thoughts)
        if self._names:
            message["tool_calls"] = [self._call(i, name) for i, name in enumerate(self._names)]
        choices = [
            {"index": i, "message": message, "finish_reason": None if is_lost(ask) else self._finish}
            | ({"logprobs": self._logprobs(ask.words)} if ask.body.get("logprobs") else {})
            for i in range(ask.choices)
        ]
        return _whole(ask, self._id, "chat.completion", choices)

    def _chunk(self, index: int, delta: bytes, finish: bytes, word: str = "") -> Event:
        logprobs = b""
        if word and self._ask.body.get("logprobs"):
            logprobs = b',"logprobs":' + orjson.dumps(self._logprobs([word]))
        choice = b'"choices":[{"index":%d,"delta":{%b},"finish_reason":%b%b}]}' % (index, delta, finish, logprobs)
        return "", self._head + choice

    def _call(self, number: int, name: str) -> dict[str, Any]:
        arguments = orjson.dumps(tool_arguments(number)).decode()
        function = {"name": name, "arguments": arguments}
        return {"id": f"call_{number:08d}", "index": number, "type": "function", "function": function}

    def _call_pieces(self) -> list[list[dict[str, Any]]]:
        """Ollama sends each call whole; OpenAI sends the name first and the arguments in pieces."""
        calls = [self._call(i, name) for i, name in enumerate(self._names)]
        if self._ask.look == "native":
            return [[call] for call in calls]
        pieces = []
        for call in calls:
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            pieces.append([call | {"function": {"name": name, "arguments": ""}}])
            parts = [arguments[i : i + 7] for i in range(0, len(arguments), 7)]
            pieces += [[{"index": call["index"], "function": {"arguments": part}}] for part in parts]
        return pieces

    def _logprobs(self, words: list[str]) -> dict[str, Any]:
        top = int(self._ask.body.get("top_logprobs") or 0)
        return {"content": [logprob(word, top) | ({} if top else {"top_logprobs": []}) for word in words]}


class CompletionAnswer:
    """An answer of /v1/completions. Thinking and log probabilities do not show here, as on Ollama."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._id = f"cmpl-{ask.number % 999}"
        self._head = b'{"id":"%b","object":"text_completion","created":%d,' % (self._id.encode(), int(ask.created))
        self._tail = b',"model":%b,"system_fingerprint":"fp_ollama"' % orjson.dumps(ask.model)
        zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        self._zeros = b',"usage":' + orjson.dumps(zeros) if wants_usage(ask) else b""

    def records(self) -> list[Event]:
        ask = self._ask
        return [self._chunk(i, orjson.dumps(word), b"null") for word in ask.words for i in range(ask.choices)]

    def ending(self, took: Durations) -> list[Event]:  # noqa: ARG002 - /v1 tells no durations
        ask = self._ask
        found = [self._chunk(i, b'""', orjson.dumps(ask.finish)) for i in range(ask.choices)]
        if wants_usage(ask):
            usage = b'"choices":[]%b,"usage":%b}' % (self._tail, orjson.dumps(usage_of(ask)))
            found.append(("", self._head + usage))
        return [*found, DONE]

    def whole(self, took: Durations) -> bytes:  # noqa: ARG002 - /v1 tells no durations
        ask = self._ask
        finish = None if is_lost(ask) else ask.finish
        choices = [{"text": "".join(ask.words), "index": i, "finish_reason": finish} for i in range(ask.choices)]
        return _whole(ask, self._id, "text_completion", choices)

    def _chunk(self, index: int, text: bytes, finish: bytes) -> Event:
        choice = b'"choices":[{"text":%b,"index":%d,"finish_reason":%b}]' % (text, index, finish)
        return "", self._head + choice + self._tail + self._zeros + b"}"


def _whole(ask: Ask, id: str, kind: str, choices: list[dict[str, Any]]) -> bytes:  # noqa: A002 - the field's name
    found: dict[str, Any] = {"id": id, "object": kind, "created": int(ask.created), "model": ask.model}
    found |= {"system_fingerprint": "fp_ollama", "choices": choices}
    if is_lost(ask):
        found["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    elif "no_usage" not in ask.faults:
        found["usage"] = usage_of(ask)
    return orjson.dumps(found) + b"\n"


class EmbeddingsAnswer(Whole):
    """An answer of /v1/embeddings."""

    def whole(self, took: Durations) -> bytes:  # noqa: ARG002 - /v1 tells no durations
        ask = self._ask
        rows = self._rows()
        if "shuffled_index" in ask.faults:
            rows.reverse()
        if "duplicate_index" in ask.faults:
            rows = [(0, row) for _, row in rows]
        data = b",".join(b'{"object":"embedding","embedding":%b,"index":%d}' % (row, place) for place, row in rows)
        usage = {"prompt_tokens": ask.prompt_tokens, "total_tokens": ask.prompt_tokens}
        tail = b"" if "no_usage" in ask.faults else b',"usage":' + orjson.dumps(usage)
        return b'{"object":"list","data":[%b],"model":%b%b}\n' % (data, orjson.dumps(ask.model), tail)

    def _rows(self) -> list[tuple[int, bytes]]:
        if str(self._ask.body.get("encoding_format", "")).lower() != "base64":
            return vectors(self._ask)
        return [
            (place, orjson.dumps(base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()))
            for place, row, _ in numbers(self._ask)
        ]


class PictureAnswer(Whole):
    """An answer of /v1/images/generations."""

    def whole(self, took: Durations) -> bytes:  # noqa: ARG002 - /v1 tells no durations
        ask = self._ask
        image = base64.b64encode(picture(ask.texts[0])).decode()
        return orjson.dumps({"created": int(ask.created), "data": [{"b64_json": image}] * ask.choices}) + b"\n"
