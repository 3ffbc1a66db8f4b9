"""What must hold of the files of a run, whatever was done to it: read back without any code of batcher's."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema

from batcher.simulator import text
from batcher.simulator.texts import DEFAULT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PROJECT = Path(__file__).parents[2]
SCHEMA = jsonschema.Draft202012Validator(json.loads((PROJECT / "docs/results.schema.json").read_bytes()))


def whole_lines(data: bytes) -> list[bytes]:
    """The lines that have their end, without what a crash left behind the last one."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]  # splitlines would end lines at CR as well


def results_in(path: Path) -> dict[str, bytes]:
    """Id → line of a results file in which every line is a result, whole, and the only one of its id."""
    data = path.read_bytes() if path.exists() else b""
    assert data == b"" or data.endswith(b"\n"), f"{path}: the last line has no end"
    found: dict[str, bytes] = {}
    for line in whole_lines(data):
        ident = json.loads(line)["id"]
        assert ident not in found, f"{path}: {ident} has two lines"
        found[ident] = line
    return found


def check_finished(path: Path, jobs: Collection[str], tokens: int = DEFAULT_TOKENS) -> dict[str, bytes]:
    """Every job has its line, once, with the answer that the simulator gave to this job and no other."""
    found = results_in(path)
    assert found.keys() == set(jobs), f"{path}: differs in {sorted(found.keys() ^ set(jobs))[:5]}"
    for ident, line in found.items():
        record = json.loads(line)
        SCHEMA.validate(record)
        assert record["text"] == text(ident, tokens), f"{path}: {ident} has the answer of another"
        assert line.startswith(b'{"id":' + json.dumps(ident).encode() + b',"seq":'), line[:80]
    return found


def check_kept(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Lines that were once in the file are there still, byte by byte."""
    changed = [ident for ident, line in before.items() if after.get(ident) != line]
    assert not changed, f"lost or changed: {changed[:5]}"


def check_accounted(before: bytes, results: Path) -> None:
    """Every line of the file as it was, torn ones and repeated ones too, is in the results or in the quarantine."""
    beside = results.with_name(f"{results.stem}.quarantine")
    aside = beside.read_bytes() if beside.exists() else b""
    lines = Counter(before.removesuffix(b"\n").split(b"\n") if before else [])
    for line, times in (lines - Counter(results.read_bytes().split(b"\n"))).items():
        # as bytes: a power cut may have left the quarantine itself without the end of its last line
        assert aside.count(line) >= times, f"{results}: vanished: {line[:80]!r}"
