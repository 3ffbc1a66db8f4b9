"""How many calls a server gets at once: a fixed number, or one that is found out. Asked by `policy.lane`."""
