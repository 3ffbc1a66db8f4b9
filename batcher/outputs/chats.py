"""Writes prompts and their answers as chats to train on: a line of `{"messages": […]}` for each, as OpenAI takes them.

An answer about which something looked wrong (`flags`), or that failed, is none to learn from and is left out. Source:
https://platform.openai.com/docs/guides/supervised-fine-tuning (chat format, with tools).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher import codec
from batcher.failures import LineError
from batcher.inputs.formats import parse_job
from batcher.ledger.sound import sound
from batcher.model import Kind
from batcher.outputs.openaibatch import tool_call
from batcher.wire.dialects.messages import to_openai

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.inputs.formats import Line
    from batcher.inputs.formats.defaults import Defaults
    from batcher.model import Job, Json


def chat_line(line: Line, record: Mapping[str, Json], defaults: Defaults, repeat: int) -> bytes | None:
    """The chat of a row and its answer; `None` if there is nothing to learn from."""
    record = sound(record)
    if "error" in record or "text" not in record or record.get("flags") or line.data is None:
        return None
    try:
        job = parse_job(line.data, line.seq // repeat, defaults)
        messages = _asked(job)
    except LineError:
        return None
    if messages is None:
        return None
    turns = record.get("turns")
    if isinstance(turns, list):
        for place, turn in enumerate(turns):
            messages += [*(job.turns[place - 1] if 0 < place <= len(job.turns) else ()), _said(turn)]
    else:
        messages.append(_said(record))
    chat: dict[str, Json] = {"messages": to_openai(messages)}
    tools = job.tools if job.body is None else job.body.get("tools")
    if tools:
        chat["tools"] = tools
    return codec.dumps(chat) + b"\n"


def _asked(job: Job) -> list[Json] | None:
    """What was asked, as messages; `None` for what is no chat."""
    system, content = job.system, job.content
    if job.body is not None:
        body = job.body
        system = body.get("system") or body.get("instructions")
        content = next((body[key] for key in ("messages", "prompt", "input") if key in body), None)
    if job.kind not in (Kind.CHAT, Kind.GENERATE, Kind.RESPONSES):
        return None
    if type(content) is str:
        content = [{"role": "user", "content": content}]
    if type(content) is not list or not all(type(item) is dict and "role" in item for item in content):
        return None
    return [*to_openai(content, system, job.images)]


def _said(record: Mapping[str, Json]) -> dict[str, Json]:
    message: dict[str, Json] = {"role": "assistant", "content": record.get("text", "")}
    if record.get("tool_calls"):
        message["tool_calls"] = [tool_call(call, place) for place, call in enumerate(record["tool_calls"])]
    return message
