"""What people see: the live line, sentences, the sums of a run.

In come results and snapshots; out goes text. Asked by `running`, which fills the sums, and by the commands.
"""
