"""Graphs of other quantizers, NNCF's and ONNX Runtime's, after `mend`: portable, and as near to float as before."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration_nets import Feeds, any_net, mobile, pdn, pictures, raw_pdn, relative, run
from onnx import ModelProto

from edge_sdk.calibration.engines.nncf import Nncf
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.mend import mend
from edge_sdk.calibration.rewrite.clean import clean
from edge_sdk.errors import NotThere
from edge_sdk.runtimes import trt_build, trt_confirm

NETS: dict[str, Callable[[], ModelProto]] = {
    "pdn": pdn, "raw_pdn": raw_pdn, "mobile": mobile, **{f"any {n}": lambda n=n: any_net(n) for n in (4, 5, 9, 13)},
}  # fmt: skip
HALF_THE_STEPS = 1.5
"""What is unsigned has 127 steps in place of 255: at most this much more error than before, and a little."""
without_nncf = pytest.mark.skipif(bool(Nncf().missing()), reason=Nncf().missing() or "nncf is here")


def size_of(name: str) -> int:
    return 20 if name.startswith("any") else 24


def by_nncf(model: ModelProto, samples: list[Feeds], *, mixed: bool) -> ModelProto:
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    preset = nncf.QuantizationPreset.MIXED if mixed else nncf.QuantizationPreset.PERFORMANCE
    with contextlib.redirect_stdout(io.StringIO()):
        made: ModelProto = nncf.quantize(
            clean(model).model, nncf.Dataset(samples), preset=preset, subset_size=len(samples)
        )
    return made


def by_onnxruntime(model: ModelProto, samples: list[Feeds], folder: Path) -> ModelProto:
    """Its defaults: asymmetric int8, int32 biases behind DequantizeLinear."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> Feeds | None:
            return next(self.left, None)

    onnx.save(clean(model).model, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx", folder / "int8.onnx", Reader(), quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, per_channel=True,
    )  # fmt: skip
    return onnx.load(folder / "int8.onnx")


def check(name: str, made: ModelProto) -> None:
    model = NETS[name]()
    mended, notes = mend(made, exact=False)
    assert notes
    assert lint(mended.SerializeToString()) == ()
    before, after = [], []
    for feeds in pictures(4, size_of(name), seed=7):
        (wanted,) = run(model.SerializeToString(), feeds).values()
        for graph, errors in ((made, before), (mended, after)):
            (got,) = run(graph.SerializeToString(), feeds).values()
            errors.append(relative(got, wanted))
    assert np.mean(after) <= HALF_THE_STEPS * np.mean(before) + 0.01
    accepted(mended)


def accepted(model: ModelProto) -> None:
    """By TensorRT-RTX, with no word about types; where it is not here the linter's answer has to do."""
    with contextlib.suppress(NotThere):
        trt_build.load(trt_confirm.RUNTIME)
        assert trt_confirm.confirm(model.SerializeToString(), axes={"N": 1}).errors == ()


@without_nncf
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mixed", [False, True], ids=["symmetric", "mixed"])
@pytest.mark.parametrize("name", NETS)
def test_what_nncf_makes_is_portable_after_mending(name: str, mixed: bool) -> None:
    check(name, by_nncf(NETS[name](), pictures(8, size_of(name)), mixed=mixed))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETS)
def test_what_onnxruntime_makes_is_portable_after_mending(name: str, tmp_path: Path) -> None:
    check(name, by_onnxruntime(NETS[name](), pictures(8, size_of(name)), tmp_path))


@without_nncf
@pytest.mark.filterwarnings("ignore")
def test_a_raw_picture_keeps_all_its_values() -> None:
    """NNCF's pair on the picture would be 128 steps wide in symmetric int8; less 128 it is exact."""
    made, notes = mend(by_nncf(raw_pdn(), pictures(8), mixed=False), exact=False)
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    first = next(n for n in made.graph.node if n.op_type == "QuantizeLinear")
    assert scales[first.input[1]] == 1.0
    assert [n for n in notes if "the picture less 128" in str(n)]
