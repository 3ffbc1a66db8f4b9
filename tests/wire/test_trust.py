"""TLS of a real process: whom the system trusts, whom a file says, and nobody else; aiohttp's own in a library's."""

from __future__ import annotations

import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.commandline import prompts
from support.echoserver import echoing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.commandline import Desk

pytestmark = pytest.mark.slow

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUUiAS8JaIkRUxMz0iPBp662ln7WkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEzMDEwMDM0OFoYDzIxMjYxMTA2
MTAwMzQ4WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARtQhjyJEe/8gyX5vuSgMAUN4X+Bfch+whgfK0PoOMXB8h4uDgGur2M
sVvJbVNm110vMtGX6AKasK0tCAhBQVvko28wbTAdBgNVHQ4EFgQU3Ny6IZZcHj6I
IAFHsUSCN3X5ktYwHwYDVR0jBBgwFoAU3Ny6IZZcHj6IIAFHsUSCN3X5ktYwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZI
zj0EAwIDSAAwRQIhAOOHkxWzzDnYHoBkJIE8vyfAZpBO16O7UYKaxys2gqRYAiBJ
47jTiZYIv5h3AyZbe65+WP6RY6ca7wLPpmCSmgJ+sA==
-----END CERTIFICATE-----
"""
"""For 127.0.0.1 and localhost, signed by itself, good until 2126; the key is known to all who read this."""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYEXyZMShG5l5IiTF
bMzGDJ8PzuRFTAYtwIeoee9r5MmhRANCAARtQhjyJEe/8gyX5vuSgMAUN4X+Bfch
+whgfK0PoOMXB8h4uDgGur2MsVvJbVNm110vMtGX6AKasK0tCAhBQVvk
-----END PRIVATE KEY-----
"""


@pytest.fixture(name="file")
def certificate(tmp_path: Path) -> Path:
    """The certificate of the server, as a user has one."""
    path = tmp_path / "own.pem"
    path.write_text(CERTIFICATE)
    return path


@pytest.fixture(name="url")
def secure_server(tmp_path: Path) -> Iterator[str]:
    """Where somebody answers over TLS."""
    both = tmp_path / "server.pem"
    both.write_text(CERTIFICATE + KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with echoing(200) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server.url.replace("http:", "https:")


@pytest.mark.parametrize("by", ["the system", "a file", "nobody"])
def test_tls_trusts_whom_it_is_told_to(desk: Desk, file: Path, url: str, by: str) -> None:
    """aiohttp is imported without certificates, and what goes over TLS is held against those of the system."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    said = ("--ca-file", file) if by == "a file" else ()
    env = {"SSL_CERT_FILE": str(file)} if by == "the system" else {}
    ran = desk.run(
        "run",
        "jobs.jsonl",
        "-o",
        "results.jsonl",
        "-m",
        "m",
        "--base-url",
        f"{url}/v1",
        *said,
        "--max-wait",
        "0",
        env=env,
    )
    assert ran.code == (78 if by == "nobody" else 0), ran.err
    assert ("certificate" in ran.err) == (by == "nobody"), ran.err


def test_in_a_library_aiohttp_trusts_whom_it_always_trusts(file: Path) -> None:
    """Others in the process have its sessions too."""
    program = """
import batcher
batcher.map
from aiohttp import connector
print(len(connector._SSL_CONTEXT_VERIFIED.get_ca_certs()))
"""
    env = {"SSL_CERT_FILE": str(file)}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "1"
