"""flexllm's batch call. It keeps results in a format of its own; its limit of requests a second is lifted."""

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
    client = LLMClient(
        base_url=base_url(given), api_key="none", model="m", concurrency_limit=given.concurrency, max_qps=0
    )
    answers = await client.chat_batch([job["messages"] for job in asked], show_progress=False)
    with given.output.open("wb") as results:
        for job, answer in zip(asked, answers, strict=True):
            results.write(orjson.dumps({"id": job["id"], "text": answer.content}) + b"\n")


asyncio.run(main())
