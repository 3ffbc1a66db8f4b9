"""The verbs of the command line, one small file each, and the options that they share."""
