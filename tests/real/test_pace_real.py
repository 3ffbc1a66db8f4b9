"""The benchmark of the limit on a real server runs as a script, and each of its turns has every answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]
SCRIPT = Path(__file__).parents[1] / "bench" / "pace_real.py"


def test_benchmark(tmp_path: Path) -> None:
    """What it says of so few jobs means nothing; how it counts them does."""
    command = [sys.executable, str(SCRIPT), "--jobs", "2", "--rounds", "1", "--json", str(tmp_path / "figures.json")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert ran.returncode == (0 if figures["ratio"] >= figures["target"] else 1), ran.stderr
    assert [one["setting"] for one in figures["settings"]] == ["auto", "2", "4", "8"]
    for one in figures["settings"]:
        assert [turn["tokens"] > 4 for turn in one["turns"]] == [True]
    assert f"-c {figures['best']}; at least" in ran.stdout
