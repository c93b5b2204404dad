"""Site decisions as data: records and their chain (record.py), which pictures count (evidence.py), thresholds."""
