"""edge-sdk sends nothing anywhere: what its processes look up, connect to and write, traced at the system's calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import cv2
import pytest
import tiny

SILENCERS = ("CI", "TF_BUILD", "JENKINS_URL", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY")
"""Where vendors' telemetry is off anyway, which would prove nothing."""
LOOK_UP = ("AF_INET", "resolv.conf", "/etc/hosts", "nscd", "resolve1")
"""What a call looks like that finds or reaches another machine: sockets, the resolver's files, its services."""
CLI = "import sys; from edge_sdk.cli.main import run; run(sys.argv[1:])"  # devices, verify: both runtimes
ASK = """
import sys
from edge_sdk.runtimes import registry
assert registry.runtime("openvino").probe().usable
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
"""
PREDICT = """
import sys, edge_sdk
with edge_sdk.load(sys.argv[1], runtime=sys.argv[3]) as detector:
    detector.predict(sys.argv[2]).regions
"""
QUANTIZE = """
import sys
sys.path.insert(0, sys.argv[1])
import tiny
from edge_sdk.calibration import QuantizeOptions, quantize
made = tiny.graph()
model = made.graphs["model"]
quantize(model.onnx, tiny.Feeds(made, 2), options=QuantizeOptions(keep_fp32=model.keep_fp32, threads=1))
"""
BEHIND_US = "import edge_sdk, onnxruntime"  # as onnxscript and torch.onnx import it
WORK = {
    "devices": (CLI, "devices"),
    "openvino asked for": (ASK,),
    "onnxruntime imported by another package": (BEHIND_US,),
    "predict on onnxruntime": (PREDICT, "BUNDLE", "PICTURE", "onnxruntime"),
    "predict on openvino": (PREDICT, "BUNDLE", "PICTURE", "openvino"),
    "verify": (CLI, "verify", "BUNDLE"),
    "quantize": (QUANTIZE, str(Path(tiny.__file__).parent)),
}


def _environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in (*SILENCERS, "XDG_CACHE_HOME")}
    return kept | {"HOME": str(home), "LOCALAPPDATA": str(home)} | more


@cache
def _tracer() -> str | None:
    """strace, if it is there and the system lets it trace, which some containers do not."""
    found = shutil.which("strace")
    tried = subprocess.run([found, "-o", os.devnull, sys.executable, "-c", ""], check=False) if found else None
    return found if tried is not None and tried.returncode == 0 else None


def _traced(words: list[str], log: Path, environment: dict[str, str]) -> list[str] | None:
    """The calls of a Python process and its children that open files or reach out; None without strace."""
    tracer = _tracer()
    call = [sys.executable, "-c", *words]
    if tracer:
        calls = "trace=network,open,openat,creat,mkdir,mkdirat"
        call = [tracer, "-f", "-qq", "-s", "400", "-e", calls, "-o", str(log), *call]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return log.read_text("utf-8", "replace").splitlines() if tracer else None


def _skip_without_strace() -> None:
    pytest.skip("only the home folder was looked at: install strace (apt-get), and run where it may trace")


@pytest.mark.parametrize(("work", "chosen"), [*((work, None) for work in WORK), ("devices", "0")])
def test_nothing_is_written_at_home_and_no_host_is_looked_up(
    work: str, chosen: str | None, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Beside the compile cache of our own. chosen: what the user has set ORT_DISABLE_TELEMETRY to."""
    for package in ("onnxruntime", "openvino", "openvino-telemetry"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            pytest.skip(f'{package} is not installed, nothing can be proven: pip install ".[demo]"')
    picture = tmp_path / "picture.png"
    picture.write_bytes(bytes(cv2.imencode(".png", tiny.picture(5))[1]))
    places = {"BUNDLE": str(tiny_bundle), "PICTURE": str(picture)}
    home = tmp_path / "home"
    home.mkdir()
    environment = _environment(home, **({} if chosen is None else {"ORT_DISABLE_TELEMETRY": chosen}))
    calls = _traced([places.get(word, word) for word in WORK[work]], tmp_path / "calls", environment)
    ours = home / ".cache" / "edge-sdk"
    assert [path for path in home.rglob("*") if path != ours.parent and not path.is_relative_to(ours)] == []
    if calls is None:
        _skip_without_strace()
        return
    assert len(calls) > 100
    assert [call for call in calls if any(word in call for word in LOOK_UP)] == []
    made = [call for call in calls if str(home) in call and ("O_CREAT" in call or "mkdir" in call)]
    assert [call for call in made if str(ours) not in call and f'"{ours.parent}"' not in call] == []


READ_TEACHER = """
import os, sys
from pathlib import Path
from edge_sdk.export.onestep import teachers
assert "HF_HUB_DISABLE_TELEMETRY" not in os.environ
teachers.read(Path(sys.argv[1]))
assert "HF_HUB_DISABLE_TELEMETRY" not in os.environ  # of the user's process, as it was
from huggingface_hub import constants
assert constants.HF_HUB_DISABLE_TELEMETRY
"""
LOOPBACK = ("socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP)", '"::1"')
"""urllib3, which diffusers brings, binds a socket to this machine's own address on import, and connects to nothing."""


def test_a_network_of_diffusers_is_read_without_a_look_up(tmp_path: Path) -> None:
    """diffusers imports the client of a hub; a folder is read by the class alone."""
    diffusers = pytest.importorskip(
        "diffusers", reason='nothing can be proven of diffusers: pip install ".[diffusers]"'
    )
    home, folder = tmp_path / "home", tmp_path / "network"
    home.mkdir()
    diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(4,), norm_num_groups=4, down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",), attention_head_dim=4,
    ).save_pretrained(folder)  # fmt: skip
    diffusers.DDPMScheduler().save_pretrained(folder)
    environment = _environment(home)
    environment.pop("HF_HUB_DISABLE_TELEMETRY", None)
    calls = _traced([READ_TEACHER, str(folder)], tmp_path / "calls", environment)
    assert [path for path in home.rglob("*") if not path.is_relative_to(home / ".cache" / "edge-sdk")] == []
    if calls is None:
        _skip_without_strace()
        return
    assert len(calls) > 100
    reached = [call for call in calls if any(word in call for word in LOOK_UP)]
    assert [call for call in reached if not any(own in call for own in LOOPBACK)] == []


def test_the_trace_shows_a_look_up(tmp_path: Path) -> None:
    code = "import contextlib, socket\nwith contextlib.suppress(OSError): socket.getaddrinfo('nowhere.invalid', 443)"
    calls = _traced([code], tmp_path / "calls", _environment(tmp_path))
    if calls is None:
        _skip_without_strace()
        return
    assert [call for call in calls if any(word in call for word in LOOK_UP)]
