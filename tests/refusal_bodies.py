"""Errors as real servers word them, each with where it comes from and what it means."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from batcher.failures import Exit, FailureClass, Scope

P, F, T, X = FailureClass.PERMANENT, FailureClass.FATAL, FailureClass.THROTTLE, FailureClass.TRANSIENT
CHAT, NATIVE, EMBED, V1_EMBED = "/v1/chat/completions", "/api/chat", "/api/embed", "/v1/embeddings"


class Row(NamedTuple):
    """An answer that is no 200, and what it means."""

    source: str
    status: int
    path: str
    body: str
    kind: FailureClass
    code: str
    scope: Scope = Scope.ENDPOINT
    exit: Exit = Exit.CONFIG


ROUTES = "Ollama server/routes.go"
RUNNER = "Ollama llm/llama_server.go"
TESTED = "Ollama server/routes_generate_test.go"
SCHEDULER = "Ollama server/sched.go"
GIN = "gin v1.10.0 gin.go"
SHIM = "Ollama openai/openai.go"
NGINX = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
)
STOPPED = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
BUSY = "server busy, please try again.  maximum pending requests exceeded"


def native(message: str) -> str:
    return orjson.dumps({"error": message}).decode()


def openai(message: str, kind: str = "api_error", code: str | int | None = None) -> str:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).decode()


def vllm(message: str, kind: str, code: int) -> str:
    return orjson.dumps({"object": "error", "message": message, "type": kind, "param": None, "code": code}).decode()


CONTEXT_INSIDE = native(
    openai("request (9412 tokens) exceeds the available context size (8192 tokens)", "exceed_context_size_error", 400)
)
GROQ = "Request too large for model `llama-3.3-70b-versatile` on tokens per minute (TPM): Limit 12000, Requested 14137"
GROQ_DAY = "Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619."

# fmt: off
ROWS = [
    # the request itself is wrong
    Row(ROUTES, 400, NATIVE, native("missing request body"), P, "bad_request"),
    Row(ROUTES, 400, NATIVE, native("unexpected EOF"), P, "bad_request"),
    Row(ROUTES, 400, NATIVE, native("EOF"), P, "bad_request"),
    Row(TESTED, 400, "/api/generate", native('"bert" does not support generate'), P, "bad_request"),
    Row(TESTED, 400, "/api/generate", native("top_logprobs must be between 0 and 20"), P, "bad_request"),
    Row(ROUTES, 400, NATIVE, native("model is required"), P, "bad_request"),
    Row(ROUTES, 400, EMBED, native("invalid input type"), P, "bad_request"),
    Row(ROUTES, 400, EMBED, native("embedding contains NaN or Inf values"), P, "bad_request"),
    Row("Ollama before v0.30", 500, EMBED, native("json: unsupported value: NaN"), P, "bad_request"),
    Row("Ollama api/types.go", 500, NATIVE, native('option "temperature" must be of type float32'), P, "bad_request"),
    Row(RUNNER, 500, NATIVE, native('invalid format: "\\"xml\\""; expected "json"'), P, "bad_request"),
    Row(SHIM, 400, CHAT, openai("[] is too short - 'messages'", "invalid_request_error"), P, "bad_request"),
    Row("FastAPI", 422, CHAT, '{"detail":[{"loc":["body"],"msg":"field required"}]}', P, "bad_request"),
    Row("vLLM #3485", 400, CHAT, vllm("top_p must be in (0, 1]", "BadRequestError", 400), P, "bad_request"),
    Row("nginx 1.22", 413, CHAT, "<html><head><title>413 Request Entity Too Large</title></head>", P, "too_large"),
    Row("nginx 1.22", 414, CHAT, "<html><head><title>414 Request-URI Too Large</title></head>", P, "too_large"),
    # the prompt does not fit
    Row(ROUTES, 400, EMBED, native("the input length exceeds the context length"), P, "context_overflow"),
    Row(ROUTES, 500, "/api/embeddings", native("the input length exceeds the context length"), P, "context_overflow"),
    Row(RUNNER, 400, NATIVE, native("the prompt is longer than the context length"), P, "context_overflow"),
    Row(RUNNER, 400, NATIVE, CONTEXT_INSIDE, P, "context_overflow"),
    Row("Ollama x/mlxrunner/pipeline.go", 400, NATIVE,
        native("input length (9 tokens) exceeds the model's maximum context length (8 tokens)"), P, "context_overflow"),
    Row("OpenAI error guide", 400, CHAT, openai("This model's maximum context length is 8192 tokens.",
        "invalid_request_error", "context_length_exceeded" ), P, "context_overflow"),
    Row("Groq (continuedev/continue #10218)", 413, CHAT, openai(GROQ, "tokens"), P, "over_token_limit"),
    Row("OpenAI (vanna-ai/vanna-flask #11)", 429, CHAT, openai(GROQ, "tokens"), P, "over_token_limit"),
    # told to wait
    Row(SCHEDULER, 503, NATIVE, native(BUSY), T, "busy"),
    Row(SHIM, 503, CHAT, openai(BUSY), T, "busy"),
    Row(TESTED, 503, NATIVE, native("model is overloaded"), T, "busy"),
    Row(TESTED, 429, NATIVE, native("rate limit exceeded"), T, "rate_limited"),
    Row("llama.cpp tools/server", 503, CHAT, openai("Loading model", "unavailable_error", 503), T, "busy"),
    Row("Groq (continuedev/continue #10920)", 429, CHAT, openai(GROQ_DAY, "tokens"), T, "rate_limited"),
    Row("Anthropic, Dev Proxy guide", 529, CHAT, openai("Overloaded", "overloaded_error"), T, "overloaded"),
    Row("OpenRouter error guide", 429, CHAT, openai("Provider returned error", code=429), T, "rate_limited"),
    # may go well next time
    Row(RUNNER, 500, NATIVE, native(STOPPED), X, "server_crash"),
    Row(RUNNER, 500, NATIVE, native("an error was encountered while running the model: EOF"), X, "server_crash"),
    Row(RUNNER, 500, NATIVE, native("llama-server process has terminated: exit status 2"), X, "server_crash"),
    Row(RUNNER, 500, NATIVE, native("process has terminated: error loading model: missing tensor"), X, "server_crash"),
    Row(ROUTES, 400, EMBED, native('do embedding request: Post "http://127.0.0.1:4/x": EOF'), X, "server_crash"),
    Row(ROUTES, 400, V1_EMBED, openai("no slots available after 10 retries"), X, "server_crash"),
    Row(RUNNER, 500, NATIVE, native("llama-server reported out-of-memory during startup"), X, "out_of_memory"),
    Row("Ollama v0.20.7", 500, NATIVE, native("model requires more system memory (9 GiB)"), X, "out_of_memory"),
    Row("llama.cpp tools/server", 500, CHAT, openai("CUDA error: out of memory"), X, "out_of_memory"),
    Row(ROUTES, 500, NATIVE, native("error parsing tool call: raw='{'"), X, "tool_call_unreadable"),
    Row(ROUTES, 499, NATIVE, native("request canceled"), X, "timeout_at_server"),
    Row("gin recovery.go", 500, NATIVE, "", X, "http_500"),
    Row("nginx 1.22", 502, CHAT, NGINX, X, "http_502"),
    Row("nginx 1.22", 504, CHAT, NGINX.replace("502 Bad Gateway", "504 Gateway Time-out"), X, "http_504"),
    Row("Cloudflare", 524, CHAT, "error code: 524", X, "http_524"),
    Row("OpenAI error guide", 408, CHAT, openai("Request timed out"), X, "timeout_at_server"),
    Row("OpenAI error guide", 409, CHAT, openai("Conflict"), X, "timeout_at_server"),
    Row("LM Studio #1492", 404, CHAT, native("Model is unloaded."), X, "model_unloaded"),
    # no job of this model, of this path, or at all
    Row(ROUTES, 404, NATIVE, native("model 'nope' not found"), F, "model_not_found", Scope.MODEL),
    Row(ROUTES, 404, EMBED, native('model "nope" not found, try pulling it'), F, "model_not_found", Scope.MODEL),
    Row(ROUTES, 400, NATIVE, native("invalid model name"), F, "model_not_found", Scope.MODEL),
    Row(SHIM, 404, CHAT, openai("model 'x' not found", "not_found_error"), F, "model_not_found", Scope.MODEL),
    Row("vLLM #3485", 404, CHAT, vllm("The model `x` does not exist.", "NotFoundError", 404), F, "model_not_found",
        Scope.MODEL),
    Row("LM Studio (continuedev/continue #10150)", 400, CHAT,
        openai('Failed to load model "gpt-oss-20b". Error: Error loading model.'), F, "model_unloadable", Scope.MODEL),
    Row("LM Studio (tinyhumansai/openhuman #4181)", 400, CHAT, openai("No models loaded. Please load a model"), F,
        "model_not_found", Scope.MODEL),
    Row(SCHEDULER, 500, NATIVE, native("process has terminated: this model may be incompatible with your version"), F,
        "model_unloadable", Scope.MODEL),
    Row("Ollama llm/server.go", 500, NATIVE, native("unable to load full model on GPU"), F, "model_unloadable",
        Scope.MODEL),
    Row("Ollama server/cloud_proxy.go", 403, NATIVE, native("ollama cloud is disabled: remote model is unavailable"),
        F, "model_disabled", Scope.MODEL),
    Row(GIN, 404, NATIVE, "404 page not found", F, "endpoint_not_found", Scope.PATH),
    Row(GIN, 405, NATIVE, "405 method not allowed", F, "endpoint_not_found", Scope.PATH),
    Row("FastAPI", 404, CHAT, '{"detail":"Not Found"}', F, "endpoint_not_found", Scope.PATH),
    Row("llama.cpp tools/server", 501, EMBED, native("This server does not support embeddings."), F, "not_offered",
        Scope.PATH),
    Row(ROUTES, 403, NATIVE, "", F, "host_refused"),
    Row(GIN, 307, NATIVE, "", F, "redirect"),
    Row("nginx 1.22", 301, CHAT, "<html><head><title>301 Moved Permanently</title></head>", F, "redirect"),
    Row("Ollama server/routes_cloud_test.go", 401, NATIVE, '{"error":"unauthorized","signin_url":"https://x"}', F,
        "unauthorized", exit=Exit.REFUSED),
    Row("OpenAI error guide", 401, CHAT, openai("Incorrect API key provided", code="invalid_api_key"), F,
        "unauthorized", exit=Exit.REFUSED),
    Row("OpenAI error guide", 403, CHAT, openai("Country not supported"), F, "unauthorized", exit=Exit.REFUSED),
    Row("OpenRouter error guide", 402, CHAT, openai("Insufficient credits", code=402), F, "payment_required",
        exit=Exit.REFUSED),
    Row("OpenAI error guide", 429, CHAT, openai("You exceeded your current quota", code="insufficient_quota"), F,
        "quota", exit=Exit.REFUSED),
    Row("OpenAI error guide", 400, CHAT, openai("Billing hard limit has been reached",
        code="billing_hard_limit_reached"), F, "quota", exit=Exit.REFUSED),
    Row("Anthropic", 429, CHAT, openai("…", code="enforced_spend_limit_reached"), F, "quota", exit=Exit.REFUSED),
]
# fmt: on

IN_STREAM = [
    # Ollama: a string, or llama.cpp's JSON inside the string (llm/llama_server.go statusErrorMessage)
    ("an error was encountered while running the model: unexpected EOF", X, "server_crash"),
    ("llama-server chat error: map[code:500 message:x type:server_error]", X, "server_crash"),
    (orjson.loads(CONTEXT_INSIDE)["error"], P, "context_overflow"),
    ("template: :1: unexpected EOF", P, "bad_request"),
    ("prediction aborted, token repeat limit reached", X, "stream_error"),
    (BUSY, T, "busy"),
    # vLLM: serving_chat.py create_streaming_error_response
    (orjson.loads(vllm("EngineCore encountered an issue", "InternalServerError", 500)), X, "stream_error"),
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
    # OpenRouter's error guide: the status as a number, or as text
    ({"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "x"}}, X, "stream_error"),
    ({"code": 429, "message": "Provider returned error"}, T, "rate_limited"),
    ({"code": "401", "message": "User not found"}, F, "unauthorized"),
    ({"type": "overloaded_error", "message": "Overloaded"}, T, "overloaded"),
]
