"""The environment of a process that sees a CPU with AVX2 and without AVX-512, VNNI and AMX, at full speed.

OpenVINO is limited by ONEDNN_MAX_CPU_ISA. ONNX Runtime has no such switch, it asks the CPU: a copy of it gets `ud2` in
place of every `cpuid`, and a preloaded library gives the CPU's answer without the bits of what comes after AVX2. So its
AVX2 kernels run here as on an older CPU, though this CPU's clock, caches and memory stay what they are.

Linux on x86-64; needs a C compiler and binutils. `proven` shows that it works: full-scale int8 weights saturate.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edge_sdk.runtimes.probe import CAP_VARIABLE

CPUID, TRAP = b"\x0f\xa2", b"\x0f\x0b"
AFTER_AVX2 = re.compile(r"\b(?:avx512\w*|avx_vnni\w*|avx_ifma|avx_ne_convert|amx_\w+)\s?")


def environment(folder: Path) -> dict[str, str]:
    """Variables for a child process, with what they name written into `folder` (about 60 MB). Exits with the reason
    where it can't be had."""
    for tool in ("cc", "objdump", "readelf"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is missing: apt install gcc binutils")
    preloaded, cpuinfo, site = folder / "avx2_cpu.so", folder / "cpuinfo", folder / "site"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", preloaded, source, "-ldl"], check=True)
    cpuinfo.write_text(AFTER_AVX2.sub("", Path("/proc/cpuinfo").read_text(encoding="utf-8")), encoding="utf-8")
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        raise SystemExit("onnxruntime is missing: pip install onnxruntime")
    package = site / "onnxruntime"
    shutil.copytree(Path(found.origin).parent, package, dirs_exist_ok=True)
    for library in package.rglob("*.so*"):
        trap(library)
    paths = (str(site), os.environ.get("PYTHONPATH", ""))
    return {
        "LD_PRELOAD": str(preloaded), "AVX2_CPUINFO": str(cpuinfo), CAP_VARIABLE: "AVX2",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }  # fmt: skip


def trap(library: Path) -> None:
    """Replaces every `cpuid` in the code of `library` by `ud2`."""
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True)
    addresses = [int(at, 16) for at in re.findall(r"^\s*([0-9a-f]+):\s+cpuid\b", code.stdout, re.MULTILINE)]
    headers = subprocess.run(["readelf", "-lW", library], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"LOAD\s+(0x\w+)\s+(0x\w+)\s+0x\w+\s+(0x\w+)", headers)
    segments = [(int(offset, 16), int(address, 16), int(size, 16)) for offset, address, size in found]
    data = bytearray(library.read_bytes())
    for at in addresses:
        place = next(offset + at - address for offset, address, size in segments if address <= at < address + size)
        if data[place : place + 2] != CPUID:
            raise SystemExit(f"{library}: no cpuid at {at:#x} after all")
        data[place : place + 2] = TRAP
    library.write_bytes(data)


SATURATING = """
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as n
ones = np.ones((1, 64, 1, 1), np.float32)
made = {"s": np.float32(0.01), "z": np.int8(0), "w": np.full((1, 64, 1, 1), 127, np.int8)}
nodes = [
    h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), h.make_node("DequantizeLinear", ["q", "s", "z"], ["a"]),
    h.make_node("DequantizeLinear", ["w", "s", "z"], ["b"]), h.make_node("Conv", ["a", "b"], ["c"]),
    h.make_node("QuantizeLinear", ["c", "big", "z"], ["d"]), h.make_node("DequantizeLinear", ["d", "big", "z"], ["y"]),
]
made["big"] = np.float32(1)
graph = h.make_graph(
    nodes, "full", [h.make_tensor_value_info("x", T.FLOAT, ones.shape)],
    [h.make_tensor_value_info("y", T.FLOAT, (1, 1, 1, 1))], [n.from_array(np.asarray(v), k) for k, v in made.items()],
)
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
print(float(session.run(None, {"x": ones})[0].item()))
"""


def proven(environment_: Mapping[str, str]) -> float:
    """What a full-scale int8 convolution in ONNX Runtime answers in that environment: 81 where products are added in 32
    bits, far less in AVX2's 16 bits. Exits where it doesn't saturate: then other kernels ran."""
    run = [sys.executable, "-W", "ignore", "-c", SATURATING]
    done = subprocess.run(run, env={**os.environ, **environment_}, capture_output=True, text=True, check=True)
    answer = float(done.stdout.splitlines()[-1])
    if answer > 70:
        raise SystemExit(f"the capped ONNX Runtime answers {answer}, exactly: it doesn't run its AVX2 kernels")
    return answer
