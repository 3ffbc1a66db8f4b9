"""Results become what other programs read: tables beside their input's columns, batch lines, training chats.

In come a results file, the errors beside it and the input that they are of; out goes a file, whole or not at all.
Nothing is decided here about what is done, and the results stay as they are. Asked by `running` and `commands`.
"""
