"""The corpus: one hostile input a line of `corpus.jsonl`. What the fuzzer finds is put there as it prints it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fuzz.case import Case

FILE: Final = Path(__file__).with_name("corpus.jsonl")
CASES: Final = tuple(Case.of(line) for line in FILE.read_bytes().splitlines())
