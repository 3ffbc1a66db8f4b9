"""Which call goes where, and when: pure, with `now` as an argument and the dice passed in.

In come calls and how their attempts ended; out go steps and verdicts. Asked by `running`, which obeys.
"""
