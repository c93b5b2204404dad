"""The command line, where builds make fp16 alone beside fp32: int8 takes a minute more. Run by torchrun."""

from __future__ import annotations

import sys
from functools import partial

from edge_sdk.cli import main
from edge_sdk.export.tinysam import sam_like

sam_like.FloatGraph = partial(sam_like.FloatGraph, variants=("fp16",))  # type: ignore[assignment,misc]

if __name__ == "__main__":
    main.run(sys.argv[1:])
