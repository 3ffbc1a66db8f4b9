"""Who is there: addresses, keys, what a server says of itself, and the embedded one.

In come options and the environment; out goes a contact: servers that answer, and how to speak to them. Asked by
`running` and by the commands that only look.
"""
