"""`python -m batcher.simulator`: prints the URL, then serves until stdin closes or SIGTERM comes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from batcher.simulator.background import serve
from batcher.simulator.settings import checked, flag_of, options

if TYPE_CHECKING:
    from batcher.simulator.server import Simulator


def parser() -> argparse.ArgumentParser:
    """The settings as options, and nothing else. `batcher simulate` has the same ones, for people."""
    made = argparse.ArgumentParser(prog="python -m batcher.simulator", description=__doc__)
    for setting in options():
        read, words = setting.metadata["read"], setting.metadata["words"].replace("%", "%%")
        names: dict[str, Any] = {"dest": setting.name, "help": words, "default": None}
        if read is None:
            made.add_argument(flag_of(setting), action="store_true", **names)
        elif isinstance(read, tuple):
            made.add_argument(flag_of(setting), choices=read, **names)
        else:
            action = "append" if isinstance(setting.default, tuple) else "store"
            made.add_argument(flag_of(setting), type=read, action=action, metavar=setting.metadata["unit"], **names)
    return made


def _say_where(simulator: Simulator) -> None:
    sys.stdout.write(f"{simulator.url}\n")
    sys.stdout.flush()


def main() -> None:
    options_given = parser()
    try:
        settings = checked(vars(options_given.parse_args()))
    except ValueError as error:
        options_given.error(str(error))
    serve(settings, _say_where, until_stdin_ends=True)


if __name__ == "__main__":
    main()
