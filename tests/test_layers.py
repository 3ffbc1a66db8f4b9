"""Holds the arrows as data: which room may ask which and by what doors, which module inside a room which other, which
room owns which library, and what stays pure.

A new module must be placed in `INSIDE` before the tests pass; one that other rooms may import is named in `ROOMS`. The
files beside the rooms are a room of their own here, `top`. Imports for types alone count like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import batcher

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(batcher.__file__).parent
TOP = "top"
WORDS = {"codec", "failures", "figures", "model", "opening", "outcome", "redaction"}
"""Files beside the rooms that all may import; the others are the edges, and options."""


class Room(NamedTuple):
    """Which rooms a room may ask, and which of its modules are asked by others."""

    may: set[str]
    doors: set[str]


# fmt: off
ROOMS: dict[str, Room] = {
    "commands": Room(
        may={
            TOP, "running", "exchange", "policy", "servers", "ledger", "view", "inputs", "outputs", "wire",
            "simulator",
        },
        doors={
            "bench", "check", "compare", "completion", "console", "export", "merge", "models", "report", "run",
            "simulate", "stats", "status", "verify",
        },  # `cli` loads them by name
    ),
    "running": Room(
        may={TOP, "exchange", "policy", "servers", "ledger", "view", "inputs", "outputs", "wire"},
        doors={
            "apart", "bench", "chosen", "destination", "engine", "exchanges", "files", "gathering", "loops", "merging",
            "openfiles", "runner",
            "sharing", "signals", "standing",
            "stops", "wiring",
        },
    ),
    "api": Room(
        may={TOP, "running", "exchange", "servers", "ledger", "view", "inputs"},
        doors={"arguments", "client", "functions", "result", "stream"},
    ),
    "exchange": Room(
        may={"policy", "wire", "servers"},
        doors={
            "cluster.cluster", "cluster.errand", "cluster.placement", "dialogue", "overflow", "packing", "seam",
            "timeouts", "workers",
        },
    ),
    "policy": Room(
        may=set(),
        doors={
            "backlog", "breaker", "holding", "judge", "lane", "lastlook", "limit.concurrency", "limit.fixed",
            "pace.estimate", "pace.pacing", "packs", "quota", "retry", "scheduler", "steps",
        },
    ),
    "servers": Room(
        may={TOP, "wire"},
        doors={"catalogue", "contact", "described", "diagnosis", "local", "settling", "urls"},
    ),
    "ledger": Room(
        may={"inputs"},
        doors={
            "closing", "copying", "disk", "errors", "fallback", "fresh", "holder", "ledger", "lines", "names",
            "neighbours", "ordering", "parts", "publication", "recovery", "repair", "seal", "sound", "state",
            "stream", "vectors", "verification", "writer",
        },
    ),
    "outputs": Room(
        may={"inputs", "ledger", "wire"},
        doors={
            "arrays", "columns", "export", "forms", "measurements", "numbers", "replacing", "store", "taken", "written",
        },
    ),
    "view": Room(
        may=set(),
        doors={
            "bottleneck", "comparison.comparison", "comparison.differences", "comparison.page", "comparison.repeats",
            "comparison.sides", "comparison.telling", "comparison.words", "curve", "line", "metrics", "observer",
            "pace", "prices", "progress", "report.page", "report.picks", "snapshot", "statistics.events",
            "statistics.measures", "statistics.statistics", "statistics.telling", "statistics.words", "steps",
            "summary", "sweep", "together",
        },
    ),
    "inputs": Room(
        may=set(),
        doors={
            "blocks", "changes", "chunks", "comparison", "compression", "done", "formats", "formats.columnar",
            "formats.defaults", "formats.folder", "formats.jsonl",
            "formats.objects", "formats.parameters", "formats.reading",
            "formats.rows", "formats.sidefiles", "formats.values", "identity", "intake", "lineset", "part", "parts",
            "recipe", "schemas",
            "selection", "shard", "source", "templates",
        },
    ),
    "wire": Room(
        may=set(),
        doors={
            "dialects", "dialects.embeddings", "dialects.endings", "dialects.loading", "dialects.messages",
            "dialects.ollama_v1",
            "dialects.parameters", "dialects.reading", "dialects.toolpieces", "dialects.vectors", "hints", "rules",
            "transport", "trust", "words",
        },
    ),
    "simulator": Room(may=set(), doors={"__init__", "settings"}),
    TOP: Room(
        may={"commands", "inputs", "api", "running", "view"},
        doors={"__init__", "options", "ray", *WORDS},
    ),
}
INSIDE: dict[str, dict[str, set[str]]] = {
    "api": {
        "__init__": set(),
        "arguments": set(),
        "arrays": {"calls", "hosting", "result", "watching"},
        "calls": {"arguments", "frames", "hosting", "result", "rows", "schemas", "watching", "wording", "work"},
        "client": {"arguments", "arrays", "calls", "hosting", "maps", "result", "stream", "watching", "wording"},
        "deadline": set(),
        "feed": set(),
        "frames": set(),
        "functions": {"arguments", "arrays", "calls", "maps", "result", "stream", "watching"},
        "hosting": set(),
        "kept": {"arguments", "result", "rows", "schemas"},
        "maps": {"arguments", "calls", "frames", "hosting", "kept", "result", "schemas", "watching", "wording"},
        "outlet": {"result"},
        "result": {"rows", "schemas", "unsaid", "wording"},
        "rows": set(),
        "schemas": set(),
        "stream": {"hosting", "result", "work"},
        "unsaid": set(),
        "watching": set(),
        "wording": {"arguments"},
        "work": {
            "arguments", "deadline", "feed", "hosting", "outlet", "result", "rows", "schemas", "watching", "wording",
        },
    },
    "commands": {
        "__init__": set(),
        "bench": {"conclusion", "console", "conversion", "grouped", "options", "run", "single", "values"},
        "check": {"checkup", "console", "conversion", "grouped", "options"},
        "checkup": set(),
        "compare": {"console", "grouped", "making", "options", "pairing", "past", "stats"},
        "completion": set(),
        "conclusion": {"console"},
        "config": {"values"},
        "console": set(),
        "conversion": set(),
        "earlier": {"console"},
        "export": {"console", "conversion", "earlier", "grouped", "options", "stats"},
        "grouped": set(),
        "making": {"earlier", "past"},
        "merge": {"console", "conversion", "earlier", "grouped", "options", "values", "verify"},
        "models": {"console", "conversion", "grouped", "options"},
        "options": {"config", "typos", "values"},
        "pairing": {"past"},
        "past": {"console", "earlier"},
        "preview": {"console"},
        "report": {"console", "grouped", "making", "options", "past", "stats"},
        "run": {
            "conclusion", "console", "conversion", "grouped", "options", "preview", "settings", "several", "single",
            "values",
        },
        "settings": {"grouped", "options"},
        "several": {"conclusion", "console", "conversion", "options", "preview", "single"},
        "simulate": {"console"},
        "single": {"conclusion", "console", "options"},
        "stats": {"console", "grouped", "making", "options", "past", "values"},
        "status": {"console", "earlier", "options"},
        "typos": set(),
        "values": set(),
        "verify": {"console", "conversion", "earlier", "grouped", "options", "values"},
    },
    "exchange": {
        "__init__": set(),
        "answers": {"guard", "jsontext"},
        "budget": set(),
        "cluster": set(),
        "cluster.cluster": {
            "answers", "cluster.crew", "cluster.errand", "cluster.link", "cluster.losses", "cluster.member",
            "cluster.parcels", "seam",
        },
        "cluster.crew": {"cluster.member", "seam"},
        "cluster.errand": {"timeouts"},
        "cluster.foreman": {"cluster.errand", "cluster.remote"},
        "cluster.link": set(),
        "cluster.losses": {"seam"},
        "cluster.member": {"cluster.link", "cluster.parcels"},
        "cluster.parcels": {"cluster.link"},
        "cluster.placement": {"cluster.errand"},
        "cluster.remote": {"cluster.errand", "cluster.link", "cluster.parcels", "workers"},
        "dialogue": {"answers"},
        "guard": {"timeouts"},
        "jsontext": set(),
        "overflow": set(),
        "packing": {"answers", "dialogue"},
        "presence": set(),
        "seam": set(),
        "timeouts": set(),
        "watchdog": set(),
        "workers": {"answers", "budget", "guard", "presence", "seam", "timeouts", "watchdog"},
    },
    "inputs": {
        "__init__": set(),
        "blocks": {"formats", "formats.rows", "lineset"},
        "changes": set(),
        "chunks": {"formats.jsonl", "formats.lines", "formats.reading", "formats.rows", "identity", "part", "recipe"},
        "comparison": {"done", "formats", "lineset", "selection"},
        "compression": {"formats.reading"},
        "done": set(),
        "examples": set(),
        "expense": {"outgrowth"},
        "file": {"compression", "formats", "formats.encodings", "formats.folder", "formats.reading", "window"},
        "formats": {
            "formats.columnar", "formats.defaults", "formats.delimited", "formats.jsonarray", "formats.jsonl",
            "formats.lines", "formats.reading", "formats.rows", "formats.sheet", "formats.text", "identity",
        },
        "formats.attachments": {"formats.defaults", "formats.images", "formats.parameters"},
        "formats.columnar": {
            "formats.header", "formats.lines", "formats.pythonic", "formats.reading", "formats.values",
        },
        "formats.content": {"formats.parameters"},
        "formats.cutting": {"formats.lines", "formats.rows"},
        "formats.database": {
            "formats.lines", "formats.objects", "formats.reading", "formats.sidefiles", "formats.values",
        },
        "formats.defaults": {"formats.endpoints", "formats.plain", "recipe"},
        "formats.delimited": {
            "formats.cutting", "formats.encodings", "formats.header", "formats.lines", "formats.parameters",
            "formats.reading", "formats.rows",
        },
        "formats.encodings": set(),
        "formats.endpoints": {"formats.shapes"},
        "formats.folder": {"compression", "formats.encodings", "formats.images", "formats.lines", "formats.reading"},
        "formats.header": {"formats.reading"},
        "formats.images": set(),
        "formats.jsonarray": {"formats.lines", "formats.reading"},
        "formats.jsonl": {
            "formats.defaults", "formats.lines", "formats.objects", "formats.records", "formats.rows", "identity",
            "recipe",
        },
        "formats.lines": {"formats.rows"},
        "formats.objects": {"formats.encodings"},
        "formats.parameters": set(),
        "formats.plain": {"identity"},
        "formats.pythonic": set(),
        "formats.reading": {"formats.lines"},
        "formats.records": {
            "formats.attachments", "formats.content", "formats.defaults", "formats.endpoints", "formats.parameters",
            "formats.shapes", "identity", "schemas",
        },
        "formats.rows": {"formats.objects"},
        "formats.shapes": {"formats.parameters"},
        "formats.sheet": {
            "formats.header", "formats.lines", "formats.parameters", "formats.reading", "formats.values",
            "formats.workbook",
        },
        "formats.sidefiles": set(),
        "formats.text": {"formats.encodings", "formats.lines", "formats.reading"},
        "formats.values": set(),
        "formats.workbook": set(),
        "identity": set(),
        "intake": {
            "blocks", "changes", "comparison", "done", "formats", "formats.defaults", "formats.jsonl",
            "formats.shapes", "identity", "lineset", "selection",
        },
        "lineset": set(),
        "outgrowth": set(),
        "part": {"formats.reading"},
        "parts": {
            "compression", "file", "formats", "formats.database", "formats.folder", "formats.reading", "part",
            "remote", "window",
        },
        "pipe": {"formats"},
        "recipe": {"formats.content", "identity", "templates"},
        "remote": {"compression", "formats", "formats.encodings", "formats.reading", "part", "steady"},
        "sandbox": {"expense"},
        "schemas": {"examples"},
        "selection": {
            "compression", "done", "formats", "formats.defaults", "formats.jsonl", "formats.rows", "identity",
            "lineset", "shard",
        },
        "shard": {"done"},
        "source": {"chunks", "formats", "formats.reading", "part", "parts", "pipe"},
        "steady": set(),
        "templates": {"expense", "sandbox"},
        "window": set(),
    },
    "ledger": {
        "__init__": set(),
        "closing": set(),
        "copying": {"fallback", "recovery"},
        "disk": set(),
        "errors": {"closing", "disk", "lock", "recovery"},
        "fallback": set(),
        "fresh": {"disk", "holder", "lock", "names", "neighbours"},
        "holder": {"lock", "names", "state"},
        "ledger": {
            "closing", "disk", "fresh", "lines", "lock", "names", "neighbours", "recovery", "repair", "seal",
            "state", "stream",
        },
        "lines": {"fallback", "measures", "vectors"},
        "lock": {"disk"},
        "measures": set(),
        "names": set(),
        "neighbours": {"lock", "names", "recovery"},
        "ordering": {"disk", "ledger", "recovery"},
        "parts": {"errors", "lock", "names", "neighbours", "ordering", "recovery", "repair", "state"},
        "publication": {"disk", "ledger", "lock", "names", "recovery"},
        "recovery": {"disk", "repair", "seal"},
        "repair": {"disk"},
        "seal": set(),
        "sound": set(),
        "state": {"disk", "neighbours", "recovery", "seal"},
        "stream": {"closing", "disk", "lines", "repair"},
        "vectors": set(),
        "verification": {"errors", "lock", "ordering", "recovery"},
        "writer": {"disk", "ledger", "lines"},
    },
    "outputs": {
        "__init__": set(),
        "arrays": {"checksums", "joining", "numbers", "places", "replacing", "store", "taken", "written"},
        "chats": {"openaibatch"},
        "checksums": set(),
        "clashes": {"taken"},
        "columnar": {"types"},
        "columns": {"joining"},
        "database": {"columns", "joining", "values"},
        "delimited": {"values"},
        "export": {
            "arrays", "chats", "columns", "database", "forms", "joining", "openaibatch", "places", "replacing",
            "store", "table", "taken",
        },
        "forms": set(),
        "joining": {"clashes", "places", "taken", "written"},
        "measurements": {"delimited"},
        "numbers": set(),
        "objects": set(),
        "openaibatch": set(),
        "places": set(),
        "replacing": set(),
        "store": {"checksums", "numbers"},
        "table": {"columnar", "columns", "delimited", "joining", "objects"},
        "taken": set(),
        "types": {"values"},
        "values": set(),
        "written": set(),
    },
    "policy": {
        "__init__": set(),
        "backlog": {"history"},
        "breakdown": {"evidence"},
        "breaker": {"doubling"},
        "dispatch": {"backlog", "inquest", "lane", "lastlook", "openings", "quota", "retry", "roster", "suspects"},
        "doubling": set(),
        "evidence": set(),
        "history": set(),
        "holding": {"history", "lane", "scheduler"},
        "inquest": {"backlog", "breakdown", "history", "lane", "retry", "suspects"},
        "judge": {
            "backlog", "breakdown", "breaker", "dispatch", "evidence", "history", "lane", "lastlook", "quota",
            "setback", "suspects", "witnesses",
        },
        "lane": {
            "breakdown", "breaker", "evidence", "history", "limit.fixed", "loading", "offer", "pace.pacing", "retry",
            "service", "setback",
        },
        "lastlook": {"backlog", "doubling", "history"},
        "limit": set(),
        "limit.concurrency": {"limit.plateau", "limit.queueing", "limit.refusals", "limit.rounds", "limit.slots"},
        "limit.fixed": set(),
        "limit.plateau": {"limit.queueing"},
        "limit.queueing": {"limit.rounds"},
        "limit.refusals": set(),
        "limit.rounds": set(),
        "limit.slots": set(),
        "loading": {"history"},
        "offer": {"service"},
        "openings": {"backlog", "history", "lane"},
        "pace": set(),
        "pace.bucket": {"pace.statement"},
        "pace.estimate": set(),
        "pace.granted": {"doubling", "pace.grants", "pace.turns"},
        "pace.grants": set(),
        "pace.pacing": {"pace.bucket", "pace.estimate", "pace.granted", "pace.statement"},
        "pace.statement": set(),
        "pace.turns": set(),
        "packs": set(),
        "quota": set(),
        "retry": {"doubling"},
        "roster": {"lane"},
        "scheduler": {
            "backlog", "breakdown", "dispatch", "history", "judge", "lane", "lastlook", "packs", "quota", "retry",
            "steps", "suspects",
        },
        "service": {"breakdown", "evidence", "retry", "setback"},
        "setback": {"breakdown", "evidence"},
        "steps": set(),
        "suspects": {"breakdown"},
        "witnesses": {"dispatch", "evidence", "lane", "lastlook", "setback"},
    },
    "running": {
        "__init__": set(),
        "announcement": {"preparation"},
        "apart": set(),
        "bench": {"loops", "runner", "sampling", "wiring"},
        "carrying": set(),
        "chosen": set(),
        "copies": {"requests"},
        "destination": {"apart", "files", "tables", "vectors"},
        "engine": {"omissions"},
        "estimate": set(),
        "exchanges": set(),
        "explanation": set(),
        "files": {"apart"},
        "gathering": set(),
        "holds": set(),
        "journal": {"holds"},
        "lanes": {"openfiles", "sharing"},
        "loops": set(),
        "merging": {"carrying", "gathering", "vectors"},
        "omissions": set(),
        "openfiles": set(),
        "pipeline": {"copies", "destination", "engine", "exchanges", "preparation", "recorder", "sharing", "wiring"},
        "preparation": {"chosen", "destination", "resumption", "statekeeper", "wiring"},
        "recorder": {"copies", "vectors"},
        "reports": {"journal"},
        "requests": set(),
        "resumption": set(),
        "runner": {
            "announcement", "chosen", "destination", "engine", "estimate", "explanation", "holds", "journal",
            "openfiles", "pipeline", "preparation", "reports", "sharing", "signals", "standing", "statekeeper",
            "stops", "wiring",
        },
        "sampling": set(),
        "sharing": set(),
        "signals": set(),
        "standing": {"holds", "stops"},
        "statekeeper": set(),
        "stops": set(),
        "tables": set(),
        "vectors": set(),
        "wiring": {"chosen", "lanes", "sharing"},
    },
    "servers": {
        "__init__": set(),
        "catalogue": {"modelnames"},
        "contact": {"keys", "local", "settling", "surroundings", "urls"},
        "described": {"catalogue", "contact", "probe", "settling", "urls"},
        "diagnosis": {"catalogue", "keys"},
        "keys": {"surroundings", "urls"},
        "llamacpp": set(),
        "local": set(),
        "modelnames": set(),
        "probe": {"catalogue", "diagnosis"},
        "settling": {"diagnosis", "keys", "probe", "urls"},
        "surroundings": {"urls"},
        "urls": set(),
    },
    "simulator": {
        "__init__": {"background", "server", "settings", "tally", "texts"},
        "__main__": {"background", "server", "settings"},
        "asks": {"behaviours", "refusals", "settings"},
        "background": {"server", "settings", "tally"},
        "behaviours": {"notation", "refusals"},
        "chance": {"behaviours", "settings"},
        "connection": {"http", "script", "tally"},
        "content": {"asks", "parameters", "refusals", "texts"},
        "http": set(),
        "limits": {"notation", "refusals", "settings"},
        "listings": {"asks", "refusals", "settings"},
        "native": {"asks", "texts"},
        "notation": set(),
        "openai": {"asks", "native", "texts"},
        "pace": {"settings", "tally"},
        "parameters": {"asks", "refusals"},
        "refusals": set(),
        "responses": {"asks"},
        "routes": {"asks", "native", "openai", "responses", "settings"},
        "runners": set(),
        "script": {"asks", "behaviours", "openai", "refusals"},
        "server": {"connection", "http", "listings", "refusals", "routes", "service", "settings", "slots", "tally"},
        "service": {
            "asks", "behaviours", "chance", "connection", "content", "http", "limits", "pace", "refusals", "routes",
            "script", "settings", "slots", "tally",
        },
        "settings": {"behaviours", "notation", "texts"},
        "slots": {"runners", "settings", "tally"},
        "tally": set(),
        "texts": set(),
    },
    TOP: {
        "__init__": {"failures", "model"},
        "__main__": {"cli"},
        "cli": {"__init__", "failures", "redaction"},
        "codec": {"model"},
        "failures": set(),
        "figures": set(),
        "model": set(),
        "opening": set(),
        "options": {"failures", "figures", "model"},
        "outcome": {"failures", "model"},
        "ray": {"codec", "failures", "options"},
        "redaction": set(),
    },
    "view": {
        "__init__": set(),
        "block": {"causes", "sums"},
        "bottleneck": set(),
        "causes": set(),
        "comparison": set(),
        "comparison.comparison": {"comparison.differences", "comparison.likeness", "comparison.sides", "histogram"},
        "comparison.differences": set(),
        "comparison.likeness": {"statistics.measures"},
        "comparison.page": {
            "comparison.comparison", "comparison.likeness", "comparison.repeats", "comparison.shown",
            "comparison.sides", "comparison.words", "report.chart", "report.contents", "report.frame",
        },
        "comparison.repeats": {
            "comparison.comparison", "comparison.differences", "comparison.likeness", "comparison.sides",
            "histogram",
        },
        "comparison.shown": {"comparison.likeness"},
        "comparison.sides": {
            "histogram", "prices", "statistics.groups", "statistics.measures", "statistics.statistics",
        },
        "comparison.telling": {"comparison.comparison", "comparison.repeats", "comparison.sides", "histogram"},
        "comparison.words": {
            "comparison.comparison", "comparison.repeats", "comparison.shown", "comparison.sides", "histogram",
        },
        "curve": {"steps", "sweep"},
        "histogram": set(),
        "line": {"pace", "snapshot"},
        "metrics": {"histogram", "snapshot", "sums"},
        "observer": {"snapshot"},
        "pace": {"snapshot"},
        "prices": set(),
        "progress": {"line", "pace", "snapshot"},
        "record": {"histogram", "sums"},
        "report": set(),
        "report.axes": {"statistics.timeline"},
        "report.chart": {"report.axes"},
        "report.contents": {
            "report.chart", "statistics.events", "statistics.groups", "statistics.statistics", "statistics.timeline",
        },
        "report.distributions": {"histogram", "report.axes", "report.chart", "statistics.statistics"},
        "report.frame": set(),
        "report.overtime": {
            "report.axes", "report.chart", "statistics.events", "statistics.statistics", "statistics.timeline",
        },
        "report.page": {
            "report.contents", "report.distributions", "report.frame", "report.overtime", "report.picks",
            "statistics.statistics",
        },
        "report.picks": {"statistics.measures"},
        "snapshot": set(),
        "statistics": set(),
        "statistics.events": {"statistics.measures"},
        "statistics.fullness": {"statistics.timeline"},
        "statistics.groups": {"histogram", "statistics.measures"},
        "statistics.measures": set(),
        "statistics.statistics": {
            "bottleneck", "causes", "histogram", "prices", "statistics.events", "statistics.fullness",
            "statistics.groups", "statistics.measures", "statistics.timeline",
        },
        "statistics.telling": {"histogram", "statistics.events", "statistics.groups", "statistics.statistics"},
        "statistics.timeline": set(),
        "statistics.words": {"histogram", "statistics.events", "statistics.groups", "statistics.statistics"},
        "steps": set(),
        "summary": {"block", "record", "sums"},
        "sums": {"bottleneck", "causes", "histogram", "prices", "work"},
        "sweep": {"steps"},
        "together": {"block", "record", "sums"},
        "work": {"bottleneck"},
    },
    "wire": {
        "__init__": set(),
        "connections": set(),
        "dialects": {
            "dialects.chat", "dialects.completions", "dialects.embeddings", "dialects.images", "dialects.loading",
            "dialects.ollama_chat", "dialects.ollama_embed", "dialects.ollama_generate", "dialects.parameters",
            "dialects.responses",
        },
        "dialects.beginnings": set(),
        "dialects.chat": {
            "dialects.endings", "dialects.envelope", "dialects.messages", "dialects.parameters", "dialects.parts",
            "dialects.shapes", "dialects.toolpieces", "faults",
        },
        "dialects.completions": {
            "dialects.endings", "dialects.envelope", "dialects.parameters", "dialects.shapes", "faults",
        },
        "dialects.embeddings": {
            "dialects.endings", "dialects.envelope", "dialects.parameters", "dialects.shapes", "dialects.vectors",
        },
        "dialects.endings": {"dialects.envelope", "faults", "rules"},
        "dialects.envelope": {"faults"},
        "dialects.halves": set(),
        "dialects.images": {"dialects.envelope", "dialects.parameters", "dialects.shapes"},
        "dialects.loading": set(),
        "dialects.media": set(),
        "dialects.messages": {"dialects.media", "dialects.toolcalls"},
        "dialects.ollama_chat": {
            "dialects.messages", "dialects.ollama_record", "dialects.parameters", "dialects.shapes", "faults",
        },
        "dialects.ollama_embed": {
            "dialects.ollama_record", "dialects.parameters", "dialects.shapes", "dialects.vectors",
        },
        "dialects.ollama_generate": {
            "dialects.media", "dialects.ollama_record", "dialects.parameters", "dialects.shapes", "faults",
        },
        "dialects.ollama_record": {"dialects.endings", "dialects.envelope", "dialects.toolpieces", "faults"},
        "dialects.ollama_v1": {"dialects.parameters"},
        "dialects.parameters": set(),
        "dialects.parts": {"dialects.endings", "faults"},
        "dialects.reading": {
            "dialects", "dialects.beginnings", "dialects.endings", "dialects.halves", "dialects.strays",
            "dialects.toolpieces", "dialects.weight", "faults", "framing", "rules",
        },
        "dialects.responses": {
            "dialects.endings", "dialects.envelope", "dialects.messages", "dialects.parameters", "dialects.shapes",
            "faults", "rules",
        },
        "dialects.shapes": set(),
        "dialects.strays": {"faults", "rules"},
        "dialects.toolcalls": set(),
        "dialects.toolpieces": {"faults"},
        "dialects.vectors": set(),
        "dialects.weight": set(),
        "faults": set(),
        "framing": {"faults"},
        "hints": set(),
        "inflate": set(),
        "rules": {"words"},
        "transport": {"connections", "inflate", "trust"},
        "trust": set(),
        "words": {"framing"},
    },
}
# fmt: on

OWNERS: dict[str, set[str]] = {
    "aiohttp": {"wire.connections", "wire.transport"},
    "yarl": {"wire.connections", "wire.transport"},
    "click": {"cli", "commands"},
    "jsonschema_rs": {"inputs.schemas"},
    "jinja2": {"inputs.expense", "inputs.sandbox", "inputs.templates", "view.report.frame"},
    "dotenv": {"commands"},
    "rich": {"view", "commands"},
    "fsspec": {"inputs.remote"},
    "pyarrow": {
        "inputs.formats.columnar",
        "inputs.formats.pythonic",
        "api.frames",
        "outputs.columnar",
        "outputs.measurements",
        "outputs.types",
    },
    "numpy": {"api.arrays", "ray"},
    "pybase64": {"wire.dialects.vectors"},
    "isal": {"outputs.checksums"},
    "typing_extensions": {"api.result"},
    "python_calamine": {"inputs.formats.sheet"},
    "zstandard": {"inputs.compression"},
    "uvloop": {"commands", "cli"},
    "xllamacpp": {"servers.llamacpp"},
    "ray": {"exchange.cluster.foreman"},
    "anyio": {"commands", "exchange", "ledger.writer", "api", "running", "servers"},
    "orjson": {
        "codec",
        "options",
        "commands",
        "exchange",
        "inputs",
        "ledger",
        "api",
        "outputs",
        "running",
        "servers",
        "simulator",
        "wire",
    },
}
"""Libraries, and the only rooms or modules that may import them. Anything else comes with Python."""

PURE = {
    *("codec", "failures", "figures", "model", "outcome"),
    *("policy", "wire.dialects", "wire.faults", "wire.framing", "wire.hints", "wire.rules", "wire.words"),
    *("exchange.answers", "exchange.budget", "exchange.dialogue", "exchange.guard", "exchange.jsontext"),
    *("exchange.overflow", "exchange.packing", "exchange.timeouts", "exchange.cluster.parcels"),
}
"""Rooms and modules that decide or understand, and do nothing."""

IMPURE_LIBRARIES = {
    *("asyncio", "anyio", "concurrent", "datetime", "multiprocessing", "os", "random", "secrets", "selectors"),
    *("signal", "socket", "ssl", "subprocess", "threading", "time"),
}


class Place(NamedTuple):
    """A module: its room, and its name in it. Written as it is imported, but for the files beside the rooms."""

    room: str
    name: str

    def __str__(self) -> str:
        parts = [part for part in self if part not in (TOP, "__init__")]
        return ".".join(parts) or "__init__"

    def is_within(self, names: set[str]) -> bool:
        """Whether it, or the room or folder in which it stands, is one of these."""
        parts = str(self).split(".")
        return any(".".join(parts[:length]) in names for length in range(1, len(parts) + 1))


class Arrow(NamedTuple):
    """One import: by whom, of what. `target` is a module of ours, `package` the name of one that is not."""

    source: Place
    target: Place | None
    package: str
    for_types: bool
    is_late: bool
    """It is inside a function, and nothing is imported before that is called."""
    line: int

    def __str__(self) -> str:
        return f"{self.source} imports {self.target or self.package} in line {self.line}"


def place_of(file: Path) -> Place:
    room, *names = file.relative_to(ROOT).with_suffix("").parts
    if not names:
        return Place(TOP, room)
    return Place(room, ".".join(names).removesuffix(".__init__"))


PLACES = {place_of(file) for file in ROOT.rglob("*.py")}


@cache
def arrows() -> list[Arrow]:
    """All imports in the package, those inside functions and under TYPE_CHECKING too."""
    return [
        Arrow(place_of(file), target, library, for_types, is_late, statement.lineno)
        for file in sorted(ROOT.rglob("*.py"))
        for statement, for_types, is_late in imports(ast.parse(file.read_text(), file.name))
        for name in imported(statement, file)
        for library in [name.split(".")[0]]
        for target in [module_of(name) if library == "batcher" else None]
        if target != place_of(file)
    ]


def imports(
    node: ast.AST, *, for_types: bool = False, is_late: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    """The imports below a node, and of each whether it is for types alone, and whether it is inside a function."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, for_types, is_late
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, ast.expr):  # nothing is imported in one, and they are most of a tree
            yield from imports(inner, for_types=for_types or is_for_types, is_late=is_late or is_function)


