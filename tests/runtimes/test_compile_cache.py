"""The compile cache: what it keeps, what it refuses, and that two who want one entry build it once."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runtime_graphs import detector, pictures

from edge_sdk.errors import NotThere, NotTrusted
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.cache import CacheKey, CompileCache, default_cache_folder
from edge_sdk.runtimes.protocol import CompileOptions

KEY = CacheKey(
    graph_sha256="ab" * 32, runtime="openvino", version="1.0", device="CPU", cpu="x86|avx2", options=(("threads", "2"),)
)


def kept(folder: Path, key: CacheKey = KEY) -> bytes | None:
    with CompileCache(folder).entry(key) as entry:
        return entry.read()


def keep(folder: Path, data: bytes, key: CacheKey = KEY) -> None:
    with CompileCache(folder).entry(key) as entry:
        assert entry.write(data) == ""


def test_what_was_kept_comes_back_and_only_for_its_own_key(tmp_path: Path) -> None:
    assert kept(tmp_path) is None
    keep(tmp_path, b"engine")
    assert kept(tmp_path) == b"engine"
    for field in ("graph_sha256", "runtime", "version", "device", "cpu"):
        assert kept(tmp_path, replace(KEY, **{field: "other"})) is None
    assert kept(tmp_path, replace(KEY, options=(("threads", "1"),))) is None


def test_what_was_used_longest_ago_goes_where_there_is_no_more_room(tmp_path: Path) -> None:
    keys = [replace(KEY, version=str(number)) for number in range(4)]
    for age, key in enumerate(keys[:3]):
        keep(tmp_path, b"x" * 40, key)
        long_ago = time.time() - 1000 + age
        os.utime(tmp_path / f"{key.digest}.bin", (long_ago, long_ago))
    assert kept(tmp_path, keys[0]) is not None  # used again: now the second is the oldest
    with CompileCache(tmp_path, kept_bytes=120).entry(keys[3]) as entry:
        assert entry.write(b"x" * 40) == ""
    assert [kept(tmp_path, key) is not None for key in keys] == [True, False, True, True]
    assert not (tmp_path / f"{keys[1].digest}.json").exists()
    with CompileCache(tmp_path, kept_bytes=30).entry(keys[1]) as entry:
        assert entry.write(b"x" * 40) == ""
    assert [kept(tmp_path, key) is not None for key in keys] == [False, True, False, False]  # what is new stays


def test_the_order_of_options_does_not_matter() -> None:
    pairs = (("a", "1"), ("b", "2"))
    assert replace(KEY, options=pairs).digest == replace(KEY, options=pairs[::-1]).digest


@pytest.mark.parametrize("damage", ["cut", "altered", "longer", "sidecar cut", "sidecar missing", "sidecar a list"])
def test_a_damaged_entry_is_refused_removed_and_built_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    keep(tmp_path, b"engine")
    payload, sidecar = tmp_path / f"{KEY.digest}.bin", tmp_path / f"{KEY.digest}.json"
    broken = {"cut": b"engi", "altered": b"Engine", "longer": b"engine!"}
    if damage in broken:
        payload.write_bytes(broken[damage])
    elif damage == "sidecar cut":
        sidecar.write_bytes(sidecar.read_bytes()[:-5])
    elif damage == "sidecar a list":
        sidecar.write_bytes(b"[]")
    else:
        sidecar.unlink()
    assert kept(tmp_path) is None
    if damage != "sidecar missing":
        assert not payload.exists()
        assert "built again" in caplog.text
    keep(tmp_path, b"second")
    assert kept(tmp_path) == b"second"


def test_an_entry_of_another_machine_under_this_name_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, b"engine")
    sidecar = tmp_path / f"{KEY.digest}.json"
    record = json.loads(sidecar.read_text())
    record["key"]["cpu"] = "arm64|neon"
    sidecar.write_text(json.dumps(record))
    assert kept(tmp_path) is None


def test_a_disk_that_takes_nothing_is_said_and_stops_nothing(tmp_path: Path) -> None:
    with CompileCache(tmp_path).entry(KEY) as entry:
        entry.payload.mkdir()  # nothing can be renamed onto a folder
        assert "not kept" in entry.write(b"engine")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".bin", ".lock"]  # no temporary file is left


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has access lists, not modes")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(NotTrusted, match="chmod go-w"):
        CompileCache(folder)
    assert (CompileCache(tmp_path / "own").folder.stat().st_mode & 0o777) == 0o700


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotThere, match=r"file"):
        CompileCache(tmp_path / "file" / "cache")


def _build_once(folder: str, start: float) -> bool:
    """One of several processes: True if it was the one that built."""
    time.sleep(max(0.0, start - time.time()))
    with CompileCache(Path(folder)).entry(KEY) as entry:
        if entry.read() is not None:
            return False
        time.sleep(0.2)
        assert entry.write(b"x" * 100_000) == ""
        return True


def test_four_processes_build_one_entry_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        built = pool.starmap(_build_once, [(str(tmp_path), time.time() + 0.5)] * 4)
    assert sorted(built) == [False, False, False, True]


def test_waiting_for_another_has_an_end(tmp_path: Path) -> None:
    with (
        CompileCache(tmp_path).entry(KEY),
        pytest.raises(NotThere, match="another process"),
        CompileCache(tmp_path, patience_s=0.1).entry(KEY),
    ):
        pass


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/u"}, "/home/u/.cache/edge-sdk/compiled"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/edge-sdk/compiled"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/edge-sdk/compiled"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/edge-sdk/compiled"),
        ({}, ".cache/edge-sdk/compiled"),
    ],
)
def test_the_default_folder_is_the_users_own(
    environ: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = default_cache_folder()
    assert (found.name, found.is_absolute()) == ("compiled", True)
    if sys.platform == "linux":
        assert str(found).endswith(folder)
        assert str(found) == folder or not environ


@pytest.mark.skipif(sys.platform == "win32", reason="Windows always has a profile")
def test_a_user_without_a_home_learns_what_to_set() -> None:
    """A container may run as a user whom no database knows."""
    if os.geteuid() != 0:
        pytest.skip("only root can become a user whom no database knows")
    code = (
        "import os, pwd, platformdirs\n"
        "from edge_sdk.errors import NotThere\n"
        "from edge_sdk.runtimes.cache import default_cache_folder\n"
        "default_cache_folder()\n"
        "os.environ.pop('HOME', None), os.environ.pop('XDG_CACHE_HOME', None)\n"
        "os.setuid(54321)  # after the imports: that user may not read this environment's packages\n"
        "try:\n    default_cache_folder()\nexcept NotThere as exc:\n    print(exc)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "no home folder for the compile cache. Set XDG_CACHE_HOME" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_second_compile_hits_and_answers_alike(tmp_path: Path, name: str) -> None:
    runtime, image = registry.runtime(name), {"image": pictures(1)}
    if not (found := runtime.probe()).usable:
        pytest.skip(f"{name} can't be used here: {found.reason}")
    graph = detector("conv-q-relu-q")
    options = CompileOptions(cache_dir=tmp_path, threads=1, int8_convolutions=2)
    first, second = runtime.compile(graph, options), runtime.compile(graph, options)
    assert [s.explain().compile_cache for s in (first, second)] == ["miss", "hit"]
    assert second.explain().layers_by_precision == first.explain().layers_by_precision == {"i8": 2}
    np.testing.assert_array_equal(first.run(image)["map"], second.run(image)["map"])
    for other in (replace(options, threads=2), replace(options, profile_layers=True)):
        if name == "openvino" or other.threads == 2:
            assert runtime.compile(graph, other).explain().compile_cache == "miss"


def test_a_graph_compiled_for_one_picture_is_not_taken_for_a_batch(tmp_path: Path) -> None:
    runtime, options = registry.runtime("openvino"), CompileOptions(cache_dir=tmp_path, threads=1)
    if not (found := runtime.probe()).usable:
        pytest.skip(f"openvino can't be used here: {found.reason}")
    for most in (1, 3):
        session = runtime.compile(detector("conv-q-relu-q"), replace(options, axes={"N": most}))
        assert session.explain().compile_cache == "miss"
        assert session.run({"image": pictures(most)})["score"].shape == (most,)
    other = runtime.compile(detector("conv-q-relu-q"), replace(options, axes={"N": 3, "an axis of another graph": 9}))
    assert other.explain().compile_cache == "hit"


COMPILED = """
import sys
from pathlib import Path
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions
graph, folder = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
print(registry.runtime("openvino").compile(graph, CompileOptions(cache_dir=folder, threads=1)).explain().compile_cache)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="instruction sets of x86")
def test_a_graph_compiled_for_one_instruction_set_is_not_taken_for_another(tmp_path: Path) -> None:
    if not (found := registry.runtime("openvino").probe()).usable:
        pytest.skip(f"openvino can't be used here: {found.reason}")
    (tmp_path / "tiny.onnx").write_bytes(detector("conv-q-relu-q"))
    calls = []
    for cap in ("", "SSE41", ""):
        command = [sys.executable, "-c", COMPILED, str(tmp_path / "tiny.onnx"), str(tmp_path / "cache")]
        environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
        if cap:
            environment["ONEDNN_MAX_CPU_ISA"] = cap
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        calls.append(ran.stdout.split()[-1])
    assert calls == ["miss", "miss", "hit"]


