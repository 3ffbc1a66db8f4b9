"""The walk of docs/vectors.md on the real llama.cpp server: a folder of notes, its nearest, and what changes in it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.commandline import PROJECT, Desk
from support.embedder import made
from support.realserver import serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(180)]

PAGE = (PROJECT / "docs/vectors.md").read_text()
COMMAND, *_ = (shlex.split(line) for line in re.findall(r"^batcher (run .*)$", PAGE, re.MULTILINE))
(NEAREST,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SUBJECTS = [
    "The cat sleeps.",
    "Bees live in hives.",
    "The ledger is closed.",
    "Rain, all day long.",
    "Bread, and salt.",
]


def nearest(desk: Desk) -> list[str]:
    """What the page's own lines print."""
    done = subprocess.run(
        [sys.executable, "-c", NEAREST], cwd=desk.path, env=desk.env, capture_output=True, text=True, check=True
    )
    return [str(name) for name in json.loads(done.stdout.replace("'", '"'))]


def rows(desk: Desk) -> dict[str, list[float]]:
    names = json.loads((desk.path / "notes.npy.ids.json").read_text())
    return dict(zip(names, np.load(desk.path / "notes.npy").tolist(), strict=True))


def test_a_folder_of_notes_and_its_nearest(tmp_path: Path) -> None:
    """Embedded, found, one added, one deleted, one changed, embedded again: each row is that of its note."""
    desk = Desk(tmp_path)
    notes = tmp_path / "notes"
    for folder in ("2025", "2026"):
        (notes / folder).mkdir(parents=True)
        for number in range(6):
            text = f"# {folder}, {number}\n\n{SUBJECTS[number % 5] * (1 + number // 3)}\n"
            (notes / folder / f"{number}.md").write_text(text)
    (notes / "2026/plans.md").write_text("# Plans\n\nBuild a hive for the bees, and sow what they like.\n")
    with serving(model=made(tmp_path / "all-minilm.gguf")) as url:
        command = ["all-minilm" if word == "nomic-embed-text" else word for word in COMMAND] + ["--base-url", url]
        assert desk.run(*command).code == 0
        assert desk.call("verify", "notes/**/*.md", "notes.npy.results.jsonl").code == 0
        found = nearest(desk)
        assert found[0] == "2026/plans.md"
        assert len(set(found)) == 10

        (notes / "2025/0.md").unlink()
        (notes / "2026/bees.md").write_text("# Plans\n\nBuild a hive for the bees, and sow what bees like.\n")
        (notes / "2026/5.md").write_text("Something else altogether.\n")
        before = rows(desk)
        assert desk.run(*command, "--on-change", "rerun").code == 0
        after = rows(desk)
        assert before.keys() ^ after.keys() == {"2025/0.md", "2026/bees.md"}
        same = before.keys() & after.keys()
        assert {name for name in same if before[name] != after[name]} == {"2026/5.md"}
        assert nearest(desk)[:2] == ["2026/plans.md", "2026/bees.md"]
        assert desk.call("verify", "notes/**/*.md", "notes.npy.results.jsonl").code == 0

        alone = [*command[: command.index("--vectors")], *command[command.index("--vectors") + 2 :]]
        assert desk.run(*alone, "--pack", "1", "-c", "1", "-o", "alone.jsonl").code == 0
    for line in desk.lines("alone.jsonl"):
        one, other = np.array(line["embedding"]), np.array(after[line["id"]])
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) >= 0.9999, line["id"]
