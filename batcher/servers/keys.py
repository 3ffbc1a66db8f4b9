"""Collects the keys for a server, decides whether they may travel, and makes request headers of them."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.failures import ConfigError, UsageError
from batcher.model import Api
from batcher.opening import read_given
from batcher.redaction import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batcher.servers.surroundings import Login
    from batcher.servers.urls import Server

LONGEST_FILE = 65536
"""Bytes; whatever is longer is no key."""

OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "te", "transfer-encoding", "upgrade"}
)
"""Headers that frame a request; a wrong value would break every exchange."""

PLAIN_HEADERS = frozenset(
    {
        *("openai-organization", "openai-project"),  # platform.openai.com/docs/api-reference/authentication
        *("http-referer", "referer", "x-title"),  # openrouter.ai/docs/app-attribution
        *("anthropic-version", "anthropic-beta", "api-version", "user-agent", "accept", "accept-language"),
    }
)
"""Headers that carry no key: what stands in them may be an ordinary word, and is not taken out of answers."""
KEY_HEADERS = frozenset({"authorization", "api-key", "x-api-key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Headers for every request to one server, the secrets in them, and notes for the user."""

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: list[Secret] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_key(path: Path, checkpoint: Callable[[], object] = bool) -> bytes:
    """What a key file holds. Raises OSError; `checkpoint` is called while a pipe is waited for."""
    return read_given(path, LONGEST_FILE, checkpoint)


def headers_for(
    server: Server,
    *,
    environ: Mapping[str, str],
    key_env: str | None = None,
    key_file: str | None = None,
    header_env: Sequence[tuple[str, str]] = (),
    allow_insecure: bool = False,
    login: Login | None = None,
    read: Callable[[Path], bytes] = read_key,
) -> Credentials:
    """Make the headers that carry keys; those asked for checkpoint OPENAI_API_KEY and OLLAMA_API_KEY.

    While `server.api` is `None`, only keys that were asked for are used, and on this machine Ollama's: a server that
    wants a key before it says what it is may be one. Raises `UsageError` if the arguments
    contradict each other, and `ConfigError` for a key that is missing, malformed, or asked for but not safe to send:
    over plain http it leaves this machine only with `allow_insecure`. A key that merely stands in the environment
    then stays here; so does `login`, what .netrc has.
    """
    credentials = Credentials()
    may_travel = allow_insecure or server.is_confidential
    for name, variable in header_env:
        secret = _header_value(environ, name, variable)
        credentials.headers[_header_name(name, credentials.headers)] = secret.reveal()
        if name.lower() not in PLAIN_HEADERS:
            credentials.secrets.append(secret)
    key = _requested_key(environ, key_env, key_file, credentials.notes, read)
    if (key or credentials.headers) and not may_travel:
        raise ConfigError(
            f"no key is sent to {server.root}: it would travel over plain http, where anybody on the way can read it. "
            "Use https, or say --allow-insecure if the network is yours"
        )
    has_key_header = any(name.lower() in KEY_HEADERS for name in credentials.headers)
    if login is not None and not key and not has_key_header:
        _log_in(server, login, credentials, may_travel=may_travel)
    elif not key and not has_key_header:
        key = _standing_key(server, environ, may_travel=may_travel, notes=credentials.notes)
    if key:
        credentials.headers[_header_name("Authorization", credentials.headers)] = f"Bearer {key.reveal()}"
        credentials.secrets.append(key)
    return credentials


def _log_in(server: Server, login: Login, credentials: Credentials, *, may_travel: bool) -> None:
    """Send what .netrc has for the server, which wins over a key that merely stands there, if it may travel."""
    if may_travel:
        credentials.headers["Authorization"] = login.header
        credentials.secrets.extend(login.secrets)
    else:
        credentials.notes.append(
            f".netrc has a password for {server.host}, which is not sent: over plain http anybody on the way could "
            "read it; use https, or say --allow-insecure if the network is yours"
        )


def _requested_key(
    environ: Mapping[str, str],
    key_env: str | None,
    key_file: str | None,
    notes: list[str],
    read: Callable[[Path], bytes],
) -> Secret | None:
    if key_env is not None and key_file is not None:
        raise UsageError("--api-key-env and --api-key-file both name a key; give one of them")
    if key_env is not None:
        return _checked_key(_variable(environ, key_env, "--api-key-env"), f"the variable {key_env} (--api-key-env)")
    if key_file is not None:
        return _checked_key(_file(key_file, notes, read), f"the file {Path(key_file).absolute()} (--api-key-file)")
    return None


