"""Vectors in a file of their own: rows of numbers beside the results, whose lines name them by number and checksum.

In come vectors as servers gave them; out come rows, and what is wrong with them. The results file stays the only
record of what is done: a row that no line names is nobody's. Asked by `running`, `outputs` and `commands`.
"""
