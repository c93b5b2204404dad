"""CPU facts read from copies of real files, and the choice of what to run by them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_runtime import NumpyRuntime

from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.runtimes import probe, registry, targets
from edge_sdk.runtimes.probe import CpuFacts, Isa
from edge_sdk.runtimes.protocol import Availability
from edge_sdk.runtimes.targets import VariantOption

PLAIN = CpuFacts(
    model="any", vendor="any", machine="x86_64", flags=(), physical_cores=4, affinity=(0, 1, 2, 3), cgroup_quota=None,
    isa="unknown",
)  # fmt: skip
ORT = Availability(runtime="onnxruntime", version="1.32.0", devices=("CPU",))
OV = Availability(runtime="openvino", version="2026.4", devices=("CPU",))
TRT = Availability(runtime="tensorrt", version="10.13", devices=("CUDA:0",))
NO_OV = Availability(
    runtime="openvino", version=None, devices=(), reason="openvino is not installed", hint="install it"
)
A, B = "conv-relu-q", "conv-q-relu-q"
EVERYTHING = [
    VariantOption(variant=v, layout=layout)
    for v, layouts in {"fp32": ["plain"], "fp16": ["plain"], "int8": [A, B], "int8-w7": [A, B]}.items()
    for layout in layouts
]


def machine(root: Path, cpuinfo: str, **files: str) -> Path:
    (root / "proc").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(cpuinfo)
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R)
flags\t\t: fpu sse4_1 avx2 {}

processor\t: 1
"""


@pytest.mark.parametrize(
    ("flags", "isa"),
    [
        ("avx512f avx512_vnni amx_int8", "amx"),
        ("avx512f avx512_vnni", "vnni"),
        ("avx_vnni", "vnni"),
        ("avx512f", "avx2"),  # AVX-512 without VNNI saturates as AVX2 does
        ("", "avx2"),
    ],
)
def test_the_instruction_set_comes_from_the_flags(tmp_path: Path, flags: str, isa: Isa) -> None:
    facts = probe.cpu(root=machine(tmp_path, XEON.format(flags)), environ={})
    assert (facts.isa, facts.model, facts.vendor) == (isa, "Intel(R) Xeon(R)", "GenuineIntel")
    assert facts.adds_in_32_bits == (isa in ("amx", "vnni"))


def test_arm_is_read_from_its_own_words(tmp_path: Path) -> None:
    arm = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x41\n"
    facts = probe.cpu(
        root=machine(
            tmp_path, arm, proc__device__tree="", **{"proc__device-tree__model": "NVIDIA Jetson AGX Orin\0",
            "etc__nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n"},
        ),
        environ={},
    )  # fmt: skip
    assert (facts.isa, facts.vendor, facts.board, facts.l4t) == ("neon", "0x41", "NVIDIA Jetson AGX Orin", "36.4.3")


@pytest.mark.parametrize(
    ("environment", "cap"),
    [
        ({}, ""),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, "AVX2"),
        ({"DNNL_MAX_CPU_ISA": "SSE41"}, "SSE41"),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "SSE41"}, "AVX2"),
        ({"ONEDNN_MAX_CPU_ISA": "", "DNNL_MAX_CPU_ISA": "AVX2"}, "AVX2"),
    ],
)
def test_a_cap_counts_by_either_name_that_onednn_reads(environment: dict[str, str], cap: str) -> None:
    assert probe.cpu(environ=environment).capped_by == cap


@pytest.mark.parametrize(
    ("cap", "flags", "left"),
    [
        ("AVX2", ("avx2", "avx512_vnni", "sse4_1"), "avx2"),
        ("AVX512_CORE", ("avx2", "avx512_vnni", "sse4_1"), "avx2"),
        ("AVX512_CORE_VNNI", ("avx2", "avx512_vnni", "amx_int8", "sse4_1"), "vnni"),
        ("AVX2_VNNI", ("avx2", "avx512_vnni", "sse4_1"), "avx2"),  # AVX-VNNI is not AVX512-VNNI
        ("SSE41", ("avx2", "avx_vnni", "sse4_1"), "sse"),
        ("ALL", ("avx2", "avx_vnni", "sse4_1"), "vnni"),
        ("", ("avx2", "avx_vnni", "sse4_1"), "vnni"),
    ],
)
def test_a_cap_weakens_openvino_and_is_reported(cap: str, flags: tuple[str, ...], left: Isa) -> None:
    facts = replace(PLAIN, flags=flags, isa=probe.strongest(flags), capped_by=cap)
    assert facts.onednn_isa == left
    assert cap in facts.identity


