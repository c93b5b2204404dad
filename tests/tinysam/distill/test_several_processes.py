"""One training in two processes, started by torchrun on this machine's CPU: they agree, and the first alone writes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import annotated_folders
import pytest
from tiny_photographs import network

from edge_sdk.bundle.signing import TrustPolicy
from edge_sdk.bundle.store import Bundle
from edge_sdk.export.tinysam import saved

pytestmark = pytest.mark.long

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def launched(*words: str) -> subprocess.CompletedProcess[str]:
    """What torchrun prints that starts two processes."""
    if importlib.util.find_spec("lightning_fabric") is None:
        pytest.skip('lightning-fabric is not installed: pip install ".[several-gpus]" to run this')
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def trained(folder: Path, steps: int) -> list[dict[str, Any]]:
    """What both processes ended with."""
    launched(str(HERE / "two_processes.py"), str(folder), str(steps))
    return [json.loads((folder / f"rank-{rank}.json").read_text("utf-8")) for rank in range(2)]


def test_two_processes_train_one_network_and_resume_it(tmp_path: Path) -> None:
    first, second = trained(tmp_path, 3)
    assert (first["size"], second["size"], first["step"], second["step"]) == (2, 2, 3, 3)
    assert first["weights"] == second["weights"]
    assert first["losses"] != second["losses"]  # each saw frames of its own
    assert first["elapsed_s"] == second["elapsed_s"]
    assert first["notes"] > 0 == second["notes"]
    assert first["computed"] + second["computed"] >= 12
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.safetensors"]
    longer = trained(tmp_path, 4)
    assert [one["step"] for one in longer] == [4, 4]
    assert longer[0]["weights"] == longer[1]["weights"] != first["weights"]


def test_the_command_line_trains_in_two_processes_and_the_first_makes_the_bundle(tmp_path: Path) -> None:
    folder, teacher, out = tmp_path / "marked", tmp_path / "teacher.safetensors", tmp_path / "a.edge"
    annotated_folders.label_maps(folder, train=3, test=0)
    saved.write(network(9), teacher)
    done = launched(
        str(HERE / "without_int8.py"), "train", "tinysam", str(folder), "--teacher", str(teacher), "--out", str(out),
        "--student", "tinyvit-1m", "--batch", "1", "--steps", "2", "--threads", "1", "--calibration-samples", "1",
        "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["bundle"] == str(out)  # one object: the second process prints none
    assert done.stderr.count("training: 2 steps") == 1
    with Bundle.open(out, trust=TrustPolicy(mode="off")) as bundle:
        about = bundle.manifest.extra["training"]
        assert {graph.variant for graph in bundle.manifest.graphs} == {"fp32", "fp16"}
    assert (about["steps"], about["processes"], about["student"]) == (2, 2, "tinyvit-1m")
