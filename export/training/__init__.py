"""The training loop that every family shares, and its checkpoints. Knows no network, no picture and no family."""
