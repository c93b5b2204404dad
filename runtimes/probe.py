"""What this machine has: CPU facts, a thread count that fits, which runtimes are usable. Knows no graph, no bundle."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from edge_sdk.runtimes.protocol import Availability

Isa: TypeAlias = Literal["amx", "vnni", "avx2", "sse", "neon", "unknown"]

FLAGS_THAT_CHOOSE_KERNELS = (
    "sse4_1", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "amx_bf16",
    "avx512_bf16", "avx512_fp16", "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
"""Names as Linux writes them in /proc/cpuinfo; other systems' answers are translated to these."""

CAP_VARIABLE, OLD_CAP_VARIABLE = "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"
_CAPS: Mapping[str, tuple[str, ...]] = {
    "SSE41": (), "AVX": (), "AVX2": ("avx2",), "AVX2_VNNI": ("avx2", "avx_vnni"), "AVX2_VNNI_2": ("avx2", "avx_vnni"),
    "AVX512_CORE": ("avx2",), "AVX512_CORE_VNNI": ("avx2", "avx512_vnni"), "AVX512_CORE_BF16": ("avx2", "avx512_vnni"),
    "AVX512_CORE_FP16": ("avx2", "avx512_vnni"),
}  # fmt: skip
"""Values of ONEDNN_MAX_CPU_ISA that weaken the CPU, and which int8 flags each leaves in use beside sse4_1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFacts:
    """flags: those of FLAGS_THAT_CHOOSE_KERNELS that the CPU has. affinity: logical CPUs this process may use.
    physical_cores: behind the affinity mask. cgroup_quota: CPUs' worth of time a container may use, None = no limit.
    isa: the strongest int8 instruction set of the hardware. capped_by: the value of ONEDNN_MAX_CPU_ISA or, by its old
    name, DNNL_MAX_CPU_ISA, "" if unset; it changes the kernels of OpenVINO only. board, l4t: a Jetson's device
    tree model and release ("36.4"), or ""."""

    model: str
    vendor: str
    machine: str
    flags: tuple[str, ...]
    physical_cores: int
    affinity: tuple[int, ...]
    cgroup_quota: float | None
    isa: Isa
    capped_by: str = ""
    board: str = ""
    l4t: str = ""

    @property
    def onednn_isa(self) -> Isa:
        """The instruction set that OpenVINO will use: `isa`, or the weaker one that the environment asks for."""
        if (left := _CAPS.get(self.capped_by.upper())) is None:
            return self.isa
        return strongest(tuple(flag for flag in self.flags if flag in (*left, "sse4_1")))

    @property
    def adds_in_32_bits(self) -> bool:
        """Whether int8 products are summed in 32 bits. Without VNNI, x86 adds pairs in 16 bits, which saturate."""
        return self.isa in ("amx", "vnni", "neon")

    @property
    def identity(self) -> str:
        """What decides the machine code of a compiled graph: part of every cache key."""
        return "|".join((self.machine, self.vendor, self.model, ",".join(self.flags), self.capped_by))


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesReport:
    """What `edge-sdk devices` prints. threads: the default thread count here."""

    cpu: CpuFacts
    threads: int
    runtimes: tuple[Availability, ...]
    target: str
    why: str


def cpu(*, root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> CpuFacts:
    """Facts of this machine's CPU. root: where proc/ and sys/ are looked for. environ: None = the process' own, because
    ONEDNN_MAX_CPU_ISA acts on OpenVINO whether or not it is passed on."""
    fields = _cpuinfo(root / "proc/cpuinfo")
    have = frozenset((fields.get("flags") or fields.get("Features") or "").split()) or _flags_elsewhere()
    flags = tuple(name for name in FLAGS_THAT_CHOOSE_KERNELS if name in have)
    affinity = _affinity()
    return CpuFacts(
        model=fields.get("model name") or fields.get("Model") or platform.processor() or "unknown",
        vendor=fields.get("vendor_id") or fields.get("CPU implementer") or "unknown",
        machine=platform.machine(),
        flags=flags,
        physical_cores=_physical_cores(root, affinity),
        affinity=affinity,
        cgroup_quota=_cgroup_quota(root),
        isa=strongest(flags),
        capped_by=_cap(os.environ if environ is None else environ),
        board=_line(root / "proc/device-tree/model").rstrip("\0"),
        l4t=_l4t(root / "etc/nv_tegra_release"),
    )


def _cap(environ: Mapping[str, str]) -> str:
    """oneDNN reads its present name first, and its old one where that is not set."""
    return environ.get(CAP_VARIABLE) or environ.get(OLD_CAP_VARIABLE, "")


def strongest(flags: tuple[str, ...]) -> Isa:
    """The strongest int8 instruction set among `flags`. AVX-512 without VNNI counts as avx2: it saturates alike."""
    if "amx_int8" in flags:
        return "amx"
    if "avx512_vnni" in flags or "avx_vnni" in flags:
        return "vnni"
    if "avx2" in flags:
        return "avx2"
    if "sse4_1" in flags:
        return "sse"
    return "neon" if "asimd" in flags else "unknown"


def default_threads(facts: CpuFacts | None = None) -> int:
    """Physical cores behind the affinity mask, at most the whole CPUs of the container's quota, at least 1.

    A quota of 1.5 CPUs gives 1: with two threads the container is stopped until the next period, again and again.
    """
    facts = cpu() if facts is None else facts
    quota = facts.physical_cores if facts.cgroup_quota is None else int(facts.cgroup_quota)
    return max(1, min(facts.physical_cores, quota))


def availability() -> tuple[Availability, ...]:
    """Every runtime that the product knows, usable or not, each with its reason. Imports the vendors' packages."""
    from edge_sdk.runtimes import registry  # the registry imports the adapters, which import this file

    return tuple(runtime.probe() for runtime in registry.runtimes())


