"""Whom TLS trusts: whoever the system trusts, or a file; read where something is asked over TLS, and not before."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batcher.failures import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CERTIFICATES: Final = "SSL_CERT_FILE"
"""The variable by which OpenSSL finds the certificates of the system (https://docs.openssl.org/3.0/man7/openssl-env/)."""

_SAY_WHO: Final = "if you know who signed it, name the file of that certificate with --ca-file"
_NAME_IT: Final = "name the server as the certificate does, with --base-url"
_CLOCK: Final = "the server needs another one, unless the clock of this machine is wrong"
REMEDIES: Final[Mapping[int, str]] = {9: _CLOCK, 10: _CLOCK, 62: _NAME_IT, 64: _NAME_IT}
"""What helps, by what OpenSSL found: not valid yet, expired, the certificate of another host, of another IP address
(`X509_V_ERR_…` in https://github.com/openssl/openssl/blob/master/include/openssl/x509_vfy.h.in); else it is not known
who signed it."""


def untrusted(host: str, error: Exception) -> str:
    """Say whose certificate is not trusted, why in OpenSSL's words, and what would help."""
    if not isinstance(error, ssl.SSLCertVerificationError):  # Python's own, of the name
        return f"the certificate of {host} is not trusted: {error}; {_NAME_IT}"
    why = error.verify_message.rstrip(".")
    return f"the certificate of {host} is not trusted: {why}; {REMEDIES.get(error.verify_code, _SAY_WHO)}"


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """TLS that trusts the certificates of a file, or whom the system trusts. Raises ConfigError if it holds none."""
    if ca_file is None:
        context = ssl.create_default_context()
    else:
        path = Path(ca_file)
        if path.exists() and not path.is_file():  # OpenSSL would wait for who writes to a FIFO
            raise ConfigError(f"--ca-file {ca_file} is not a regular file")
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"--ca-file {ca_file} holds no certificates: {error}") from None
    context.set_alpn_protocols(("http/1.1",))
    return context


@contextmanager
def unread() -> Iterator[None]:
    """Import aiohttp without the file of certificates of the system: TLS that it makes by itself trusts at most those
    that OpenSSL looks up in a directory.

    It reads them twice as it is imported (`aiohttp.connector`), a tenth of the time until the first request. For a
    process of our own, whose TLS is that of `trusting`.
    """
    said = os.environ.get(CERTIFICATES)
    os.environ[CERTIFICATES] = os.devnull
    try:
        yield
    finally:
        if said is None:
            del os.environ[CERTIFICATES]
        else:
            os.environ[CERTIFICATES] = said
