"""async-batch-llm's one-liner, which takes prompts and gives results in the order of the answers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson
from async_batch_llm import llm, process_prompts

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a script

from bench.peers.work import arguments, base_url, jobs


async def main() -> None:
    given = arguments()
    strategy = llm("openai-compatible:m", base_url=base_url(given), api_key="none")
    asked = [(job["id"], job["messages"][0]["content"]) for job in jobs(given)]
    batch = await process_prompts(strategy, asked, concurrency=given.concurrency)
    with given.output.open("wb") as results:
        for answer in batch.results:
            results.write(orjson.dumps({"id": answer.item_id, "text": answer.output}) + b"\n")


asyncio.run(main())