def _standing_key(server: Server, environ: Mapping[str, str], *, may_travel: bool, notes: list[str]) -> Secret | None:
    """Take the key that stands in the environment for this kind of server, if it may travel there."""
    variable = _usual_variable(server, environ)
    if variable is None or not environ.get(variable, "").strip():
        return None
    if not may_travel:
        notes.append(
            f"{variable} is set but not sent to {server.root}: over plain http anybody on the way could read it; "
            "use https, or say --allow-insecure if the network is yours"
        )
        return None
    return _checked_key(environ[variable], f"the variable {variable}")


def _usual_variable(server: Server, environ: Mapping[str, str]) -> str | None:
    if server.api is Api.NATIVE:
        return "OLLAMA_API_KEY"
    if server.api is Api.OPENAI:
        is_ollama = server.host == "ollama.com" and environ.get("OLLAMA_API_KEY", "").strip()
        return "OLLAMA_API_KEY" if is_ollama else "OPENAI_API_KEY"
    return "OLLAMA_API_KEY" if server.is_loopback else None


def _variable(environ: Mapping[str, str], name: str, option: str) -> str:
    value = environ.get(name, "")
    if not value.strip():
        state = "empty" if name in environ else "not set"
        # A key given in place of a name must not be repeated; names are known, or in capitals.
        is_name = name in environ or re.fullmatch(r"[A-Z_][A-Z0-9_]{0,60}", name)
        shown = name if is_name else "(not shown: it does not look like a name)"
        raise ConfigError(f"{option}: the variable {shown} is {state}; set it to the key, or name another")
    return value


def _file(name: str, notes: list[str], read: Callable[[Path], bytes]) -> str:
    try:
        path = Path(name).expanduser().absolute()
        content, mode = read(path), path.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:  # beyond the system's own: no such home, a null in the name
        reason = getattr(error, "strerror", None) or str(error)
        shown = Path(name).absolute() if _is_path(name) else "what is named (not shown: it may be the key itself)"
        raise ConfigError(f"--api-key-file: cannot read {shown}: {reason}") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        notes.append(f"--api-key-file: others on this machine can read {path}; mend it with: chmod 600 {path}")
    return content.decode("utf-8", "surrogateescape")


def _is_path(name: str) -> bool:
    """Whether a name that leads to no file is one of a file, and not a key that was given in its place."""
    path = Path(name)
    return (
        name.startswith("~")
        or os.path.lexists(path)
        or (path.parent != Path() and os.path.lexists(path.parent))
        or _has_extension(name)
    )


def _has_extension(name: str) -> bool:
    return re.fullmatch(r"[\w-]{0,30}\.[a-z]{1,5}", name) is not None


def _checked_key(value: str, where: str) -> Secret:
    """Strip one line end; refuse what is no key, or what would end the header it stands in."""
    key = value.removesuffix("\n").removesuffix("\r")
    if not key.strip():
        raise ConfigError(f"{where} holds no key: it is empty")
    if key.startswith("\ufeff"):
        raise ConfigError(f"{where} begins with a byte-order mark; save it without one")
    if re.search(r"[\s\x00-\x1f\x7f]", key):
        raise ConfigError(
            f"{where} has spaces, line ends or control characters in it; leave only the key, without 'Bearer'"
        )
    if not key.isascii():
        raise ConfigError(f"{where} has characters in it that no key has (outside ASCII); copy the key again")
    if key[0] in "\"'" and key[0] == key[-1]:
        raise ConfigError(f"{where} has quotes around the key; remove them")
    return Secret(key)


def _header_value(environ: Mapping[str, str], name: str, variable: str) -> Secret:
    value = _variable(environ, variable, f"--header-env {name}").removesuffix("\n").removesuffix("\r")
    if value != value.strip() or not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"--header-env {name}: the variable {variable} has line ends, control characters, outer spaces or "
            "characters outside ASCII in it; no header can carry them"
        )
    return Secret(value)


def _header_name(name: str, taken: Mapping[str, str]) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise UsageError(f"--header-env: {name!r} is no header name; write NAME=VARIABLE, such as api-key=AZURE_KEY")
    if name.lower() in OURS:
        raise UsageError(f"--header-env: {name} is set by batcher itself and cannot be given")
    if name.lower() in {other.lower() for other in taken}:
        raise UsageError(f"the header {name} is given twice; give one key, or another --header-env")
    return name
