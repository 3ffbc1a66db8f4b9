"""Holds the arrows between modules, as data: who may import whom, which file owns which library, what stays pure.

A new module must be placed in `MAY` before the tests pass. A package (dialects, formats, commands, simulator) is one
node: inside it, anyone may import anyone.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import batcher

ROOT = Path(batcher.__file__).parent
EVERYBODY = {"attempt", "model", "failures"}
"""What all may import."""

# fmt: off
MAY: dict[str, set[str]] = {
    # what travels, and what can go wrong
    "model": set(),
    "attempt": set(),
    "failures": set(),
    # nouns that stand alone
    "figures": set(),
    "framing": set(),
    "histogram": set(),
    "media": set(),
    "redaction": set(),
    "hints": set(),
    "rules": set(),
    "runaway": set(),
    "servers": set(),
    "signals": {"figures"},
    "timeouts": set(),
    "guard": {"runaway", "timeouts"},
    "watchdog": set(),
    "parking": {"watchdog"},
    # policy
    "breaker": set(),
    "queueing": set(),
    "plateau": {"queueing"},
    "rounds": set(),
    "concurrency": {"plateau", "queueing", "rounds"},
    "retry": set(),
    "quota": set(),
    "quarantine": set(),
    "statement": set(),
    "bucket": {"statement"},
    "estimate": set(),
    "pacing": {"bucket", "estimate"},
    "lane": {"breaker", "concurrency", "pacing", "quarantine", "retry"},
    "backlog": set(),
    "dispatch": {"backlog", "lane", "quarantine", "quota", "retry"},
    "scheduler": {"backlog", "dispatch", "lane", "quarantine", "quota", "retry"},
    # speaking to a server
    "dialects": {"framing", "media", "rules"},
    "answers": {"runaway"},
    "packing": {"dialects"},
    "transport": set(),
    "harvest": {"answers", "dialects", "packing"},
    "engine": {
        "answers", "dialects", "guard", "harvest", "hints", "packing", "parking", "rules", "scheduler", "timeouts",
        "transport", "watchdog",
    },
    # files
    "disk": set(),
    "done": set(),
    "identity": set(),
    "recovery": {"disk", "done"},
    "lineset": set(),
    "seal": {"lineset"},
    "readback": {"disk", "done", "recovery", "seal"},
    "streamledger": {"disk", "done", "readback"},
    "lock": {"disk"},
    "ledger": {"disk", "done", "lock", "readback", "recovery", "seal", "state", "streamledger"},
    "writer": {"disk", "figures", "ledger", "watchdog"},
    "errorsfile": {"disk", "done"},
    "ordering": {"disk", "done", "ledger", "recovery"},
    "publication": {"disk", "ledger", "lock", "recovery"},
    "formats": {"identity", "media"},
    "source": {"formats", "state"},
    "changes": {"redaction"},
    "state": {"disk", "formats", "seal"},
    "statekeeper": {"ledger", "seal", "state", "summary"},
    "superseded": {"disk", "ledger", "recovery"},
    "resumption": {"changes", "disk", "figures", "intake", "ledger", "recovery", "seal", "source", "superseded"},
    "intake": {"changes", "done", "formats", "identity", "lineset"},
    # which server
    "keys": {"redaction", "servers"},
    "local": set(),
    "catalogue": {"servers"},
    "probe": {"catalogue", "keys", "redaction", "rules", "servers"},
    "options": {"answers"},
    "contact": {
        "figures", "catalogue", "keys", "local", "options", "probe", "redaction", "servers", "transport", "watchdog",
    },
    # for people
    "progress": {"figures", "redaction"},
    "block": {"figures", "redaction"},
    "summary": {"block", "histogram"},
    "observer": {"figures", "lane", "scheduler", "summary"},
    # a run
    "recorder": {"disk", "errorsfile", "formats", "ledger", "media", "redaction", "summary", "writer"},
    "wiring": {
        "backlog", "breaker", "concurrency", "contact", "dialects", "estimate", "figures", "formats", "lane", "options",
        "pacing", "packing", "quota", "retry", "scheduler", "servers", "timeouts",
    },
    "verification": {"done", "formats", "identity", "recovery"},
    "checkup": {"dialects", "done", "formats", "intake"},
    "destination": {
        "errorsfile", "figures", "ledger", "options", "ordering", "publication", "source", "streamledger", "summary",
        "watchdog",
    },
    "runner": {
        "concurrency", "contact", "destination", "engine", "errorsfile", "figures", "formats", "intake", "ledger",
        "observer", "options", "progress",
        "recorder", "resumption", "scheduler", "signals", "source", "state", "statekeeper", "summary", "timeouts",
        "watchdog", "wiring", "writer",
    },
    # the edge
    "api": {
        "contact",
        "done",
        "engine",
        "formats",
        "intake",
        "observer",
        "options",
        "redaction",
        "runner",
        "scheduler",
        "signals",
        "summary",
        "wiring",
    },
    "commands": {
        "answers", "api", "catalogue", "checkup", "contact", "destination", "disk", "done", "figures", "formats",
        "intake", "ledger", "options",
        "packing", "progress", "publication", "redaction", "runner", "servers", "signals", "simulator", "source",
        "state", "summary", "verification", "wiring",
    },
    "cli": {"commands", "options", "redaction", "signals"},
    "__init__": {"api", "summary"},
    "__main__": {"cli"},
    "simulator": set(),
}
# fmt: on

FOR_TYPES: dict[str, set[str]] = {
    "block": {"summary"},
    "observer": {"runner"},
    "streamledger": {"ledger"},
}
"""Arrows that stand under TYPE_CHECKING alone, against the direction of the others."""

OWNERS: dict[str, set[str]] = {
    "aiohttp": {"transport"},
    "yarl": {"transport"},
    "click": {"cli", "commands"},
    "dotenv": {"commands"},
    "rich": {"progress", "commands"},
    "uvloop": {"commands", "cli"},
    "xllamacpp": {"local"},
    "anyio": {
        "api",
        "commands",
        "contact",
        "destination",
        "engine",
        "local",
        "runner",
        "signals",
        "watchdog",
        "writer",
    },
    "orjson": set(MAY)
    - {
        "attempt",
        "backlog",
        "breaker",
        "bucket",
        "concurrency",
        "plateau",
        "queueing",
        "rounds",
        "dispatch",
        "estimate",
        "failures",
        "lane",
        "model",
        "pacing",
        "quarantine",
        "quota",
        "retry",
        "scheduler",
        "statement",
        "timeouts",
    },
}
"""Libraries, and the only modules that may import them. Anything else comes with Python."""

PURE = {
    "plateau",
    "queueing",
    "rounds",
    "answers",
    "attempt",
    "backlog",
    "breaker",
    "bucket",
    "concurrency",
    "dialects",
    "dispatch",
    "estimate",
    "failures",
    "framing",
    "guard",
    "harvest",
    "hints",
    "lane",
    "media",
    "model",
    "pacing",
    "packing",
    "quarantine",
    "quota",
    "retry",
    "rules",
    "runaway",
    "scheduler",
    "statement",
    "timeouts",
}  # fmt: skip - a list
IMPURE_LIBRARIES = {
    "asyncio",
    "anyio",
    "concurrent",
    "datetime",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}  # fmt: skip - a list


class Arrow(NamedTuple):
    """One import: whose, of what, and whether it is for types alone. Names are nodes of `MAY` or libraries."""

    module: str
    target: str
    ours: bool
    for_types: bool
    line: int


def node_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def arrows() -> list[Arrow]:
    """All imports in the package, those inside functions and under TYPE_CHECKING too."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text(), file.name)
        typed = {
            id(inner)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for inner in ast.walk(block)
        }
        for statement in ast.walk(tree):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                for target, ours in targets(statement, file):
                    found.append(Arrow(node_of(file), target, ours, id(statement) in typed, statement.lineno))
    return [arrow for arrow in found if not (arrow.ours and arrow.target == arrow.module)]


