"""Tool calls of a conversation, and which call each tool result answers.

Natively arguments are an object and a result names its tool; on OpenAI's API arguments are JSON text and a result names
its call. Calls without an id get `call_0`, `call_1`, … by their place in the conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from batcher import codec
from batcher.failures import LineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Json


class Calls:
    """Walk the messages in order: convert each message's calls, then ask what each result answers."""

    __slots__ = ("_count", "_names", "_open")

    def __init__(self) -> None:
        self._count = 0
        self._names: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []

    def native(self, calls: Json) -> Sequence[dict[str, Json]]:
        """The calls with arguments as objects; the same list if they are already. Raises LineError."""
        for call in _checked(calls):
            self._note(call)
            if type(call.get("function")) is not dict:
                raise LineError(
                    "tool_calls", f"Ollama's API knows calls of functions alone, not {codec.told(call)[:80]}"
                )
        if all(isinstance(call["function"].get("arguments", {}), dict) for call in calls):
            return calls  # type: ignore[no-any-return]  # it was checked
        return [
            {**call, "function": {**call["function"], "arguments": _object(call["function"].get("arguments"))}}
            for call in calls
        ]

    def openai(self, calls: Json) -> list[dict[str, Json]]:
        """The calls with arguments as JSON text, a type and an id. Raises LineError."""
        return [_as_openai(call, self._note(call)) for call in _checked(calls)]

    def name_for(self, result: dict[str, Json]) -> str | None:
        """The name of the tool whose result this message is, by its id or else by order."""
        call_id = result.get("tool_call_id")
        name = result.get("name")
        if type(call_id) is str and call_id in self._names:
            self._open = [pair for pair in self._open if pair[0] != call_id]
            return self._names[call_id]
        if isinstance(name, str):
            return name
        return self._open.pop(0)[1] if self._open else None

    def id_for(self, result: dict[str, Json]) -> str | None:
        """The id of the call whose result this message is: its own, or by the tool's name, or else by order."""
        call_id = result.get("tool_call_id")
        name = result.get("tool_name") or result.get("name")
        if isinstance(call_id, str) and call_id:
            self._open = [pair for pair in self._open if pair[0] != call_id]
            return call_id
        place = next((i for i, pair in enumerate(self._open) if pair[1] == name), 0)
        return self._open.pop(place)[0] if self._open else None

    def _note(self, call: dict[str, Json]) -> str:
        """Remember the call as one that waits for its result; return its id."""
        given = call.get("id")
        call_id = str(given) if type(given) in (str, int) and given else f"call_{self._count}"
        function = call.get("function")
        name = str(function.get("name", "")) if type(function) is dict else ""
        self._count += 1
        self._names[call_id] = name
        self._open.append((call_id, name))
        return call_id


def _checked(calls: Json) -> list[dict[str, Json]]:
    if type(calls) is not list or any(type(call) is not dict for call in calls):
        raise LineError("tool_calls", f"tool calls are a list of objects, not {codec.told(calls)[:80]}")
    return calls


def _as_openai(call: dict[str, Json], call_id: str) -> dict[str, Json]:
    """The call itself if it is in that form already. Natively a call's place lies inside `function`."""
    function = call.get("function")
    if type(function) is not dict:  # another kind than functions
        return call if call.get("id") == call_id else {**call, "id": call_id}
    arguments = function.get("arguments", {})
    if call.get("id") == call_id and call.get("type") and isinstance(arguments, str) and "index" not in function:
        return call
    try:
        text = arguments if isinstance(arguments, str) else codec.dumps(arguments).decode()
    except TypeError:
        raise LineError("tool_arguments", f"tool call arguments nest too deep: {codec.told(arguments)[:80]}") from None
    return {
        **call,
        "id": call_id,
        "type": "function",
        "function": {**{k: v for k, v in function.items() if k != "index"}, "arguments": text},
    }


def _object(arguments: Json) -> dict[str, Json]:
    if isinstance(arguments, dict):
        return arguments
    if not arguments:
        return {}
    try:
        value = codec.loads(arguments) if type(arguments) is str else None
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise LineError(
            "tool_arguments",
            f"tool call arguments must be a JSON object for Ollama's API, not {codec.told(arguments)[:80]}",
        )
    return value
