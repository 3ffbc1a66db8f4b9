"""Keys go where they belong, whole or not at all, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batcher.failures import ConfigError, UsageError
from batcher.model import Api
from batcher.servers.keys import LONGEST_FILE, Credentials, headers_for
from batcher.servers.urls import Server

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-canary-0123456789"
NATIVE, OPENAI = Api.NATIVE, Api.OPENAI


def server(root: str = "https://h", api: Api | None = OPENAI) -> Server:
    return Server(root=root, api=api, source="--base-url")


@pytest.mark.parametrize(
    ("root", "api", "variable", "sent"),
    [
        ("https://h", OPENAI, "OPENAI_API_KEY", True),
        ("https://h", NATIVE, "OPENAI_API_KEY", False),
        ("https://h", OPENAI, "OLLAMA_API_KEY", False),
        ("https://h", NATIVE, "OLLAMA_API_KEY", True),
        ("https://ollama.com", NATIVE, "OLLAMA_API_KEY", True),
        ("https://ollama.com", OPENAI, "OLLAMA_API_KEY", True),
        ("http://127.0.0.1:1", OPENAI, "OPENAI_API_KEY", True),
        ("http://10.0.0.1:1", OPENAI, "OPENAI_API_KEY", False),
        ("http://10.0.0.1:1", NATIVE, "OLLAMA_API_KEY", False),
        ("https://h", None, "OPENAI_API_KEY", False),
        ("https://h", None, "OLLAMA_API_KEY", False),
        ("http://127.0.0.1:1", None, "OLLAMA_API_KEY", True),
        ("http://127.0.0.1:1", None, "OPENAI_API_KEY", False),
        ("http://10.0.0.1:1", None, "OLLAMA_API_KEY", False),
    ],
)
def test_standing_keys_go_to_their_own_kind_of_server(root: str, api: Api | None, variable: str, *, sent: bool) -> None:
    """OPENAI_API_KEY goes to OpenAI endpoints only, OLLAMA_API_KEY to Ollama's, neither in the clear."""
    credentials = headers_for(server(root, api), environ={variable: KEY})
    assert credentials.headers == ({"Authorization": f"Bearer {KEY}"} if sent else {})
    assert [secret.reveal() for secret in credentials.secrets] == ([KEY] if sent else [])


def test_key_of_ollama_goes_to_ollama_whatever_else_is_set() -> None:
    """The key for OpenAI does not go to ollama.com when there is one for Ollama."""
    environ = {"OPENAI_API_KEY": "other-key", "OLLAMA_API_KEY": KEY}
    assert headers_for(server("https://ollama.com"), environ=environ).headers == {"Authorization": f"Bearer {KEY}"}


def test_user_is_told_of_a_standing_key_that_is_not_sent() -> None:
    """A key that stays here for safety is named in a note, and so is what to do."""
    (note,) = headers_for(server("http://10.0.0.1:1"), environ={"OPENAI_API_KEY": KEY}).notes
    assert "OPENAI_API_KEY" in note
    assert "--allow-insecure" in note
    assert KEY not in note


def test_requested_key_is_not_sent_in_the_clear(tmp_path: Path) -> None:
    """A key that was asked for stops the run rather than travel over plain http, unless that is allowed."""
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    away = server("http://10.0.0.1:1")
    with pytest.raises(ConfigError, match="--allow-insecure"):
        headers_for(away, environ={"K": KEY}, key_env="K")
    with pytest.raises(ConfigError, match="--allow-insecure"):
        headers_for(away, environ={}, key_file=str(file))
    with pytest.raises(ConfigError, match="--allow-insecure"):
        headers_for(away, environ={"K": KEY}, header_env=[("X-Key", "K")])
    allowed = headers_for(away, environ={"K": KEY}, key_env="K", allow_insecure=True)
    assert allowed.headers == {"Authorization": f"Bearer {KEY}"}
    assert headers_for(away, environ={"OPENAI_API_KEY": KEY}, allow_insecure=True).headers == allowed.headers


@pytest.mark.parametrize("api", [NATIVE, OPENAI, None])
def test_requested_key_beats_the_standing_ones(api: Api | None) -> None:
    """A key that was asked for is the one that is sent, to any kind of server."""
    environ = {"MINE": KEY, "OPENAI_API_KEY": "other-key", "OLLAMA_API_KEY": "other-key"}
    assert headers_for(server(api=api), environ=environ, key_env="MINE").headers == {"Authorization": f"Bearer {KEY}"}


def test_headers_from_variables() -> None:
    """A header takes its value from a variable as it is; one that carries a key replaces the standing key."""
    environ = {"AZURE": KEY, "TEAM": "blue team", "OPENAI_API_KEY": "other-key"}
    azure = headers_for(server(), environ=environ, header_env=[("api-key", "AZURE")])
    assert azure.headers == {"api-key": KEY}
    team = headers_for(server(), environ=environ, header_env=[("X-Team", "TEAM")])
    assert team.headers == {"X-Team": "blue team", "Authorization": "Bearer other-key"}
    assert {secret.reveal() for secret in team.secrets} == {"blue team", "other-key"}


