"""litellm's SDK against an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a script
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its import asks the internet for prices otherwise

import litellm
from bench.peers.work import arguments, base_url, work


async def main() -> None:
    given = arguments()
    server = {"model": "openai/m", "api_base": base_url(given), "api_key": "none"}

    async def whole(messages: list[dict[str, str]]) -> str:
        answer = await litellm.acompletion(messages=messages, **server)
        return answer.choices[0].message.content or ""

    async def streamed(messages: list[dict[str, str]]) -> str:
        stream = await litellm.acompletion(messages=messages, stream=True, **server)
        return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

    await work(given, streamed if given.stream else whole)


asyncio.run(main())
