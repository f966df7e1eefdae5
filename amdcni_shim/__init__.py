"""The executable's exec protocol and nothing else."""
