"""Proxies and .netrc: heeded when they are to be, never for this machine, and no password goes where no key would."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from batcher.failures import ConfigError
from batcher.model import Api
from batcher.servers.keys import headers_for
from batcher.servers.surroundings import login_for, proxy_for
from batcher.servers.urls import Server, find_server

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "canary-of-netrc-9182"
PROXY = "http://proxy.example:3128"


def at(url: str) -> Server:
    return find_server(base_url=url, dialect=Api.OPENAI, environ={})


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://h/v1", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://h/v1", {"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        ("http://h/v1", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://h/v1", {"HTTPS_PROXY": PROXY}, ""),
        ("https://h/v1", {"ALL_PROXY": "proxy.example:3128"}, PROXY),
        ("https://h/v1", {}, ""),
        ("https://h/v1", {"HTTPS_PROXY": " "}, ""),
        ("https://api.h.example/v1", {"HTTPS_PROXY": PROXY, "NO_PROXY": "x, .H.example"}, ""),
        ("https://api.h.example/v1", {"HTTPS_PROXY": PROXY, "no_proxy": "h.example"}, ""),
        ("https://api.h.example:1/v1", {"HTTPS_PROXY": PROXY, "no_proxy": "api.h.example:1"}, ""),
        ("https://api.h.example/v1", {"HTTPS_PROXY": PROXY, "no_proxy": "i.h.example,*"}, ""),
        ("https://api.h.example/v1", {"HTTPS_PROXY": PROXY, "no_proxy": "pi.h.example,,"}, PROXY),
        *(
            (url, {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY}, "")
            for url in (
                "http://127.0.0.1:1/v1",
                "http://127.8.8.8/v1",
                "http://localhost:1/v1",
                "https://localhost/v1",
                "http://[::1]:1/v1",
                "http://0.0.0.0:1/v1",
            )
        ),
    ],
)
def test_which_proxy(url: str, environ: dict[str, str], proxy: str) -> None:
    """That of the scheme, but for what NO_PROXY names; what is on this machine stays there."""
    assert proxy_for(at(url), environ, allow_insecure=True) == (proxy, ())


@pytest.mark.parametrize("url", ["socks5://p:1", "http://", "http://p:0", "http://p:x", "ftp://p"])
def test_what_is_no_proxy_is_told(url: str) -> None:
    """It is not passed over: the user would believe that it was used."""
    with pytest.raises(ConfigError, match="no http:// URL"):
        proxy_for(at("https://h/v1"), {"HTTPS_PROXY": url}, allow_insecure=True)


def test_a_proxys_password_is_a_key() -> None:
    """It goes over https or within this machine, or where the user says so; and each of its forms is a secret."""
    url = f"http://me:{PASSWORD}@proxy.example:1"
    with pytest.raises(ConfigError, match="--allow-insecure") as caught:
        proxy_for(at("https://h/v1"), {"HTTPS_PROXY": url}, allow_insecure=False)
    assert PASSWORD not in str(caught.value)
    for fit, allowed in (
        (url, True),
        (url.replace("http:", "https:"), False),
        (url.replace("proxy.example", "[::1]"), False),
    ):
        found, secrets = proxy_for(at("https://h/v1"), {"HTTPS_PROXY": fit}, allow_insecure=allowed)
        assert found == fit
        code = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        assert [secret.reveal() for secret in secrets] == [PASSWORD, code]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".netrc").write_text(f"machine h.example login me password {PASSWORD}\nmachine 127.0.0.1 password p\n")
    (tmp_path / ".netrc").chmod(0o600)
    return {"HOME": str(tmp_path)}


def test_netrc_is_a_key(home: dict[str, str]) -> None:
    """Its password goes to its host alone, and not over plain http; only a key that was asked for wins over it."""
    server, notes = at("https://h.example/v1"), list[str]()
    login = login_for(server, home, notes)
    assert login is not None
    sent = headers_for(server, environ={"OPENAI_API_KEY": "k"}, login=login)
    code = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert sent.headers == {"Authorization": f"Basic {code}"}
    assert {secret.reveal() for secret in sent.secrets} == {PASSWORD, code}
    assert headers_for(server, environ={"K": "k"}, key_env="K", login=login).headers == {"Authorization": "Bearer k"}
    plain = at("http://h.example/v1")
    kept = headers_for(plain, environ={}, login=login)
    assert (kept.headers, kept.secrets) == ({}, [])
    assert "plain http" in " ".join(kept.notes)
    assert headers_for(plain, environ={}, login=login, allow_insecure=True).headers
    assert login_for(at("https://other.example/v1"), home, notes) is None
    assert login_for(at("http://127.0.0.1:1/v1"), home, notes) is not None
    assert notes == []


def test_a_netrc_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """One that is not there is none; a broken one is named, without what is in it."""
    notes: list[str] = []
    assert login_for(at("https://h/v1"), {"HOME": str(tmp_path)}, notes) is None
    assert notes == []
    (tmp_path / "mine").write_text(f"machine h passwort {PASSWORD}\n")
    assert login_for(at("https://h/v1"), {"NETRC": str(tmp_path / "mine")}, notes) is None
    assert "cannot read" in notes[0]
    assert PASSWORD not in notes[0]
