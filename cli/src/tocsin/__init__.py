"""The `tocsin` command: runs, replays, checks and rebuilds the whole system."""
