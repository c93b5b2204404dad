"""An error says what happened, where, and what to do, in sentences."""

from __future__ import annotations

import pytest

from edge_sdk.errors import BadUsage


@pytest.mark.parametrize(
    ("where", "hint", "said"),
    [
        ("", "", "it is wrong"), ("m.onnx", "", "m.onnx: it is wrong"), ("", "Fix it", "it is wrong. Fix it."),
        ("m.onnx", "Fix it.", "m.onnx: it is wrong. Fix it."),
        ("", "Did you mean --pixel-range 0..255?", "it is wrong. Did you mean --pixel-range 0..255?"),
    ],
)  # fmt: skip
def test_an_error_ends_with_one_mark(where: str, hint: str, said: str) -> None:
    assert str(BadUsage("it is wrong", where=where, hint=hint)) == said
