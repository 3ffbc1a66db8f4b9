"""Holds the order in which options are found: flag > BATCHER_… > environment > env file > config file > default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.configfile import Settings

from batcher.commands.conversion import options_from
from batcher.commands.options import environ_of, notes_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return Settings(tmp_path, monkeypatch)


MODEL = 'model = "file"'
URL = 'base-url = "http://file:1"'
LOCAL = "local = true"


@pytest.mark.parametrize(
    ("text", "args", "env", "env_file", "name", "expected"),
    [
        # each source beats all that follow: the rows take them away one by one
        (MODEL, ("-m", "flag"), {"BATCHER_MODEL": "var", "MODEL": "env"}, "MODEL=envfile", "model", "flag"),
        (MODEL, (), {"BATCHER_MODEL": "var", "MODEL": "env"}, "MODEL=envfile", "model", "var"),
        (MODEL, (), {"MODEL": "env"}, "BATCHER_MODEL=var", "model", "var"),
        (MODEL, (), {"MODEL": "env"}, "MODEL=envfile", "model", "env"),
        (MODEL, (), {}, "MODEL=envfile", "model", "envfile"),
        (MODEL, (), {"MODEL": " "}, "", "model", "file"),
        (MODEL, (), {}, "", "model", "file"),
        ("", (), {}, "", "model", None),
        ("retries = 1", ("--retries", "9"), {"BATCHER_RETRIES": "8"}, "BATCHER_RETRIES=7", "retries", 9),
        ("retries = 1", (), {"BATCHER_RETRIES": "8"}, "BATCHER_RETRIES=7", "retries", 8),
        ("retries = 1", (), {}, "BATCHER_RETRIES=7", "retries", 7),
        ("retries = 1", (), {}, "", "retries", 1),
        ("", (), {}, "", "retries", 4),
        ("stream = false", ("--stream",), {}, "", "stream", True),
        (URL, ("--base-url", "http://flag:1"), {"LLM_ENDPOINT": "http://env:1"}, "", "base_url", ("http://flag:1",)),
        (URL, (), {"BATCHER_BASE_URL": "http://var:1", "OLLAMA_HOST": "env"}, "", "base_url", ("http://var:1",)),
        (URL, (), {"BATCHER_BASE_URL": "http://a:1 http://b:1"}, "", "base_url", ("http://a:1", "http://b:1")),
        ('base-url = ["http://a:1", "http://b:1"]', (), {}, "", "base_url", ("http://a:1", "http://b:1")),
        ('base-url = ["http://a:1"]', ("--base-url", "http://b:1"), {}, "", "base_url", ("http://b:1",)),
        (URL, (), {"LLM_ENDPOINT": "http://env:1"}, "", "base_url", ()),
        (URL, (), {"OPENAI_BASE_URL": "http://env:1/v1"}, "", "base_url", ()),
        (URL, (), {"OLLAMA_HOST": "env"}, "", "base_url", ()),
        (URL, (), {}, "OLLAMA_HOST=env", "base_url", ()),
        (URL, (), {}, "", "base_url", ("http://file:1",)),
        (URL, ("--local",), {}, "", "base_url", ()),
        (URL, ("--local",), {}, "", "local", True),
        (LOCAL, ("--base-url", "http://flag:1"), {}, "", "local", False),
        (LOCAL, (), {"OLLAMA_HOST": "env"}, "", "local", False),
        (LOCAL, (), {}, "", "local", True),
        ("local = false", (), {}, "", "local", False),
        (MODEL, ("--local",), {}, "", "model", None),
        (f"{MODEL}\n{LOCAL}", (), {}, "", "model", "file"),
        # tables are merged entry by entry
        ("[param]\na = 1\nb = 2", ("--param", "b=3"), {}, "", "params", {"a": 1, "b": 3}),
        ("[param]\na = 1\nb = 2", (), {"BATCHER_PARAM": "b=3"}, "", "params", {"a": 1, "b": 3}),
        ("[alias]\na = 'x'", ("--alias", "b=y"), {}, "", "aliases", {"a": "x", "b": "y"}),
        ('fail-on = ["length"]', ("--fail-on", "empty"), {}, "", "fail_on", frozenset({"empty"})),
    ],
)
def test_precedence(
    settings: Settings,
    *,
    text: str,
    args: tuple[str, ...],
    env: dict[str, str],
    env_file: str,
    name: str,
    expected: Any,
) -> None:
    """flag > BATCHER_… > environment > env file > config file > default; the model as a run would take it."""
    context = settings.context(text, *args, env=env, env_file=env_file)
    value = getattr(options_from(context.params), name)
    if name == "model":
        value = value or environ_of(context).get("MODEL")
    assert value == expected


KEYS = """
    api-key-file = "key"
    dialect = "openai"
    allow-insecure = true
    [header-env]
    X-Key = "MY_KEY"
"""


@pytest.mark.parametrize(
    ("args", "env", "who"),
    [
        (("--base-url", "http://flag:1"), {}, "--base-url"),
        (("--local",), {}, "--local"),
        ((), {"BATCHER_BASE_URL": "http://var:1"}, "--base-url"),
        ((), {"OLLAMA_HOST": "env"}, "OLLAMA_HOST"),
        ((), {"LLM_ENDPOINT": "http://env:1"}, "LLM_ENDPOINT"),
    ],
)
def test_keys_go_to_no_other_server(settings: Settings, args: tuple[str, ...], env: dict[str, str], who: str) -> None:
    """A key named beside a server in the file is not sent to the server that is used in its place; the user is told."""
    context = settings.context(f"{URL}\n{KEYS}", *args, env=env)
    options = options_from(context.params)
    assert (options.api_key_file, options.header_env, options.allow_insecure) == (None, {}, False)
    assert options.dialect is None
    [note] = notes_of(context)
    assert "api-key-file" in note
    assert "header-env" in note
    assert note.endswith(f"not used, because of {who}")


def test_keys_without_a_server_of_their_own_go_where_the_run_goes(settings: Settings) -> None:
    """A file that names a key and no server leaves the server to others; and a flag for a key beats the file's."""
    options = settings.options(KEYS, "--base-url", "http://flag:1", "--header-env", "X-Other=OTHER")
    assert options.api_key_file == settings.path / "key"
    assert options.header_env == {"X-Key": "MY_KEY", "X-Other": "OTHER"}
    again = settings.options(f"{URL}\n{KEYS}", "--base-url", "http://flag:1", "--header-env", "X-Other=OTHER")
    assert again.header_env == {"X-Other": "OTHER"}
