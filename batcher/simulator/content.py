"""What an answer holds: the request checked as the real servers check it, its content settled, or a refusal. Pure."""

from __future__ import annotations

from typing import Any

from batcher.simulator.asks import EMBEDDING, Ask, normal_name
from batcher.simulator.parameters import check_parameters
from batcher.simulator.refusals import CONTEXT_OVERFLOW, Refusal, RefusedError, error_body, refuse, say
from batcher.simulator.texts import prose, thoughts, tokens


def complete(ask: Ask, models: frozenset[str]) -> None:
    """Check the request and settle what the answer holds. Raises `RefusedError`."""
    _check_model(ask, models)
    _check_content(ask)
    check_parameters(ask)
    _check_room(ask)
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
    ask.asked_model = normal_name(ask.model)
    ask.model = ask.behaviour.served or ask.model


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


def _check_room(ask: Ask) -> None:
    """A prompt that is too long: an error, or on Ollama, if `truncate` does not forbid it, cut in silence."""
    room = ask.settings.context
    strict = ask.look == "openai" or (ask.native and ask.body.get("truncate") is False)
    given = max(ask.lengths, default=0)
    if room is None or given <= room or not strict:
        return
    if ask.path == "/api/embed":
        raise say(400, "the input length exceeds the context length", native=True)
    refusal = Refusal(400, CONTEXT_OVERFLOW % (given, room), "exceed_context_size_error")
    if ask.native:  # llama.cpp's own JSON is the text of Ollama's error (llm/llama_server.go)
        raise say(400, error_body(refusal, native=False).decode(), native=True)
    raise RefusedError(refuse(refusal, native=False))


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
    count = ask.length if behaviour.tokens is None else behaviour.tokens
    if "loop" in faults:
        return [" again"] * count
    if "spaces" in faults:
        return [" \n"] * count
    if behaviour.say is not None:
        return [behaviour.say[i : i + 4] for i in range(0, len(behaviour.say), 4)]
    words = prose(f"{ask.settings.seed} {ask.key}", count) if ask.settings.prose else tokens(ask.key, count)
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
