"""A training run: its configuration, folder, checkpoints, loop, devices and pictures."""