@given(st.sampled_from(sorted(probe.FLAGS_THAT_CHOOSE_KERNELS)), st.sampled_from(["AVX2", "SSE41", "AVX512_CORE", ""]))
def test_a_cap_never_adds_what_the_cpu_has_not(flag: str, cap: str) -> None:
    facts = replace(PLAIN, flags=(flag,), isa=probe.strongest((flag,)), capped_by=cap)
    order = ["unknown", "sse", "neon", "avx2", "vnni", "amx"]
    assert order.index(facts.onednn_isa) <= order.index(facts.isa)


@pytest.mark.parametrize(("quota", "threads"), [(None, 4), (8.0, 4), (3.0, 3), (1.5, 1), (0.5, 1)])
def test_threads_fit_cores_and_quota(quota: float | None, threads: int) -> None:
    assert probe.default_threads(replace(PLAIN, cgroup_quota=quota)) == threads


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"sys__fs__cgroup__cpu_DOT_max": "150000 100000\n"}, 1.5),
        ({"sys__fs__cgroup__cpu_DOT_max": "max 100000\n"}, None),
        (
            {"proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__cpu_DOT_max": "200000 100000\n",
             "sys__fs__cgroup__a__b__cpu_DOT_max": "max 100000\n"},
            2.0,
        ),
        (
            {"sys__fs__cgroup__cpu__cpu_DOT_cfs_quota_us": "50000\n",
             "sys__fs__cgroup__cpu__cpu_DOT_cfs_period_us": "100000\n"},
            0.5,
        ),
        ({}, None),
    ],
)  # fmt: skip
def test_the_quota_of_a_container_is_found(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert probe.cpu(root=machine(tmp_path, XEON.format(""), **files), environ={}).cgroup_quota == quota


def test_hyperthreads_count_once(tmp_path: Path) -> None:
    files = {}
    for number in range(256):  # whatever the affinity of this machine is
        files[f"sys__devices__system__cpu__cpu{number}__topology__physical_package_id"] = "0\n"
        files[f"sys__devices__system__cpu__cpu{number}__topology__core_id"] = "7\n"
    assert probe.cpu(root=machine(tmp_path, XEON.format(""), **files), environ={}).physical_cores == 1


def test_every_runtime_gives_a_reason_where_it_can_not_be_used() -> None:
    for found in probe.availability():
        assert found.usable or (found.reason and not found.devices)
    report = probe.devices_report()
    assert [one.runtime for one in report.runtimes] == [one.name for one in registry.runtimes()]
    assert report.threads >= 1
    assert targets.named(report.target)


def test_a_runtime_is_found_by_name_and_a_slip_is_answered() -> None:
    assert registry.runtime("openvino").name == "openvino"
    with pytest.raises(BadUsage, match="Did you mean onnxruntime"):
        registry.runtime("onnx-runtime")
    with pytest.raises(BadUsage, match="Did you mean x86-avx2"):
        targets.named("x86-avx")
    with pytest.raises(NotThere, match=r"openvino is not installed. install it"):
        registry.require(NO_OV)
    registry.require(OV)


def test_importing_the_runtimes_imports_no_vendor() -> None:
    code = (
        "import sys; import edge_sdk.runtimes.registry, edge_sdk.runtimes.targets, edge_sdk.runtimes.probe;"
        "bad = {'onnxruntime', 'openvino', 'tensorrt', 'tensorrt_rtx_bindings', 'cuda', 'onnx', 'torch', 'cv2'};"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("isa", "name", "variant"),
    [("amx", "x86-amx", "int8"), ("vnni", "x86-vnni", "int8"), ("avx2", "x86-avx2", "int8-w7"),
     ("sse", "x86-sse", "fp32"),
     ("neon", "arm-cortex-a", "int8"), ("unknown", "any-cpu", "fp32")],
)  # fmt: skip
def test_a_cpu_gets_its_profile_and_the_profile_its_variant(isa: Isa, name: str, variant: str) -> None:
    target = targets.detect(replace(PLAIN, isa=isa), (ORT, OV))
    assert target.name == name
    choice = targets.choose(EVERYTHING, target, (ORT, OV))
    assert choice.variant == variant
    assert name in choice.why
    assert choice.refused == ()


def test_a_cap_makes_a_vnni_machine_an_avx2_one() -> None:
    facts = replace(PLAIN, flags=("sse4_1", "avx2", "avx512_vnni"), isa="vnni", capped_by="AVX2")
    target = targets.detect(facts, ())
    assert target.name == "x86-avx2"
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in target.why


@pytest.mark.parametrize(
    ("board", "l4t", "name"),
    [("NVIDIA Jetson Orin Nano Developer Kit", "36.4.3", "jetson-orin-jp6"),
     ("Jetson AGX Orin", "39.1", "jetson-orin-jp7"),
     ("NVIDIA Jetson AGX Thor", "38.2", "jetson-thor-jp7"), ("NVIDIA Jetson Nano", "32.7", "jetson-nano"),
     ("NVIDIA Jetson Xavier NX", "35.4", "jetson-xavier")],
)  # fmt: skip
def test_a_jetson_is_known_by_board_and_release(board: str, l4t: str, name: str) -> None:
    target = targets.detect(replace(PLAIN, isa="neon", board=board, l4t=l4t), ())
    assert target.name == name
    if target.refusal:
        with pytest.raises(NotThere, match=target.refusal[:20]):
            targets.choose(EVERYTHING, target, (ORT,))
    else:
        choice = targets.choose(EVERYTHING, target, (TRT, ORT))
        assert (choice.variant, choice.layout, choice.runtime) == ("int8", A, "tensorrt")
        choice = targets.choose(EVERYTHING, target, (ORT,))
        assert (choice.layout, choice.runtime, choice.device) == (B, "onnxruntime", "CPU")
        assert choice.refused[0] == ("int8 on tensorrt CUDA", "not looked for")


def test_a_gpu_that_tensorrt_sees_makes_an_rtx_pc() -> None:
    target = targets.detect(replace(PLAIN, isa="vnni"), (ORT, OV, TRT))
    assert target.name == "rtx-pc"
    assert targets.choose(EVERYTHING, target, (ORT, OV, TRT)).runtime == "tensorrt"


@pytest.mark.parametrize(
    ("device", "profile", "runtime"),
    [("GPU", "intel-igpu", "openvino"), ("GPU.1", "intel-igpu", "openvino"), ("NPU", "intel-npu", "openvino"),
     ("CUDA", "rtx-pc", "tensorrt"), ("CUDA:0", "rtx-pc", "tensorrt"), ("CPU", "x86-vnni", "openvino")],
)  # fmt: skip
def test_a_device_that_is_asked_for_chooses_the_runtime_that_has_it(device: str, profile: str, runtime: str) -> None:
    present = (ORT, replace(OV, devices=("CPU", "GPU.0", "GPU.1", "NPU")), TRT)
    target = targets.detect(replace(PLAIN, isa="vnni"), present, device=device)
    assert target.name == profile
    choice = targets.choose(EVERYTHING, target, present, device=device)
    assert (choice.runtime, choice.device, choice.variant) == (runtime, device, "int8")
    assert f"device {device} was asked for" in choice.why


@pytest.mark.parametrize("device", ["GPU", "gpu", "GPU.1", "gpu.1", "npu", "cuda", "Cuda:0", "cpu"])
def test_the_case_of_a_device_makes_no_difference(device: str) -> None:
    present = (ORT, replace(OV, devices=("CPU", "GPU.0", "GPU.1", "NPU")), TRT)
    target, upper = (targets.detect(PLAIN, present, device=name) for name in (device, device.upper()))
    assert target.name == upper.name
    chosen, wanted = (targets.choose(EVERYTHING, target, present, device=name) for name in (device, device.upper()))
    assert (chosen.runtime, chosen.variant, chosen.layout) == (wanted.runtime, wanted.variant, wanted.layout)
    assert next(one.spelled(device) for one in present if one.has(device)) == device.upper()
    assert ORT.spelled("tpu") == "tpu"


def test_a_device_that_none_has_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(
        NotThere, match=r"has a device GPU, only onnxruntime CPU; openvino CPU\. edge-sdk devices lists"
    ):
        targets.choose(EVERYTHING, targets.named("x86-vnni"), (ORT, OV), device="GPU")


def test_a_runtime_that_is_asked_for_may_run_where_it_does_by_itself() -> None:
    choice = targets.choose(EVERYTHING, targets.named("rtx-pc"), (ORT, TRT), runtime="onnxruntime")
    assert (choice.runtime, choice.device) == ("onnxruntime", "CPU")
    assert ("int8 on onnxruntime CUDA", "no device CUDA among CPU") in choice.refused


def test_each_runtime_gets_the_layout_that_it_runs_in_int8() -> None:
    vnni = targets.named("x86-vnni")
    assert targets.choose(EVERYTHING, vnni, (ORT, OV)).layout == A
    assert targets.choose(EVERYTHING, vnni, (ORT, OV), runtime="onnxruntime").layout == B
    only_b = [option for option in EVERYTHING if option.layout != A]
    assert targets.choose(only_b, vnni, (ORT, OV)).layout == B
    assert targets.takes("openvino", VariantOption(variant="int8", layout=B))
    assert not targets.takes("onnxruntime", VariantOption(variant="int8", layout=A))
    assert not targets.takes("tensorrt", VariantOption(variant="int8", layout=B))
    assert targets.takes("tensorrt", VariantOption(variant="fp16", layout="plain"))


def test_a_runtime_that_no_table_names_is_chosen_by_what_it_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "runtimes", lambda: (NumpyRuntime(),))
    here = (NumpyRuntime().probe(),)
    for profile in ("any-cpu", "x86-vnni"):
        target = targets.named(profile)
        choice = targets.choose(EVERYTHING, target, here, variant="int8", runtime="numpy")
        assert (choice.runtime, choice.device, choice.layout) == ("numpy", "CPU", A)
    with pytest.raises(BadUsage, match=r"no runtime onnxruntime.*One of numpy"):
        targets.choose(EVERYTHING, target, here, runtime="onnxruntime")


