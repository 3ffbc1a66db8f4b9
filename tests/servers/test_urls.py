"""The server that is meant is the server that is found, by the rules of Ollama and of the OpenAI SDKs."""

from __future__ import annotations

import pytest

from batcher.failures import ConfigError, UsageError
from batcher.model import Api
from batcher.servers.modelnames import same_model
from batcher.servers.urls import Server, find_server, find_servers, one_api

NATIVE, OPENAI = Api.NATIVE, Api.OPENAI


def server_at(url: str | None = None, dialect: Api | None = None, **environ: str) -> Server:
    return find_server(base_url=url, dialect=dialect, environ=environ)


def chat_url(server: Server) -> str:
    api = server.api or OPENAI
    return server.endpoint(api, {}).url("/v1/chat/completions" if api is OPENAI else "/api/chat")


@pytest.mark.parametrize(
    ("given", "source", "root", "api"),
    [
        (["--base-url", "LLM_ENDPOINT", "OPENAI_BASE_URL", "OLLAMA_HOST"], "--base-url", "http://flag", None),
        (["LLM_ENDPOINT", "OPENAI_BASE_URL", "OLLAMA_HOST"], "LLM_ENDPOINT", "http://llm", None),
        (["OPENAI_BASE_URL", "OLLAMA_HOST"], "OPENAI_BASE_URL", "http://openai", OPENAI),
        (["OLLAMA_HOST"], "OLLAMA_HOST", "http://ollama", NATIVE),
        ([], "default", "http://127.0.0.1:11434", NATIVE),
    ],
)
def test_order_of_sources(given: list[str], source: str, root: str, api: Api | None) -> None:
    """The flag beats LLM_ENDPOINT, that OPENAI_BASE_URL, that OLLAMA_HOST; and the server knows who named it."""
    values = {
        "--base-url": "http://flag",
        "LLM_ENDPOINT": "http://llm",
        "OPENAI_BASE_URL": "http://openai",
        "OLLAMA_HOST": "http://ollama",
    }
    environ = {name: values[name] for name in given if not name.startswith("-")}
    flag = values["--base-url"] if "--base-url" in given else None
    server = find_server(base_url=flag, dialect=None, environ=environ)
    assert (server.source, server.root, server.api) == (source, root, api)


def test_empty_variables_count_as_unset() -> None:
    """A variable set to nothing names no server, as in an env file with blanks to fill in."""
    assert server_at(LLM_ENDPOINT="", OPENAI_BASE_URL=" ", OLLAMA_HOST="").source == "default"


