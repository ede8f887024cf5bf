"""The command that trains, and what it shares with the one that samples."""
