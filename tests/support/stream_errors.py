"""Errors as servers send them inside a 200: an object in a stream or a body, or its words, and what each means."""

from __future__ import annotations

import orjson
from support.refusal_texts import BUSY, CONTEXT_INSIDE, vllm

from batcher.failures import FailureClass

P, F, T, X = FailureClass.PERMANENT, FailureClass.FATAL, FailureClass.THROTTLE, FailureClass.TRANSIENT

IN_STREAM = [
    # Ollama: a string, or llama.cpp's JSON inside the string (llm/llama_server.go statusErrorMessage)
    ("an error was encountered while running the model: unexpected EOF", X, "server_crash"),
    ("llama-server chat error: map[code:500 message:x type:server_error]", X, "server_crash"),
    (orjson.loads(CONTEXT_INSIDE)["error"], P, "context_overflow"),
    ("template: :1: unexpected EOF", P, "bad_request"),
    ("prediction aborted, token repeat limit reached", X, "stream_error"),
    (BUSY, T, "busy"),
    # vLLM: serving_chat.py create_streaming_error_response
    (orjson.loads(vllm("EngineCore encountered an issue", "InternalServerError", 500)), X, "server_crash"),
    (orjson.loads(vllm("Internal server error", "InternalServerError", 500)), X, "stream_error"),
    (orjson.loads(vllm("max_tokens is too large", "BadRequestError", 400)), P, "bad_request"),
    # what llama.cpp sends: tools/server
    ({"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}, X, "stream_error"),
    ({"code": 400, "message": "failed to parse grammar", "type": "invalid_request_error"}, P, "bad_request"),
    # OpenAI: no number, words alone
    ({"message": "The server had an error", "type": "server_error", "param": None, "code": None}, X, "stream_error"),
    ({"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}, T, "rate_limited"),
    ({"message": "You exceeded your current quota", "code": "insufficient_quota"}, F, "quota"),
    ({"message": "Incorrect API key", "code": "invalid_api_key"}, F, "unauthorized"),
    ({"type": "error", "code": "server_error", "message": "x", "param": None}, X, "stream_error"),
    ({"message": "Rate limit exceeded: free-models-per-min"}, T, "rate_limited"),
    ({"message": "Rate limit exceeded: free-models-per-day"}, F, "usage_limit"),
    # OpenRouter's error guide: the status as a number, or as text
    ({"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "x"}}, X, "stream_error"),
    ({"code": 429, "message": "Provider returned error"}, T, "rate_limited"),
    ({"code": "401", "message": "User not found"}, F, "unauthorized"),
    ({"type": "overloaded_error", "message": "Overloaded"}, T, "overloaded"),
    ({"code": 403, "message": "x", "metadata": {"reasons": ["hate"]}}, P, "content_filter"),
    # shapes of other servers, as `batcher.wire.faults` hands them on
    ({"message": "CUDA out of memory", "code": 50002}, X, "out_of_memory"),
    ({"code": 404, "message": "The model `m` does not exist.", "object": "error"}, F, "model_not_found"),
    ({"message": "insufficient balance", "code": 1008}, F, "quota"),
    ({"message": "login fail: Please carry the API secret key", "code": 1004}, F, "unauthorized"),
    ({"detail": "Not authenticated", "status": 401}, F, "unauthorized"),
    ({"errors": [{"code": 7003, "message": "no"}], "success": False}, X, "stream_error"),
    ({"fault": {"faultstring": "Rate limit quota violation"}}, T, "rate_limited"),
    ("Error code: 503 - {'error': 'no workers'}", T, "busy"),
    ("failed: json_validate_failed", X, "generation_failed"),
    # LM Studio bug tracker #618, #2322: errors under status 200
    ({"error": "Unexpected endpoint or method. (POST /chat/completions)"}, F, "endpoint_not_found"),
    ({"message": "Reached context length of 4096 tokens with model (arch: qwen3vlmoe)"}, P, "context_overflow"),
    ("The model has crashed without additional information. (Exit code: 6)", X, "server_crash"),
    ("Model unloaded.", X, "model_unloaded"),
]
