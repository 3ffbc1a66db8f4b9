"""One run, put together: what is read, sent, written, and how it ends.

In come options and an input; out goes a summary. Asked by the edges: the commands and the Python API.
"""
