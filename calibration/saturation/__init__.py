"""16-bit saturation of int8 products on CPUs without VNNI: bounded from the weights, and predicted."""
