"""What the server says about itself: version, models, counts. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from batcher.simulator.asks import normal_name, read_body
from batcher.simulator.refusals import JSON, LOGIN, LOGIN_PAGE, REFUSALS, Refusal, Reply, refuse, say

if TYPE_CHECKING:
    from batcher.simulator.settings import Look

VERSION = "0.33.0"
MODIFIED = "2026-01-01T00:00:00Z"
CREATED = 1_767_225_600
CONTEXT = 4096
CAPABILITIES = ["completion", "tools", "thinking", "embedding"]
LISTED = ["completion", "tools", "thinking"]
"""What `/api/tags` says of that: Ollama does not know there that a model embeds."""
NATIVE_GET = ("/", "/api/version", "/api/tags", "/api/ps")
_JSON_V1 = "application/json"
_LLAMA_CPP_MISSING = Refusal(404, "File Not Found", "not_found_error")


def listing(
    method: str,
    path: str,
    body: bytes,
    *,
    look: Look,
    models: frozenset[str],
    loaded: list[str],
    counts: dict[str, Any],
) -> Reply:
    """The reply to any request that is not for an answer. Raises `RefusedError`."""
    native = look == "native"
    if path == "/_sim/counts":
        return Reply(200, JSON, json.dumps(counts).encode())
    if path == LOGIN:
        return LOGIN_PAGE
    if path == "/api/show" and native:
        return _show(body, models) if method == "POST" else refuse(REFUSALS["method"], native=True)
    known = (
        path == "/v1/models" or path.startswith("/v1/models/") or (path in NATIVE_GET if native else path == "/health")
    )
    if not known:
        return refuse(REFUSALS["path_missing"] if native else _LLAMA_CPP_MISSING, native=native)
    if method not in ("GET", "HEAD"):
        return refuse(REFUSALS["method"], native=native)
    if path.startswith("/v1/models"):
        return _v1_models(path.removeprefix("/v1/models").removeprefix("/"), models, look)
    return _native(path, models, loaded)


def _native(path: str, models: frozenset[str], loaded: list[str]) -> Reply:
    if path == "/":
        return Reply(200, "text/plain; charset=utf-8", b"Ollama is running")
    found: dict[str, Any]
    if path == "/api/version":
        found = {"version": VERSION}
    elif path == "/api/tags":
        found = {"models": [_tag(name) for name in sorted(models)]}
    elif path == "/api/ps":
        found = {"models": [_running(name) for name in loaded]}
    else:
        found = {"status": "ok"}
    return Reply(200, JSON, orjson.dumps(found))


def _details() -> dict[str, Any]:
    found: dict[str, Any] = {"parent_model": "", "format": "gguf", "family": "simulator", "families": ["simulator"]}
    return found | {"parameter_size": "0B", "quantization_level": "F32"}


def _model(name: str) -> dict[str, Any]:
    return {"name": name, "model": name, "size": 1, "digest": f"{len(name):064x}", "details": _details()}


def _tag(name: str) -> dict[str, Any]:
    found = {"name": name, "model": name, "modified_at": MODIFIED} | _model(name)
    found["details"] |= {"context_length": CONTEXT, "embedding_length": 8}
    return found | {"capabilities": LISTED}


def _running(name: str) -> dict[str, Any]:
    return _model(name) | {"expires_at": "2318-01-01T00:00:00Z", "size_vram": 1, "context_length": CONTEXT}


def _show(body: bytes, models: frozenset[str]) -> Reply:
    asked = read_body(body, native=True)
    name = str(asked.get("model") or asked.get("name") or "")
    if not name:
        raise say(400, "model is required", native=True)
    if normal_name(name) not in models:
        raise say(404, f"model '{normal_name(name)}' not found", native=True)
    info = {"general.architecture": "simulator", "simulator.context_length": CONTEXT, "simulator.embedding_length": 8}
    found = {"modelfile": "FROM simulator", "details": _details(), "model_info": info}
    return Reply(200, JSON, orjson.dumps(found | {"capabilities": CAPABILITIES, "modified_at": MODIFIED}))


def _v1_models(name: str, models: frozenset[str], look: Look) -> Reply:
    if name:
        if normal_name(name) not in models:
            raise say(404, f"model '{normal_name(name)}' not found", native=False)
        return Reply(200, _JSON_V1, orjson.dumps(_v1_model(name, look)) + b"\n")
    data = [_v1_model(found, look) for found in sorted(models)]
    return Reply(200, _JSON_V1, orjson.dumps({"object": "list", "data": data or None}) + b"\n")


def _v1_model(name: str, look: Look) -> dict[str, Any]:
    owner = "library" if look == "native" else "llamacpp"
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner}
