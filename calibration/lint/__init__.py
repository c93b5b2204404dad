"""The portable contract, rule by rule: what some runtime refuses, misreads or runs in float, and what mends it."""
