"""The exit codes of our programs, beside 0 for success and 1 for a run of which some agents did not come to an end."""

FAILED, INTERRUPTED = 2, 130
