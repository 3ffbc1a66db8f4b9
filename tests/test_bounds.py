"""What an answer, a line, a template or a file may cost, as numbers: who changes one changes this table and the docs.

That each bound holds is shown where it is kept, mostly by a smaller one; this holds that none is open.
"""

from __future__ import annotations

from importlib import import_module

import pytest

KIBI, MEBI = 1 << 10, 1 << 20
BOUNDS: dict[str, int] = {
    "opening.SMALL": 64 * MEBI,
    "exchange.budget.TEXT": 64 * MEBI,
    "exchange.budget.PIECES": 4 * MEBI,
    "exchange.budget.WHOLE": 128 * MEBI,
    "exchange.budget.ALL": 1024 * MEBI,
    "wire.inflate.DECODED_LIMIT": 256 * MEBI,
    "wire.inflate.RATIO_LIMIT": 64,
    "wire.inflate.HEAD_START": 4 * MEBI,
    "wire.transport.HEADER_SIZE": 64 * KIBI,
    "wire.transport.HEADER_COUNT": 256,
    "wire.transport.REPLY_LIMIT": 8 * MEBI,
    "wire.connections.INTERIM": 128,
    "wire.framing.LIMIT": 64 * MEBI,
    "wire.dialects.endings.MOST": 4096,
    "wire.dialects.endings.MOST_TOKENS": 1 << 18,
    "wire.dialects.weight.MOST": 768 * MEBI,
    "wire.dialects.reading.BODY_LIMIT": 256 * MEBI,
    "inputs.formats.lines.LINE_LIMIT": 64 * MEBI,
    "inputs.formats.workbook.UNPACKED": 256 * MEBI,
    "inputs.formats.workbook.CELLS": 1 << 24,
    "inputs.outgrowth.LONGEST": 64 * MEBI,
    "inputs.outgrowth.REPEATED": MEBI,
    "inputs.outgrowth.MOST_SHIFTED": 1 << 32,
    "inputs.outgrowth.DIGITS": 12,
    "inputs.expense.STEPS": 1_000_000,
    "inputs.expense.BITS": 1 << 16,
    "servers.catalogue.MOST_SLOTS": 256,
    "servers.keys.LONGEST_FILE": 64 * KIBI,
    "commands.config.LONGEST": MEBI,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_is_what_is_said(name: str) -> None:
    """In its module, by its name."""
    module, _, constant = name.rpartition(".")
    assert getattr(import_module(f"batcher.{module}"), constant) == BOUNDS[name]
