"""A file of anything becomes the jobs that are still to do.

In come bytes of an input and the ids that the results have; out go jobs and, by line, what is none. Asked by
`running`, by `ledger` for what makes two jobs the same, and by the commands that read an input without a run.
"""
