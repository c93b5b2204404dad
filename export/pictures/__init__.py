"""Pictures that a task or family works on, each decoded once. Knows no label, no network and no family."""
