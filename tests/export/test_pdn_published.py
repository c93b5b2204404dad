"""Teacher files: both spellings, Lightning checkpoints, safetensors; what is something else is refused and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edge_sdk.errors import BadInput, NotThere
from edge_sdk.export.efficientad.pdn.network import Pdn, PdnLayout, PdnSize
from edge_sdk.export.efficientad.pdn.published import OURS, load_teacher, save_teacher

torch.set_num_threads(1)

INDICES = {"s": (0, 3, 6, 8), "m": (0, 3, 6, 8, 10, 12)}
"""Places of the convolutions in the published nn.Sequential, between ReLU and pooling."""


def teacher_of(size: PdnSize = "s") -> Pdn:
    torch.manual_seed(1)
    inner = (4, 6, 6) if size == "s" else (4, 6, 6, 6)
    return Pdn(PdnLayout(size=size, channels=5, inner=inner)).eval()


def named(teacher: Pdn) -> dict[str, Tensor]:
    return dict(teacher.state_dict())


def indexed(teacher: Pdn) -> dict[str, Tensor]:
    """As an nn.Sequential spells it; built of real modules, so that the spelling is PyTorch's own."""
    places = dict(zip(INDICES[teacher.layout.size], teacher.convolutions, strict=True))
    last = max(places)
    return dict(nn.Sequential(*(places.get(k, nn.ReLU()) for k in range(last + 1))).state_dict())


def lightning(teacher: Pdn) -> dict[str, object]:
    state: dict[str, Tensor] = {f"model.teacher.{name}": t for name, t in teacher.state_dict().items()}
    state["model.student.conv1.weight"] = torch.zeros(4, 3, 4, 4)
    state["model.ae.encoder.enconv1.weight"] = torch.zeros(32, 3, 4, 4)
    state["model.mean_std.mean"] = torch.zeros(1, 5, 1, 1)
    state["model.quantiles.qa_st"] = torch.tensor(0.0)
    return {"state_dict": state, "epoch": 3}


@pytest.mark.parametrize("spelling", [named, indexed, lightning])
@pytest.mark.parametrize("size", ["s", "m"])
def test_every_spelling_gives_the_same_teacher(
    size: PdnSize, spelling: Callable[[Pdn], Mapping[str, object]], tmp_path: Path
) -> None:
    teacher = teacher_of(size)
    path = tmp_path / f"pretrained_teacher_{size}.pth"
    torch.save(spelling(teacher), path)
    again = load_teacher(path)
    assert again.layout == teacher.layout
    assert not any(weight.requires_grad for weight in again.parameters())
    picture = torch.rand(1, 3, 40, 37)
    with torch.no_grad():
        assert torch.equal(again(picture), teacher(picture))


def test_a_padded_teacher_has_the_same_weights(tmp_path: Path) -> None:
    torch.save(named(teacher_of()), tmp_path / "t.pth")
    padded = load_teacher(tmp_path / "t.pth", padding=True)
    assert padded.layout.padding
    assert tuple(padded(torch.zeros(1, 3, 64, 64)).shape) == (1, 5, 16, 16)


def test_our_own_file_is_half_precision_with_its_provenance_beside_it(tmp_path: Path) -> None:
    teacher, path = teacher_of(), tmp_path / "teacher.safetensors"
    save_teacher(teacher, path, provenance={"licence": "Apache-2.0"})
    again = load_teacher(path)
    for mine, theirs in zip(again.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(mine, theirs.half().float())
    facts = json.loads((tmp_path / "teacher.json").read_text(encoding="utf-8"))
    assert facts["licence"] == "Apache-2.0"
    assert len(facts["sha256"]) == 64


def test_a_weight_beyond_half_precision_is_refused_not_clipped(tmp_path: Path) -> None:
    teacher = teacher_of()
    with torch.no_grad():
        teacher.convolutions[1].weight[0, 0, 0, 0] = 1e6
    with pytest.raises(BadInput, match=r"conv2\.weight holds values that float16 can't hold"):
        save_teacher(teacher, tmp_path / "teacher.safetensors", provenance={})
    assert list(tmp_path.iterdir()) == []


def test_a_variant_with_batch_norms_is_refused_in_words(tmp_path: Path) -> None:
    state = {**named(teacher_of()), "bn1.weight": torch.ones(4), "bn1.running_mean": torch.zeros(4)}
    torch.save(state, tmp_path / "best_teacher.pth")
    with pytest.raises(BadInput, match=r"best_teacher\.pth: this is a PDN with batch norms \(bn1\.weight\)"):
        load_teacher(tmp_path / "best_teacher.pth")


def test_a_wrong_shape_is_named_with_what_it_should_be(tmp_path: Path) -> None:
    state = named(teacher_of())
    state["conv3.weight"] = torch.zeros(6, 6, 5, 5)
    torch.save(state, tmp_path / "t.pth")
    with pytest.raises(
        BadInput, match=r"convolution 3 of a PDN-S has weights \(6, 6, 3, 3\), the file has \(6, 6, 5, 5\)"
    ):
        load_teacher(tmp_path / "t.pth")


def test_other_networks_missing_tensors_and_nan_are_refused(tmp_path: Path) -> None:
    path, state = tmp_path / "t.pth", named(teacher_of())
    cases: list[tuple[object, str]] = [
        ({**state, "layer1.0.weight": torch.zeros(1)}, r"layer1\.0\.weight belongs to no PDN"),
        ({k: v for k, v in state.items() if k != "conv2.bias"}, "convolution 2 has no bias"),
        ({k: v for k, v in state.items() if "conv4" not in k}, "3 convolutions: PDN-S has 4, PDN-M has 6"),
        ({**state, "conv1.bias": torch.full((4,), float("nan"))}, "convolution 1 holds NaN"),
        ([1, 2], "holds no state dict"),
    ]
    for content, message in cases:
        torch.save(content, path)
        with pytest.raises(BadInput, match=message):
            load_teacher(path)


def test_a_pickled_module_is_refused_because_it_would_run_code(tmp_path: Path) -> None:
    torch.save(teacher_of(), tmp_path / "teacher_final.pth")
    with pytest.raises(BadInput, match=r"teacher_final\.pth: the file holds more than tensors.*run its code"):
        load_teacher(tmp_path / "teacher_final.pth")


@pytest.mark.parametrize("name", ["t.pth", "t.safetensors"])
def test_a_damaged_or_missing_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=f"{name}: there is no such teacher file"):
        load_teacher(tmp_path / name)
    (tmp_path / name).write_bytes(b"PK\x03\x04 not really" * 20)
    with pytest.raises(BadInput, match=f"{name}: "):
        load_teacher(tmp_path / name)


def test_the_teacher_that_ships_is_the_one_that_its_provenance_describes() -> None:
    teacher, answer = load_teacher(), json.loads(OURS.with_suffix(".json").read_text("utf-8"))
    assert hashlib.sha256(OURS.read_bytes()).hexdigest() == answer["sha256"]
    assert (teacher.layout.size, teacher.layout.padding) == ("s", answer["options"]["padding"])
    assert OURS.stat().st_size < 5_000_000
    assert {"error", "variance", "explained", "pictures"} == set(answer["held_out"]["textures held out"])
    assert answer["held_out"]["textures held out"]["explained"] > 0.2
    assert answer["steps"] > 0