def devices_report() -> DevicesReport:
    """Everything `edge-sdk devices` says: CPU, threads, runtimes, and the target profile that fits."""
    from edge_sdk.runtimes import targets

    facts, present = cpu(), availability()
    target = targets.detect(facts, present)
    return DevicesReport(
        cpu=facts, threads=default_threads(facts), runtimes=present, target=target.name, why=target.why
    )


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first CPU's block. Big machines write hundreds of blocks: the rest is not read."""
    fields: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip() and fields:
                    break
                name, _, value = line.partition(":")
                fields[name.strip()] = value.strip()
    except OSError:  # not Linux
        return {}
    return fields


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return ""


def _l4t(path: Path) -> str:
    """ "36.4.3" from "# R36 (release), REVISION: 4.3, ...", or ""."""
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", _line(path))
    return f"{found[1]}.{found[2]}" if found else ""


def _flags_elsewhere() -> frozenset[str]:
    """Flags where there is no /proc/cpuinfo. Windows does not report VNNI, so it counts as absent (the safe side)."""
    if sys.platform == "darwin":
        if platform.machine() == "arm64":
            return frozenset({"asimd", "asimddp"})  # every Apple chip
        names = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
        try:
            found = subprocess.run(("sysctl", "-n", *names), capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.SubprocessError):
            return frozenset()
        return frozenset(word.lower().replace("sse4.1", "sse4_1") for word in found.stdout.split())
    if sys.platform == "win32":
        import ctypes

        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        numbers = {37: "sse4_1", 40: "avx2", 41: "avx512f", 19: "asimd", 43: "asimddp"}  # PF_* of winnt.h
        return frozenset(name for number, name in numbers.items() if present(number))
    return frozenset()


def _affinity() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return affinity_elsewhere()


def affinity_elsewhere() -> tuple[int, ...]:
    """Logical CPUs of this process where `os` has no affinity call. psutil reports it on Windows; macOS has none."""
    try:
        import psutil
    except ImportError:
        return tuple(range(os.cpu_count() or 1))
    masked = getattr(psutil.Process(), "cpu_affinity", None)
    return tuple(masked()) if masked is not None else tuple(range(os.cpu_count() or 1))


def _physical_cores(root: Path, affinity: tuple[int, ...]) -> int:
    """Distinct (package, core) pairs behind the mask; without sysfs, every logical CPU counts.

    On Linux psutil counts the whole machine's cores, whatever the mask is, so it is asked elsewhere only.
    """
    cores: set[tuple[str, str]] = set()
    for number in affinity:
        topology = root / f"sys/devices/system/cpu/cpu{number}/topology"
        try:
            cores.add(((topology / "physical_package_id").read_text(), (topology / "core_id").read_text()))
        except OSError:
            return len(affinity) if sys.platform == "linux" else cores_elsewhere(len(affinity))
    return len(cores)


def cores_elsewhere(logical: int) -> int:
    """Physical cores of a machine without sysfs, at most the `logical` CPUs that this process may use."""
    try:
        import psutil
    except ImportError:
        return logical
    return min(logical, psutil.cpu_count(logical=False) or logical)


def _cgroup_quota(root: Path) -> float | None:
    """The smallest limit on the way from this process' group to the root, in CPUs (cgroup v2, then v1)."""
    groups = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    own = next((line[3:] for line in lines if line.startswith("0::")), "/").strip("/")
    limits: list[float] = []
    folder = groups / own
    while True:
        limits += _quota(folder / "cpu.max")
        if folder == groups or groups not in folder.parents:
            break
        folder = folder.parent
    if not limits:
        limits = _quota(groups / "cpu/cpu.cfs_quota_us", groups / "cpu/cpu.cfs_period_us")
    return min(limits, default=None)


def _quota(*files: Path) -> list[float]:
    """[CPUs] from "quota period" (v2, one file; v1, two), or [] for no limit."""
    try:
        quota, period = " ".join(file.read_text().strip() for file in files).split()
        return [int(quota) / int(period)] if quota not in ("max", "-1") else []
    except (OSError, ValueError, ZeroDivisionError):
        return []
