"""The anomaly task on the device: detector, result, and the threshold fitted again on site."""
