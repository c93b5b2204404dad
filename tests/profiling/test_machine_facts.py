from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.profiling.machine import counters, machine, memory, memory_elsewhere, versions
from edge_sdk.runtimes import probe

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import record


def lay(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_this_machine_can_be_written_as_json() -> None:
    facts = machine()
    assert json.loads(json.dumps(asdict(facts)))["cpu_model"]
    assert facts.affinity
    assert facts.cores_visible >= 1


def test_what_is_not_reported_is_none_with_a_reason(tmp_path: Path) -> None:
    facts = machine(root=tmp_path)
    for name in ("smt", "l3_bytes", "governor", "turbo", "memory_bytes", "board", "hypervisor"):
        assert getattr(facts, name) is None
        assert facts.absent[name]
    assert facts.gpus == ()
    assert "NVIDIA" in facts.absent["gpus"]


def test_what_is_reported_is_read(tmp_path: Path) -> None:
    cpu = tmp_path / "sys/devices/system/cpu"
    for path, text in {
        cpu / "smt/active": "1\n",
        cpu / "cpu0/cache/index3/size": "32768K\n",
        cpu / "cpu0/cpufreq/scaling_governor": "performance\n",
        cpu / "intel_pstate/no_turbo": "1\n",
        tmp_path / "proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 1 kB\n",
        tmp_path / "proc/driver/nvidia/gpus/0000/information": "Model: \t A Card\nIRQ: 1\n",
        tmp_path / "proc/device-tree/model": "Jetson\x00",
        tmp_path / "sys/fs/cgroup/memory.max": "1048576\n",
        tmp_path / "proc/cpuinfo": "model name : A CPU\nflags : avx2 hypervisor\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    facts = machine(root=tmp_path)
    assert (facts.smt, facts.l3_bytes, facts.governor, facts.turbo) == (True, 32 << 20, "performance", False)
    assert (facts.memory_bytes, facts.gpus, facts.board) == (16_384_000_000, ("A Card",), "Jetson")
    assert (facts.memory_max_bytes, facts.hypervisor) == (1 << 20, True)
    assert not {"smt", "gpus", "board"} & set(facts.absent)


def test_counters_are_read_and_missing_ones_are_none(tmp_path: Path) -> None:
    assert counters(root=tmp_path).steal_ms is None
    assert counters(root=tmp_path).pressure_percent is None
    lay(
        tmp_path,
        proc__stat="cpu  1 2 3 4 5 6 7 200 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n",
        proc__pressure__cpu="some avg10=97.80 avg60=72.43 avg300=65.75 total=522977995\n",
        sys__fs__cgroup__cpu_stat="",
    )
    (tmp_path / "sys/fs/cgroup/cpu.stat").write_text("nr_periods 9\nnr_throttled 4\nthrottled_usec 1\n")
    now = counters(root=tmp_path)
    assert (now.pressure_percent, now.throttled) == (97.8, 4)
    assert now.steal_ms is not None
    assert now.steal_ms > 0


@pytest.mark.skipif(sys.platform != "linux", reason="smaps_rollup is Linux's")
def test_memory_of_this_process_is_some_megabytes() -> None:
    now = memory()
    assert now.rss_peak_bytes is not None
    assert now.pss_bytes is not None
    assert 1 << 20 < now.pss_bytes < 1 << 36
    assert 1 << 20 < now.rss_peak_bytes < 1 << 36


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_the_peak_is_of_this_process_and_not_of_the_one_that_started_it() -> None:
    """ru_maxrss of a new process begins with what its parent held."""
    held = np.ones(300 << 20, np.uint8)
    said = subprocess.run(
        [sys.executable, "-c", "from edge_sdk.profiling.machine import memory; print(memory().rss_peak_bytes)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(said.stdout) < 200 << 20 < held.nbytes


def test_psutil_says_the_same_where_it_is_asked_elsewhere() -> None:
    """On Linux both tell, so what Windows and macOS are asked for can be checked here."""
    psutil = pytest.importorskip("psutil", reason='the extra "dev" brings it')
    cpu = probe.cpu()
    assert probe.affinity_elsewhere() == cpu.affinity
    assert memory_elsewhere() == psutil.virtual_memory().total
    if sys.platform == "linux":
        assert memory_elsewhere() == machine().memory_bytes
    assert 1 <= probe.cores_elsewhere(len(cpu.affinity)) <= len(cpu.affinity)
    assert probe.cores_elsewhere(1) == 1


WITHOUT_PSUTIL = """
import os, sys
sys.modules["psutil"] = None  # what a machine without a wheel of it sees
from edge_sdk.profiling.machine import machine, memory_elsewhere
from edge_sdk.runtimes import probe
assert memory_elsewhere() is None
assert probe.cores_elsewhere(3) == 3
assert len(probe.affinity_elsewhere()) == os.cpu_count()
print(machine().physical_cores >= 1)
"""


def test_without_psutil_every_fact_is_reported_or_absent() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PSUTIL], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_versions_leave_out_what_is_not_there() -> None:
    found = versions(["numpy", "no-such-package-of-ours"])
    assert set(found) == {"numpy"}


def test_a_benchmark_record_says_how_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "results" / "x.json"
    command = [f"{record.ROOT}/benchmarks/x.py", "--data", f"{record.ROOT.parent}/shared/data/aliens"]
    record.write_record(path, {"ms": 1.5}, seeds=[0, 1], samples=3, command=command)
    kept = json.loads(path.read_text("utf-8"))
    assert kept["command"] == ["python", "benchmarks/x.py", "--data", "../shared/data/aliens"]
    assert (kept["name"], kept["figures"]) == ("x", {"ms": 1.5})
    assert {"machine", "versions", "commit", "created_utc", "seeds", "samples"} <= set(kept)


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    record.write_record(path, {"ms": 1.5}, seeds=[], samples=1)
    with pytest.raises(ValueError, match="JSON"):
        record.write_record(path, {"ms": math.nan}, seeds=[], samples=1)
    kept = json.loads(path.read_text("utf-8"))
    assert kept["figures"] == {"ms": 1.5}
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]
