"""The soak: very many jobs against a server with faults that is restarted, by a client that is killed, again and again.

It prints how far it is each ten seconds, and at the end what was lost, duplicated and sent again, and how memory and
open files went. It ends with 1 if a target is missed. It is bounded in time, by --seconds, and talks to loopback alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # so that it runs as a script, as `make soak` does

from soak.stage import Plan, Stage
from soak.verdict import Verdict


def soak(place: Path, plan: Plan, *, quiet: bool = False) -> Verdict:
    """Do a soak in a directory of its own, and judge it. `quiet` leaves stdout to the verdict."""
    tell = partial(print, file=sys.stderr if quiet else sys.stdout, flush=True)
    with Stage(place, plan, random.Random(plan.seed), tell) as stage:
        stage.run()
    return Verdict.of(stage)


def main() -> int:
    usual = Plan()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=usual.jobs)
    parser.add_argument(
        "--kill-every", type=float, default=usual.kill_every, metavar="SECONDS", help="kill -9 the client"
    )
    parser.add_argument(
        "--restart-every", type=float, default=usual.restart_every, metavar="SECONDS", help="kill -9 the server"
    )
    parser.add_argument("--faults", type=float, default=usual.faults, help="share of the jobs that meet a fault")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--concurrency", type=int, default=usual.concurrency)
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="it ends after so long, done or not")
    parser.add_argument("--directory", type=Path, help="where the files go for the time being")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON on stdout, with every sample")
    arguments = vars(parser.parse_args())
    directory, as_json = arguments.pop("directory"), arguments.pop("json")
    plan = Plan(**arguments)
    print(f"seed {plan.seed}", file=sys.stderr if as_json else sys.stdout, flush=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="soak-") as place:
        verdict = soak(Path(place), plan, quiet=as_json)
    if as_json:
        print(json.dumps(verdict.as_json()))
    else:
        print(*verdict.remarks(), *verdict.targets(), sep="\n")
    return 0 if verdict.is_met else 1


if __name__ == "__main__":
    sys.exit(main())
