"""The words of refusals, and the shapes in which servers wrap them."""

from __future__ import annotations

import orjson

NOW = 1_790_000_000.0
"""Unix time at which the answers were given."""
NGINX = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
)
STOPPED = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
BUSY = "server busy, please try again.  maximum pending requests exceeded"


def native(message: str) -> str:
    return orjson.dumps({"error": message}).decode()


def openai(message: str, kind: str = "api_error", code: str | int | None = None) -> str:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).decode()


def llama(message: str, code: int = 400, kind: str = "invalid_request_error") -> str:
    return orjson.dumps({"error": {"code": code, "message": message, "type": kind}}).decode()


def vllm(message: str, kind: str, code: int) -> str:
    return orjson.dumps({"object": "error", "message": message, "type": kind, "param": None, "code": code}).decode()


CONTEXT_INSIDE = native(
    openai("request (9412 tokens) exceeds the available context size (8192 tokens)", "exceed_context_size_error", 400)
)
BLIND = llama("Multimodal data provided, but model does not support multimodal requests.")
BAD_SCHEMA = llama(
    """Field 'json_schema': "json_schema": JSON schema conversion failed:\nUnrecognized schema: {"type":"nonsense"}"""
)
"""Ollama passes what its runner says on as a text in its own error."""
QUOTA = "You exceeded your current quota, please check your plan and billing details."
GROQ = "Request too large for model `llama-3.3-70b-versatile` on tokens per minute (TPM): Limit 12000, Requested 14137"
GROQ_DAY = "Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619. "
GROQ_ROOM = "Rate limit reached for model `x` on tokens per minute (TPM): Limit 7000, Used 6148, Requested 7895. "
OPENAI_DAY = "Rate limit reached for gpt-4o-mini on requests per day (RPD): Limit 200, Used 200, Requested 1. "
OPENAI_DEAR = (
    "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389. The input or output tokens "
    "must be reduced in order to run successfully."
)
AZURE = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2023-05-15 have exceeded token "
    "rate limit of your current AIServices S0 pricing tier. Please retry after 86400 seconds."
)
AZURE_FILTER = {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {"code": "ResponsibleAIPolicyViolation"},
}  # fmt: skip - a body
NO_DEPLOYMENT = "The API deployment for this resource does not exist. If you created the deployment within the last"
NO_ROOM = "No deployments available for selected model, Try again in 60 seconds. Passed model=x. cooldown_list=[]"
FREE = {
    "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
    "code": 429,
    "metadata": {
        "headers": {
            "X-RateLimit-Limit": "50",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(NOW + 54_000) * 1000),
        }
    },
}  # fmt: skip - a body
FLAGGED = {"code": 403, "message": "x requires moderation", "metadata": {"reasons": ["hate"], "flagged_input": "…"}}
POOR = (
    "This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens, but can only afford 222."
)
CRASHED = "The model has crashed without additional information. (Exit code: 18446744072635812000)"


def google(period: str, message: str = QUOTA) -> str:
    """What Gemini's OpenAI-compatible endpoint sends, in a list."""
    violation = {
        "quotaMetric": "generate_content_free_tier_requests",
        "quotaId": f"GenerateRequestsPer{period}-FreeTier",
    }
    details = [{"violations": [violation]}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}]
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
    return orjson.dumps([{"error": error}]).decode()


def wrapped(error: object) -> str:
    return orjson.dumps({"error": error}).decode()
