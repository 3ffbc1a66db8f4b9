"""Where the results of a run go: as they are told to, or beside the input."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from batcher.failures import UsageError

STDOUT: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of standard output, which is written to as it is."""


def results_path(inputs: str | tuple[str, ...], output: str | None, vectors: Path | None) -> Path | None:
    """Where the results go; None is standard output."""
    from batcher.inputs.compression import EXTENSIONS
    from batcher.inputs.parts import is_pattern
    from batcher.opening import is_directory

    input_name = inputs if isinstance(inputs, str) else ""
    if output in STDOUT:
        return None
    if output is not None:
        return Path(output)
    if vectors is not None:
        from batcher.ledger.names import table_results_path

        return table_results_path(vectors)
    if input_name == "-":
        raise UsageError("with input from stdin, say where the results go: -o FILE, or -o - for stdout")
    path = Path(input_name)
    if not path.name or ":" in input_name.partition("/")[0] or is_directory(path) or is_pattern(input_name):
        what = input_name or "several inputs"
        raise UsageError(f"with {what}, say where the results go: -o FILE, or -o - for stdout")
    return (path.with_suffix("") if path.suffix.lower() in EXTENSIONS else path).with_suffix(".results.jsonl")
