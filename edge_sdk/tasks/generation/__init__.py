"""Pictures from a seed: the task "generation"."""