def targets(statement: ast.Import | ast.ImportFrom, file: Path) -> list[tuple[str, bool]]:
    if isinstance(statement, ast.ImportFrom):
        assert statement.level == 0, f"{file}:{statement.lineno}: a relative import"
        names = [f"{statement.module}.{alias.name}" for alias in statement.names]
    else:
        names = [alias.name for alias in statement.names]
    ours = [name.split(".") for name in names if name.split(".")[0] == "batcher"]
    modules = [(parts[1] if len(parts) > 1 and parts[1] in MAY else "__init__", True) for parts in ours]
    return modules + [(name.split(".")[0], False) for name in names if name.split(".")[0] != "batcher"]


ARROWS = arrows()


def test_every_module_has_its_place() -> None:
    """A new file is placed among the others before it is used, and a file that is gone leaves no trace here."""
    nodes = {node_of(file) for file in ROOT.rglob("*.py")}
    assert nodes == set(MAY)


@pytest.mark.parametrize("module", sorted(MAY))
def test_imports_follow_the_arrows(module: str) -> None:
    """Each module imports those it may, and no other."""
    allowed = MAY[module] | (EVERYBODY if module != "simulator" else set())
    wrong = [
        f"{arrow.module} imports {arrow.target} in line {arrow.line}"
        for arrow in ARROWS
        if arrow.module == module
        and arrow.ours
        and arrow.target not in allowed | (FOR_TYPES.get(module, set()) if arrow.for_types else set())
        and not (module == "cli" and arrow.target == "__init__")  # for the version
    ]
    assert wrong == []


def test_the_arrows_point_one_way() -> None:
    """What is allowed has no circle in it."""
    TopologicalSorter(MAY).prepare()


def test_model_and_failures_import_nothing_of_ours_at_run_time() -> None:
    """The words that all modules share stand below all of them."""
    assert [arrow for arrow in ARROWS if arrow.module in EVERYBODY and arrow.ours and not arrow.for_types] == []


def test_libraries_stay_with_their_owners() -> None:
    """A library is imported where it is owned, also inside functions; one without an owner is not used at all."""
    wrong = [
        f"{arrow.module} imports {arrow.target} in line {arrow.line}"
        for arrow in ARROWS
        if not arrow.ours
        and arrow.target not in sys.stdlib_module_names
        and arrow.module not in OWNERS.get(arrow.target, set()) | ({"simulator"} if arrow.target == "orjson" else set())
    ]
    assert wrong == []


def test_policy_and_meaning_are_pure() -> None:
    """No clock, no dice, no loop and no file where a rule is to be a table of numbers in a test."""
    wrong = [
        f"{arrow.module} imports {arrow.target} in line {arrow.line}"
        for arrow in ARROWS
        if arrow.module in PURE and not arrow.for_types and arrow.target in IMPURE_LIBRARIES
    ]
    assert wrong == []


@pytest.mark.parametrize("script", ["import batcher", "from batcher.cli import main; main()"])
def test_the_first_impression_is_cheap(script: str) -> None:
    """Neither the package nor its help imports what talks to servers, draws tables or is optional."""
    program = f"try:\n    {script}\nexcept SystemExit: pass\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) & {"aiohttp", "rich", "xllamacpp", "batcher.engine", "batcher.simulator"} == set()
