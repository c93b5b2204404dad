"""Figures of quality: detection, pixels, intervals. Knows scores and masks; no model, no file, no clock."""
