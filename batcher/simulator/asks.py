"""A request for an answer, read: JSON body in, `Ask` or refusal out. Pure."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from batcher.simulator.refusals import say

if TYPE_CHECKING:
    from batcher.simulator.behaviours import Behaviour
    from batcher.simulator.settings import Look, Settings

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
    """What is asked, and how it will be answered. `keys` are the jobs' names in the counts, `key` the one at fault."""

    path: str
    body: dict[str, Any]
    texts: list[str]
    keys: list[str]
    key: str
    settings: Settings
    length: int
    number: int
    created: float
    behaviour: Behaviour
    faults: frozenset[str] = _NO_FAULTS
    text_faults: list[frozenset[str]] = field(default_factory=list)
    asked_model: str = ""
    model: str = ""
    """What the answer calls its model."""
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
    def look(self) -> Look:
        return self.settings.look

    @property
    def prompt_tokens(self) -> int:
        """As the server counts them: those it read."""
        claimed = self.behaviour.prompt_tokens
        return (
            sum(min(length, self.settings.context or length) for length in self.lengths) if claimed is None else claimed
        )

    @property
    def lengths(self) -> list[int]:
        """Each text's tokens, whether there is room for them or not."""
        return [len(text) // 4 + 1 for text in self.texts]

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


class Whole(ABC):
    """An answer that comes in one piece, also where a stream was asked for."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def records(self) -> list[Event]:
        return []

    def ending(self, took: Durations) -> list[Event]:
        return [("", self.whole(took))]

    @abstractmethod
    def whole(self, took: Durations) -> bytes: ...
