from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edge_sdk.errors import BadInput, BadUsage, NotThere
from edge_sdk.profiling.compare import CompareOptions, compare
from edge_sdk.profiling.processes import Side, SubjectProcess
from edge_sdk.profiling.warmup import WarmupOptions

WORKLOADS = '''
import os, sys

def spin(steps):
    """A unit of work: adds `steps` numbers."""
    def call():
        total = 0
        for step in range(steps):
            total += step
        return total
    call.facts = {"steps": steps, "cap": os.environ.get("WORKLOAD_CAP", "")}
    return call

def noisy(steps):
    print("a library says hello on stdout")
    os.system("echo and its child too")
    return spin(steps)

def broken():
    raise ValueError("no such graph")

def not_callable():
    return 3

def dies():
    print("last words", file=sys.stderr)
    os._exit(7)

def fails_later():
    def call():
        raise RuntimeError("out of memory")
    return call

def sleeps():
    import time
    return lambda: time.sleep(60)

def loads_for_long():
    import time
    time.sleep(60)

def meets(mine, other):
    import time
    open(mine, "w").close()
    until = time.monotonic() + 50.0
    while not os.path.exists(other):
        if time.monotonic() > until:
            raise RuntimeError("the other one was never started")
        time.sleep(0.01)
    return spin(10)
'''
FAST = CompareOptions(
    pairs=(8,), max_time_s=20.0, warmup=WarmupOptions(min_s=0.01, max_s=0.1, window_s=0.002), reply_timeout_s=60.0
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workloads.py").write_text(WORKLOADS)
    return tmp_path


def side(folder: Path, name: str, factory: str = "spin", **arguments: int | str) -> Side:
    return Side(name=name, factory=f"workloads:{factory}", arguments=arguments, folder=folder, threads=1)


def test_twenty_times_the_work_is_slower_whatever_the_machine_does(folder: Path) -> None:
    result = compare(side(folder, "light", steps=2_000), side(folder, "heavy", steps=40_000), options=FAST)
    assert result.ruling.verdict == "slower"
    assert result.exit_code() == 1
    assert result.ratios.p.value > 5
    assert (result.ratios.pairs, result.ratios.calls, result.block_calls) == (8, 24, 4)
    assert result.a.facts == {"steps": 2000, "cap": ""}
    assert result.speedup == pytest.approx(1 / result.ratios.p.value)


def test_a_slower_tail_alone_fails_too_and_an_open_verdict_only_where_that_is_asked(folder: Path) -> None:
    result = compare(side(folder, "a", steps=500), side(folder, "b", steps=500), options=FAST)

    def code(verdict: str, *, tail: bool, strict: bool = False) -> int:
        ruling = replace(result.ruling, verdict=verdict, tail_slower=tail)  # type: ignore[arg-type]
        return replace(result, ruling=ruling).exit_code(strict=strict)

    assert code("same", tail=True) == code("slower", tail=False) == code("inconclusive", tail=False, strict=True) == 1
    assert code("same", tail=False) == code("inconclusive", tail=False) == code("faster", tail=False, strict=True) == 0


def test_the_report_is_plain_json_and_a_few_lines(folder: Path) -> None:
    result = compare(side(folder, "a", steps=500), side(folder, "b", steps=500), options=FAST)
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert plain["schema"] == "edge-sdk.compare/1"
    assert plain["ratios"]["pairs"] == 8
    assert plain["a"]["warmup"]["calls"] >= 5
    assert "wall time B / A (P)" in result.text()
    assert "speed-up of B" in result.text()


def test_two_processes_load_at_the_same_time(folder: Path) -> None:
    """Each makes its callable only when the other has come as far."""
    sides = [
        side(folder, name, "meets", mine=str(folder / name), other=str(folder / other))
        for name, other in (("a", "b"), ("b", "a"))
    ]
    assert compare(*sides, options=FAST).ratios.pairs > 0


def test_variables_of_one_side_reach_that_side_alone(folder: Path) -> None:
    capped = Side(
        name="capped", factory="workloads:spin", arguments={"steps": 10}, folder=folder,
        environment={"WORKLOAD_CAP": "AVX2"},
    )  # fmt: skip
    with SubjectProcess(capped) as one, SubjectProcess(side(folder, "plain", steps=10)) as other:
        assert (one.facts()[0]["cap"], other.facts()[0]["cap"]) == ("AVX2", "")


def test_what_libraries_print_does_not_disturb_the_answers(folder: Path) -> None:
    with SubjectProcess(side(folder, "noisy", "noisy", steps=10)) as process:
        wall, cpu = process.block(3)
    assert len(wall) == len(cpu) == 3
    assert min(wall) > 0


def test_another_python_needs_no_edge_sdk(folder: Path) -> None:
    """-S: no site-packages; only the standard library is left."""
    starter = folder / "bare-python"
    starter.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    starter.chmod(0o755)
    bare = Side(name="bare", factory="workloads:spin", arguments={"steps": 10}, python=str(starter), folder=folder)
    with SubjectProcess(bare) as process:
        assert len(process.block(2)[0]) == 2


@pytest.mark.parametrize(
    ("factory", "message"),
    [("broken", "ValueError: no such graph"), ("not_callable", "returned no callable"), ("absent", "absent"),
     ("dies", "ended with 7: last words")],
)  # fmt: skip
def test_a_factory_that_fails_is_named_with_its_reason(folder: Path, factory: str, message: str) -> None:
    with SubjectProcess(side(folder, "bad", factory)) as process:
        with pytest.raises(BadInput, match=f"bad: .*{message}"):
            process.block(1)
        with pytest.raises(BadInput, match="bad: its process ended"):
            process.block(1)  # at once, not after the time-out


def test_a_side_that_fails_does_not_wait_for_the_other_to_be_made(folder: Path) -> None:
    before = time.monotonic()
    with pytest.raises(BadInput, match="no such graph"):
        compare(side(folder, "bad", "broken"), side(folder, "slow", "loads_for_long"), options=FAST)
    assert time.monotonic() - before < 9.0  # `close` gives a process that listens 10 s to quit


def test_a_call_that_fails_ends_the_comparison_in_its_own_words(folder: Path) -> None:
    with pytest.raises(BadInput, match="b: RuntimeError: out of memory"):
        compare(side(folder, "a", steps=10), side(folder, "b", "fails_later"), options=FAST)


def test_a_process_that_hangs_is_ended(folder: Path) -> None:
    process = SubjectProcess(side(folder, "stuck", "sleeps"), reply_timeout_s=0.5)
    with process, pytest.raises(BadInput, match=r"stuck: no answer for 0\.5 s"):
        process.block(1)


def test_no_thread_or_process_is_left_behind(folder: Path) -> None:
    before = threading.active_count()
    process = SubjectProcess(side(folder, "a", steps=10))
    process.close()
    process.close()
    assert threading.active_count() == before
    with pytest.raises(BadUsage, match="a: its process was closed"):
        process.block(1)


def test_a_python_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(NotThere, match="can't start"):
        SubjectProcess(Side(name="a", factory="x:y", python=str(folder / "python")))


def test_fresh_processes_share_the_pairs(folder: Path) -> None:
    options = CompareOptions(pairs=(9,), restarts=3, warmup=FAST.warmup)
    result = compare(side(folder, "a", steps=500), side(folder, "b", steps=500), options=options)
    assert result.ratios.pairs == 9
    assert result.restarts == 3


def test_the_end_of_the_time_is_said(folder: Path) -> None:
    options = CompareOptions(max_time_s=1e-9, warmup=FAST.warmup)
    result = compare(side(folder, "a", steps=500), side(folder, "b", steps=500), options=options)
    assert result.ended_by == "max time"
    assert result.ratios.pairs == 8
    assert any("only 8 pairs" in note for note in result.notes)


def test_sides_and_options_that_make_no_sense_are_refused(folder: Path) -> None:
    with pytest.raises(BadUsage, match="both sides are called a"):
        compare(side(folder, "a", steps=1), side(folder, "a", steps=1))
    with pytest.raises(BadUsage, match="margin"):
        compare(side(folder, "a", steps=1), side(folder, "b", steps=1), options=CompareOptions(margin=0.0))
