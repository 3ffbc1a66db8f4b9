"""Makes an environment that has Ray and runs the tests in it that need one, bounded in time.

Where Ray cannot be installed nothing is tested, which is told and a failure; with --if-there it is told alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parents[1]
INSTALLS_S: Final = 300
TESTS_S: Final = 420
"""For all tests: each cluster takes some seconds to start and to end."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True, help="the environment to make and to use")
    parser.add_argument("--if-there", action="store_true", help="where Ray cannot be installed, say so and go on")
    parser.add_argument("--only-install", action="store_true")
    args, more = parser.parse_known_args()
    if why := _install(args.venv):
        print(f"no Ray: {why}; NOTHING WAS TESTED WITH IT")
        return 0 if args.if_there else 1
    if args.only_install:
        return 0
    command = [str(args.venv / "bin" / "python"), "-m", "pytest", "-q", str(HERE), *more]
    try:
        return subprocess.run(command, cwd=PROJECT, timeout=TESTS_S, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"the tests with Ray were not done within {TESTS_S} s")
        return 1


def _install(venv: Path) -> str:
    """Why there is no such environment; empty if there is one."""
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    steps = (
        [sys.executable, "-m", "venv", str(venv)],
        [*pip, "--require-hashes", "-r", str(PROJECT / ".ci" / "requirements.lock")],
        [*pip, "-r", str(HERE / "requirements.txt")],
        [*pip, "--no-build-isolation", "--editable", str(PROJECT)],
    )
    ready = venv / ".ready"
    if ready.exists() and ready.stat().st_mtime > (HERE / "requirements.txt").stat().st_mtime:
        return ""
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALLS_S, check=False)
        except subprocess.TimeoutExpired:
            return f"{' '.join(step)} took longer than {INSTALLS_S} s"
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            return words[-1] if words else f"{' '.join(step)} ended with {done.returncode}"
    ready.touch()
    return ""


if __name__ == "__main__":
    sys.exit(main())
