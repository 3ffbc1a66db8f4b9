"""Conversations written for one API and sent to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batcher.failures import LineError
from batcher.wire.dialects.messages import to_input, to_native, to_openai

if TYPE_CHECKING:
    from collections.abc import Callable

PNG = "iVBORw0KGgoAAAANSUhEUg=="
JPEG = "/9j/4AAQSkZJRgABAQ=="
WEBP = "UklGRgAAAABXRUJQVlA4"
GIF = "R0lGODlhAQABAAAAACw="
WAV = "UklGRiQAAABXQVZFZm10"
MP3 = "SUQzBAAAAAAAAAAAAAAA"

PLAIN: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "Hello."},
]

NATIVE_CALLS: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather in Tokyo and Paris?"},
    {
        "role": "assistant",
        "content": "",
        "thinking": "I need a tool.",
        "tool_calls": [
            {"function": {"index": 0, "name": "get_weather", "arguments": {"city": "Tokyo"}}},
            {"function": {"index": 1, "name": "get_time", "arguments": {}}},
        ],
    },
    {"role": "tool", "tool_name": "get_time", "content": "noon"},
    {"role": "tool", "tool_name": "get_weather", "content": "rain"},
]

OPENAI_CALLS: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather in Tokyo and Paris?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Tokyo"}'}},
            {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    {"role": "tool", "tool_call_id": "call_0", "content": "rain"},
]

NEUTRAL: list[dict[str, Any]] = [
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "x7", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
    },
    {"role": "tool", "content": "done"},
]


@pytest.mark.parametrize("translate", [to_native, to_openai])
def test_plain_messages_are_the_same_objects(translate: Any) -> None:
    """Roles and texts mean the same on both APIs and cost nothing."""
    assert translate(PLAIN) is PLAIN


@pytest.mark.parametrize(
    ("translate", "messages"),
    [
        (to_native, NATIVE_CALLS),
        (to_openai, OPENAI_CALLS),
        (to_native, [{"role": "user", "content": "see", "images": [PNG]}]),
        (to_openai, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]),
        (to_openai, [{"role": "user", "content": "hi", "name": "ann"}]),
        (to_openai, [{"role": "developer", "content": "hi"}]),
        (to_openai, [{"role": "assistant", "content": None, "refusal": "no"}]),
    ],
)
def test_the_targets_own_form_passes_through(translate: Any, messages: list[dict[str, Any]]) -> None:
    """A conversation in the target's form arrives equal, message by message the same object."""
    translated = translate(messages)
    assert translated == messages
    assert all(
        after is before
        for after, before in zip(translated, messages, strict=True)
        if "tool_calls" not in before and before["role"] != "tool"
    )


def test_openai_tool_calls_become_native() -> None:
    """Arguments become objects, and results name the tool whose call they answer."""
    translated = to_native(OPENAI_CALLS)
    assert [call["function"]["arguments"] for call in translated[1]["tool_calls"]] == [{"city": "Tokyo"}, {}]
    assert [message["tool_name"] for message in translated[2:]] == ["get_time", "get_weather"]
    assert OPENAI_CALLS[1]["tool_calls"][0]["function"]["arguments"] == '{"city":"Tokyo"}'  # the job is not changed


