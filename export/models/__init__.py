"""Models as users have them: ONNX files and torch modules become checked graphs. Knows no data and no task."""
