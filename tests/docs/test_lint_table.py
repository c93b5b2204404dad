"""The table of lint rules in docs/lint.md is the code's. `python tests/docs/test_lint_table.py` writes it."""

from __future__ import annotations

from pathlib import Path

from edge_sdk.calibration.lint.rule_table import EVERY
from edge_sdk.calibration.lint.rules import NAMES, RUNTIMES, Effect, Rule

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lint.md"
BEGIN, END = "<!-- rules -->\n", "<!-- end of rules -->\n"
WORDS: dict[Effect, str] = {
    "refused": "refuses", "wrong": "other values", "float": "float", "slow": "slower", "open": "open",
    "unsure": "not always",
}  # fmt: skip
MENDS = {"": "", "exact": "`--fix`", "values": "`--fix-all`"}


def rows() -> str:
    header = ("rule", "in the graph", *(NAMES[one] for one in RUNTIMES), "what to do", "fixed by")
    lines = [header, ("---",) * len(header), *map(cells, EVERY)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(rule: Rule) -> tuple[str, ...]:
    effects = (WORDS[rule.claims[one]] if one in rule.claims else "" for one in RUNTIMES)
    return (rule.number, rule.title, *effects, rule.hint, MENDS[rule.fix])


def with_rows(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, behind = rest.partition(END)
    return before + BEGIN + rows() + END + behind


def test_the_page_lists_every_rule_of_the_table() -> None:
    page = PAGE.read_text("utf-8")
    assert page == with_rows(page), "python tests/docs/test_lint_table.py writes the rows anew"


if __name__ == "__main__":
    PAGE.write_text(with_rows(PAGE.read_text("utf-8")), "utf-8")
