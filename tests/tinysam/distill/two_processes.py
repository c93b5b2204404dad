"""Run by torchrun, twice at once: trains the tiny network for a few steps and writes what this process ended with.

torchrun --standalone --nproc-per-node 2 two_processes.py FOLDER STEPS
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tiny_photographs import RECIPE, SIDE, network, photographs

from edge_sdk.export.tinysam.distill.frames import Views
from edge_sdk.export.tinysam.distill.recipe import STAGES, DistillRecipe
from edge_sdk.export.tinysam.distill.teacher import Teacher
from edge_sdk.export.tinysam.distill.train import identity_of, train
from edge_sdk.export.training.identity import digest_of_weights
from edge_sdk.export.training.loop import LoopPlan
from edge_sdk.export.training.together import launched


def main(folder: Path, steps: int) -> None:
    torch.set_num_threads(1)
    together = launched(accelerator="cpu")
    recipe: DistillRecipe = replace(RECIPE, weights=STAGES["full"])
    if together.rank == 0:
        photographs(folder)
    together.agreed(None)  # the pictures are there
    views = Views(photographs(folder, write=False), SIDE, recipe.prompts, recipe.views, seed=0)
    net, notes = network(9), list[str]()
    teacher = Teacher(net, digest=digest_of_weights(net), size=SIDE, folder=folder / "store")
    student = network(1)
    done = train(
        student, views, recipe, LoopPlan(steps=steps, time_budget_s=1000.0, history_every=1),
        identity=identity_of(student, recipe, data="d", seed=4, teacher=teacher, together=together),
        folder=folder / "run", seed=4, progress=lambda done, total, note: notes.append(note), teacher=teacher,
        together=together, apart=False,
    )  # fmt: skip
    weights = dict(done.net.named_parameters())
    state = torch.nn.Module()
    for number, value in enumerate(weights.values()):
        state.register_buffer(f"w{number}", value.detach())
    about = {
        "rank": together.rank, "size": together.size, "step": done.position.step, "notes": len(notes),
        "elapsed_s": done.position.elapsed_s, "weights": digest_of_weights(state), "computed": teacher.computed,
        "losses": [sum(row.values()) for _, row in done.position.history],
    }  # fmt: skip
    (folder / f"rank-{together.rank}.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
