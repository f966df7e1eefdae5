"""The I/O of installations: looking at a binDir, who works from it, and performing the steps."""