@pytest.mark.parametrize(
    ("value", "root"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        ("example.com", "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        (":1234", "http://127.0.0.1:1234"),
        (":", "http://127.0.0.1:11434"),
        ("http://h", "http://h"),
        ("http://h:80", "http://h"),
        ("https://h", "https://h"),
        ("https://h:8443", "https://h:8443"),
        ("http://:4321", "http://127.0.0.1:4321"),
        ("ollama.com", "https://ollama.com"),
        ("http://ollama.com", "http://ollama.com"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:1337", "http://[::1]:1337"),
        ("fe80::1", "http://[fe80::1]:11434"),
        ("https://h/ollama", "https://h/ollama"),
        ("https://h/a/b/", "https://h/a/b"),
        ("h/", "http://h:11434"),
        ("h:1234/", "http://h:1234"),
        ("h:66000", "http://h:11434"),
        ("h:-1", "http://h:11434"),
        ("h:abc", "http://h:11434"),
        ("http://h:66000", "http://h"),
        ("https://h:-1", "https://h"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]", "http://[::1]:11434"),
        ("[::]:8080", "http://[::1]:8080"),
        ("  example.com  ", "http://example.com:11434"),
        ('"example.com"', "http://example.com:11434"),
        ("'h:1'", "http://h:1"),
    ],
)
def test_ollama_host_reads_as_ollama_reads_it(value: str, root: str) -> None:
    """OLLAMA_HOST means to batcher what it means to Ollama's own client, and speaks the native API."""
    server = server_at(OLLAMA_HOST=value)
    assert (server.root, server.api) == (root, NATIVE)
    assert chat_url(server) == f"{root}/api/chat"


@pytest.mark.parametrize(
    ("url", "api", "called"),
    [
        ("http://h:8000/v1", OPENAI, "http://h:8000/v1/chat/completions"),
        ("http://h:8000/v1/", OPENAI, "http://h:8000/v1/chat/completions"),
        ("https://openrouter.ai/api/v1", OPENAI, "https://openrouter.ai/api/v1/chat/completions"),
        ("https://h//proxy//v1//", OPENAI, "https://h/proxy/v1/chat/completions"),
        ("HTTPS://API.Example.COM/v1", OPENAI, "https://api.example.com/v1/chat/completions"),
        ("https://h/v1beta/openai", OPENAI, "https://h/v1beta/openai/chat/completions"),
        ("https://h/api/paas/v4/", OPENAI, "https://h/api/paas/v4/chat/completions"),
        ("http://h:11434", None, "http://h:11434/v1/chat/completions"),
        ("http://h:11434/", None, "http://h:11434/v1/chat/completions"),
        ("http://h/llm", None, "http://h/llm/v1/chat/completions"),
        ("http://0.0.0.0:8000", None, "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://[::1]:8000", None, "http://[::1]:8000/v1/chat/completions"),
        ("http://h:80", None, "http://h/v1/chat/completions"),
        (" 'https://h/v1' ", OPENAI, "https://h/v1/chat/completions"),
    ],
)
def test_base_url_without_a_dialect(url: str, api: Api | None, called: str) -> None:
    """A URL that ends in a version speaks OpenAI, any other waits for the server's word; nothing is doubled or lost."""
    for server in (server_at(url), server_at(LLM_ENDPOINT=url)):
        assert (server.api, chat_url(server), server.notes) == (api, called, ())


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("https://h", "https://h/v1/chat/completions"),
        ("https://h/v1", "https://h/v1/chat/completions"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai/chat/completions"),
        ("https://h/api", "https://h/api/chat/completions"),
        ("https://h/inference", "https://h/inference/chat/completions"),
    ],
)
def test_openai_urls_are_used_as_the_sdks_use_them(url: str, called: str) -> None:
    """With OPENAI_BASE_URL or --dialect openai a path is taken as it is; a bare host gets /v1."""
    for server in (server_at(url, OPENAI), server_at(OPENAI_BASE_URL=url)):
        assert server.api is OPENAI
        assert chat_url(server) == called
        assert server.endpoint(OPENAI, {}).url("/v1/models") == called.replace("chat/completions", "models")


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_BASE_URL": "http://h:11434/v1"},
        {"LLM_ENDPOINT": "http://h:11434/v1/chat/completions"},
        {"OLLAMA_HOST": "h:11434"},
    ],
)
def test_dialect_overrides_the_source(environ: dict[str, str]) -> None:
    """--dialect decides how the server is spoken to, whoever named it."""
    native = find_server(base_url=None, dialect=NATIVE, environ=environ)
    openai = find_server(base_url=None, dialect=OPENAI, environ=environ)
    assert chat_url(native) == "http://h:11434/api/chat"
    assert chat_url(openai) == "http://h:11434/v1/chat/completions"


@pytest.mark.parametrize(
    ("url", "api", "called", "note"),
    [
        ("http://h/api", None, "http://h/v1/chat/completions", "/api dropped"),
        ("http://h/api/chat", None, "http://h/v1/chat/completions", "/api/chat dropped"),
        ("http://h/x/api/generate/", None, "http://h/x/v1/chat/completions", "/api/generate dropped"),
        ("http://h/v1/chat/completions", OPENAI, "http://h/v1/chat/completions", "/chat/completions dropped"),
        ("http://h/v1/embeddings", OPENAI, "http://h/v1/chat/completions", "/embeddings dropped"),
        ("http://h/v1/models", OPENAI, "http://h/v1/chat/completions", "/models dropped"),
        ("http://h/api/chat/completions", OPENAI, "http://h/api/chat/completions", "/chat/completions dropped"),
        ("http://h/v1/v1", OPENAI, "http://h/v1/chat/completions", "more than once"),
        ("http://h/v1/v1/chat/completions", OPENAI, "http://h/v1/chat/completions", "more than once"),
        ("localhost:8080/v1", OPENAI, "http://localhost:8080/v1/chat/completions", "taken as http://localhost:8080/v1"),
        ("127.0.0.1", None, "http://127.0.0.1/v1/chat/completions", "taken as http://127.0.0.1"),
        ("192.168.1.5:8000", None, "http://192.168.1.5:8000/v1/chat/completions", "taken as http://"),
        ("::1", None, "http://[::1]/v1/chat/completions", "taken as http://[::1]"),
        ("[::1]:9000", None, "http://[::1]:9000/v1/chat/completions", "taken as http://[::1]:9000"),
    ],
)
def test_slips_are_mended_and_told(url: str, api: Api | None, called: str, note: str) -> None:
    """What people paste is understood, and a note says how."""
    server = server_at(url)
    assert (server.api, chat_url(server)) == (api, called)
    assert note in " ".join(server.notes)


