"""What is said to a server and what it says: requests encoded, answers read to the proof of their end.

In come jobs and bytes; out go calls, deltas, failures by class. One HTTP exchange is all the I/O here (`transport`).
Asked by `exchange`, which makes attempts of calls, and by `servers`, which asks who is there.
"""
