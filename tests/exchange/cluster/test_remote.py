"""Holds a worker to what it leaves on its machine."""

from __future__ import annotations

import os
import tempfile
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from wire.test_trust import CERTIFICATE

from batcher.exchange.cluster import remote
from batcher.exchange.cluster.errand import Setup
from batcher.failures import ConfigError
from batcher.wire.trust import trusting

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("authority", [CERTIFICATE.encode(), b"no certificate"], ids=["good", "bad"])
async def test_no_certificates_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: bytes) -> None:
    """They lie in a file for as long as it takes to read them: a worker that is killed clears nothing away."""
    trusted: list[int] = []

    def read(ca_file: str | None) -> ssl.SSLContext:
        context = trusting(ca_file)
        trusted.append(len(context.get_ca_certs()))
        return context

    monkeypatch.setattr("batcher.wire.transport.trusting", read)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with AsyncExitStack() as stack:
        try:
            await remote._transport(Setup(secure=True, authority=authority), stack)
        except ConfigError:
            assert authority == b"no certificate"
        else:
            assert trusted == [1]
        assert os.listdir(tmp_path) == []  # noqa: PTH208 - in one look
