"""PDN and autoencoder: the published layers, sizes, parameters and costs; which sizes can't run, and why."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.errors import BadUsage
from edge_sdk.export.efficientad.pdn.autoencoder import Autoencoder, AutoencoderLayout
from edge_sdk.export.efficientad.pdn.network import Pdn, PdnLayout, PdnSize, normalised, started

torch.set_num_threads(1)

TINY_S = (2, 3, 3)
TINY_M = (2, 3, 3, 3)


def tiny(size: PdnSize, *, padding: bool = False) -> Pdn:
    return Pdn(PdnLayout(size=size, channels=2, inner=TINY_S if size == "s" else TINY_M, padding=padding)).eval()


@pytest.mark.parametrize(
    ("size", "channels", "parameters", "gmac", "gmac_padded"),
    [
        ("s", 384, 2_694_144, 15.311, 18.776),
        ("s", 768, 4_267_392, 20.243, 25.219),
        ("m", 384, 8_026_624, 52.030, 63.177),
        ("m", 768, 11_615_488, 63.282, 77.874),
    ],
)
def test_the_published_networks_have_their_parameters_and_costs(
    size: PdnSize, channels: int, parameters: int, gmac: float, gmac_padded: float
) -> None:
    layout = PdnLayout(size=size, channels=channels)
    assert layout.parameters() == parameters
    assert sum(weight.numel() for weight in Pdn(layout).parameters()) == parameters
    assert layout.macs(256, 256) / 1e9 == pytest.approx(gmac, abs=5e-4)
    padded = PdnLayout(size=size, channels=channels, padding=True)
    assert padded.macs(256, 256) / 1e9 == pytest.approx(gmac_padded, abs=5e-4)


@pytest.mark.parametrize(("size", "parameters", "gmac"), [("s", 8_057_856, 37.947), ("m", 20_738_432, 117.705)])
def test_the_whole_of_efficientad_has_the_published_size(size: PdnSize, parameters: int, gmac: float) -> None:
    teacher, autoencoder = PdnLayout(size=size), AutoencoderLayout()
    parts = (teacher, teacher.student())
    assert sum(p.parameters() for p in parts) + autoencoder.parameters() == parameters
    macs = sum(p.macs(256, 256) for p in parts) + autoencoder.macs(256, 256, teacher.grid(256, 256))
    assert macs / 1e9 == pytest.approx(gmac, abs=1e-3)


@given(side=st.integers(33, 140), size=st.sampled_from(["s", "m"]), padding=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_grid_law_is_what_the_network_does(side: int, size: PdnSize, padding: bool) -> None:
    net = tiny(size, padding=padding)
    with torch.no_grad():
        out = net(torch.zeros(1, 3, side, 47))
    assert tuple(out.shape[-2:]) == net.layout.grid(side, 47)
    assert net.layout.grid(side, 47)[0] == -(-side // 4) - (0 if padding else 8)


@pytest.mark.parametrize("size", ["s", "m"])
@pytest.mark.parametrize("padding", [False, True])
def test_a_cell_sees_33_pixels_around_the_centre_that_the_map_grid_names(size: PdnSize, padding: bool) -> None:
    torch.manual_seed(0)
    net = tiny(size, padding=padding)
    for weight in net.parameters():
        weight.data.abs_().add_(0.01)  # no ReLU is ever shut, so that the gradient reaches all that is seen
    picture = torch.rand(1, 3, 100, 100, requires_grad=True)
    cell = 9
    net(picture)[0, :, cell, cell].sum().backward()
    assert picture.grad is not None
    seen = torch.nonzero(picture.grad[0].abs().sum(dim=(0, 1))).flatten()
    assert len(seen) == 33
    centre = (float(seen[0]) + float(seen[-1]) + 1.0) / 2.0  # continuous: the first pixel spans 0..1
    grid = net.layout.map_grid()
    assert centre == grid.offset_px + grid.stride_px * cell


def test_a_picture_smaller_than_one_cells_field_is_refused_with_the_reason() -> None:
    with pytest.raises(BadUsage, match="32 px is smaller than the 33 x 33 px that one cell sees"):
        tiny("s")(torch.zeros(1, 3, 32, 100))
    assert tuple(tiny("s")(torch.zeros(1, 3, 33, 33)).shape) == (1, 2, 1, 1)


def test_an_unknown_size_or_a_wrong_number_of_widths_is_refused() -> None:
    with pytest.raises(BadUsage, match="'l'"):
        PdnLayout(size="l")  # type: ignore[arg-type]
    with pytest.raises(BadUsage, match="3 inner widths"):
        PdnLayout(size="s", inner=(1, 2))


def test_the_published_autoencoder_has_the_tables_sizes() -> None:
    layout = AutoencoderLayout(whole_picture=False)
    assert layout.decoder_sizes(256, 256, (56, 56)) == (
        (3, 3),
        (8, 8),
        (15, 15),
        (32, 32),
        (63, 63),
        (127, 127),
        (56, 56),
    )
    assert layout.macs(256, 256, (56, 56)) / 1e9 == pytest.approx(2.393, abs=5e-4)
    assert layout.macs(256, 256, (64, 64)) / 1e9 == pytest.approx(2.641, abs=5e-4)
    assert sum(weight.numel() for weight in Autoencoder(layout).parameters()) == layout.parameters() == 1_096_320


@pytest.mark.parametrize("size", [(256, 256), (257, 270), (288, 320), (301, 256), (256, 384)])
@pytest.mark.parametrize("whole_picture", [False, True])
def test_teacher_and_autoencoder_agree_on_the_grid_at_any_size(size: tuple[int, int], whole_picture: bool) -> None:
    layout = AutoencoderLayout(channels=2, width=4, whole_picture=whole_picture)
    grid = tiny("s").layout.grid(*size)
    with torch.no_grad():
        out = Autoencoder(layout).eval()(torch.zeros(1, 3, *size), grid)
    assert tuple(out.shape) == (1, 2, *grid)


def test_only_the_whole_picture_form_keeps_one_bottleneck_vector_at_every_size() -> None:
    picture = torch.zeros(1, 3, 320, 384)
    for whole_picture, want in ((False, (3, 5)), (True, (1, 1))):
        net = Autoencoder(AutoencoderLayout(channels=2, width=4, whole_picture=whole_picture))
        seen = net.layout.view(320, 384)
        bottleneck = net.encoder(torch.nn.functional.interpolate(picture, size=seen))
        assert tuple(bottleneck.shape[-2:]) == want


def test_below_256_px_the_published_autoencoder_is_refused_and_the_other_form_named() -> None:
    net = Autoencoder(AutoencoderLayout(channels=2, width=4, whole_picture=False))
    with pytest.raises(BadUsage, match=r"can't run at 300 x 255 px.*whole_picture=True"):
        net(torch.zeros(1, 3, 255, 300), (56, 67))
    small = Autoencoder(AutoencoderLayout(channels=2, width=4))
    assert tuple(small(torch.zeros(1, 3, 96, 96), (16, 16)).shape) == (1, 2, 16, 16)


def test_dropout_works_in_training_and_is_off_in_eval() -> None:
    net = Autoencoder(AutoencoderLayout(channels=2, width=8))
    picture = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        assert not torch.equal(net.train()(picture, (8, 8)), net(picture, (8, 8)))
        assert torch.equal(net.eval()(picture, (8, 8)), net(picture, (8, 8)))


def test_normalising_is_that_of_imagenet() -> None:
    grey = torch.full((1, 2, 2, 3), 128, dtype=torch.uint8)
    want = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalised(grey)[0, :, 0, 0], want)
    assert normalised(grey, dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("size", ["s", "m"])
def test_initial_weights_leave_no_unit_shut_and_the_outputs_small(size: PdnSize) -> None:
    net = tiny(size)
    pictures = 3.0 + torch.randn(4, 3, 60, 50, generator=torch.Generator().manual_seed(1))
    started(net, pictures, seed=5)
    seen: list[torch.Tensor] = []
    for convolution in net.convolutions:
        convolution.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        net(pictures)
    for number, output in enumerate(seen, start=1):
        want = 0.1 if number == len(seen) else 1.0
        torch.testing.assert_close(output.mean(dim=(0, 2, 3)), torch.zeros(output.shape[1]), rtol=0, atol=1e-4)
        torch.testing.assert_close(
            output.std(dim=(0, 2, 3), unbiased=False), torch.full((output.shape[1],), want), rtol=1e-3, atol=0
        )


def test_initial_weights_stay_finite_on_a_black_frame() -> None:
    net = tiny("s")
    started(net, torch.zeros(1, 3, 40, 40), seed=5)
    assert all(bool(torch.isfinite(weight).all()) for weight in net.parameters())