def test_an_entry_that_openvino_does_not_take_is_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime = registry.runtime("openvino")
    if not (found := runtime.probe()).usable:
        pytest.skip(f"openvino can't be used here: {found.reason}")
    options = CompileOptions(cache_dir=tmp_path, threads=1)
    runtime.compile(detector(), options)
    (sidecar,) = tmp_path.glob("*.json")
    record = json.loads(sidecar.read_text())
    key = CacheKey(**{**record["key"], "options": tuple(map(tuple, record["key"]["options"]))})
    keep(tmp_path, b"whole, and still no compiled graph", key)
    session = runtime.compile(detector(), options)
    assert session.explain().compile_cache == "miss"
    assert "refused by OpenVINO" in caplog.text
    assert session.run({"image": pictures(1)})["score"].shape == (1,)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_disk_that_keeps_nothing_costs_time_and_not_the_answer(tmp_path: Path, name: str) -> None:
    runtime = registry.runtime(name)
    if not (found := runtime.probe()).usable:
        pytest.skip(f"{name} can't be used here: {found.reason}")
    (tmp_path / "file").write_bytes(b"")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    folders = [tmp_path / "file" / "cache"] + ([shared] if sys.platform != "win32" else [])
    for folder in folders:
        session = runtime.compile(detector("conv-q-relu-q"), CompileOptions(cache_dir=folder, threads=1))
        assert session.explain().compile_cache == "off"
        assert "no compile cache" in session.explain().warnings[-1]
        assert session.run({"image": pictures(1)})["score"].shape == (1,)
    assert not list(shared.iterdir())
