"""TensorRT-RTX parses and builds what leaves calibration, without a word about types. Nothing runs: there is no GPU."""

from __future__ import annotations

import pytest
from calibration_nets import TAIL, mobile, pictures, raw_pdn

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.runtimes.trt_confirm import confirm

pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed")


@pytest.mark.parametrize("net", [raw_pdn, mobile])
def test_every_variant_for_tensorrt_is_accepted_without_a_warning(net: type) -> None:
    options = QuantizeOptions(variants=("int8", "int8-w7", "fp16", "fp32"), keep_fp32=TAIL, threads=1)
    made = quantize(net().SerializeToString(), pictures(2), options=options)
    for variant in (v for v in made.variants if v.layout != "conv-q-relu-q"):
        answer = confirm(variant.graph)
        assert (answer.accepted, answer.warnings, answer.errors) == (True, (), ()), variant.variant