def imported(statement: ast.Import | ast.ImportFrom, file: Path) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    assert statement.level == 0, f"{file}:{statement.lineno}: a relative import"
    return [f"{statement.module}.{alias.name}" for alias in statement.names]


def module_of(name: str) -> Place:
    """The module that an imported name stands in, or is."""
    parts = name.split(".")[1:]
    for length in range(len(parts), 0, -1):
        file = ROOT.joinpath(*parts[:length])
        if file.with_suffix(".py").is_file():
            return place_of(file.with_suffix(".py"))
        if (file / "__init__.py").is_file():
            return place_of(file / "__init__.py")
    return Place(TOP, "__init__")


def test_every_module_has_its_place() -> None:
    """A new file is placed among the others before it is used, and a file that is gone leaves no trace here."""
    assert {Place(room, name) for room, modules in INSIDE.items() for name in modules} == PLACES


def test_the_house_stays_small() -> None:
    """At most ten files beside the rooms and two that Python wants, and at most twelve rooms."""
    assert len(INSIDE[TOP].keys() - {"__init__", "__main__"}) <= 10
    assert len(ROOMS) - 1 <= 12


@pytest.mark.parametrize("room", sorted(ROOMS.keys() - {TOP}))
def test_a_room_says_what_it_is_for(room: str) -> None:
    """The first file of a room says what it is for, what may come in and who asks it."""
    said = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
    assert said
    assert room == "simulator" or ("sked by" in said and "n come" in said)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_ask_those_they_may_by_their_doors(room: str) -> None:
    """A room imports what another names as its doors, and only of rooms that it may ask."""
    wrong = [
        str(arrow)
        for arrow in arrows()
        if arrow.source.room == room and arrow.target is not None and arrow.target.room != room
        if not (arrow.target.room in ROOMS[room].may or (arrow.target.room == TOP and arrow.target.name in WORDS))
        or arrow.target.name not in ROOMS[arrow.target.room].doors
    ]
    assert wrong == []


