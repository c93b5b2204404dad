r"""Makes the weights of the small size of TinySAM that ship: half precision, thresholds, where they come from.

    edge-sdk train tinysam ../shared/data/objects --photographs photographs --kind "([a-z]+)_" --rate 0.0012 \
        --time-budget 2h --out runs/small.edge
    python benchmarks/ship_small.py runs/small.run --data ../shared/data/objects --kind "([a-z]+)_" \
        --photographs photographs

A training that starts from the weights that ship is one more segment of theirs in the .json beside them. The thresholds
of everything mode are measured on the training pictures and drawn scenes. The run may be unfinished: its checkpoint
counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from checkpoints import restore
from record import options

from edge_sdk import atomic
from edge_sdk.profiling.machine import machine, versions

if TYPE_CHECKING:
    from edge_sdk.export.tinysam.small.model import SmallModel


def parser() -> argparse.ArgumentParser:
    out = options(__doc__)
    out.add_argument("run", type=Path, help="The run folder of `edge-sdk train tinysam`.")
    out.add_argument("--data", type=Path, required=True, help="The folder that it was trained on.")
    out.add_argument("--kind", default=None, help="As in the training.")
    out.add_argument("--photographs", type=Path, default=None, help="As in the training.")
    out.add_argument("--out", type=Path, default=None, help="Weights to write. Default: those that ship.")
    return out


def trained(asked: argparse.Namespace) -> tuple[SmallModel, dict[str, Any]]:
    """The averaged model in a run's checkpoint, and what is known of its training."""
    from edge_sdk.export.tinysam.small.model import SHIPPED, SmallModel
    from edge_sdk.export.training import checkpoint
    from edge_sdk.export.training.averaged import Pair

    pair = Pair(SmallModel.load(SHIPPED))
    known = restore(pair, asked.run / checkpoint.NAME)
    identity = known["identity"]
    segment = {
        "command": f"edge-sdk train tinysam {asked.data.name}"
        + (" --scratch" if identity["scratch"] == "true" else "")
        + (f" --photographs {asked.photographs.name}" if asked.photographs else "")
        + (f" --kind '{asked.kind}'" if asked.kind else "")
        + f" --rate {identity['recipe.rate']}",
        "start": identity["start"], "data": identity["data"][:16], "steps": known["step"],
        "training_s": round(known["elapsed_s"]), "finished": known.get("finished", False),
    }  # fmt: skip
    return pair.kept.eval(), segment


def main() -> None:
    asked = parser().parse_args()
    import msgspec

    from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
    from edge_sdk.export.tasks.segmentation.reading import read_data
    from edge_sdk.export.tinysam.options import EVERYTHING
    from edge_sdk.export.tinysam.scenes.sources import mixture, photographs_in
    from edge_sdk.export.tinysam.small import thresholds
    from edge_sdk.export.tinysam.small.model import SHIPPED

    model, segment = trained(asked)
    data = read_data(asked.data, SegmentationOptions(kind=asked.kind))
    photographs = photographs_in(asked.photographs)
    made = mixture(data, photographs, side=model.side, seed=0, progress=lambda *_: None)
    found = thresholds.measured(model, made, seed=0, progress=lambda *_: None)
    model.facts = {EVERYTHING: msgspec.to_builtins(found)}
    out = asked.out or SHIPPED
    model.save(out, half=True)
    here = machine()
    about = json.loads(SHIPPED.with_suffix(".json").read_text("utf-8"))
    segment |= {"cpu": here.cpu_model, "isa": here.isa, "torch": versions().get("torch", "")}
    about["segments"] = [*about["segments"], segment]
    about["sha256"] = hashlib.sha256(out.read_bytes()).hexdigest()
    atomic.write(out.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {segment['steps']} steps more; {model.facts[EVERYTHING]}")


if __name__ == "__main__":
    main()