def test_every_runtime_of_the_registry_says_where_and_how_it_runs() -> None:
    every = {layout for option in EVERYTHING if option.variant == "int8" for layout in (option.layout,)}
    for one in registry.runtimes():
        assert set(one.int8_layouts) <= every
        assert one.int8_layouts
        assert one.default_device in ("CPU", "CUDA")
    assert {place.runtime for target in targets.TARGETS for place in target.places} <= {
        one.name for one in registry.runtimes()
    }


def test_what_was_passed_over_is_reported() -> None:
    choice = targets.choose(EVERYTHING, targets.named("x86-vnni"), (NO_OV, ORT))
    assert (choice.runtime, choice.variant) == ("onnxruntime", "int8")
    assert choice.refused == (("int8 on openvino CPU", "openvino is not installed"),)


def test_what_a_known_fault_makes_wrong_is_passed_over_unless_it_is_asked_for() -> None:
    asked: list[tuple[str, str]] = []

    def fault(runtime: str, option: VariantOption) -> str:
        asked.append((runtime, option.variant))
        return "it saturates" if (runtime, option.variant) == ("openvino", "int8") else ""

    vnni = targets.named("x86-vnni")
    choice = targets.choose(EVERYTHING, vnni, (ORT, OV), fault=fault)
    assert (choice.variant, choice.runtime) == ("int8", "onnxruntime")
    assert choice.refused == (("int8 on openvino CPU", "it saturates"),)
    assert asked == [("openvino", "int8"), ("onnxruntime", "int8")]  # a graph is read for it: no more than needed
    choice = targets.choose(EVERYTHING, vnni, (ORT, OV), variant="int8", fault=fault)
    assert (choice.variant, choice.runtime) == ("int8", "openvino")
    only = [option for option in EVERYTHING if option.variant == "int8"]
    with pytest.raises(
        NotThere, match=r"int8 on openvino CPU: it saturates; int8-w7, fp32 on openvino CPU: the bundle has no"
    ):
        targets.choose(only, targets.named("x86-vnni"), (OV,), runtime="openvino", fault=fault)


