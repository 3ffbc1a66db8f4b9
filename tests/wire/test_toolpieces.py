"""Tool calls that come in pieces: however a server names them, they add up to the calls that were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from batcher.failures import AttemptError
from batcher.ledger.lines import neutral_tool_call
from batcher.outcome import Choice, Completion
from batcher.wire.dialects import chat
from batcher.wire.dialects.toolpieces import Pieces, check_calls, is_cut

if TYPE_CHECKING:
    from collections.abc import Callable

STYLES: dict[str, Callable[[int, int, bool], dict[str, Any]]] = {
    "index, id once": lambda place, _, first: {"index": place, **({"id": f"k{place}"} if first else {})},
    "index, id as nothing later": lambda place, _, first: {"index": place, "id": f"k{place}" if first else ""},
    "index, id in each": lambda place, _, _first: {"index": place, "id": f"k{place}"},
    "index alone": lambda place, _, _first: {"index": place},
    "id in each": lambda place, _, _first: {"id": f"k{place}"},
    "index 0, id once": lambda place, _, first: {"index": 0, **({"id": f"k{place}"} if first else {})},
    "index 0, id in each": lambda place, _, _first: {"index": 0, "id": f"k{place}"},
    "index 0 alone": lambda _place, _, _first: {"index": 0},
    "nothing": lambda _place, _, _first: {},
    "index, another id in each": lambda place, piece, _first: {"index": place, "id": f"k{place}.{piece}"},
    "index from 1": lambda place, _, first: {"index": place + 1, **({"id": f"k{place}"} if first else {})},
}
"""How pieces name their call: its place, the number of the piece, whether it is the call's first."""

_NO_IDS: list[Any] = [[], {"a": 1}, 1.5, True]
_NO_ARGUMENTS: list[Any] = [[], [1], 5, True, 0.5]
_NO_NAMES: list[Any] = [5, True, ["f"], {"f": 1}]
OF_ANOTHER_KIND: list[dict[str, Any]] = [
    *({"id": ident, "function": {"name": "f", "arguments": "{}"}} for ident in _NO_IDS),
    *({"id": "k", "function": {"name": "f", "arguments": arguments}} for arguments in _NO_ARGUMENTS),
    *({"id": "k", "function": {"name": name, "arguments": "{}"}} for name in _NO_NAMES),
]

ARGUMENTS = st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers(-9, 9), min_size=1, max_size=3)
CALLS = st.lists(st.tuples(st.sampled_from(["f", "g", "weather"]), ARGUMENTS), min_size=1, max_size=4)


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=40)
@given(calls=CALLS, data=st.data())
def test_pieces_add_up(style: str, calls: list[tuple[str, Any]], data: st.DataObject) -> None:
    """Cut anywhere, named in any of these ways."""
    choice = Choice()
    pieces = Pieces(choice)
    for place, (name, arguments) in enumerate(calls):
        text = orjson.dumps(arguments).decode()
        cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=3)) | {0})
        for number, (start, end) in enumerate(zip(cuts, [*cuts[1:], len(text)], strict=True)):
            function = {"arguments": text[start:end], **({"name": name} if number == 0 else {})}
            pieces.add({**STYLES[style](place, number, number == 0), "function": function})
    found = [(call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in choice.tool_calls]
    assert found == calls


@pytest.mark.parametrize(
    "style", ["index, id once", "index, id in each", "index alone", "id in each", "index 0, id in each", "index from 1"]
)
@settings(max_examples=40)
@given(calls=CALLS, data=st.data())
def test_calls_that_come_at_once(style: str, calls: list[tuple[str, Any]], data: st.DataObject) -> None:
    """Where each piece names its call, the pieces of several may come in any order."""
    left = [[*orjson.dumps(arguments).decode()] for _, arguments in calls]
    choice, first = Choice(), True
    pieces = Pieces(choice)
    for place, (name, _) in enumerate(calls):
        pieces.add({**STYLES[style](place, 0, first), "function": {"name": name}})
    while open_calls := [place for place, letters in enumerate(left) if letters]:
        place = data.draw(st.sampled_from(open_calls))
        pieces.add({**STYLES[style](place, 1, not first), "function": {"arguments": left[place].pop(0)}})
    found = [(call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in choice.tool_calls]
    assert found == calls


@pytest.mark.timeout(5)
def test_many_calls_cost_what_they_are() -> None:
    """20,000 calls, by index and by id, take a tenth of a second: no call is looked for among the others."""
    for name in ("index", "id"):
        completion = Completion()
        for start in range(0, 20_000, 1000):
            pieces = [
                {name: place if name == "index" else str(place), "function": {"name": "f", "arguments": "{}"}}
                for place in range(start, start + 1000)
            ]
            chat.decode({"choices": [{"index": 0, "delta": {"tool_calls": pieces}, "finish_reason": None}]}, completion)
        check_calls(completion.first)
        assert len(completion.first.tool_calls) == 20_000


@pytest.mark.parametrize(
    "piece",
    [
        *({"function": "f"}, {"index": "zero", "function": {}}, {"id": [1], "function": {}}, {"index": 1.5}),
        {"index": 0, "functiom": {"name": "f"}},
        {"index": 0, "function": {"name": "f", "argumints": "{}"}},
    ],
)
def test_pieces_that_cannot_be_read(piece: dict[str, Any]) -> None:
    """They fail the attempt, and nothing else."""
    with pytest.raises(AttemptError):
        chat.decode({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}, Completion())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        *(
            ('{"city":"Os', True),
            ("{", True),
            ('{"a":', True),
            ('{"a":1,', True),
            ('{"a":[1', True),
            ('{"a":"\\', True),
        ),
        *(('{"a":1}', False), ("{}", False), ("", False), (" ", False), ("{'a': 1}", False), ("Oslo", False)),
        *(({"a": 1}, False), (None, False), ('{"a":1}}', False)),
    ],
)
def test_calls_that_were_cut(arguments: Any, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Arguments that only lack their end were cut; what is no JSON at all was the model's choice."""
    assert is_cut({"function": {"name": "f", "arguments": arguments}}) is expected


@pytest.mark.parametrize("call", OF_ANOTHER_KIND, ids=str)
def test_values_of_another_kind_are_no_call(call: dict[str, Any]) -> None:
    """An id, a name or arguments of a kind that results do not have: the answer was damaged."""
    with pytest.raises(AttemptError, match="of another kind"):
        check_calls(Choice(tool_calls=[call]))


@pytest.mark.parametrize("ident", ["k", 7, 0, -1, None])
def test_an_id_may_be_a_number(ident: object) -> None:
    """Some servers count their calls; on the line it is a text, as the schema of results has it."""
    call: dict[str, Any] = {"id": ident, "function": {"name": "f", "arguments": {}}}
    check_calls(Choice(tool_calls=[call]))
    assert neutral_tool_call(call).get("id") == (None if ident is None else str(ident))
