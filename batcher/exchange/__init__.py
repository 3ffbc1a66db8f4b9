"""Calls become attempts: the room that a cluster could stand in for.

In come calls, each with its server; out go attempts, and the news that an answer has begun. Nothing of policy or of
files is known here. Asked by `running`.
"""
