"""Site decisions as data: records and their chain (record.py), thresholds and how they are fitted (the rest)."""