@pytest.mark.parametrize("say", [to_native, to_openai, to_input])
@pytest.mark.parametrize("calls", ["x", 5, {"a": 1}, ["x"], [None]])
def test_tool_calls_are_a_list_of_objects(say: Callable[..., Any], calls: Any) -> None:
    """Also in a conversation that stands in the input: a line of other things is refused, in words."""
    with pytest.raises(LineError, match="a list of objects") as raised:
        say([{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": calls}])
    assert raised.value.code == "tool_calls"


@pytest.mark.parametrize(
    "call", [{}, {"function": "f"}, {"function": None}, {"type": "custom", "custom": {"name": "f"}}]
)
def test_calls_of_others_than_functions_are_openais_alone(call: Any) -> None:
    """Its chats are told of them as they came; nobody else knows them."""
    messages = [{"role": "assistant", "content": "", "tool_calls": [{"id": "c", **call}]}]
    assert to_openai(messages)[0]["tool_calls"] == [{"id": "c", **call}]
    for say in (to_native, to_input):
        with pytest.raises(LineError, match="functions alone"):
            say(messages)


@pytest.mark.parametrize("arguments", ["oops", "[1]", "5", [1, 2], 5, True])
def test_arguments_that_are_no_object_cannot_be_said_to_ollama(arguments: Any) -> None:
    """On OpenAI's API they are a text, whatever it holds."""
    messages = [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    ]
    with pytest.raises(LineError, match="must be a JSON object"):
        to_native(messages)
    assert isinstance(to_openai(messages)[0]["tool_calls"][0]["function"]["arguments"], str)


@pytest.mark.parametrize("given", [None, "", 0, True, [1], {"a": 1}])
def test_a_call_whose_id_is_none_has_one_by_its_place(given: Any) -> None:
    """Which the result names."""
    called = {"id": given, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = to_openai([{"role": "assistant", "tool_calls": [called]}, {"role": "tool", "content": "r"}])
    assert said[0]["tool_calls"] == [{**called, "id": "call_0"}]
    assert said[1]["tool_call_id"] == "call_0"


def test_native_tool_calls_become_openai() -> None:
    """Arguments become JSON text, calls get ids by their place, results name the call by the tool's name."""
    assert to_openai(NATIVE_CALLS) == OPENAI_CALLS


def test_results_without_any_name_answer_in_order() -> None:
    """A tool message that names neither tool nor call answers the first call still open."""
    bare = [*NATIVE_CALLS[:2], {"role": "tool", "content": "rain"}, {"role": "tool", "content": "noon"}]
    assert [message["tool_call_id"] for message in to_openai(bare)[2:]] == ["call_0", "call_1"]
    assert [message["tool_name"] for message in to_native(bare)[2:]] == ["get_weather", "get_time"]


def test_calls_of_our_own_results_serve_both() -> None:
    """The neutral form of result lines can be put back into a conversation for either API."""
    native, openai = to_native(NEUTRAL), to_openai(NEUTRAL)
    assert native[0]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert native[1]["tool_name"] == "f"
    assert openai[0]["tool_calls"] == [
        {"id": "x7", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]
    assert openai[1]["tool_call_id"] == "x7"


def test_there_and_back() -> None:
    """OpenAI's form survives the way through Ollama's."""
    assert to_openai(to_native(OPENAI_CALLS)) == OPENAI_CALLS


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "7"])
def test_arguments_that_are_no_object_are_refused_natively(arguments: str) -> None:
    """Ollama takes objects only, so that anything else is said before it is sent."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(LineError, match="JSON object"):
        to_native([{"role": "assistant", "content": "", "tool_calls": [call]}])


def test_content_parts_become_text_and_images() -> None:
    """Texts are joined by newlines, data URIs lose their head, audio travels with the images."""
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": f"data:image/jpeg;base64,{JPEG}"},
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        {"type": "text", "text": "b"},
    ]
    assert to_native([{"role": "user", "content": parts}]) == [
        {"role": "user", "content": "a\nb", "images": [PNG, JPEG, WAV]}
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "image_url"},
        {"type": "file", "file": {"file_id": "f"}},
    ],
)
def test_parts_that_ollama_has_not_are_refused(part: dict[str, Any]) -> None:
    """What Ollama cannot be told is an error of the line, not a part dropped in silence."""
    with pytest.raises(LineError, match="Ollama's API"):
        to_native([{"role": "user", "content": [part]}])


@pytest.mark.parametrize(
    ("media", "mime"),
    [(PNG, "image/png"), (JPEG, "image/jpeg"), (WEBP, "image/webp"), (GIF, "image/gif"), ("????", "image/jpeg")],
)
def test_images_become_data_uris(media: str, mime: str) -> None:
    """The type in the data URI is that of the bytes."""
    url = f"data:{mime};base64,{media}"
    assert to_openai([{"role": "user", "content": "see", "images": [media]}]) == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}],
        }
    ]


@pytest.mark.parametrize(("media", "name"), [(WAV, "wav"), (MP3, "mp3")])
def test_audio_becomes_an_audio_part(media: str, name: str) -> None:
    """Ollama carries audio among the images; OpenAI's API has a part for it."""
    (message,) = to_openai([{"role": "user", "content": "", "images": [media]}])
    assert message["content"] == [{"type": "input_audio", "input_audio": {"data": media, "format": name}}]


def test_images_of_the_job_go_on_the_last_user_message() -> None:
    """Beside the images that it has, and not on the assistant's."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b", "images": [JPEG]},
        PLAIN[2],
    ]
    assert to_native(messages, None, (f"data:image/png;base64,{PNG}",))[1]["images"] == [JPEG, PNG]
    urls = [part["image_url"]["url"][:15] for part in to_openai(messages, None, (PNG,))[1]["content"][1:]]
    assert urls == ["data:image/jpeg", "data:image/png;"]
    assert to_native([PLAIN[0]], None, (PNG,))[1] == {"role": "user", "content": "", "images": [PNG]}


@pytest.mark.parametrize("translate", [to_native, to_openai, to_input])
def test_system_text_comes_first_unless_the_conversation_brings_one(translate: Any) -> None:
    """The run's system text is a default, and the job's own messages are left as they were."""
    messages = [PLAIN[1]]
    assert translate(messages, "S") == [{"role": "system", "content": "S"}, PLAIN[1]]
    assert messages == [PLAIN[1]]
    spoken = [*PLAIN[:2], as_item("Hello."), *PLAIN[3:]] if translate is to_input else PLAIN
    assert translate(PLAIN, "S") == spoken


def as_item(text: str) -> dict[str, Any]:
    """What the model said, as `/v1/responses` takes it from whoever says it again."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def test_thinking_is_native_only() -> None:
    """It is kept for Ollama, also under other servers' names, and is not sent to OpenAI's API."""
    message = {"role": "assistant", "content": "x", "thinking": "t"}
    assert to_native([message])[0] is message
    assert to_openai([message]) == [{"role": "assistant", "content": "x"}]
    foreign = {"role": "assistant", "content": "x", "reasoning_content": "t"}
    assert to_native([foreign]) == [message]


def test_small_differences_of_the_native_form() -> None:
    """A null content becomes an empty one and OpenAI's developer is Ollama's system."""
    call = {"id": "c", "function": {"name": "f", "arguments": {}}}
    assert to_native([{"role": "assistant", "content": None, "tool_calls": [call]}])[0]["content"] == ""
    assert to_native([{"role": "developer", "content": "S"}]) == [{"role": "system", "content": "S"}]


def test_input_of_responses() -> None:
    """Text stays text; calls and results are items of their own; parts have names by speaker."""
    assert to_input("hi") == "hi"
    assert to_input("hi", "S") == [{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}]
    assert to_input(OPENAI_CALLS) == [
        OPENAI_CALLS[0],
        {"type": "function_call", "call_id": "call_0", "name": "get_weather", "arguments": '{"city":"Tokyo"}'},
        {"type": "function_call", "call_id": "call_1", "name": "get_time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
        {"type": "function_call_output", "call_id": "call_0", "output": "rain"},
    ]
    assert to_input("see", None, (PNG,)) == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
            ],
        }
    ]
    said = [{"role": "assistant", "content": [{"type": "text", "text": "x"}]}]
    assert to_input(said) == to_input([{"role": "assistant", "content": "x"}]) == [as_item("x")]


def test_items_of_responses_pass_through() -> None:
    """What is written for that endpoint already arrives as it is."""
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "y"},
        {"type": "reasoning", "id": "r", "summary": []},
    ]
    assert to_input(items) == items
