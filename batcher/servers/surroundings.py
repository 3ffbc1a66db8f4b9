"""What the environment says of proxies and passwords; heeded with --trust-env alone, and no further than keys are."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from batcher.failures import ConfigError
from batcher.opening import open_regular
from batcher.redaction import Secret
from batcher.servers.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.servers.urls import Server


@dataclass(frozen=True, slots=True)
class Login:
    """A name and a password, as .netrc has them or the URL of a proxy."""

    header: str
    """The value of an `Authorization` header."""
    secrets: tuple[Secret, ...]


def proxy_for(server: Server, environ: Mapping[str, str], *, allow_insecure: bool) -> tuple[str, tuple[Secret, ...]]:
    """The URL of the proxy to a server and what is secret in it; "" if there is none.

    What is meant for this machine goes through none, whatever the environment says. Raises `ConfigError` for one that
    is no http proxy, or whose password would travel in the clear without `allow_insecure`.
    """
    scheme = server.root.partition("://")[0]
    url = _named(environ, f"{scheme}_proxy") or _named(environ, "all_proxy")
    if not url or server.is_loopback:
        return "", ()
    if _is_excepted(server, _named(environ, "no_proxy")):
        return "", ()
    if "://" not in url:
        url = f"http://{url}"
    proxy = _checked(url)
    if proxy is None:
        raise ConfigError(f"--trust-env: the proxy that the environment names for {server.root} is no http:// URL")
    if proxy.password is None:
        return url, ()
    if proxy.scheme == "http" and not is_loopback(url) and not allow_insecure:
        raise ConfigError(
            f"--trust-env: the password of the proxy {proxy.hostname} would travel over plain http, where anybody on "
            "the way can read it. Use an https:// proxy, or say --allow-insecure if the network is yours"
        )
    return url, _login(unquote(proxy.username or ""), unquote(proxy.password)).secrets


def _checked(url: str) -> SplitResult | None:
    """The parts of a URL, if it is that of a proxy."""
    try:
        parts = urlsplit(url)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_fit else None


def _is_excepted(server: Server, names: str) -> bool:
    """Whether NO_PROXY names the server: by its host, with or without a port, by a domain above it, or by `*`."""
    place = urlsplit(server.root).netloc.lower()
    for name in (one.strip().lower().lstrip(".") for one in names.split(",")):
        if name and (name == "*" or name in (place, server.host) or server.host.endswith(f".{name}")):
            return True
    return False


def login_for(server: Server, environ: Mapping[str, str], notes: list[str]) -> Login | None:
    """What .netrc, or the file that NETRC names, has for the server's host. Notes why, where it cannot be read."""
    from netrc import NetrcParseError, netrc

    named = environ.get("NETRC", "")
    path = Path(named) if named else Path(environ.get("HOME", "/")) / ".netrc"
    try:
        os.close(open_regular(path, follow=True))  # no FIFO, which would be waited for
        found = netrc(str(path)).authenticators(server.host)
    except FileNotFoundError:
        return None
    except (NetrcParseError, OSError, UnicodeDecodeError) as error:
        notes.append(f"--trust-env: cannot read {path}: {getattr(error, 'msg', None) or type(error).__name__}")
        return None
    if found is None or not found[2]:
        return None
    return _login(found[0] or "", found[2])


def _login(name: str, password: str) -> Login:
    code = base64.b64encode(f"{name}:{password}".encode()).decode()
    return Login(f"Basic {code}", (Secret(password), Secret(code)))


def _named(environ: Mapping[str, str], name: str) -> str:
    """The value of a variable in lower case, or else in upper: the former wins, as everywhere."""
    return (environ.get(name) or environ.get(name.upper()) or "").strip()