def test_what_is_asked_for_is_honoured_or_refused_never_replaced() -> None:
    vnni = targets.named("x86-vnni")
    assert targets.choose(EVERYTHING, vnni, (ORT, OV), variant="fp16").variant == "fp16"
    with pytest.raises(NotThere, match=r"openvino is not installed.*install it"):
        targets.choose(EVERYTHING, vnni, (NO_OV, ORT), runtime="openvino")
    with pytest.raises(BadUsage, match="no variant int4"):
        targets.choose(EVERYTHING, vnni, (ORT,), variant="int4")
    with pytest.raises(BadUsage, match="no runtime tflite"):
        targets.choose(EVERYTHING, vnni, (ORT,), runtime="tflite")
    only_a = [option for option in EVERYTHING if option.layout != B]
    with pytest.raises(NotThere, match="does not run in int8"):
        targets.choose(only_a, vnni, (ORT,), variant="int8", runtime="onnxruntime")
    assert targets.choose(only_a, vnni, (ORT,), runtime="onnxruntime").variant == "fp32"
    with pytest.raises(
        NotThere, match="run it: int8, int8-w7, fp32 on openvino CPU: not looked for; int8, int8-w7, fp32"
    ):
        targets.choose(EVERYTHING, vnni, ())


@pytest.mark.parametrize(
    ("runtime", "runtimes", "for_it"),
    [
        ("openvino", (), True),
        ("openvino", ("onnxruntime",), False),
        ("openvino", ("onnxruntime", "openvino"), True),
        ("tensorrt-rtx", ("openvino", "tensorrt"), True),
        ("tensorrt", ("tensorrt-rtx",), False),
        ("a-runtime-of-another-package", ("openvino",), True),
    ],
)
def test_a_graph_is_for_the_runtimes_that_it_was_planned_for_and_for_those_that_none_is_planned_for(
    runtime: str, runtimes: tuple[str, ...], for_it: bool
) -> None:
    assert targets.planned_for(runtime, runtimes) is for_it
