"""The training loop that every family shares, and its checkpoints. Knows no network, no data and no family."""
