"""Ctrl-C stays Ctrl-C whatever sessions were opened and closed before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import signal, sys
from edge_sdk.bundle.store import Bundle
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite started in the background inherits "ignored"
graph = Bundle.open(sys.argv[1]).graph("fp32")
runtime = registry.runtime(sys.argv[2])
first, second = (runtime.compile(graph, CompileOptions(threads=1)) for _ in range(2))
first.close()
del first
second.close()
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("stopped by the user")
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_interrupt_after_two_sessions_is_a_keyboard_interrupt(tiny_bundle: Path, runtime: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tiny_bundle), runtime], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "stopped by the user"), done.stderr[-500:]
