"""The verbs of the command line, one file each, and the options that they share.

In come arguments and the environment; out go an exit code and text. Asked by `cli`, which loads a verb when it is used.
"""
