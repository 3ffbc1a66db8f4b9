"""A server of Ollama's API and of /v1 whose answers are synthetic and whose faults are chosen by the prompt.

    with simulator_thread(slots=4) as sim:
        …POST to sim.url with the prompt "[[sim id=q7 do=truncate times=2 after=3]]"…
        assert sim.tally.counts["q7"] == 3

The directive's keys and all faults stand in `behaviours`, what can be set in `settings`; what the answers say, in
`texts`. `batcher simulate` and `python -m batcher.simulator` serve one to other programs.
"""

from batcher.simulator.background import BackgroundSimulator, serve, simulator_thread
from batcher.simulator.server import Simulator
from batcher.simulator.settings import Settings
from batcher.simulator.tally import Seen, Tally
from batcher.simulator.texts import picture, text, tokens, vector

__all__ = [
    "BackgroundSimulator",
    "Seen",
    "Settings",
    "Simulator",
    "Tally",
    "picture",
    "serve",
    "simulator_thread",
    "text",
    "tokens",
    "vector",
]
