"""Requests and tokens a minute: what is left, what a call will use, what a server states. Asked by `policy.lane`."""
