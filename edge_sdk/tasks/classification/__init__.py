"""The classification task: a picture or named arrays in, a probability for each class out. Knows no family."""
