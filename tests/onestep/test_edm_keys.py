"""Networks of EDM's by the names of their weights: what they answer, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import edm_by_rule
import pytest
import torch
from safetensors.torch import save_file
from test_unet import dhariwal, drawn_weights
from torch import Tensor

from edge_sdk.errors import BadInput
from edge_sdk.export.onestep import edm_keys, teacher, unet
from edge_sdk.export.onestep.unet import UNet


def ddpmpp(classes: int = 0) -> UNet:
    layout = unet.layout(channels=3, side=16, base=16, multiples=(2, 2), blocks=2, attention=(8,), classes=classes)
    return drawn_weights(UNet(replace(layout, level_scale=1.0)))


NETWORKS = {
    "ddpm++": lambda: ddpmpp(), "ddpm++ classes": lambda: ddpmpp(7), "adm": lambda: dhariwal(0),
    "adm classes": lambda: dhariwal(4),
}  # fmt: skip


def published(net: UNet, path: Path, *, prefix: str = "model.") -> Path:
    """As a state dict of EDM's preconditioned network has it: names sorted, what only training reads beside."""
    state = {f"{prefix}{name}": tensor.clone() for name, tensor in net.state_dict().items()}
    state[f"{prefix}map_augment.weight"] = torch.zeros(net.layout.base, 9)
    for name in [name for name in state if name.endswith(("_down.conv0.weight", "_up.conv0.weight"))]:
        state[name.replace(".weight", ".resample_filter")] = torch.full((1, 1, 2, 2), 0.25)
    save_file(dict(sorted(state.items())), path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("prefix", ["model.", ""])
def test_a_state_dict_answers_as_its_description_says(name: str, prefix: str, tmp_path: Path) -> None:
    net = NETWORKS[name]()
    found = edm_keys.read(published(net, tmp_path / "net.safetensors", prefix=prefix))
    assert isinstance(found.network, UNet)
    assert found.network.layout == net.layout
    of = net.layout
    generator = torch.Generator().manual_seed(3)
    x, level = torch.randn(2, of.channels, of.side, of.side, generator=generator), torch.tensor([-1.3, 0.9])
    labels: Tensor | None = torch.tensor([0, of.classes - 1]) if of.classes else None
    rule = edm_by_rule.song_unet if of.form == "song" else edm_by_rule.dhariwal_unet
    names = [block.key for block in of.encoder], [block.key for block in of.decoder]
    with torch.no_grad():
        wanted = rule(net.state_dict(), *names, x, level, labels)
        answer = found.network(x, level, labels)
    assert wanted.std() > 0.1
    torch.testing.assert_close(answer, wanted, rtol=1e-4, atol=1e-4)


def test_it_can_teach(tmp_path: Path) -> None:
    net = ddpmpp()
    with torch.no_grad():
        net.last[1].weight.mul_(0.1)
    found = edm_keys.read(published(net, tmp_path / "net.safetensors"))
    teacher.check(found, where="net")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("model.map_layer1.bias"), "map_layer1.bias is missing"),
        (lambda state: state.update({"model.enc.16x16_aux_residual.weight": torch.zeros(1)}), "NCSN"),
        (lambda state: state.update({"model.map_layer0.weight": torch.zeros(9, 16)}), "four times as wide"),
        (lambda state: state.update({"model.map_layer0.bias": torch.full((64,), float("nan"))}), "NaN"),
        (lambda state: state.clear() or state.update({"weight": torch.zeros(2)}), "not a network of EDM"),
    ],
)
def test_others_are_refused(change: object, said: str, tmp_path: Path) -> None:
    path = published(ddpmpp(), tmp_path / "net.safetensors")
    from safetensors.torch import load_file

    state = load_file(path)
    change(state)  # type: ignore[operator]
    save_file(state, path)
    with pytest.raises(BadInput, match=said):
        edm_keys.read(path)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "edm-cifar10.pkl"
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(BadInput, match=r"not a PyTorch file|more than tensors"):
        edm_keys.read(path)
    assert not Path("opened").exists()
