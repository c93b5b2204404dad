"""Facts about the machine, recorded with every measurement. Reads only. Knows no model.

A fact that the system does not report is None, with the reason in `absent`; never 0.

On Linux the files are read here and not by psutil 7.2.2, which reports the nominal clock of cpuinfo where a VM has no
other, and the context switches of one thread as those of the process. Other systems have no such files: psutil is
used for the memory size.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from edge_sdk.runtimes import probe

T = TypeVar("T")

PACKAGES = (
    "edge-sdk", "numpy", "opencv-python-headless", "opencv-python", "msgspec", "onnxruntime", "onnxruntime-gpu",
    "openvino", "tensorrt", "tensorrt-rtx-cu13-libs", "torch", "onnx", "nncf", "scikit-learn", "scipy",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What does not change during a run. isa: strongest int8 instruction set; isa_cap: ONEDNN_MAX_CPU_ISA, or "".

    cpu_max: CPUs' worth of time a container may use. clocks_khz: per visible CPU. gpus: names. absent: field -> why it
    is None or empty.
    """

    cpu_model: str
    flags: tuple[str, ...]
    isa: str
    isa_cap: str
    cores_visible: int
    physical_cores: int
    affinity: tuple[int, ...]
    cpu_max: float | None
    memory_max_bytes: int | None
    smt: bool | None
    l3_bytes: int | None
    hypervisor: bool | None
    memory_bytes: int | None
    governor: str | None
    turbo: bool | None
    clocks_khz: tuple[int, ...]
    gpus: tuple[str, ...]
    board: str | None
    system: str
    kernel: str
    python: str
    absent: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What changes: read before and after, the differences are reported. load: averages over 1, 5 and 15
    minutes. steal_ms: of all CPUs since boot.

    throttled: times that the container's limit stopped it. pressure_percent: share of the last 10 s in which
    some process waited for a CPU. nivcsw: times that this process was taken off a CPU. None: not reported here.
    """

    load: tuple[float, ...] | None
    pressure_percent: float | None
    steal_ms: float | None
    throttled: int | None
    nivcsw: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of this process, bytes. rss_peak: highest so far. pss: now, pages shared with others divided among them."""

    rss_peak_bytes: int | None
    pss_bytes: int | None


def machine(*, root: Path = Path("/")) -> Machine:
    """Read all facts. root: the folder that holds proc/ and sys/."""
    cpu = probe.cpu(root=root)
    cpus, fact = root / "sys/devices/system/cpu", _Reasons()
    info = _fields(root / "proc/cpuinfo")
    kib = _fields(root / "proc/meminfo").get("MemTotal", "").split(" ")[0]
    gpus = tuple(
        _fields(path).get("Model", "unnamed") for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
    )
    return Machine(
        cpu_model=cpu.model,
        flags=cpu.flags,
        isa=cpu.isa,
        isa_cap=cpu.capped_by,
        cores_visible=os.cpu_count() or 1,
        physical_cores=cpu.physical_cores,
        affinity=cpu.affinity,
        cpu_max=fact("cpu_max", cpu.cgroup_quota, "no limit found"),
        memory_max_bytes=fact("memory_max_bytes", _number(root / "sys/fs/cgroup/memory.max", int), "no limit found"),
        smt=fact("smt", _flag(cpus / "smt/active"), "the system does not report it"),
        l3_bytes=fact("l3_bytes", _size(cpus / "cpu0/cache/index3/size"), "the system does not report it"),
        hypervisor=fact("hypervisor", "hypervisor" in info["flags"].split() if "flags" in info else None, "no flags"),
        memory_bytes=fact("memory_bytes", _memory(kib), "no proc/meminfo"),
        governor=fact("governor", _text(cpus / "cpu0/cpufreq/scaling_governor"), "not visible (usual in a VM)"),
        turbo=fact("turbo", _turbo(cpus), "not visible (usual in a VM)"),
        clocks_khz=fact("clocks_khz", _clocks(cpus, cpu.affinity), "not visible (usual in a VM)"),
        gpus=fact("gpus", gpus, "no NVIDIA driver in proc/driver"),
        board=fact("board", _text(root / "proc/device-tree/model"), "no device tree"),
        system=f"{platform.system()} {platform.machine()}",
        kernel=platform.release(),
        python=platform.python_version(),
        absent=fact.absent,
    )


def counters(*, root: Path = Path("/")) -> Counters:
    """The values now."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    pressure = (_text(root / "proc/pressure/cpu") or "").partition("avg10=")[2].split(" ")[0]
    first = (_text(root / "proc/stat") or "").split("\n")[0].split()
    hertz = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    return Counters(
        load=load,
        pressure_percent=float(pressure) if pressure else None,
        steal_ms=1e3 * int(first[8]) / hertz if len(first) > 8 and first[0] == "cpu" else None,
        throttled=_throttled(root),
        nivcsw=_usage("ru_nivcsw"),
    )


def memory(*, root: Path = Path("/")) -> Memory:
    """Of this process, now."""
    peak = _kib(root / "proc/self/status", "VmHWM")
    if peak is None and sys.platform == "darwin":  # on Linux it counts what the process that started this one held, too
        peak = _usage("ru_maxrss")
    return Memory(rss_peak_bytes=peak, pss_bytes=_kib(root / "proc/self/smaps_rollup", "Pss"))


def _kib(path: Path, name: str) -> int | None:
    """Bytes, of a line such as "Pss: 12 kB"."""
    number = _fields(path).get(name, "").split(" ")[0]
    return int(number) * 1024 if number.isdigit() else None


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of those packages that are installed; imports none of them."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _memory(kib: str) -> int | None:
    """Memory of the machine, bytes. kib: MemTotal of proc/meminfo."""
    if kib.isdigit():
        return int(kib) * 1024
    return None if sys.platform == "linux" else memory_elsewhere()


def memory_elsewhere() -> int | None:
    """Memory of a machine without proc/meminfo, bytes; None without psutil."""
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().total)


class _Reasons:
    """Passes each value on, and keeps the reason for those that are missing."""

    def __init__(self) -> None:
        self.absent: dict[str, str] = {}

    def __call__(self, name: str, value: T, reason: str) -> T:
        if value is None or value == ():
            self.absent[name] = reason
        return value


def _usage(name: str) -> int | None:
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    return int(getattr(resource.getrusage(resource.RUSAGE_SELF), name))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().strip("\x00") or None
    except OSError:
        return None


def _fields(path: Path) -> dict[str, str]:
    """ "name: value" lines; the first of a name counts."""
    found: dict[str, str] = {}
    for line in (_text(path) or "").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def _number(path: Path, kind: Callable[[str], T]) -> T | None:
    try:
        return kind(_text(path) or "")
    except ValueError:  # "max", or nothing
        return None


def _flag(path: Path) -> bool | None:
    return {"1": True, "0": False}.get(_text(path) or "")


def _size(path: Path) -> int | None:
    text = _text(path) or ""
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:])
    return int(text[:-1]) * unit if unit is not None and text[:-1].isdigit() else None


def _turbo(cpus: Path) -> bool | None:
    off = _flag(cpus / "intel_pstate/no_turbo")
    return not off if off is not None else _flag(cpus / "cpufreq/boost")


def _clocks(cpus: Path, affinity: tuple[int, ...]) -> tuple[int, ...]:
    values = [_number(cpus / f"cpu{number}/cpufreq/scaling_cur_freq", int) for number in affinity]
    return tuple(value for value in values if value is not None)


def _throttled(root: Path) -> int | None:
    for line in (_text(root / "sys/fs/cgroup/cpu.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name == "nr_throttled":
            return int(value)
    return None
