"""Names of folders that say what lies in them: good parts, good parts for tests, masks. In any case of letters."""

from __future__ import annotations

GOOD = "good"
GOOD_FOLDERS = (GOOD, "normal", "ok")
"""Of good parts; the first that exists is taken."""
GOOD_TEST_FOLDERS = ("normal_test", "good_test", "test_good", "test_normal")
"""Good parts that were set aside for tests, beside such a folder."""
MASK_FOLDERS = ("ground_truth", "mask", "masks", "labels")
"""Of pictures that mark where a defect is."""
