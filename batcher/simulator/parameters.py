"""What Ollama refuses of a request's parameters, in its own words (0.33.0-rc2). Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from batcher.simulator.refusals import Refusal, error_body, say

if TYPE_CHECKING:
    from batcher.simulator.asks import Ask

OPTIONS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "temperature": ("float32", (int, float)),
    "top_p": ("float32", (int, float)),
    "min_p": ("float32", (int, float)),
    "repeat_penalty": ("float32", (int, float)),
    "num_predict": ("integer", int),
    "num_ctx": ("integer", int),
    "top_k": ("integer", int),
    "seed": ("integer", int),
    "stop": ("array", list),
}
"""Option → what Ollama calls its type, and which values are of it; a wrong one is a 500."""
SCHEMA_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


def check_parameters(ask: Ask) -> None:
    """Raises `RefusedError` for what Ollama would refuse of the parameters; other servers have other rules."""
    if ask.look != "native":
        return
    body = ask.body
    if ask.native:
        _check_options(body.get("options") or {})
        _check_rest(body)
    elif str(body.get("encoding_format", "float")).lower() not in ("float", "base64"):
        words = (
            f"Invalid value for 'encoding_format' = {body['encoding_format']}. Supported values: ['float', 'base64']."
        )
        raise say(400, words, native=False)


def _check_options(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name in OPTIONS and not isinstance(value, OPTIONS[name][1]):
            raise say(500, f'option "{name}" must be of type {OPTIONS[name][0]}', native=True)


def _check_rest(body: dict[str, Any]) -> None:
    keep = body.get("keep_alive")
    if isinstance(keep, str) and re.fullmatch(r"-?\d+(\.\d+)?", keep):
        raise say(400, f'time: missing unit in duration "{keep}"', native=True)
    if not 0 <= int(body.get("top_logprobs") or 0) <= 20:
        raise say(400, "top_logprobs must be between 0 and 20", native=True)
    if body.get("raw") and any(body.get(name) for name in ("template", "system", "context")):
        raise say(400, "raw mode does not support template, system, or context", native=True)
    form = body.get("format")
    if form and form != "json" and not isinstance(form, dict):
        words = f'invalid format: {orjson.dumps(orjson.dumps(form).decode()).decode()}; expected "json" or a valid '
        raise say(500, f"{words}JSON Schema object", native=True)
    if isinstance(form, dict) and isinstance(form.get("type"), str) and form["type"] not in SCHEMA_TYPES:
        words = "Field 'json_schema': \"json_schema\": JSON schema conversion failed:\nUnrecognized schema: "
        raise say(
            400, error_body(Refusal(400, words + orjson.dumps(form).decode()), native=False).decode(), native=True
        )
