"""The results file and those beside it: what is on the disk, what is done, what is to be mended.

In come results; out go lines, and what is known of earlier runs. Asked by `running` and by the commands that look at
files without a run.
"""
