"""flexllm's batch call with the file from which it resumes, as batcher has one.

As its documentation shows it, it keeps to 1,000 requests a second, which costs time of its own; --no-limit lifts that.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson
from flexllm import LLMClient

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a script

from bench.peers.work import arguments, base_url, jobs


async def main() -> None:
    given = arguments()
    asked = list(jobs(given))
    limit = {"max_qps": 0} if given.no_limit else {}
    client = LLMClient(
        base_url=base_url(given), api_key="none", model="m", concurrency_limit=given.concurrency, **limit
    )
    answers = await client.chat_batch(
        [job["messages"] for job in asked], show_progress=False, output_jsonl=f"{given.output}.flexllm.jsonl"
    )
    with given.output.open("wb") as results:
        for job, answer in zip(asked, answers, strict=True):
            results.write(orjson.dumps({"id": job["id"], "text": answer.content}) + b"\n")


asyncio.run(main())
