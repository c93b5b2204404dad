"""What every family that finds anomalies needs: pictures as its network takes them, changed, damaged, or foreign.

Knows no network and no family.
"""
