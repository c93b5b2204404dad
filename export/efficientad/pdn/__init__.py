"""The published networks of EfficientAD, sizes "s" and "m", and how their teacher is made. Knows nothing of XS."""
