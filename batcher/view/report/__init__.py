"""The report: one page of HTML that is read without a script and without a network."""
