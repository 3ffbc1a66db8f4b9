"""Answers in the words of Ollama's own API, key by key as its api/types.go writes them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from batcher.simulator.asks import Ask, Durations, Event, Whole, tool_arguments, tool_names
from batcher.simulator.texts import vector


class NativeAnswer:
    """An answer of /api/generate or /api/chat. All records of an answer carry one `created_at`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._chat = ask.path == "/api/chat"
        stamp = datetime.fromtimestamp(ask.created, UTC).isoformat().replace("+00:00", "Z").encode()
        self._head = b'{"model":%b,"created_at":"%b",' % (orjson.dumps(ask.model), stamp)
        self._logprobs = bool(ask.body.get("logprobs"))
        self._calls = self._tool_calls()

    def records(self) -> list[Event]:
        ask = self._ask
        found = [("", self._record("", thinking=thought)) for thought in ask.thoughts]
        for word in ask.words:
            logprobs = self._logprob([word]) if self._logprobs else b""
            found.append(("", self._record(word, rest=b'"done":false%b}' % logprobs)))
        if self._calls and ask.behaviour.calls_on != "done":
            found.append(("", self._record("", calls=self._calls)))
        return found

    def ending(self, took: Durations) -> list[Event]:
        calls = self._calls if self._ask.behaviour.calls_on == "done" else b""
        return [("", self._record("", calls=calls, rest=self._metrics(took)))]

    def whole(self, took: Durations) -> bytes:
        ask = self._ask
        logprobs = self._logprob(ask.words) if self._logprobs else b""
        lost = not ask.faults.isdisjoint(("done_false", "truncate"))
        rest = b'"done":false%b}' % logprobs if lost else self._metrics(took, logprobs)
        return self._record("".join(ask.words), thinking="".join(ask.thoughts), calls=self._calls, rest=rest)

    def _record(self, text: str, *, thinking: str = "", calls: bytes = b"", rest: bytes = b'"done":false}') -> bytes:
        thought = b',"thinking":' + orjson.dumps(thinking) if thinking else b""
        if self._chat:
            content = b'"message":{"role":"assistant","content":%b%b%b},' % (orjson.dumps(text), thought, calls)
        else:
            content = b'"response":%b%b,' % (orjson.dumps(text), thought)
        return self._head + content + rest

    def _metrics(self, took: Durations, logprobs: bytes = b"") -> bytes:
        """From `done` on; as in Go, what is zero or unknown has no key."""
        ask = self._ask
        mark = b'"done":true' + (b',"done_reason":' + orjson.dumps(ask.finish) if ask.finish else b"")
        if ask.finish in ("load", "unload"):
            return mark + b"}"
        counts = {
            "total_duration": took.total,
            "load_duration": took.load,
            "prompt_eval_count": ask.prompt_tokens,
            "prompt_eval_duration": took.prompt,
            "eval_count": ask.completion_tokens,
            "eval_duration": took.eval,
        }
        if "no_usage" in ask.faults:
            counts = {}
        context = b"" if self._chat or ask.body.get("raw") else b',"context":[1,2,3]'
        tail = b"".join(b',"%b":%d' % (name.encode(), count) for name, count in counts.items() if count)
        if self._chat:  # api/types.go has them before the metrics in ChatResponse, after them in GenerateResponse
            return mark + logprobs + tail + b"}"
        return mark + context + tail + logprobs + b"}"

    def _tool_calls(self) -> bytes:
        names = tool_names(self._ask) if self._chat else []
        calls = [
            {"id": f"call_{i:08d}", "function": {"index": i, "name": name, "arguments": tool_arguments(i)}}
            for i, name in enumerate(names)
        ]
        return b',"tool_calls":' + orjson.dumps(calls) if calls else b""

    def _logprob(self, words: list[str]) -> bytes:
        top = int(self._ask.body.get("top_logprobs") or 0)
        return b',"logprobs":' + orjson.dumps([logprob(word, top) for word in words])


class EmbedAnswer(Whole):
    """An answer of /api/embed."""

    def whole(self, took: Durations) -> bytes:
        ask = self._ask
        rows = [row for _, row in vectors(ask)]
        head = b'{"model":%b,"embeddings":[%b]' % (orjson.dumps(ask.model), b",".join(rows))
        if not ask.texts:
            return head + b"}"
        count = b"" if "no_usage" in ask.faults else b',"prompt_eval_count":%d' % ask.prompt_tokens
        return head + b',"total_duration":%d,"load_duration":%d%b}' % (took.total, took.load, count)


def logprob(token: str, top: int) -> dict[str, object]:
    """One token's log probability; `top` alternatives, the token itself first."""
    raw = list(token.encode("utf-8", "surrogatepass"))
    found: dict[str, object] = {"token": token, "logprob": -0.125, "bytes": raw}
    if top:
        others = [f"{token}{'?' * i}" for i in range(top)]
        found["top_logprobs"] = [
            {"token": other, "logprob": -0.125 - i, "bytes": list(other.encode("utf-8", "surrogatepass"))}
            for i, other in enumerate(others)
        ]
    return found


def numbers(ask: Ask) -> list[tuple[int, list[float], frozenset[str]]]:
    """Each input's place, vector and faults; inputs whose vector is to be missing are left out."""
    asked = ask.body.get("dimensions")
    full = ask.settings.dims
    dims = asked if isinstance(asked, int) and 0 < asked < full else full
    found = []
    for place, (text, faults) in enumerate(zip(ask.texts, ask.text_faults, strict=True)):
        if "missing_vector" in faults:
            continue
        row = vector(text, dims + 1 if "wrong_dims" in faults else dims)
        found.append((place, [0.0] * dims if "zero_vector" in faults else row, faults))
    return found


def vectors(ask: Ask) -> list[tuple[int, bytes]]:
    """Each input's place and its vector as JSON."""
    return [(place, _spoilt(orjson.dumps(row), faults)) for place, row, faults in numbers(ask)]


def _spoilt(row: bytes, faults: frozenset[str]) -> bytes:
    for fault, literal in (("nan_vector", b"NaN"), ("null_vector", b"null")):
        if fault in faults:
            return b"[" + literal + row[row.index(b",") :]
    return row
