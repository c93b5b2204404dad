"""A float graph into the form that quantization and fp16 take: the same answers, other operators or types."""
