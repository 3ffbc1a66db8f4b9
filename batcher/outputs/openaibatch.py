"""Writes results as OpenAI's Batch API gives them back: answers in one file, failures in another.

Each answer is the object of its API path, made from what the line holds, or the server's own with `raw`. What Ollama's
own API answered is told as a chat completion. Source: OpenAI API reference (batch output and its errors; the objects of
chat completions, completions, responses and embeddings).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from batcher import codec
from batcher.ledger.sound import sound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set as AbstractSet

    from batcher.model import Json

    Record = Mapping[str, Json]

_OF_TEXTS: Final = frozenset({"stop", "length", "content_filter"})
"""Why an answer ended, as `/v1/completions` has it, which knows of no tools."""
_REASONS: Final = _OF_TEXTS | {"tool_calls", "function_call"}
_OF_CUT: Final = frozenset({"max_output_tokens", "max_messages", "content_filter", "steered"})
"""Why one broke off, as `/v1/responses` has it."""
_OK: Final = 200


def answer_line(record: Record) -> bytes:
    """The line of the output file for a result."""
    record = sound(record)
    path = record.get("endpoint", "")
    raw = record.get("raw")
    body = raw if isinstance(raw, dict) and path.startswith("/v1/") else _OBJECTS.get(path, _chat)(record)
    return _line(record, {"status_code": _OK, "request_id": _request(record), "body": body}, None)


def failure_line(record: Record) -> bytes:
    """The line of the error file for a failure: as the server answered, or what happened where it did not."""
    record = sound(record)
    error = record.get("error") or {}
    status = error.get("status")
    words = {"code": error.get("code"), "message": error.get("message")}
    if status is None:
        return _line(record, None, words)
    told = {"message": words["message"], "type": error.get("class"), "param": None, "code": words["code"]}
    return _line(record, {"status_code": status, "request_id": _request(record), "body": {"error": told}}, None)


def _line(record: Record, response: Json, error: Json) -> bytes:
    line = {"id": f"batch_req_{record['seq']}", "custom_id": record["id"], "response": response, "error": error}
    return codec.dumps(line) + b"\n"


def _request(record: Record) -> str:
    return f"req_{record.get('hash') or record['seq']}"


def _created(record: Record) -> int:
    """When it was asked, in seconds since 1970; 0 where that is not known, as of a copy."""
    started = (record.get("timing") or {}).get("started_at")
    return int(datetime.fromisoformat(started).timestamp()) if isinstance(started, str) else 0


def _model(record: Record) -> str:
    return str(record.get("served_model") or record.get("model") or "")


def _usage(record: Record) -> dict[str, int]:
    usage = record.get("usage") or {}
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _reason(choice: Record, known: AbstractSet[str] = _REASONS) -> str:
    reason = choice.get("finish_reason")
    if reason in known:
        return str(reason)
    return "tool_calls" if "tool_calls" in known and choice.get("tool_calls") else "stop"


def tool_call(call: Record, number: int) -> dict[str, Json]:
    """A tool call with an id and its arguments as text, as OpenAI has it."""
    function = call.get("function") or {}
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else codec.dumps(arguments or {}).decode()
    return {
        "id": call.get("id") or f"call_{number}",
        "type": "function",
        "function": {"name": function.get("name"), "arguments": text},
    }


def _choices(record: Record) -> list[Record]:
    return record.get("choices") or [record]


def _chat(record: Record) -> dict[str, Json]:
    choices: list[Json] = []
    for number, choice in enumerate(_choices(record)):
        message: dict[str, Json] = {
            "role": "assistant",
            "content": choice.get("text") or (None if choice.get("tool_calls") or choice.get("refusal") else ""),
            "refusal": choice.get("refusal"),
        }
        if choice.get("thinking"):
            message["reasoning_content"] = choice["thinking"]
        if choice.get("tool_calls"):
            message["tool_calls"] = [tool_call(call, place) for place, call in enumerate(choice["tool_calls"])]
        logprobs = choice.get("logprobs")
        choices.append(
            {
                "index": choice.get("index", number),
                "message": message,
                "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
                "finish_reason": _reason(choice),
            }
        )
    return {
        "id": f"chatcmpl-{record.get('hash', '')}",
        "object": "chat.completion",
        "created": _created(record),
        "model": _model(record),
        "choices": choices,
        "usage": _usage(record),
    }


def _completion(record: Record) -> dict[str, Json]:
    return {
        "id": f"cmpl-{record.get('hash', '')}",
        "object": "text_completion",
        "created": _created(record),
        "model": _model(record),
        "choices": [
            {
                "index": choice.get("index", number),
                "text": choice.get("text", ""),
                "logprobs": None,
                "finish_reason": _reason(choice, _OF_TEXTS),
            }
            for number, choice in enumerate(_choices(record))
        ],
        "usage": _usage(record),
    }


def _response(record: Record) -> dict[str, Json]:
    digest = record.get("hash", "")
    said: list[Json] = []
    if record.get("text") or not (record.get("tool_calls") or record.get("refusal")):
        said.append({"type": "output_text", "text": record.get("text", ""), "annotations": []})
    if record.get("refusal"):
        said.append({"type": "refusal", "refusal": record["refusal"]})
    output: list[Json] = []
    if record.get("thinking"):
        summary = [{"type": "summary_text", "text": record["thinking"]}]
        output.append({"type": "reasoning", "id": f"rs_{digest}", "summary": summary})
    if said:
        head = {"type": "message", "id": f"msg_{digest}", "role": "assistant", "status": "completed"}
        output.append({**head, "content": said})
    for number, call in enumerate(record.get("tool_calls") or ()):
        flat = tool_call(call, number)
        function = {"type": "function_call", "id": f"fc_{digest}_{number}", "call_id": flat["id"]}
        output.append({**function, **flat["function"], "status": "completed"})
    usage = record.get("usage") or {}
    read, made = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    is_cut = "incomplete" in record.get("flags", ())
    reason = {"length": "max_output_tokens"}.get(found := str(record.get("finish_reason")), found)
    return {
        "id": f"resp_{digest}",
        "object": "response",
        "created_at": _created(record),
        "status": "incomplete" if is_cut else "completed",
        "error": None,
        "incomplete_details": {"reason": reason if reason in _OF_CUT else None} if is_cut else None,
        "instructions": None,
        "metadata": {},
        "model": _model(record),
        "output": output,
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0), "cache_write_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
            "total_tokens": read + made,
        },
    }


def _embeddings(record: Record) -> dict[str, Json]:
    listed = record.get("embeddings")
    vectors = [record.get("embedding")] if listed is None else listed
    data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    usage = _usage(record)
    del usage["completion_tokens"]
    return {"object": "list", "data": data, "model": _model(record), "usage": usage}


_OBJECTS: Final[Mapping[str, Callable[[Record], dict[str, Json]]]] = {
    "/v1/completions": _completion,
    "/v1/responses": _response,
    "/v1/embeddings": _embeddings,
    "/api/embed": _embeddings,
}
"""What the answer of each path is; of all others it is a chat completion."""
