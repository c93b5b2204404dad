"""Importing OpenVINO for a user sends nothing and writes nothing into the home folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
import sys
from edge_sdk.runtimes import registry
assert registry.runtime("openvino").probe().usable
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
"""


def test_openvino_is_imported_without_its_telemetry(tmp_path: Path) -> None:
    for package in ("openvino", "openvino_telemetry"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install openvino")
    silencers = ("CI", "TF_BUILD", "JENKINS_URL")  # where telemetry is off anyway, which would prove nothing
    environ = {name: value for name, value in os.environ.items() if name not in silencers}
    environ |= {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    subprocess.run([sys.executable, "-c", ASK], check=True, env=environ)
    assert list(tmp_path.iterdir()) == []
