"""What exporting an anomaly detector takes: good parts and their shares, threshold, evaluation, report."""
