"""A server of Ollama's API and of /v1 whose answers are synthetic and whose faults are chosen by the prompt.

    with simulator_thread(slots=4) as sim:
        …POST to sim.url with the prompt "[[sim id=q7 do=truncate times=2 after=3]]"…
        assert sim.tally.counts["q7"] == 3

The directive's keys and all faults stand in `behaviours`; what the answers say, in `texts`.
"""

from batcher.simulator.background import BackgroundSimulator, simulator_thread
from batcher.simulator.server import Simulator
from batcher.simulator.tally import Seen, Tally
from batcher.simulator.texts import picture, text, tokens, vector

__all__ = [
    "BackgroundSimulator",
    "Seen",
    "Simulator",
    "Tally",
    "picture",
    "simulator_thread",
    "text",
    "tokens",
    "vector",
]
