"""What a results file tells of the runs that wrote it: sums, distributions and a course of time, in flat memory."""
