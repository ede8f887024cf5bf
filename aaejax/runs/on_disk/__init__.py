"""What a run folder holds: its files, read back and checked; checkpoints and weights."""
