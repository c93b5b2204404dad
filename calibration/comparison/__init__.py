"""Two graphs side by side: errors, score scales, and how the runtimes of this machine run them."""
