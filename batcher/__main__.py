"""`python -m batcher` is the command `batcher`."""

from batcher.cli import main

main()
