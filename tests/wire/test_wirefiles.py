"""The recordings in tests/recordings/ keep to their format, so that every test may rely on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import wirefiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", wirefiles.names())
def test_every_recording_can_be_read(name: str) -> None:
    """The header has all its fields and fits the body."""
    wire = wirefiles.load(name)
    assert wire.path.startswith("/")
    assert 200 <= wire.status < 600
    assert wire.source
    assert wire.dump().endswith(wire.body)


def test_a_file_without_an_origin_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing passes for a recording that does not say where it comes from."""
    monkeypatch.setattr(wirefiles, "FOLDER", tmp_path)
    (tmp_path / "made-up.http").write_bytes(b"# invented\n# path: /v1/x\n\n{}")
    with pytest.raises(ValueError, match="made-up"):
        wirefiles.load("made-up")
