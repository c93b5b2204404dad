"""Options that try one way to int8 alone: what these tests look at is the same for all, and one takes a second."""

ONE_WAY = ("--engine", "portable", "--ranges", "minmax", "--tune", "0s")
