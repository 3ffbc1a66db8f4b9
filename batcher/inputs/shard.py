"""One part of an input among so many: said as `2/8`, or told by the scheduler that started this process as one of many.

auto      which part and of how many, by the variables of an array of jobs
auto/8    which part, where the scheduler does not say of how many (Kubernetes), or so that it must be of eight
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.inputs.done import id_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

_DERIVED: Final = re.compile(r"(h:[0-9a-f]{32})#\d+")


class Array(NamedTuple):
    """What a scheduler says of an array of jobs: the variables of this one's number, and of how many there are.

    Numbers begin with `first`, or with what the variable says that it names; `last` is that of the greatest.
    """

    name: str
    number: str
    of: str | None = None
    first: int | str = 0
    last: str | None = None


MARK: Final = "{shard}"
"""What stands for the part in the name of a file: `out-{shard}.jsonl` is out-3-of-8.jsonl."""

ARRAYS: Final = (
    # https://slurm.schedmd.com/job_array.html
    Array(
        "SLURM array", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX"
    ),
    # https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
    Array("indexed job of Kubernetes", "JOB_COMPLETION_INDEX"),
    # https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
    Array("array job of AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    # https://cloud.google.com/batch/docs/create-run-basic-job, https://cloud.google.com/run/docs/container-contract
    Array("job of Google Batch", "BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),
    Array("job of Cloud Run", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    # mpirun of Open MPI, and the PMI of MPICH and Intel MPI
    Array("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    Array("PMI", "PMI_RANK", "PMI_SIZE"),
)
"""In this order: the first whose number is set."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` parts of the jobs, counted from 1. `told_by` names the variable, if it was not said."""

    number: int
    of: int
    told_by: str = field(default="", compare=False)

    @classmethod
    def read(cls, text: str, environ: Mapping[str, str] | None = None) -> Shard:
        """Read `2/8`, or `auto` and `auto/8` by the variables of this process. Raises ValueError."""
        match = re.fullmatch(r"(auto|\d{1,6})(?:/(\d{1,6}))?", text.strip().lower())
        if not match or (match[2] is None and match[1] != "auto"):
            raise ValueError("must be a part of so many, such as 2/8, or auto in an array of jobs")
        if match[1] == "auto":
            return _told(os.environ if environ is None else environ, int(match[2]) if match[2] else None)
        number, of = int(match[1]), int(match[2])
        if not 1 <= number <= of:
            raise ValueError(f"must be one of 1/{max(of, 1)} to {max(of, 1)}/{max(of, 1)}, not {number}/{of}")
        return cls(number, of)

    def has(self, ident: str) -> bool:
        """Whether a job is of this part. Rows without ids that are equal are of the same one."""
        repeat = _DERIVED.fullmatch(ident)
        return id_hash(repeat[1] if repeat else ident) % self.of == self.number - 1

    @property
    def label(self) -> str:
        """What stands for it in the names of files, and sorts as the parts do: 03-of-16."""
        return f"{self.number:0{len(str(self.of))}}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def _told(environ: Mapping[str, str], of: int | None) -> Shard:
    """The part that an array gives this process, of so many if that was said. Raises ValueError."""
    array = next((array for array in ARRAYS if environ.get(array.number, "").strip()), None)
    if array is None:
        known = ", ".join(array.number for array in ARRAYS)
        raise ValueError(f"auto: this is no array of jobs, none of {known} is set; say which part, such as 2/8")
    number = _number(environ, array.number)
    told = of if array.of is None else _number(environ, array.of)
    if told is None:
        raise ValueError(f"auto: {array.number} says which part, and nobody of how many; write auto/8 for eight")
    if of is not None and of != told:
        raise ValueError(f"auto/{of}: the {array.name} has {told} ({array.of}); say which part, such as 2/{of}")
    first = _number(environ, array.first) if isinstance(array.first, str) else array.first
    step = 1
    if array.last is not None and told > 1:
        step, rest = divmod(_number(environ, array.last) - first, told - 1)
        if rest or step < 1:
            raise ValueError(f"auto: the numbers of the {array.name} have gaps; say which part, such as 2/{told}")
    place, rest = divmod(number - first, step)
    if rest or not 0 <= place < told:
        raise ValueError(
            f"auto: {array.number} is {number}, which is none of {told} from {first} on; say which part, as 2/{told}"
        )
    return Shard(place + 1, told, array.number)


def _number(environ: Mapping[str, str], name: str) -> int:
    """What a variable says. Raises ValueError."""
    text = environ.get(name, "").strip()
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError(f"auto: {name} is {f'{text!r:.40}, which is no number' if text else 'not set'}")
    return int(text)
