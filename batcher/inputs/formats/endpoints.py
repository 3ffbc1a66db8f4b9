"""The API paths a line may name, and what each asks for."""

from __future__ import annotations

from difflib import get_close_matches

from batcher.failures import LineError
from batcher.inputs.formats.shapes import unspoken
from batcher.model import Kind

ENDPOINTS: dict[str, Kind] = {
    "/api/generate": Kind.GENERATE,
    "/api/chat": Kind.CHAT,
    "/api/embed": Kind.EMBED,
    "/v1/chat/completions": Kind.CHAT,
    "/v1/completions": Kind.GENERATE,
    "/v1/responses": Kind.RESPONSES,
    "/v1/embeddings": Kind.EMBED,
    "/v1/images/generations": Kind.IMAGE,
}


def kind_of(path: object) -> Kind:
    """What a path asks for. Raises `LineError` with the nearest known path."""
    kind = ENDPOINTS.get(path) if isinstance(path, str) else None
    if kind is None:
        raise LineError("unknown_endpoint", _unknown(path))
    return kind


def _unknown(path: object) -> str:
    if not isinstance(path, str):
        return f'"url" must be the path of an endpoint as text, such as "/v1/chat/completions", not {path!r:.40}'
    if what := unspoken(path):
        return f'"{path:.200}" is for {what}, which batcher does not speak; it speaks {", ".join(ENDPOINTS)}'
    nearest = get_close_matches(path, ENDPOINTS, n=1, cutoff=0.5)
    if nearest:
        return f'there is no endpoint "{path:.200}"; did you mean "{nearest[0]}"?'
    return f'there is no endpoint "{path:.200}"; known are {", ".join(ENDPOINTS)}'
