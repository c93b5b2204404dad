"""The one table of all lint rules, in the order in which `mend` runs them. Knows no rule itself."""

from __future__ import annotations

from edge_sdk.calibration.lint import rules_graph, rules_operators, rules_places, rules_pools, rules_values
from edge_sdk.calibration.lint.rules import Rule

RULES: tuple[Rule, ...] = (
    *rules_graph.RULES, *rules_operators.RULES, *rules_pools.RULES, *rules_values.RULES, *rules_places.RULES,
)  # fmt: skip
"""Checked for every graph."""

LAYOUT_RULES: tuple[Rule, ...] = rules_places.LAYOUT_RULES
"""Checked for a graph that is meant for one runtime alone."""

FIRST = rules_graph.EXTERNAL
"""Checked before all others: weights that are not there can't be read."""

EVERY: tuple[Rule, ...] = tuple(sorted((FIRST, *RULES, *LAYOUT_RULES), key=lambda rule: rule.number))
