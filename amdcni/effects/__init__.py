"""The I/O: each module fills a part of a snapshot or performs a step, and decides nothing."""
