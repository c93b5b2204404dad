"""Numbers and names in docs/quantize.md are the code's. Reads the page; quantizes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_sdk.calibration.bound.accuracy import LARGEST_ERROR, SEARCH_S
from edge_sdk.calibration.saturation.prediction import MOST_S, MOST_SAMPLES
from edge_sdk.calibration.trials import ENGINE_NAMES, RANGE_METHODS, THOROUGH
from edge_sdk.cli.terminal import duration
from edge_sdk.counted import listed
from edge_sdk.runtimes.variants import KINDS, SAFE_TOP

PAGE = " ".join((Path(__file__).resolve().parents[2] / "docs" / "quantize.md").read_text("utf-8").split())


def code(*names: str) -> str:
    return listed((f"`{name}`" for name in names), "and")


def on_demand() -> tuple[str, ...]:
    return tuple(name for name in RANGE_METHODS if name not in THOROUGH.range_methods)


@pytest.mark.parametrize(
    "said",
    [
        f"An int8 graph that is more than {100 * (THOROUGH.within or 0):g} % off on its own samples",
        f"for {duration(THOROUGH.search_s)} at most (`--search-time`)",
        f"One that is still {100 * LARGEST_ERROR:g} % off is refused",
        f"Errors are measured on {THOROUGH.compared} of the samples",
        f"predicted from the first {MOST_SAMPLES} compared samples, or from fewer after {MOST_S:g} s",
        f"in the time (`--search-time`, {duration(SEARCH_S)} unless you say otherwise)",
        f"for {duration(THOROUGH.tune_s)} at most | `--tune 2min`",
        f"| ranges | {code(*THOROUGH.range_methods)}; {code(*on_demand())} on demand |",
        f"(within [-{SAFE_TOP}, {SAFE_TOP}])",
    ],
)
def test_the_page_states_the_numbers_of_the_code(said: str) -> None:
    assert said in PAGE


def test_the_page_lists_the_engines_and_the_variants() -> None:
    engines = PAGE.split("| engine | ")[1].split(" | ")[0]
    assert all(f"`{name}`" in engines for name in ENGINE_NAMES)
    assert THOROUGH.engines == ENGINE_NAMES  # the page says that all installed ones are tried
    table = PAGE.split("| variant | content |")[1].split("Each int8 variant")[0]
    assert [cell for cell in table.split("`") if cell in KINDS] == list(KINDS)
