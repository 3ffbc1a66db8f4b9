"""Code that dies by SIGKILL before its n-th step on a file: what a crash leaves, at each place where one can strike."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BEGINNING = """
import fcntl, os, signal, sys
from pathlib import Path
from batcher.ledger import disk

left = int(sys.argv[1])

def dying(function):
    def step(*args, **settings):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*args, **settings)
    return step

STEPS = ((disk, "_write"), (disk, "sync"), (disk, "sync_directory"), (Path, "rename"), (Path, "unlink"),
         (os, "fchmod"), (os, "ftruncate"), (fcntl, "flock"))
for owner, name in STEPS:
    setattr(owner, name, dying(getattr(owner, name)))
"""


def killed(code: str, *args: str | Path) -> Iterator[int]:
    """Run `code`, with `args` from `sys.argv[2]` on, once for each of its steps; yield after each death.

    Ends after the first run that lives to its end.
    """
    for step in count():
        command = [sys.executable, "-c", _BEGINNING + code, str(step), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        assert done.returncode == -signal.SIGKILL, done.stderr
        yield step