@pytest.mark.parametrize(
    ("url", "api", "called"),
    [
        (
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            OPENAI,
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/d?api-version=2024-12-01-preview",
            OPENAI,
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-12-01-preview",
        ),
        ("https://r/openai/deployments/d", OPENAI, "https://r/openai/deployments/d/chat/completions"),
        (
            "https://h/openai/v1/?api-version=preview",
            OPENAI,
            "https://h/openai/v1/chat/completions?api-version=preview",
        ),
        ("http://h/v1?", OPENAI, "http://h/v1/chat/completions"),
        ("http://h/v1?region=eu-west-1&project=p1", OPENAI, "http://h/v1/chat/completions?region=eu-west-1&project=p1"),
        ("http://h:1?route=a", None, "http://h:1/v1/chat/completions?route=a"),
    ],
)
def test_a_query_goes_with_every_request(url: str, api: Api | None, called: str) -> None:
    """What says which version or region is meant, and is no key, stays at the end of each URL."""
    server = server_at(url)
    assert (server.api, chat_url(server)) == (api, called)


@pytest.mark.parametrize(
    ("value", "root", "api"),
    [
        ("h/v1", "http://h:11434", None),
        ("http://h:1/v1/", "http://h:1", None),
        ("https://h/ollama/v1", "https://h/ollama", None),
        ("https://h/v10", "https://h/v10", NATIVE),
    ],
)
def test_an_ollama_host_with_v1_is_the_server_above_it(value: str, root: str, api: Api | None) -> None:
    """Who answers there says which API it speaks; a note tells what was dropped."""
    server = server_at(OLLAMA_HOST=value)
    assert (server.root, server.api, server.v1) == (root, api, "/v1")
    assert bool(server.notes) is (api is None)
    assert find_server(base_url=None, dialect=OPENAI, environ={"OLLAMA_HOST": value}).api is OPENAI


@pytest.mark.parametrize("name", ["--base-url", "LLM_ENDPOINT", "OPENAI_BASE_URL", "OLLAMA_HOST"])
@pytest.mark.parametrize(
    "url",
    [
        "https://h/v1?api-version=2024-10-21&api-key=hunter2",
        "https://h/v1?subscription-Key=hunter2",
        "https://h/v1?sig=hunter2",
        "https://h/v1?access_token=hunter2",
        "https://h/v1?x=hunter2hunter2hunter2hunter2",
        "https://h/v1?hunter2",
        "https://h/v1?a=b#hunter2",
        "https://h/v1?a=hunter2?b",
        "https://h/v1?a=%68unter2",
        "https://user:hunter2@h/v1",
        "https://hunter2@h",
        "http://user:hun/hunter2@h/v1",
        "https://h/v1?key=hunter2",
        "https://h/#hunter2",
        "user:hunter2@h:1",
        "https://h/hunter2 \x07/v1",
    ],
)
def test_secrets_in_a_url_are_refused_and_not_repeated(name: str, url: str) -> None:
    """A URL with a password or a query is refused, naming where it stood but nothing of what it held."""
    with pytest.raises(UsageError) as caught:
        find_server(base_url=url if name.startswith("-") else None, dialect=None, environ={name: url})
    assert name in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "empty"),
        ("example.com", "http:// or https://"),
        ("gpu-box:8000/v1", "http:// or https://"),
        ("http:/h", "http:// or https://"),
        ("ftp://h", "no web address"),
        ("http://", "no host"),
        ("http:///v1", "no host"),
        ("http://h:0", "no port"),
        ("http://h:99999", "no address"),
        ("http://h:port", "no address"),
        ("http://[::1", "no address"),
        ("http://127.0.0.1\\.evil.com", "no address"),
        ("http://127.0.0.1%2eevil.com", "no address"),
    ],
)
def test_unusable_urls_are_refused(url: str, says: str) -> None:
    """A URL that cannot be used, or only by guessing, is refused with what to write instead."""
    with pytest.raises(UsageError, match="--base-url") as caught:
        server_at(url)
    assert says in str(caught.value)


