"""Errors as real servers word them, each with where it comes from and what it means."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from support.refusal_texts import (
    AZURE,
    AZURE_FILTER,
    BAD_SCHEMA,
    BLIND,
    BUSY,
    CONTEXT_INSIDE,
    CRASHED,
    FLAGGED,
    FREE,
    GROQ,
    GROQ_DAY,
    GROQ_ROOM,
    NGINX,
    NO_DEPLOYMENT,
    NO_ROOM,
    OPENAI_DAY,
    OPENAI_DEAR,
    POOR,
    QUOTA,
    STOPPED,
    google,
    llama,
    native,
    openai,
    vllm,
    wrapped,
)

from batcher.failures import Exit, FailureClass, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

P, F, T, X = FailureClass.PERMANENT, FailureClass.FATAL, FailureClass.THROTTLE, FailureClass.TRANSIENT
CHAT, NATIVE, EMBED, V1_EMBED = "/v1/chat/completions", "/api/chat", "/api/embed", "/v1/embeddings"


class Row(NamedTuple):
    """An answer that is no 200, and what it means. `after`: the seconds that it asks to wait.

    `source` is "captured here" when the body came from the server named, on the machine of the tests; else it names
    the file, guide or report that shows the body.
    """

    source: str
    status: int
    path: str
    body: str
    kind: FailureClass
    code: str
    scope: Scope = Scope.ENDPOINT
    exit: Exit = Exit.CONFIG
    headers: Mapping[str, str] = MappingProxyType({})
    after: float | None = None


HERE = "llama.cpp, captured here (xllamacpp 2026.10.11549)"
ROUTES = "Ollama server/routes.go"
RUNNER = "Ollama llm/llama_server.go"
TESTED = "Ollama server/routes_generate_test.go"
SCHEDULER = "Ollama server/sched.go"
GIN = "gin v1.10.0 gin.go"
SHIM = "Ollama openai/openai.go"
OLLAMA = "Ollama 0.33.0-rc2, captured"

# fmt: off
ROWS = [
    # the request itself is wrong
    Row(ROUTES, 400, NATIVE, native("missing request body"), P, "bad_request"),
    Row(OLLAMA, 400, NATIVE, native(BLIND), P, "bad_request"),
    Row(OLLAMA, 400, CHAT, openai(BLIND, "invalid_request_error"), P, "bad_request"),
    Row(OLLAMA, 400, NATIVE, native(BAD_SCHEMA), P, "bad_request"),
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
    Row(HERE, 400, CHAT, llama("Failed to initialize samplers: failed to parse grammar"), P, "bad_request"),
    Row(HERE, 400, CHAT, llama("[json.exception.parse_error.101] parse error at line 1, column 13: syntax error"), P,
        "bad_request"),
    Row(HERE, 400, CHAT, llama("Field 'max_tokens': [json.exception.type_error.302] type must be number"), P,
        "bad_request"),
    Row(HERE, 400, CHAT, llama('response_format type must be one of "text" or "json_object", but got: xml'), P,
        "bad_request"),
    Row(HERE, 400, V1_EMBED, llama('"input" must not be empty'), P, "bad_request"),
    Row(HERE, 500, CHAT, llama("image input is not supported - hint: if this is unexpected, you may need to provide "
        "the mmproj", 500, "server_error"), P, "bad_request"),
    Row("OpenRouter (dnakov/anon-kode #2)", 404, CHAT, openai("No endpoints found that support tool use.", code=404),
        P, "bad_request"),
    Row("OpenRouter error guide", 403, CHAT, wrapped(FLAGGED), P, "content_filter"),
    Row("Azure (compl-ai/compl-ai #20)", 400, CHAT, wrapped(AZURE_FILTER), P, "content_filter"),
    Row("LiteLLM #16231", 400, CHAT, openai("litellm.ContentPolicyViolationError: AzureException", code="400"), P,
        "content_filter"),
    Row("Groq (glibsonoran/Plush-for-ComfyUI #135)", 400, CHAT, openai("Failed to generate JSON. Please adjust your "
        "prompt.", "invalid_request_error", "json_validate_failed"), X, "generation_failed"),
    Row("Groq's API errors", 400, CHAT, openai("Failed to call a function. Please adjust your prompt.",
        "invalid_request_error", "tool_use_failed"), X, "generation_failed"),
    Row("Groq, as json_validate_failed (langchain-ai/langchain #31459)", 400, CHAT, '{"error":{"message":"Parsing '
        'failed.","type":"invalid_request_error","code":"output_parse_failed","failed_generation":""}}', X,
        "generation_failed"),
    Row("TGI #1510", 424, CHAT, '{"error":"Request failed during generation: Server error: index 1 is out of bounds",'
        '"error_type":"generation"}', X, "generation_failed"),
    Row("Groq (laravel/ai #925)", 498, CHAT, openai("Flex tier capacity exceeded, try again later",
        "capacity_exceeded"), X, "no_capacity"),
    Row("Azure API Management (Azure/azure-sdk-for-python #20042)", 403, CHAT, '{"statusCode":403,"message":"Out of '
        'call volume quota."}', T, "rate_limited", headers=MappingProxyType({"retry-after": "1"}), after=1.0),
    Row("RFC 9110, 15.5.20", 421, CHAT, openai("misdirected request"), X, "disconnected"),
    Row("gateways, in the place of 429", 420, CHAT, openai("slow down"), T, "rate_limited"),
    # the prompt does not fit
    Row(HERE, 400, CHAT, llama("request (3031 tokens) exceeds the available context size (512 tokens), try increasing "
        "it", kind="exceed_context_size_error"), P, "context_overflow"),
    Row(HERE, 500, V1_EMBED, llama("input (3001 tokens) is too large to process. increase the physical batch size",
        500, "server_error"), P, "context_overflow"),
    Row("LM Studio bug tracker #237", 400, CHAT, native("Trying to keep the first 15857 tokens when context the "
        "overflows. However, the model is loaded with context length of only 4096 tokens"), P, "context_overflow"),
    Row("vLLM #4667", 400, CHAT, vllm("max_tokens must be at least 1, got -186.", "BadRequestError", 400), P,
        "context_overflow"),
    Row("vLLM #20409", 400, CHAT, vllm("This model's maximum context length is 16384 tokens. However, you requested "
        "122946 tokens", "BadRequestError", 400), P, "context_overflow"),
    Row("Anthropic (anthropics/claude-code #12186)", 400, CHAT,
        openai("prompt is too long: 208310 tokens > 200000 maximum"), P, "context_overflow"),
    Row("Groq (OpenHands/OpenHands #4167)", 429, CHAT, openai(f"{GROQ_ROOM}Please try again in 1m0.363142857s.",
        "tokens", "rate_limit_exceeded"), P, "over_token_limit", after=60.363142857),
    Row("Groq (danielmiessler/Fabric #364)", 429, CHAT, openai("Limit 7000, Used 0, Requested ~12903. Please try again "
        "in 50.597142857s.", "tokens", "rate_limit_exceeded"), P, "over_token_limit", after=50.597142857),
    Row(ROUTES, 400, EMBED, native("the input length exceeds the context length"), P, "context_overflow"),
    Row(ROUTES, 500, "/api/embeddings", native("the input length exceeds the context length"), P, "context_overflow"),
    Row(RUNNER, 400, NATIVE, native("the prompt is longer than the context length"), P, "context_overflow"),
    Row(RUNNER, 400, NATIVE, CONTEXT_INSIDE, P, "context_overflow"),
    Row("Ollama x/mlxrunner/pipeline.go", 400, NATIVE,
        native("input length (9 tokens) exceeds the model's maximum context length (8 tokens)"), P, "context_overflow"),
    Row("OpenAI error guide", 400, CHAT, openai("This model's maximum context length is 8192 tokens.",
        "invalid_request_error", "context_length_exceeded" ), P, "context_overflow"),
    Row("Groq (continuedev/continue #10218)", 413, CHAT, openai(GROQ, "tokens"), P, "over_token_limit"),
    Row("OpenAI (vanna-ai/vanna-flask #11)", 429, CHAT, openai(OPENAI_DEAR, "tokens"), P, "over_token_limit"),
    # told to wait
    Row(SCHEDULER, 503, NATIVE, native(BUSY), T, "busy"),
    Row(SHIM, 503, CHAT, openai(BUSY), T, "busy"),
    Row(TESTED, 503, NATIVE, native("model is overloaded"), T, "busy"),
    Row(TESTED, 429, NATIVE, native("rate limit exceeded"), T, "rate_limited"),
    Row("llama.cpp tools/server", 503, CHAT, openai("Loading model", "unavailable_error", 503), T, "busy"),
    Row("Groq (continuedev/continue #10920)", 429, CHAT, openai(f"{GROQ_DAY}Please try again in 9m37.056s.",
        "tokens"), T, "rate_limited", after=577.056),
    Row("OpenRouter error guide", 429, CHAT, openai("Provider returned error", code=429), T, "rate_limited"),
    Row("OpenRouter (Gitlawb/openclaude #936)", 429, CHAT, wrapped(FREE), T, "rate_limited", after=54_000.0),
    Row("OpenRouter error guide", 402, CHAT, openai("Insufficient credits", code=402), T, "payment_required",
        headers={"retry-after": "7"}, after=7.0),
    Row("OpenAI (feder-cr/invisible_playwright_mcp #109)", 429, CHAT, openai(f"{OPENAI_DAY}Please try again in 7m12s.",
        "requests", "rate_limit_exceeded"), T, "rate_limited", after=432.0),
    Row("Groq rate limit guide", 429, CHAT, openai("Rate limit reached", "tokens"), T, "rate_limited",
        headers={"x-ratelimit-limit-tokens": "18000", "x-ratelimit-remaining-tokens": "0",
                 "x-ratelimit-reset-tokens": "7.66s", "x-ratelimit-remaining-requests": "14370",
                 "x-ratelimit-reset-requests": "2m59.56s"}, after=7.66),
    Row("Azure (jasonacox/TinyLLM #17)", 429, CHAT, openai(AZURE, code="429"), T, "rate_limited", after=86_400.0),
    Row("Azure (microsoft/copilot-camp #551)", 429, CHAT,
        '{"error":{"code":"429","message": "Rate limit is exceeded. Try again in 2 seconds."}}', T, "rate_limited",
        headers={"x-ratelimit-limit-requests": "8", "x-ratelimit-remaining-requests": "7"}, after=2.0),
    Row("Gemini (diegosouzapw/OmniRoute #9504)", 429, CHAT, google("Minute"), T, "rate_limited", after=36.0),
    Row("Mistral (cline/cline #9085)", 429, CHAT, '{"object":"error","message":"Rate limit exceeded",'
        '"type":"rate_limited","param":null,"code":"1300"}', T, "rate_limited"),
    Row("Mistral (BerriAI/litellm #25078)", 503, CHAT, vllm("Service tier capacity exceeded for this model.",
        "invalid_request_error", 503), T, "busy"),
    Row("LiteLLM #5764", 429, CHAT, openai(NO_ROOM, "None", "429"), T, "rate_limited", after=60.0),
    Row("Cloudflare error 1015", 429, CHAT, "error code: 1015", T, "rate_limited"),
    Row("nginx 1.22", 503, CHAT, NGINX.replace("502 Bad Gateway", "503 Service Temporarily Unavailable"), T, "busy"),
    Row("Anthropic error guide", 529, CHAT, '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"'
        '},"request_id":"req_1"}', T, "overloaded"),
    # may go well next time
    Row(RUNNER, 500, NATIVE, native(STOPPED), X, "server_crash"),
    Row(RUNNER, 500, NATIVE, native("an error was encountered while running the model: EOF"), X, "server_crash"),
    Row(RUNNER, 500, NATIVE, native("llama-server process has terminated: exit status 2"), X, "server_crash"),
    Row(RUNNER, 500, NATIVE, native("process has terminated: error loading model: missing tensor"), X, "server_crash"),
    Row(ROUTES, 400, EMBED, native('do embedding request: Post "http://127.0.0.1:4/x": EOF'), X, "server_crash"),
    Row(ROUTES, 400, V1_EMBED, openai("no slots available after 10 retries"), X, "server_crash"),
    Row("ollama #16582", 400, EMBED, native('do embedding request: Post "http://127.0.0.1:4/embedding": EOF'), X,
        "server_crash"),
    Row("LM Studio bug tracker #1347", 400, CHAT, native(CRASHED), X, "server_crash"),
    Row("vLLM #24495", 500, CHAT, openai("EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "Internal Server Error", 500), X, "server_crash"),
    Row(RUNNER, 500, NATIVE, native("CUDA error: out of memory"), X, "out_of_memory"),
    Row("llama.cpp tools/server", 500, CHAT, openai("CUDA error: out of memory"), X, "out_of_memory"),
    Row(ROUTES, 500, NATIVE, native("error parsing tool call: raw='{'"), X, "tool_call_unreadable"),
    Row(ROUTES, 499, NATIVE, native("request canceled"), X, "timeout_at_server"),
    Row("gin recovery.go", 500, NATIVE, "", X, "http_500"),
    Row("nginx 1.22", 502, CHAT, NGINX, X, "http_502"),
    Row("nginx 1.22", 504, CHAT, NGINX.replace("502 Bad Gateway", "504 Gateway Time-out"), X, "http_504"),
    *(Row("Cloudflare error 5xx", code, CHAT, f"error code: {code}", X, f"http_{code}") for code in
        (520, 521, 522, 523, 524, 525, 526, 527, 530)),
    Row("Ollama server/cloud_proxy.go", 502, NATIVE, native("dial tcp: lookup ollama.com"), X, "http_502"),
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
    Row("llama.cpp tools/server", 404, CHAT, openai("File Not Found", "not_found_error", 404), F,
        "endpoint_not_found", Scope.PATH),
    Row(HERE, 501, "/v1/rerank", llama("This server does not support reranking. Start it with `--reranking`", 501,
        "not_supported_error"), F, "not_offered", Scope.PATH),
    Row(OLLAMA, 501, EMBED, native("This server does not support embeddings. Start it with `--embeddings`"),
        F, "not_offered", Scope.MODEL_ON_PATH),
    Row(OLLAMA, 501, V1_EMBED, openai("This server does not support embeddings. Start it with `--embeddings`"), F,
        "not_offered", Scope.MODEL_ON_PATH),
    Row("nginx 1.22", 501, CHAT, NGINX.replace("502 Bad Gateway", "501 Not Implemented"), F, "not_offered", Scope.PATH),
    Row(RUNNER, 500, NATIVE, native("llama-server reported out-of-memory during startup: x"), F, "load_out_of_memory",
        Scope.MODEL),
    Row("Ollama v0.20.7", 500, NATIVE, native("model requires more system memory (9 GiB) than is available (4 GiB)"),
        F, "load_out_of_memory", Scope.MODEL),
    Row("Ollama x/mlxrunner/client.go", 500, NATIVE, native("model requires 9 GiB but only 4 GiB are available (after "
        "1 GiB overhead)"), F, "load_out_of_memory", Scope.MODEL),
    Row("Azure (chatboxai/chatbox #646)", 404, CHAT, openai(NO_DEPLOYMENT, code="DeploymentNotFound"), F,
        "model_not_found", Scope.MODEL),
    Row("Groq (atiilla/sqlmap-ai #3)", 400, CHAT, openai("The model `qwen-qwq-32b` has been decommissioned",
        "invalid_request_error", "model_decommissioned"), F, "model_not_found", Scope.MODEL),
    Row("OpenRouter (vyancharuk/nodejs-api-boilerplate #16)", 404, CHAT, openai("No endpoints found for x:free.",
        code=404), F, "model_not_found", Scope.MODEL),
    Row("Cloudflare challenge guide", 403, CHAT, "<title>Just a moment...</title>", F, "blocked",
        headers={"cf-mitigated": "challenge"}),
    Row("Cloudflare (Good-Native/hover #382)", 429, CHAT, "<title>Just a moment...</title>", F, "blocked",
        headers={"cf-mitigated": "challenge"}),
    Row("Cloudflare error 1020", 403, CHAT, "error code: 1020", F, "blocked"),
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
    Row("Anthropic (anthropics/claude-code #4684)", 400, CHAT, openai("Your credit balance is too low to access the "
        "Anthropic API.", "invalid_request_error"), F, "quota", exit=Exit.REFUSED),
    Row("Gemini (gke-labs/gemini-for-kubernetes-development #1215)", 429, CHAT, openai(QUOTA, code=429), F, "quota",
        exit=Exit.REFUSED),
    Row("LiteLLM budget guide", 429, CHAT, openai("LiteLLM User: x, exceeded budget", "budget_exceeded", "429"), F,
        "quota", exit=Exit.REFUSED),
    Row("LiteLLM #14144", 400, CHAT, openai("Budget has been exceeded! Current cost: 14.1, Max budget: 10"), F,
        "quota", exit=Exit.REFUSED),
    Row("OpenRouter (continuedev/continue #11154)", 402, CHAT, openai(POOR, code=402), F, "payment_required",
        exit=Exit.REFUSED),
    # no waiting within the run helps: the run ends and says so
    Row("Gemini (diegosouzapw/OmniRoute #9504)", 429, CHAT, google("Day"), F, "usage_limit", exit=Exit.STOPPED,
        after=36.0),
    Row("OpenRouter (brianpetro/obsidian-smart-connections #565)", 429, CHAT,
        openai("Rate limit exceeded: free-models-per-day", code=429), F, "usage_limit", exit=Exit.STOPPED),
    *(Row("Ollama cloud (continuedev/continue #9233, #11444)", 429, NATIVE,
        native(f"you've reached your {span} usage limit, please wait or upgrade to continue"), F, "usage_limit",
        exit=Exit.STOPPED) for span in ("hourly", "weekly", "session")),
]
# fmt: on
