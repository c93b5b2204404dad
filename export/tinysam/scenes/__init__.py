"""Pictures with masks to train on: folders, scenes drawn by code, regions found in photographs. Knows no network."""
