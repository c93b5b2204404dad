"""How much accuracy may be lost, and the search for the operators that must stay float for it."""
