"""Which path is answered in which words: one line a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.simulator.native import EmbedAnswer, NativeAnswer
from batcher.simulator.openai import ChatAnswer, CompletionAnswer, EmbeddingsAnswer, PictureAnswer
from batcher.simulator.responses import ResponsesAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.simulator.asks import Answer, Ask
    from batcher.simulator.settings import Look

_OLLAMA: dict[str, Callable[[Ask], Answer]] = {
    "/api/generate": NativeAnswer,
    "/api/chat": NativeAnswer,
    "/api/embed": EmbedAnswer,
    "/v1/chat/completions": ChatAnswer,
    "/v1/completions": CompletionAnswer,
    "/v1/responses": ResponsesAnswer,
    "/v1/embeddings": EmbeddingsAnswer,
}
"""Ollama's. Since v0.32.6 it makes no pictures (server/routes.go)."""
_HOSTED = {path: answer for path, answer in _OLLAMA.items() if path.startswith("/v1/")}
ANSWERS: Mapping[Look, Mapping[str, Callable[[Ask], Answer]]] = {
    "native": _OLLAMA,
    "openai": _HOSTED | {"/v1/images/generations": PictureAnswer},
}
