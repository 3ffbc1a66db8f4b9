"""Makes reports and has a real Chromium look at them; `look.py` says at what.

The browser is the one that CHROMIUM names, that of the system, or one that playwright fetches. Where there is none the
pages are not looked at, which is told and a failure; with --if-there it is told alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make test-browser` does

from browser.pages import LONG_MODELS, MANY_SERVERS, compared, comparison, page, run, write

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S: Final = 120
"""Within which the browser is fetched."""
LOOK: Final = Path(__file__).with_name("look.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="the Python that has playwright")
    parser.add_argument("--if-there", action="store_true", help="where there is no browser, say so and go on")
    parser.add_argument("--rows", type=int, default=20_000, help="lines of the large page")
    parser.add_argument("--pictures", type=Path, help="run against the simulator, and put pictures of its report there")
    args = parser.parse_args()
    chromium, why = _browser(args.python)
    if why:
        print(f"no browser: {why}; NO REPORT WAS LOOKED AT. Name one: CHROMIUM=/usr/bin/chromium make test-browser")
        return 0 if args.if_there else 1
    with TemporaryDirectory(prefix="batcher-browser-") as made:
        where = Path(made)
        if args.pictures:
            run(where / "answers.jsonl")
            pages = [page(where / "answers.jsonl", "--price-in", "0.15", "--price-out", "0.6")]
        else:
            pages = _pages(where, args.rows)
        command = [str(args.python), str(LOOK), *map(str, pages), *(["--chromium", chromium] if chromium else [])]
        if args.pictures:
            command += ["--pictures", str(args.pictures)]
        return subprocess.run(command, check=False).returncode


def _pages(where: Path, rows: int) -> list[Path]:
    sizes = {"one": 1, "few": 9, "hundred": 100, "many": rows}
    for name, number in sizes.items():
        write(where / f"{name}.jsonl", number)
    write(where / "nights.jsonl", 3000, stretches=4)
    write(where / "hostile.jsonl", 2000, hostile=True)
    write(where / "failed.jsonl", 60, failing=1.0)
    write(where / "embeddings.jsonl", 500, embeds=True)
    write(where / "crowd.jsonl", 2000, models=LONG_MODELS, servers=MANY_SERVERS)
    (where / "none.jsonl").touch()
    prices = ("--price-in", "0.15", "--price-cached", "0.07", "--price-out", "0.6")
    others = ("nights", "hostile", "failed", "embeddings", "crowd", "none")
    made = [page(where / f"{name}.jsonl", *prices) for name in (*sizes, *others)]
    return [*made, *_comparisons(where)]


def _comparisons(where: Path) -> Iterator[Path]:
    """Of two runs, of one that asked each row several times, and of hostile ones of both kinds."""
    kinds: dict[str, dict[str, Any]] = {
        "two": {},
        "repeated": {"repeats": 5},
        "two-hostile": {"hostile": True},
        "repeated-hostile": {"hostile": True, "repeats": 5},
    }
    for name, settings in kinds.items():
        folder = where / name
        folder.mkdir()
        compared(folder, 300, **settings)
        results = ("a.jsonl",) if "repeats" in settings else ("a.jsonl", "b.jsonl")
        yield comparison(folder / f"compare-{name}.html", *results)


def _browser(python: Path) -> tuple[str | None, str]:
    """The browser's path, None for playwright's own; and why there is none."""
    if named := os.environ.get("CHROMIUM"):
        return named, "" if shutil.which(named) else f"CHROMIUM={named} is no program"
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found, ""
    fetch = [str(python), "-m", "playwright", "install", "chromium-headless-shell"]
    try:
        told = subprocess.run(fetch, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return None, f"playwright did not fetch one within {PATIENCE_S} s"
    return None, told.stderr.strip().splitlines()[0] if told.returncode and told.stderr.strip() else ""


if __name__ == "__main__":
    sys.exit(main())
