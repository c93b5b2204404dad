"""One training in two processes, started by torchrun on this machine's CPU: they agree, and the first alone writes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def trained(folder: Path, steps: int) -> list[dict[str, Any]]:
    """What both processes ended with."""
    if importlib.util.find_spec("lightning_fabric") is None:
        pytest.skip("lightning-fabric is not installed: pip install edge-sdk[several-gpus] to run this")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(HERE / "two_processes.py"), str(folder), str(steps),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
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
