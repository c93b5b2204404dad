"""What exporting a classifier adds: its quality on labelled samples, or its agreement with the float graph."""
