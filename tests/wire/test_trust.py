"""TLS of a real process: whom the system trusts, whom a file says, and nobody else; aiohttp's own in a library's."""

from __future__ import annotations

import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.commandline import prompts
from support.echoserver import echoing

from batcher.simulator import simulator_thread
from batcher.wire.trust import untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.commandline import Desk

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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "command", [("run", "jobs.jsonl", "-o", "results.jsonl"), ("check",), ("models",)], ids=lambda words: words[0]
)
@pytest.mark.parametrize("end", ["", "/v1"])
def test_a_certificate_that_nobody_vouches_for_is_a_setting(
    desk: Desk, url: str, command: tuple[str, ...], end: str
) -> None:
    """The server is there: nothing is waited for, and what helps is said, be its API known or not."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    more = () if command[0] == "models" else ("-m", "m")
    ran = desk.call(*command, *more, "--base-url", f"{url}{end}")
    assert ran.code == 78, ran.err
    place = url.removeprefix("https://")
    assert f"the certificate of {place} is not trusted: self-signed certificate; " in ran.err
    assert "--ca-file" in ran.err
    assert "Start the server" not in ran.err


@pytest.mark.parametrize(
    ("code", "words", "helps"),
    [
        (10, "certificate has expired", "needs another one"),
        (9, "certificate is not yet valid", "the clock of this machine"),
        (62, "Hostname mismatch, certificate is not valid for 'gpu'.", "as the certificate does"),
        (64, "IP address mismatch, certificate is not valid for '10.0.0.1'.", "as the certificate does"),
        (18, "self-signed certificate", "--ca-file"),
        (19, "self-signed certificate in certificate chain", "--ca-file"),
        (20, "unable to get local issuer certificate", "--ca-file"),
    ],
)
def test_what_helps_hangs_on_what_is_wrong(code: int, words: str, helps: str) -> None:
    """In OpenSSL's words; a file of certificates helps only where it is not known who signed it."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, words
    told = untrusted("gpu:443", error)
    assert told.startswith(f"the certificate of gpu:443 is not trusted: {words.rstrip('.')}; ")
    assert helps in told
    assert ("--ca-file" in told) == (helps == "--ca-file")


def test_beside_one_that_can_be_used(desk: Desk, url: str) -> None:
    """The others do the work, and nobody says that it only has to come; check has a row of it."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    with simulator_thread() as sim:
        both = ("-m", "simulator", "--base-url", url, "--base-url", sim.url)
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", *both)
        assert ran.code == 0, ran.err
        assert f"{url} cannot be used: the certificate of " in ran.err
        assert "when it comes" not in ran.err
        checked = desk.call("check", *both)
    assert checked.code == 0, checked.err
    assert f"away     {url} cannot be used: the certificate of " in checked.out


@pytest.mark.slow
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