def test_every_door_is_used() -> None:
    """A door that nobody comes by is a wall."""
    used = {arrow.target for arrow in arrows() if arrow.target is not None and arrow.target.room != arrow.source.room}
    doors = {Place(name, door) for name, room in ROOMS.items() if name not in (TOP, "commands") for door in room.doors}
    assert doors - used == set()


@pytest.mark.parametrize(("room", "name"), [(room, name) for room, names in sorted(INSIDE.items()) for name in names])
def test_modules_of_a_room_follow_its_arrows(room: str, name: str) -> None:
    """Inside a room each module imports those it says, and no other."""
    found = {
        arrow.target.name
        for arrow in arrows()
        if arrow.source == Place(room, name) and arrow.target is not None and arrow.target.room == room
    }
    assert found == INSIDE[room][name]


def test_the_arrows_point_one_way() -> None:
    """There is no circle: not between rooms, but for the files beside them, nor inside one, nor through the whole."""
    TopologicalSorter({name: room.may - {TOP} for name, room in ROOMS.items() if name != TOP}).prepare()
    for modules in INSIDE.values():
        TopologicalSorter(modules).prepare()
    whole: dict[Place, set[Place]] = {place: set() for place in PLACES}
    for arrow in arrows():
        if arrow.target is not None:
            whole[arrow.source].add(arrow.target)
    TopologicalSorter(whole).prepare()


