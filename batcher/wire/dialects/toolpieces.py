"""Joins the pieces in which tool calls are streamed: which call a piece belongs to, and what its arguments add up to.

A call is named by its place (`index`), its `id`, or neither, and servers differ in what they repeat:

    index, then id and name once          OpenAI API reference (chat completion chunks)
    no index, the id in each piece        https://github.com/openai/openai-agents-python/pull/4824
    index 0 for all, an id for each       older Ollama; https://github.com/camel-ai/camel/pull/3662
    index 0 for all, or none, and no ids  Gemini's compatibility layer: a name begins a call
    a name in pieces, under one id        Mistral's own client joins them (https://github.com/openclaw/openclaw/issues/127603)
    an index as a text                    gateways
    the arguments once more at the end    https://github.com/vllm-project/vllm/issues/51697: `{…}{…}` and `{{…}`
    `{}`, then the arguments              https://github.com/ogx-ai/ogx/pull/5462
    `function_call`                       OpenAI's API before tools: one call without id or index
"""

from __future__ import annotations

import re
from types import NoneType
from typing import TYPE_CHECKING, Final

import orjson

from batcher import codec
from batcher.failures import AttemptError, malformed, shown
from batcher.outcome import more
from batcher.wire.faults import check_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.model import Json
    from batcher.outcome import Choice

REPEATED: Final = 64 * 1024
"""Characters of arguments up to which a name that comes again is told from a name that begins a call."""
FEW: Final = 4
"""Digits of an index that is told as a text."""
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
CALL_KEYS: Final = frozenset({"index", "id", "type", "function", "custom", "extra_content"})
_ARGUMENTS: Final = (str, dict, NoneType)
_IDS: Final = (str, int, NoneType)
FUNCTION_KEYS: Final = frozenset({"name", "arguments", "parsed_arguments"})


class Pieces:
    """The calls of one choice that are being streamed, by what names them."""

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self, choice: Choice) -> None:
        choice.tool_calls = self._calls = more(choice.tool_calls, ())
        self._by_id: dict[str | int, dict[str, Json]] = {}
        self._by_index: dict[int, dict[str, Json]] = {}

    def add(self, piece: dict[str, Json]) -> None:
        """Add a piece to the call it belongs to. Raises AttemptError if it cannot be read."""
        index, call_id = piece.get("index"), piece.get("id")
        if type(index) is str and index.isdecimal() and len(index) <= FEW:
            index = int(index)
        function = piece.get("function") or {}
        is_named = type(index) in (int, NoneType) and type(call_id) in (str, int, NoneType)
        if type(function) is not dict or not is_named:
            raise AttemptError(malformed(f"a tool call that cannot be read: {shown(piece)}"))
        name, arguments = function.get("name"), _as_text(function.get("arguments"))
        call = self._continued(index, call_id, name)
        if call is None:
            call = {"index": len(self._calls) if index is None else index, "function": {"arguments": ""}}
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        if call_id:
            self._by_id.setdefault(call_id, call)
        told = call["function"]
        call.update(_told(piece, "index", "function", "id" if call.get("id") else ""))
        if name and (before := told.get("name")) and name != before:
            name = told["name"] = before + name
        told.update(_told(function, "arguments", "name" if told.get("name") else ""))
        if arguments:
            told["arguments"] = _joined(told["arguments"], arguments)

    def _continued(self, index: int | None, call_id: str | int | None, name: str | None) -> dict[str, Json] | None:
        """The call that a piece goes on with; `None` if it begins one."""
        at_index = None if index is None else self._by_index.get(index)
        if index is not None and at_index is None:
            return None
        last = at_index or (self._calls[-1] if self._calls else None)
        known = self._by_id.get(call_id) if call_id else None
        if known is not None and (last is None or last.get("id") != call_id):
            last = known
        if last is None or not name:
            return last  # some give each piece an id of its own, and only a name begins a call
        if call_id and last.get("id") not in (None, call_id):
            return None
        named, arguments = last["function"].get("name"), last["function"]["arguments"]
        if named is None:
            return last
        is_whole = len(arguments) <= REPEATED and is_object(arguments)
        if name != named:  # a piece of the name, or another call
            return last if at_index is last and not is_whole and (known is last or not (call_id or arguments)) else None
        return last if known is not None or not is_whole else None


def calls_in(message: dict[str, Json]) -> Sequence[dict[str, Json]]:
    """The tool calls of a message, or the pieces of some. Raises AttemptError for what is none."""
    calls = message.get("tool_calls") or ()
    if not calls and (function := message.get("function_call")):
        calls = [{"type": "function", "function": function}]
    if calls and (type(calls) is not list or any(type(call) is not dict for call in calls)):
        raise AttemptError(malformed(f"tool calls that are no list of objects: {shown(calls)}"))
    for call in calls:
        check_call(call)
    return calls


def merge(calls: Sequence[dict[str, Json]], choice: Choice) -> None:
    """Add pieces to the calls of a choice."""
    pieces = choice.open
    if pieces is None:
        pieces = choice.open = Pieces(choice)
    for call in calls:
        pieces.add(call)


def check_call(call: dict[str, Json]) -> None:
    """Raise AttemptError if a tool call, or a piece of one, was damaged on its way."""
    check_keys(call, CALL_KEYS, "a tool call")
    if type(function := call.get("function")) is dict:
        check_keys(function, FUNCTION_KEYS, "a tool call")


def check_calls(choice: Choice) -> None:
    """Raise AttemptError if the answer calls a tool without a name, or a call is of no known kind: it was damaged.

    An id is a text, or a number as some servers count their calls.
    """
    for call in choice.tool_calls:
        function = call.get("function")
        if type(function) is not dict:
            if "custom" not in call:
                raise AttemptError(malformed(f"a tool call that cannot be read: {shown(call)}"))
        elif not function.get("name"):
            raise AttemptError(malformed(f"a tool call without a name: {shown(call)}"))
        elif (
            type(function["name"]) is not str
            or not isinstance(function.get("arguments"), _ARGUMENTS)
            or type(call.get("id")) not in _IDS
        ):
            raise AttemptError(malformed(f"a tool call with a value of another kind: {shown(call)}"))


def is_cut(call: dict[str, Json]) -> bool:
    """Whether the arguments of a call end in the middle: in a string, or before what is open is closed.

    vLLM says `tool_calls` where the token limit cut a call (https://github.com/vllm-project/vllm/issues/53269).
    """
    function = call.get("function")
    arguments = function.get("arguments") if type(function) is dict else None
    if type(arguments) is not str or not arguments.lstrip().startswith(("{", "[")) or is_object(arguments):
        return False
    rest = _STRING.sub("", arguments)
    return '"' in rest or rest.count("{") + rest.count("[") > rest.count("}") + rest.count("]")


def _joined(before: str, piece: str) -> str:
    """Arguments with the next piece; one that says all of it again, or for the first time, stands for itself."""
    if piece[0] == "{" and (before in ("{", "{}") or (before == piece and is_object(piece))):
        return piece
    return before + piece


def _told(piece: dict[str, Json], *but: str) -> dict[str, Json]:
    """What a piece says; servers repeat id and name as "" in later ones."""
    return {key: value for key, value in piece.items() if value not in (None, "") and key not in but}


def is_object(arguments: str) -> bool:
    """Whether arguments are all there: a JSON object."""
    if arguments[-1:] != "}":
        return False
    try:
        return type(orjson.loads(arguments)) is dict
    except orjson.JSONDecodeError:
        return False


def _as_text(arguments: Json) -> str:
    """Arguments as the text they are; some servers send the object itself."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return codec.dumps(arguments).decode()
