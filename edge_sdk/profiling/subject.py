"""Program of a process under comparison: makes one callable and times blocks of it on request.

Imports the standard library alone and no edge_sdk: its text also goes to the Python of another environment, by `-c`, so
that no file of this package can shadow a module there. One JSON object per line, in and out.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, TextIO  # noqa: UP035 (the other Python may be an older one)

Reply = Dict[str, Any]  # noqa: UP006


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer until "quit" or the end of the input. A factory's exception is an answer; the process then ends."""
    call: Callable[[], Any] = _nothing
    for line in requests:
        request = json.loads(line)
        try:
            if "make" in request:
                call, reply = _make(request["make"])
            elif "block" in request:
                reply = _block(call, request["block"])
            elif "facts" in request:
                reply = {"facts": getattr(call, "facts", {}), "memory": _memory()}
            elif "freeze" in request:
                gc.collect()
                gc.freeze()
                gc.disable()
                reply = {}
            else:
                return
        except Exception as exc:  # noqa: BLE001 (outermost frame of the process: whatever a foreign factory raises)
            traceback.print_exc()
            reply = {"error": "%s: %s" % (type(exc).__name__, exc)}  # noqa: UP031
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if "error" in reply:
            return


def _make(wanted: Reply) -> tuple[Callable[[], Any], Reply]:
    if wanted.get("affinity") and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, wanted["affinity"])  # before the runtime loads: thread pools read it when made
    module, _, name = wanted["factory"].partition(":")
    factory = getattr(importlib.import_module(module), name)
    call = factory(**wanted["arguments"])
    if not callable(call):
        raise TypeError("%s returned no callable" % wanted["factory"])  # noqa: UP031
    return call, {"python": sys.version.split()[0]}


def _block(call: Callable[[], Any], count: int) -> Reply:
    wall: List[int] = []  # noqa: UP006
    cpu: List[int] = []  # noqa: UP006
    wall_clock, cpu_clock = time.perf_counter_ns, time.process_time_ns
    for _ in range(count):
        cpu_start, start = cpu_clock(), wall_clock()
        call()
        elapsed, used = wall_clock() - start, cpu_clock() - cpu_start
        wall.append(elapsed)
        cpu.append(used)
    return {"wall_ns": wall, "cpu_ns": cpu}


def _memory() -> Reply:
    """Resident memory of this process in bytes, now and at its peak; empty where the system does not report it.

    Of the process' own address space: on Linux ru_maxrss also counts that of the process that started it.
    """
    names = {"VmRSS": "rss_bytes", "VmHWM": "rss_peak_bytes"}
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            pairs = [line.partition(":") for line in lines]
    except OSError:
        return {}
    return {names[name]: int(text.split()[0]) * 1024 for name, _, text in pairs if name in names}


def _nothing() -> None:
    raise RuntimeError("nothing was made yet")


def _main() -> None:
    # A library that prints to stdout would break the protocol: its output goes to stderr, and its stdin is empty.
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(requests, replies)


if __name__ == "__main__":
    _main()
