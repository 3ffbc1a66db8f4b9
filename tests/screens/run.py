"""Plays every state of a run against the simulator and writes the screens to docs/screens.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make screens` does

from screens.page import page, shown
from screens.play import play
from screens.states import CHAPTERS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="states whose name has this in it; they are shown, not written")
    parser.add_argument("--package", type=Path, help="show what the code in this directory does instead")
    parser.add_argument("--to", type=Path, default=Path("docs/screens.md"), help="the page")
    args = parser.parse_args()
    found = {}
    for states in CHAPTERS.values():
        for name, state in states.items():
            if args.only.lower() not in name.lower():
                continue
            with TemporaryDirectory(prefix="batcher-screens-") as made:
                found[name] = shown(state, play(state, Path(made), args.package))
            print(f"== {name}\n{found[name]}\n" if args.only or args.package else name, flush=True)
    if not args.only and not args.package:
        args.to.write_text(page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