@pytest.mark.parametrize("value", ["ftp://h", "h:1:2", "a b"])
def test_unusable_ollama_hosts_are_refused(value: str) -> None:
    """Where Ollama would go on to fail in obscure ways, batcher says what is wrong."""
    with pytest.raises(UsageError, match="OLLAMA_HOST"):
        server_at(OLLAMA_HOST=value)


@pytest.mark.parametrize(
    ("url", "loopback", "confidential"),
    [
        ("http://127.0.0.1:11434", True, True),
        ("http://127.8.9.1", True, True),
        ("http://[::1]:1", True, True),
        ("http://localhost", True, True),
        ("http://LOCALHOST.", True, True),
        ("http://0.0.0.0", True, True),
        ("http://127.0.0.1.evil.com", False, False),
        ("http://localhost.evil.com", False, False),
        ("http://192.168.1.5", False, False),
        ("http://127.1", False, False),
        ("https://h", False, True),
    ],
)
def test_where_a_key_may_travel(url: str, *, loopback: bool, confidential: bool) -> None:
    """Only loopback addresses and https keep a key from others; what merely looks like loopback does not."""
    server = server_at(url)
    assert (server.is_loopback, server.is_confidential) == (loopback, confidential)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("llama3.2", "llama3.2:latest", True),
        ("Llama3.2", "llama3.2", True),
        ("library/llama3.2", "llama3.2", True),
        ("registry.ollama.ai/library/llama3.2:latest", "llama3.2", True),
        ("https://registry.ollama.ai/library/llama3.2", "llama3.2", True),
        (" llama3.2 ", "llama3.2", True),
        ("llama3.2:local", "llama3.2", True),
        ("host:5000/ns/model", "host:5000/ns/model:latest", True),
        ("llama3.2:1b", "llama3.2", False),
        ("me/llama3.2", "llama3.2", False),
        ("hf.co/me/llama3.2", "me/llama3.2", False),
        ("llama3.1", "llama3.2", False),
    ],
)
def test_model_names_compare_as_ollama_compares_them(one: str, other: str, *, same: bool) -> None:
    """Names are equal after Ollama's defaults for registry, namespace and tag, whatever their case."""
    assert same_model(one, other) is same
    assert same_model(other, one) is same


def test_several_servers() -> None:
    """Each is one, in the order given; what is the same server is taken once, whichever way it is written."""
    urls = ["http://a:1", "http://b:1/", "http://A:1/v1"]
    first, second = find_servers(base_urls=urls, dialect=None, environ={"OLLAMA_HOST": "c"})
    assert (first.root, first.api, second.root, second.api) == ("http://a:1", OPENAI, "http://b:1", None)
    assert any("more than once" in note for note in first.notes)
    [alone] = find_servers(base_urls=(), dialect=None, environ={"OLLAMA_HOST": "c"})
    assert alone.source == "OLLAMA_HOST"


def test_a_run_speaks_one_api() -> None:
    """Two that are known to differ are refused, by name."""
    found = find_servers(base_urls=["http://a:1", "http://b:1/v1"], dialect=None, environ={})
    assert [server.api for server in found] == [None, OPENAI]
    native = find_server(base_url="http://a:1", dialect=NATIVE, environ={})
    with pytest.raises(ConfigError, match=r"http://a:1 speaks Ollama's, http://b:1 OpenAI's"):
        one_api([native, found[1]])
