"""Names that are no UTF-8 or hold control characters: the bundle and its page are text all the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from edges import Edges, EdgesOptions, folder_of_plates, read

from edge_sdk.bundle.store import Bundle
from edge_sdk.cli import main
from edge_sdk.export import build as builder
from edge_sdk.export import report
from edge_sdk.export.demo import machine
from edge_sdk.export.speeds import Speeds
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
from edge_sdk.progress import silent
from edge_sdk.verify import verify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")


def test_a_build_from_such_names_gives_a_bundle_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of_plates(tmp_path / os.fsdecode(b"parts_\xe4\x1b"))
    (folder / "test" / "square <&>").rename(folder / "test" / os.fsdecode(b"kratzer_\xe4"))
    for n, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(path.with_name(path.stem + os.fsdecode((b"_\xe4", b"_\n", b"_\x1b[31m")[n % 3]) + ".png"))
    monkeypatch.setattr(sys, "argv", ["edge-sdk", "train", str(folder), "--out", "x.edge"])  # kept in the bundle
    data = read(folder)
    assert {picture.label for picture in data.test} == {"good", r"kratzer_\xe4"}
    trained = Edges().train(data, EdgesOptions(), folder=tmp_path, progress=silent)
    wanted = builder.BuildOptions(name="x", out=tmp_path / "x.edge")
    built = builder.build(Edges(), data, trained, AnomalyOptions(), wanted)
    with Bundle.open(built.path) as bundle:
        found = bundle.report()
        assert bundle.manifest.provenance.command[2].endswith(r"parts_\xe4\x1b")
    assert found is not None
    assert found["pictures"] == {"good": 6, r"kratzer_\xe4": 6}
    nothing = Speeds(latency={}, ratios={})
    measured = report.measured(built, speeds=nothing, verified=verify(built.path), machine=machine())
    report.write(tmp_path / "report.html", built, measured)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert r"kratzer_\xe4" in page
    assert "\x1b" not in page


@pytest.mark.parametrize("option", ["--out", "--run"])
@pytest.mark.parametrize("name", [b"y\xe4.edge", b"y\n.edge"])
def test_a_bundle_or_run_folder_of_such_a_name_is_refused_before_the_training(
    option: str, name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The library that writes weights takes UTF-8 alone, and would say so after the training."""
    names = {"--out": str(tmp_path / "x.edge")} | {option: str(tmp_path / os.fsdecode(name))}
    with pytest.raises(SystemExit) as left:
        main.run(["train", "efficientad", str(tmp_path), *(word for pair in names.items() for word in pair)])
    assert left.value.code == 2
    assert "is not a plain UTF-8 name" in capsys.readouterr().err