def test_every_module_can_be_imported_first() -> None:
    """Who imports a module of a folder imports the folder's first file before it: that leads into no circle either."""
    eager: dict[Place, set[Place]] = {place: set() for place in PLACES}
    for arrow in arrows():
        if arrow.target is not None and not arrow.for_types and not arrow.is_late:
            folder = arrow.target.name.rpartition(".")[0]
            is_inside = arrow.source.room == arrow.target.room and f"{arrow.source.name}.".startswith(f"{folder}.")
            eager[arrow.source].add(arrow.target)
            if folder and not is_inside:
                eager[arrow.source].add(Place(arrow.target.room, folder))
    TopologicalSorter(eager).prepare()


def test_the_words_of_all_import_nothing_of_ours_but_each_other() -> None:
    """What all modules share stands below all of them."""
    below = {Place(TOP, name) for name in WORDS}
    assert [str(arrow) for arrow in arrows() if arrow.source in below and arrow.target not in {None, *below}] == []


def test_libraries_stay_with_their_owners() -> None:
    """A library is imported where it is owned, also inside functions; one without an owner is not used at all."""
    wrong = [
        str(arrow)
        for arrow in arrows()
        if arrow.target is None and arrow.package not in sys.stdlib_module_names
        if not arrow.source.is_within(OWNERS.get(arrow.package, set()))
    ]
    assert wrong == []


def test_policy_and_meaning_are_pure() -> None:
    """No clock, no dice, no loop and no file where a rule is to be a table of numbers in a test."""
    wrong = [
        str(arrow)
        for arrow in arrows()
        if arrow.source.is_within(PURE) and not arrow.for_types and arrow.package in IMPURE_LIBRARIES
    ]
    assert wrong == []


HEAVY = {
    *("aiohttp", "fsspec", "jinja2", "jsonschema_rs", "pyarrow", "rich", "sqlite3", "xllamacpp"),
    *("batcher.running.engine", "batcher.simulator"),
}


@pytest.mark.parametrize("script", ["import batcher", "from batcher.cli import main; main()"])
def test_the_first_impression_is_cheap(script: str) -> None:
    """Neither the package nor its help imports what talks to servers, draws tables or is optional."""
    program = f"try:\n    {script}\nexcept SystemExit: pass\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) & HEAVY == set()
