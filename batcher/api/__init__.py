"""What programs stand on: rows of theirs become jobs, and results come back to them.

In come rows that a program has, or names of files; out go results, sums, arrays. Asked by the package's own first file.
"""
