"""What passes through a float graph, and the ranges, scales and corrections that follow from it."""
