"""Tells whether a prompt, messages or an embedding input are well formed and not empty.

Servers answer an empty prompt with success and no text (Ollama only loads the model), so emptiness is an input error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from unicodedata import category

from batcher.failures import LineError
from batcher.inputs.formats.parameters import wrong

if TYPE_CHECKING:
    from batcher.model import Json


_UNSEEN: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Categories of characters of which nothing is to be seen: controls, joiners and marks of order, blanks."""
_FILLERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs that are drawn as nothing (Unicode: Hangul fillers, the empty pattern of Braille)."""


def is_blank(text: str) -> bool:
    """Whether nothing of a text is to be seen: what a file has of which only its byte order mark is left, say."""
    if not text or text.isspace():
        return True
    return all(category(one) in _UNSEEN or one in _FILLERS for one in text)


def check_prompt(prompt: Json, key: str = "prompt") -> str:
    """A prompt with something in it. Raises `LineError`."""
    if type(prompt) is not str:
        raise wrong(key, "text", prompt)
    if not prompt or prompt.isspace():
        raise LineError("empty_prompt", f'"{key}" is empty; the server would answer without generating anything')
    return prompt


def check_messages(messages: Json) -> list[Json]:
    """Messages of which at least one says something. Raises `LineError`."""
    if type(messages) is not list:
        raise wrong("messages", "a list of objects with role and content", messages)
    says = False
    for place, message in enumerate(messages):
        says = _check_message(message, place) or says
    if not says:
        raise LineError("empty_prompt", '"messages" is empty or has no content; nothing would be generated')
    return messages


def check_turns(turns: Json) -> list[list[Json]]:
    """What is said turn by turn, each as messages: a text is a user's. Raises `LineError`."""
    if type(turns) is not list or not turns:
        raise wrong("turns", "a list of texts or messages, one for each turn", turns)
    found = []
    for place, turn in enumerate(turns):
        messages = turn if type(turn) is list else [{"role": "user", "content": turn} if type(turn) is str else turn]
        try:
            found.append(check_messages(messages))
        except LineError as error:
            raise LineError(error.code, f"turn {place + 1}: {error.message}") from error
    return found


def check_input(value: Json, key: str = "input", *, may_be_empty: bool = True) -> Json:
    """What to embed: a text, texts, or token numbers as OpenAI takes them. Raises `LineError`.

    Nothing at all, or a blank, is an error: Ollama gives no vector for "", and those of others mean nothing. An empty
    text in a list gets one there, so whether it may be is the server's to say, unless it is to be answered.
    """
    if type(value) is not str and type(value) is not list:
        raise wrong(key, "text or a list of texts", value)
    if not value or (type(value) is str and is_blank(value)):
        raise LineError("empty_prompt", f'"{key}" is empty; there is nothing to embed')
    if type(value) is list and any(type(item) is not int for item in value):
        for place, item in enumerate(value):
            _check_item(item, place)
            if not item and not may_be_empty:
                raise LineError("empty_prompt", f'"{key}[{place}]" is empty; nothing would be generated')
    return value


def check_items(value: Json, key: str = "input") -> Json:
    """The input of `/v1/responses`: a text, or items of which each is an object. Raises `LineError`."""
    if type(value) is str:
        return check_prompt(value, key)
    if type(value) is not list or any(type(item) is not dict for item in value):
        raise wrong(key, "text or a list of objects", value)
    if not value:
        raise LineError("empty_prompt", f'"{key}" is empty; nothing would be generated')
    return value


def _check_item(item: Json, place: int) -> None:
    key = f"input[{place}]"
    if type(item) is list and item and all(type(token) is int for token in item):
        return
    if type(item) is not str:
        raise wrong(key, "text", item)


def _check_message(message: Json, place: int) -> bool:
    """Whether the message says anything."""
    if type(message) is not dict:
        raise wrong(f"messages[{place}]", "an object with role and content", message)
    role = message.get("role")
    if type(role) is not str or not role:
        raise wrong(f"messages[{place}].role", "text such as user", role)
    content = message.get("content")
    if type(content) is str:
        if content and not content.isspace():
            return True
    elif type(content) is list:
        if _check_parts(content, place):
            return True
    elif content is not None or not (message.get("tool_calls") or message.get("images")):
        raise wrong(f"messages[{place}].content", "text or a list of parts", content)
    return bool(message.get("tool_calls") or message.get("images"))


def _check_parts(parts: list[Json], place: int) -> bool:
    """Whether a part says anything: a text that is not blank, or anything that is no text."""
    says = False
    for part in parts:
        if type(part) is not dict or type(part.get("type")) is not str:
            raise wrong(f"messages[{place}].content", "text or a list of objects with a type", part)
        if "text" not in part:
            says = True
        elif type(part["text"]) is not str:
            raise wrong(f"messages[{place}].content[].text", "text", part["text"])
        else:
            says = says or bool(part["text"].strip())
    return says
