"""A request for an answer, read and checked as the real servers check it: JSON body in, `Ask` or refusal out. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import orjson

from batcher.simulator.refusals import say
from batcher.simulator.texts import thoughts, tokens

if TYPE_CHECKING:
    from batcher.simulator.behaviours import Behaviour

Look = Literal["native", "openai"]
Event = tuple[str, bytes]
"""One record: the SSE event name, "" for none, and the JSON."""

EMBEDDING = ("/api/embed", "/v1/embeddings")
_NO_FAULTS: frozenset[str] = frozenset()


@dataclass(slots=True)
class Durations:
    """What a request took so far, in nanoseconds."""

    total: int = 0
    load: int = 0
    prompt: int = 0
    eval: int = 0


class Answer(Protocol):
    """An answer in the words of one API: in records, their ending, or whole."""

    def records(self) -> list[Event]: ...

    def ending(self, took: Durations) -> list[Event]:
        """The records from the terminal mark on."""
        ...

    def whole(self, took: Durations) -> bytes: ...


@dataclass(slots=True)
class Ask:
    """What is asked, and how it will be answered. `key` is the job's name in the counts."""

    path: str
    body: dict[str, Any]
    texts: list[str]
    key: str
    look: Look
    number: int
    created: float
    behaviour: Behaviour
    faults: frozenset[str] = _NO_FAULTS
    text_faults: list[frozenset[str]] = field(default_factory=list)
    dims: int = 8
    model: str = ""
    stream: bool = False
    words: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    finish: str | None = "stop"
    calls: int = 0
    choices: int = 1

    @property
    def native(self) -> bool:
        return self.path.startswith("/api/")

    @property
    def prompt_tokens(self) -> int:
        claimed = self.behaviour.prompt_tokens
        return sum(len(text) // 4 + 1 for text in self.texts) if claimed is None else claimed

    @property
    def completion_tokens(self) -> int:
        return len(self.words) + len(self.thoughts) + self.calls


def read_body(body: bytes, *, native: bool) -> dict[str, Any]:
    """The JSON object of a request. Raises `RefusedError`."""
    if not body:
        raise say(400, "missing request body", native=native)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = _read_leniently(body, native=native)
    if not isinstance(found, dict):
        raise say(400, "json: cannot unmarshal the body into a Go value of type object", native=native)
    return found


def _read_leniently(body: bytes, *, native: bool) -> Any:
    """Go's decoder takes lone surrogates, which orjson refuses."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise say(400, f"invalid character in the JSON body: {error}", native=native) from None


def texts_of(path: str, body: dict[str, Any]) -> list[str]:
    """The texts in which a directive may stand: each input of an embedding, the last user message, the prompt."""
    if path in EMBEDDING:
        given = body.get("input")
        return [t for t in given if isinstance(t, str)] if isinstance(given, list) else [_plain(given)]
    if path == "/v1/responses":
        given = body.get("input")
        return [_last_user(given) if isinstance(given, list) else _plain(given)]
    if path.endswith(("/chat", "/chat/completions")):
        messages = body.get("messages")
        return [_last_user(messages) if isinstance(messages, list) else ""]
    return [_plain(body.get("prompt"))]


def _last_user(messages: list[Any]) -> str:
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role", "user") == "user":
            return _plain(message.get("content"))
    return ""


def _plain(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def complete(ask: Ask, models: frozenset[str]) -> None:
    """Check the request and settle what the answer holds. Raises `RefusedError`."""
    _check_model(ask, models)
    _check_content(ask)
    embedding = ask.path in EMBEDDING or ask.path == "/v1/images/generations"
    stream = ask.body.get("stream")
    ask.stream = not embedding and (ask.native if stream is None else bool(stream))
    if ask.stream and "json_for_sse" in ask.faults:
        ask.stream = False
    elif "stream_unasked" in ask.faults:
        ask.stream = not embedding
    if not embedding:
        _settle_content(ask)
    if ask.look == "openai":
        ask.choices = max(1, int(ask.body.get("n") or 1))


def _check_model(ask: Ask, models: frozenset[str]) -> None:
    name = ask.body.get("model")
    ask.model = name if isinstance(name, str) else ""
    if not ask.model and ask.path == "/api/chat":
        raise say(400, "model is required", native=True)
    if normal_name(ask.model) not in models:
        found = f'model "{ask.model}" not found, try pulling it first'
        raise say(404, found if ask.path in EMBEDDING else f"model '{ask.model}' not found", native=ask.native)


def _check_content(ask: Ask) -> None:
    body = ask.body
    if ask.path == "/v1/chat/completions" and not body.get("messages"):
        raise say(400, "[] is too short - 'messages'", native=False)
    if ask.path == "/api/chat" and not all(isinstance(m.get("content", ""), str) for m in body.get("messages") or []):
        raise say(
            400,
            "json: cannot unmarshal array into Go struct field Message.messages.content of type string",
            native=True,
        )
    if ask.path == "/v1/completions" and not isinstance(body.get("prompt", ""), str):
        raise say(400, "json: cannot unmarshal array into Go struct field of type string", native=False)
    if ask.path in EMBEDDING:
        _check_input(ask, body.get("input"))


def _check_input(ask: Ask, given: Any) -> None:
    if not ask.native and (given is None or given == []):
        raise say(400, "invalid input", native=False)
    if given is not None and not isinstance(given, str | list):
        raise say(400, "invalid input type", native=ask.native)
    if isinstance(given, list) and len(ask.texts) != len(given):
        raise say(400, "invalid input type", native=ask.native)
    if ask.native and not given:
        ask.texts, ask.text_faults = [], []


def _settle_content(ask: Ask) -> None:
    behaviour, faults = ask.behaviour, ask.faults
    if _nothing_asked(ask) or "load_done_reason" in faults:
        ask.finish = "unload" if ask.body.get("keep_alive") == 0 and "load_done_reason" not in faults else "load"
        ask.stream = ask.stream and not ask.native  # one object, whatever was asked
        return
    ask.finish = behaviour.finish or "stop"
    ask.thoughts = thoughts(behaviour.think or (3 if _wants_thought(ask) else 0))
    ask.words = _words(ask)
    limit = token_limit(ask)
    if limit is not None and limit < len(ask.words) + len(ask.thoughts):
        ask.thoughts = ask.thoughts[:limit]
        ask.words = ask.words[: limit - len(ask.thoughts)]
        ask.finish = "length"
    if ask.body.get("tools"):
        ask.calls = behaviour.calls
    if "length" in faults:
        ask.finish = "length"
    if "null_finish" in faults:
        ask.finish = None


def _nothing_asked(ask: Ask) -> bool:
    """An empty prompt only loads the model."""
    if ask.path == "/api/chat":
        return not ask.body.get("messages")
    return ask.path in ("/api/generate", "/v1/completions") and not ask.body.get("prompt")


def _wants_thought(ask: Ask) -> bool:
    effort = ask.body.get("reasoning_effort")
    return bool(ask.body.get("think")) or (effort is not None and effort != "none")


def _words(ask: Ask) -> list[str]:
    behaviour, faults = ask.behaviour, ask.faults
    if "empty" in faults:
        return []
    if "big" in faults:
        return ["big " * 327_680]
    if "loop" in faults:
        return [" again"] * behaviour.tokens
    if behaviour.say is not None:
        return [behaviour.say[i : i + 4] for i in range(0, len(behaviour.say), 4)]
    words = tokens(ask.key, behaviour.tokens)
    return ['{"synthetic":"', *words, '"}'] if _wants_json(ask.body) else words


def _wants_json(body: dict[str, Any]) -> bool:
    text = body.get("text")
    asked = body.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    return bool(body.get("format")) or (isinstance(asked, dict) and asked.get("type") in ("json_object", "json_schema"))


def token_limit(ask: Ask) -> int | None:
    """How many tokens the request allows, under the name that its API knows."""
    body = ask.body
    if ask.native:
        limit = (body.get("options") or {}).get("num_predict")
    elif ask.path == "/v1/responses":
        limit = body.get("max_output_tokens")
    else:
        limit = body.get("max_tokens")
        if limit is None and ask.look == "openai":  # Ollama ignores the newer name
            limit = body.get("max_completion_tokens")
    return limit if isinstance(limit, int) and limit >= 0 else None


def normal_name(model: str) -> str:
    """A model's name as Ollama compares it: in lower case, with a tag."""
    name = model.strip().lower()
    return name if not name or ":" in name.rpartition("/")[2] else f"{name}:latest"


def tool_arguments(number: int) -> dict[str, str]:
    return {"synthetic": f"w{number}"}


def tool_names(ask: Ask) -> list[str]:
    """The names of the called tools, one a call, in turn."""
    tools = ask.body.get("tools")
    if not ask.calls or not isinstance(tools, list):
        return []
    names = [str((tool.get("function") or tool).get("name", "")) for tool in tools if isinstance(tool, dict)]
    return [names[i % len(names)] for i in range(ask.calls)] if names else []
