"""The small size: EfficientNet-Lite0 trunk, feature pyramid, and a decoder that works in a window around the prompt."""