@pytest.mark.parametrize("text", [KEY, f"{KEY}\n", f"{KEY}\r\n"])
def test_key_file(tmp_path: Path, text: str) -> None:
    """A key file may end its line."""
    file = tmp_path / "key"
    file.write_bytes(text.encode())
    file.chmod(0o600)
    credentials = headers_for(server(), environ={}, key_file=str(file))
    assert credentials.headers == {"Authorization": f"Bearer {KEY}"}
    assert credentials.notes == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_key_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    """A key file that others can read works, with a note that says how to mend it."""
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(mode)
    (note,) = headers_for(server(), environ={}, key_file=str(file)).notes
    assert f"chmod 600 {file}" in note


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("sk-canary\n\n", "spaces, line ends"),
        ("sk-canary\nX-Evil: 1", "spaces, line ends"),
        ("Bearer sk-canary", "without 'Bearer'"),
        (" sk-canary", "spaces"),
        ("sk-canary\x00", "control"),
        ("sk-canary\u00a0", "spaces"),
        ("\ufeffsk-canary", "byte-order mark"),
        ("sk-canary\u2013x", "ASCII"),
        ('"sk-canary"', "quotes"),
    ],
)
def test_malformed_keys_are_refused_and_not_repeated(tmp_path: Path, text: str, says: str) -> None:
    """What is no key, or would break the header, is refused with its place, its fault and nothing of itself."""
    file = tmp_path / "key"
    file.write_bytes(text.encode())
    with pytest.raises(ConfigError, match=says) as from_file:
        headers_for(server(), environ={}, key_file=str(file))
    assert str(file) in str(from_file.value)
    assert "canary" not in str(from_file.value)
    if text.strip():
        with pytest.raises(ConfigError, match=says) as from_variable:
            headers_for(server(), environ={"MY_KEY": text}, key_env="MY_KEY")
        assert "MY_KEY" in str(from_variable.value)
        assert "canary" not in str(from_variable.value)
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            headers_for(server(), environ={"OPENAI_API_KEY": text})


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (LONGEST_FILE + 1)], ids=["binary", "long"])
def test_file_that_is_no_key(tmp_path: Path, content: bytes) -> None:
    """A file of some other kind is refused by name."""
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=str(file)):
        headers_for(server(), environ={}, key_file=str(file))


def test_missing_keys_are_named(tmp_path: Path) -> None:
    """A missing variable or file is named with its option and full path."""
    with pytest.raises(ConfigError, match=r"--api-key-env: the variable NOT_THERE is not set"):
        headers_for(server(), environ={}, key_env="NOT_THERE")
    with pytest.raises(ConfigError, match=r"--header-env X-Key: the variable blank is empty"):
        headers_for(server(), environ={"blank": ""}, header_env=[("X-Key", "blank")])
    with pytest.raises(ConfigError, match=f"{tmp_path}/nowhere: No such file"):
        headers_for(server(), environ={}, key_file=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="--api-key-file: cannot read"):
        headers_for(server(), environ={}, key_file="~no-such-user-here/key")
    with pytest.raises(ConfigError, match="Is a directory"):
        headers_for(server(), environ={}, key_file=str(tmp_path))


@pytest.mark.parametrize("slip", [KEY, "gsk_AbCd0123456789"])
def test_key_in_place_of_a_name_is_not_repeated(slip: str) -> None:
    """Who gives the key itself where its variable's name belongs does not read it in the error."""
    with pytest.raises(ConfigError, match="not set") as caught:
        headers_for(server(), environ={}, key_env=slip)
    assert slip not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([("Bad Name", "K")], "no header name"),
        ([("X\r\nEvil", "K")], "no header name"),
        ([("", "K")], "no header name"),
        ([("Content-Length", "K")], "set by batcher"),
        ([("X-A", "K"), ("x-a", "K")], "given twice"),
    ],
)
def test_impossible_headers_are_refused(headers: list[tuple[str, str]], says: str) -> None:
    """Header names that are none, that frame the request or that come twice are refused."""
    with pytest.raises(UsageError, match=says):
        headers_for(server(), environ={"K": KEY}, header_env=headers)


@pytest.mark.parametrize("value", ["a\nb", " a", "a\x7f", "\u00e9"])
def test_impossible_header_values_are_refused(value: str) -> None:
    """A value that no header can carry is refused, naming the header."""
    with pytest.raises(ConfigError, match="--header-env X-A"):
        headers_for(server(), environ={"K": value}, header_env=[("X-A", "K")])


def test_two_keys_are_refused() -> None:
    """Of two keys for one header neither is chosen by guessing."""
    with pytest.raises(UsageError, match="--api-key-file"):
        headers_for(server(), environ={"K": KEY}, key_env="K", key_file="/dev/null")
    with pytest.raises(UsageError, match="Authorization is given twice"):
        headers_for(server(), environ={"K": KEY}, key_env="K", header_env=[("authorization", "K")])


def test_credentials_do_not_show_keys() -> None:
    """Printing the credentials prints no key."""
    credentials = headers_for(server(), environ={"OPENAI_API_KEY": KEY})
    assert isinstance(credentials, Credentials)
    assert KEY not in repr(credentials)
