"""Conversations in the words of each API: content, images, tool calls and their results, there and back.

    native   content is a string, media lie beside it as base64, arguments are an object, results name their tool
    OpenAI   content may be parts, media are data URIs, arguments are JSON text, results name their call

A message that is already in the target's form is passed through as the same object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from batcher import codec
from batcher.failures import LineError
from batcher.wire.dialects.media import payload, to_part
from batcher.wire.dialects.toolcalls import Calls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.model import Json

Message: TypeAlias = "dict[str, Json]"

_THOUGHTS: Final = ("reasoning_content", "reasoning")
"""What servers of the OpenAI kind call thinking."""


def to_native(messages: Sequence[Message], system: str | None = None, images: Sequence[str] = ()) -> list[Message]:
    """The conversation as `/api/chat` takes it. Raises LineError for what cannot be said there."""
    if not _plain(messages):
        messages = _converted(messages, _native_message)
    return _completed(messages, system, images, _with_images)


def to_openai(messages: Sequence[Message], system: str | None = None, images: Sequence[str] = ()) -> list[Message]:
    """The conversation as `/v1/chat/completions` takes it. Raises LineError for what is no tool call."""
    if not _plain(messages):
        messages = _converted(messages, _openai_message)
    return _completed(messages, system, images, _with_parts)


def to_input(content: str | Sequence[Message], system: str | None = None, images: Sequence[str] = ()) -> Json:
    """The `input` of `/v1/responses`: a text as it is, or items. Items that are no chat messages pass through.

    Raises LineError for what cannot be said there.
    """
    if isinstance(content, str):
        if not system and not images:
            return content
        content = [{"role": "user", "content": content}]
    return [item for message in to_openai(content, system, images) for item in _items(message)]


def _plain(messages: Sequence[Message]) -> bool:
    """Whether every message is a role and a text: those are the same on both APIs."""
    for message in messages:
        if len(message) != 2 or type(message.get("content")) is not str or message.get("role") == "developer":
            return False
    return True


def _converted(messages: Sequence[Message], convert: Callable[[Message, Calls], Message]) -> list[Message]:
    calls = Calls()
    return [convert(message, calls) for message in messages]


def _completed(
    messages: Sequence[Message],
    system: str | None,
    images: Sequence[str],
    attach: Callable[[Message, Sequence[str]], Message],
) -> list[Message]:
    """Put the job's system text first, unless the conversation brings one, and its images on the last user message."""
    if not system and not images:
        return messages if type(messages) is list else list(messages)
    whole = list(messages)
    if images:
        last = next((place for place in reversed(range(len(whole))) if whole[place].get("role") == "user"), None)
        if last is None:
            whole.append(attach({"role": "user", "content": ""}, images))
        else:
            whole[last] = attach(whole[last], images)
    if system and not (whole and whole[0].get("role") in ("system", "developer")):
        whole.insert(0, {"role": "system", "content": system})
    return whole


def _native_message(message: Message, calls: Calls) -> Message:
    changes: Message = {}
    content = message.get("content")
    if isinstance(content, list):
        changes["content"], media = _split(content)
        if media:
            changes["images"] = [*map(payload, message.get("images") or ()), *media]
    elif content is None:
        changes["content"] = ""
    if "images" not in changes and any(image.startswith("data:") for image in message.get("images") or ()):
        changes["images"] = [payload(image) for image in message["images"]]
    if message.get("role") == "developer":  # templates know no such role and would drop the message
        changes["role"] = "system"
    thinking = next((message[key] for key in _THOUGHTS if isinstance(message.get(key), str)), None)
    if thinking and "thinking" not in message:
        changes["thinking"] = thinking
    if message.get("tool_calls"):
        native = calls.native(message["tool_calls"])
        if native is not message["tool_calls"]:
            changes["tool_calls"] = native
    if message.get("role") == "tool" and "tool_name" not in message and (name := calls.name_for(message)):
        changes["tool_name"] = name
    return {k: v for k, v in {**message, **changes}.items() if k not in _THOUGHTS} if changes else message


def _openai_message(message: Message, calls: Calls) -> Message:
    changes: Message = {}
    if message.get("tool_calls"):
        changes["tool_calls"] = calls.openai(message["tool_calls"])
    if message.get("role") == "tool":
        call_id = calls.id_for(message)
        if call_id is not None:
            changes["tool_call_id"] = call_id
    spare = message.keys() & {"thinking", "images", "tool_name"}
    if not spare and all(message.get(key) == value for key, value in changes.items()):
        return message
    said = {key: value for key, value in {**message, **changes}.items() if key not in spare}
    images = message.get("images")
    return _with_parts(said, images) if images else said


def _split(parts: list[Json]) -> tuple[str, list[str]]:
    """The texts of content parts as one, as llama.cpp and vLLM join them, and the media as base64."""
    texts, media = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        else:
            media.append(_media(part))
    return "\n".join(texts), media


def _media(part: Message) -> str:
    """The base64 of an image or audio part. Raises LineError for anything else."""
    kind = part.get("type")
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return str(part["input_audio"].get("data", ""))
    url = part.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    if isinstance(url, str) and url.startswith("data:"):
        return payload(url)
    if isinstance(url, str):
        raise LineError(
            "image_not_inline", f"Ollama's API fetches no images: give {url[:80]!r} as a path, a data URI or base64"
        )
    raise LineError("content_not_supported", f"Ollama's API has no content part of type {kind!r}: use text or images")


def _with_images(message: Message, images: Sequence[str]) -> Message:
    return {**message, "images": [*(message.get("images") or ()), *map(payload, images)]}


def _with_parts(message: Message, images: Sequence[str]) -> Message:
    content = message.get("content")
    parts = list(content) if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
    return {**message, "content": [*parts, *map(to_part, images)]}


def _items(message: Message) -> list[Message]:
    """One chat message as the items that `/v1/responses` has for it."""
    if "type" in message:
        return [message]
    role = message.get("role")
    if role == "tool":
        output = message.get("content")
        text = output if isinstance(output, str) else codec.dumps(output).decode()
        return [{"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": text}]
    content = message.get("content")
    if role != "assistant" and not isinstance(content, list) and "tool_calls" not in message:
        return [message]
    items: list[Message] = []
    if role == "assistant" and (content or "tool_calls" not in message):
        # llama.cpp takes what the model said in this form alone (tools/server: "Cannot determine type of 'item'")
        parts = [{"type": "text", "text": content or ""}] if not isinstance(content, list) else content
        items.append({"type": "message", "role": role, "content": _input_parts(parts, "output")})
    elif content:
        items.append({"role": role, "content": _input_parts(content, "input")})
    for call in message.get("tool_calls") or ():
        if type(call.get("function")) is not dict:
            raise LineError("tool_calls", f"calls of functions alone can be told here, not {codec.told(call)[:80]}")
        items.append({"type": "function_call", "call_id": call.get("id"), **call["function"]})
    return items


def _input_parts(content: Json, side: str) -> Json:
    """Content parts by the names of `/v1/responses`: texts are told apart by who said them."""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        if part.get("type") == "text":
            parts.append({**part, "type": f"{side}_text"})
        elif part.get("type") == "image_url":
            url = part["image_url"]
            parts.append({"type": "input_image", "image_url": url["url"] if isinstance(url, dict) else url})
        else:
            parts.append(part)
    return parts
