"""Which of several processes this one is: only what torchrun says is believed."""

from __future__ import annotations

import pytest

from edge_sdk.errors import BadUsage
from edge_sdk.export.training.launch import Launch, found

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


def said(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    for name, value in zip(NAMES, values, strict=True):
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, "", "", "")
    assert found() == Launch(rank=0, size=1, local=1)


def test_torchrun_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, "3", "8", "4")
    assert found() == Launch(rank=3, size=8, local=4)


@pytest.mark.parametrize(
    "values",
    [
        ("abc", "2", "1"), ("-1", "2", "1"), ("1.5", "2", "1"), (" 0", "2", "1"), ("\u0663", "8", "1"),
        ("0", "0", "1"), ("0", "2", "0"), ("2", "2", "1"), ("0", "2", "3"), ("1", "", ""),
    ],
)  # fmt: skip
def test_what_torchrun_never_says_is_refused(values: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, *values)
    with pytest.raises(BadUsage, match="torchrun sets no such number of processes"):
        found()
