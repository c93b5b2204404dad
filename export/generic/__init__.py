"""The generic family: any ONNX file, quantized on the user's own samples. Trains nothing."""
