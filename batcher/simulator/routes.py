"""Which path is answered in which words: one line a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.simulator.native import EmbedAnswer, NativeAnswer
from batcher.simulator.openai import ChatAnswer, CompletionAnswer, EmbeddingsAnswer, PictureAnswer
from batcher.simulator.responses import ResponsesAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator.asks import Answer, Ask

ANSWERS: dict[str, Callable[[Ask], Answer]] = {
    "/api/generate": NativeAnswer,
    "/api/chat": NativeAnswer,
    "/api/embed": EmbedAnswer,
    "/v1/chat/completions": ChatAnswer,
    "/v1/completions": CompletionAnswer,
    "/v1/responses": ResponsesAnswer,
    "/v1/embeddings": EmbeddingsAnswer,
    "/v1/images/generations": PictureAnswer,
}
