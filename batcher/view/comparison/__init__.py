"""How two runs over one input differ, and the answers to one row that was asked several times."""
