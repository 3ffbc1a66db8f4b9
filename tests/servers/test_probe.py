"""One request decides how a server speaks; what is no such server is refused with a hint."""

from __future__ import annotations

import anyio
import pytest
from support.scripted import NOT_FOUND, REFUSED, ROOT, Reply, Script, described, reply

from batcher.failures import AccountError, AttemptError, ConfigError, Failure, FailureClass
from batcher.model import Api
from batcher.servers.probe import identify

NATIVE, OPENAI = Api.NATIVE, Api.OPENAI


def identified(answer: Reply | Failure) -> Api | None:
    return anyio.run(identify, Script({"/api/version": answer}), ROOT)


@pytest.mark.parametrize(
    ("answer", "api"),
    [
        (reply({"version": "0.33.0"}), NATIVE),
        (NOT_FOUND, OPENAI),
        (Reply(404, b'{"error":{"message":"File Not Found","type":"not_found_error","code":404}}'), OPENAI),
        (Reply(401, b'{"error":{"message":"Invalid API Key","code":401}}'), None),
        (Reply(403, b""), None),
        (reply({"error": "Unexpected endpoint or method. (GET /api/version)"}), OPENAI),
        (Reply(200, b"<html>", {"content-type": "text/html"}), OPENAI),
        (reply(["version"]), OPENAI),
        (reply({"version": None}), OPENAI),
        (Reply(401, b'{"version":"1"}'), None),
    ],
)
def test_one_answer_decides_the_api(answer: Reply, api: Api | None) -> None:
    """A version in JSON is Ollama's native API; whatever else answers speaks the OpenAI one, or wants a key first."""
    assert identified(answer) is api


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_absent_server_decides_nothing(status: int) -> None:
    """A proxy without its server, or a server still loading, is to be waited for and not to be guessed at."""
    with pytest.raises(AttemptError) as caught:
        identified(Reply(status, b'{"error":{"message":"Loading model"}}'))
    assert caught.value.failure.kind is FailureClass.CONNECTION
    assert str(status) in caught.value.failure.message
    with pytest.raises(AttemptError) as caught:
        identified(REFUSED)
    assert caught.value.failure is REFUSED


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("api", "path", "variable"), [(NATIVE, "/api/version", "OLLAMA_API_KEY"), (OPENAI, "/v1/models", "OPENAI_API_KEY")]
)
def test_refused_key(status: int, api: Api, path: str, variable: str) -> None:
    """A refusal says whether a key was sent, in the server's words, and what to set; never the key."""
    script = Script({path: Reply(status, b'{"error":{"message":"Invalid API Key \\u001b[31m"}}')})
    with pytest.raises(AccountError, match=f"wants a key.*{status} .Invalid API Key .*{variable}"):
        described(script, api)
    with pytest.raises(AccountError, match=f"refuses the key.*{variable}") as caught:
        described(script, api, key=True)
    assert "canary" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_server_in_trouble_is_no_mistake_of_the_user(status: int) -> None:
    """A server that cannot answer now is reported as unavailable, not as misconfigured."""
    with pytest.raises(AttemptError) as caught:
        described(Script({"/v1/models": Reply(status, b"<html>Bad Gateway")}), OPENAI)
    assert (caught.value.failure.kind, caught.value.failure.status) == (FailureClass.CONNECTION, status)


@pytest.mark.parametrize(
    ("api", "v1", "path", "answer", "says"),
    [
        (OPENAI, "/v1", "", NOT_FOUND, "404 page not found.*Check host and port"),
        (OPENAI, "/v1", "", Reply(200, b"<!doctype html><title>x"), "a web page.*Check host and port"),
        (OPENAI, "/v1", "", reply({"error": "Unexpected endpoint"}), "Unexpected endpoint"),
        (OPENAI, "/v1", "", reply({"models": []}), "models"),
        (OPENAI, "/v1", "", Reply(200, b"OK"), "does not speak an OpenAI-compatible API"),
        (OPENAI, "/v1", "/v1/x", NOT_FOUND, "twice"),
        (OPENAI, "", "/llm", NOT_FOUND, "should it end in /v1"),
        (OPENAI, "/v1", "/llm", NOT_FOUND, "/v1 was added"),
        (NATIVE, "/v1", "", NOT_FOUND, "does not speak Ollama's API.*--dialect openai"),
        (NATIVE, "/v1", "", reply({"other": 1}), "does not speak Ollama's API"),
        (
            OPENAI,
            "/v1",
            "",
            Reply(301, b"", {"location": "https://u:pw@h/v1/models?key=abc"}),
            ": https://h/v1/models$",
        ),
        (OPENAI, "/v1", "", Reply(302, b"", {"location": "/login"}), "as --base-url$"),
        (OPENAI, "/v1", "", Reply(302, b"", {"location": "http://["}), "as --base-url$"),
    ],
)
def test_what_is_no_such_api_is_refused_with_a_hint(api: Api, v1: str, path: str, answer: Reply, says: str) -> None:
    """What answers and is no model server is named, with its words and what to try next."""
    asked = "/api/version" if api is NATIVE else f"{v1}/models"
    with pytest.raises(ConfigError, match=says) as caught:
        described(Script({path + asked: answer}), api, v1=v1, root=ROOT + path)
    assert f"{ROOT}{path}{asked} answers {answer.status}" in str(caught.value)


def test_words_of_a_server_are_cut() -> None:
    """However much a server says, a message stays readable."""
    with pytest.raises(ConfigError) as caught:
        described(Script({"/v1/models": Reply(404, b"word " * 100_000)}), OPENAI)
    assert len(str(caught.value)) < 700
