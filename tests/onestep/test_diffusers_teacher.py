"""Networks of diffusers' as teachers: predictions become pictures, folders are read or refused, a bundle is made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers_networks import diffusers, folder_of, network, rewritten
from safetensors.torch import load_file, save_file
from test_onestep_family import called
from torch import Tensor, nn

from edge_sdk import Generator, load_as
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput, NotThere
from edge_sdk.export.onestep import diffusers_folder, kinds, saved, schedules, teacher, teachers
from edge_sdk.export.onestep.diffusers_folder import DiffusersLayout, Prediction
from edge_sdk.export.onestep.diffusers_graph import OneCall
from edge_sdk.export.onestep.diffusers_teacher import DiffusersTeacher, facts_of
from edge_sdk.export.onestep.distillation import OneStep
from edge_sdk.export.onestep.schedules import Betas
from edge_sdk.export.tasks.generation.real import pictures_of
from edge_sdk.runtimes import trt_confirm
from edge_sdk.tasks.generation.noise import noise
from edge_sdk.verify import verify

pytestmark = pytest.mark.long
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v_prediction", "sample")
SIGMAS = (0.011, 0.1, 0.7, 2.5, 9.0, 70.0)
SPREAD = 0.4
TABLE = schedules.sigmas(Betas())


class Knows(nn.Module):
    """A network of diffusers' kind that is right about pictures of independent normal pixels: their mean and standard
    deviation, in its own range. It finds sigma from the step that it is given."""

    def __init__(self, prediction: Prediction, mean: float, std: float, *, learns_variance: bool = False) -> None:
        super().__init__()
        self.prediction, self.mean, self.std, self.learns_variance = prediction, mean, std, learns_variance

    def forward(self, scaled: Tensor, steps: Tensor, labels: Tensor | None, *, return_dict: bool) -> tuple[Tensor]:
        assert not return_dict
        levels = np.exp(np.interp(steps.numpy().astype(np.float64), np.arange(len(TABLE)), np.log(TABLE)))
        sigma = torch.from_numpy(levels)[:, None, None, None]
        kept = (1 + sigma.square()).rsqrt()
        noisy = scaled.to(torch.float64) / kept
        clean = (self.mean * sigma.square() + self.std**2 * noisy) / (sigma.square() + self.std**2)
        found = (noisy - clean) / sigma
        if self.prediction == "v_prediction":
            found = kept * found - kept * sigma * clean
        if self.prediction == "sample":
            found = clean
        found = found.to(torch.float32)
        return (torch.cat([found, 7 * torch.ones_like(found)], dim=1) if self.learns_variance else found,)


def taught_by(net: nn.Module, prediction: Prediction, **config: Any) -> DiffusersTeacher:
    layout = DiffusersLayout(
        config={"sample_size": 8, "in_channels": 1, "out_channels": 1, **config}, betas=Betas(), prediction=prediction
    )
    return DiffusersTeacher(net, layout, facts_of(layout, SPREAD)).eval()


def noisy(sigma: float, count: int = 3) -> Tensor:
    """Pictures in [-1, 1] with noise of that sigma."""
    generator = torch.Generator().manual_seed(int(sigma * 1000))
    clean = torch.randn((count, 1, 8, 8), generator=generator) * SPREAD
    return clean + sigma * torch.randn((count, 1, 8, 8), generator=generator)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("learns_variance", [False, True])
def test_each_prediction_becomes_the_clean_picture(prediction: Prediction, sigma: float, learns_variance: bool) -> None:
    found = taught_by(Knows(prediction, 0.1, SPREAD, learns_variance=learns_variance), prediction)
    x = noisy(sigma)
    clean = (0.1 * sigma**2 + SPREAD**2 * x) / (sigma**2 + SPREAD**2)
    torch.testing.assert_close(found(x, torch.full((3,), sigma)), clean, rtol=1e-3, atol=1e-3 * max(1.0, sigma / 10))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_network_of_pictures_from_0_to_1_teaches_those_from_minus_1_to_1(prediction: Prediction) -> None:
    """specs/sim.md, section 6.1: in its range, spread and noise are half as large."""
    found = taught_by(Knows(prediction, 0.55, SPREAD / 2), prediction, center_input_sample=True)
    assert found.facts.least_sigma == pytest.approx(2 * TABLE[0])
    for sigma in (0.05, 2.5, 40.0):
        x = noisy(sigma)
        clean = (0.1 * sigma**2 + SPREAD**2 * x) / (sigma**2 + SPREAD**2)
        answer = found(x, torch.full((3,), sigma))
        torch.testing.assert_close(answer, clean, rtol=1e-3, atol=1e-3 * max(1.0, sigma / 10))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_next_to_no_noise_pictures_stay_as_they_are(prediction: Prediction) -> None:
    found = taught_by(Knows(prediction, 0.0, SPREAD), prediction)
    x = 3.0 * noisy(found.facts.least_sigma)  # beyond [-1, 1], too: what a sampler clips is no part of a denoiser
    assert x.abs().max() > 2
    answer = found(x, torch.full((3,), found.facts.least_sigma))
    assert (answer - x).abs().max() < 0.01


def test_the_range_of_noise_is_that_of_the_schedule_and_of_edm() -> None:
    stable = Betas(schedule="scaled_linear", start=0.00085, end=0.012)
    layout = taught_by(nn.Identity(), "epsilon").layout
    for betas, least, most in ((Betas(), 0.0100, 80.0), (stable, 0.0292, 14.61)):
        facts = facts_of(replace(layout, betas=betas), 0.5)
        assert (facts.least_sigma, facts.most_sigma) == pytest.approx((least, most), rel=5e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("plain") / "net")


def test_a_folder_of_diffusers_answers_as_its_network_does(folder: Path) -> None:
    found, net = teachers.read(folder), network()
    assert (found.facts.channels, found.facts.side, found.facts.classes, found.facts.sigma_data) == (1, 8, 0, 0.5)
    assert teachers.read(folder, sigma_data=0.3).facts.sigma_data == 0.3
    teacher.check(found, where="net")
    x, step = noisy(2.5), float(schedules.step_at(np.array(2.5), TABLE))
    with torch.no_grad():
        wanted = x - 2.5 * net(x / (1 + 2.5**2) ** 0.5, torch.tensor(step)).sample
        answer = found(x, torch.full((3,), 2.5))
    assert (wanted - x).std() > 0.1
    torch.testing.assert_close(answer, wanted, rtol=1e-4, atol=1e-4)


def test_copies_learn_and_the_teacher_stays(folder: Path) -> None:
    found = teachers.read(folder)
    made = teacher.clone_of(found)
    x = noisy(1.0).requires_grad_(True)
    answer = made(x, torch.full((3,), 1.0))
    answer.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(one.grad is not None for one in made.parameters())
    assert all(one.grad is None for one in found.parameters())


def test_a_folder_of_the_network_alone_takes_a_scheduler_beside_it(folder: Path, tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=r"with which noise.*Put the scheduler_config.json of its pipeline beside"):
        teachers.read(tmp_path)
    diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(tmp_path)
    assert kinds.digest_of(teachers.read(tmp_path)) != kinds.digest_of(teachers.read(folder))


def test_fields_that_a_scheduler_leaves_out_are_those_of_diffusers(folder: Path, tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    (tmp_path / "scheduler_config.json").write_text('{"beta_schedule": "linear"}')
    assert kinds.digest_of(teachers.read(tmp_path)) == kinds.digest_of(teachers.read(folder))


def test_attention_weights_of_old_names_are_read(tmp_path: Path) -> None:
    path = folder_of(tmp_path) / "unet" / diffusers_folder.WEIGHTS
    before = teachers.read(tmp_path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(path)
    for new, name in old.items():
        state = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in state.items()}
    assert any("proj_attn" in key for key in state)
    save_file(state, path)
    assert kinds.digest_of(teachers.read(tmp_path)) == kinds.digest_of(before)


CASES: dict[str, dict[str, Any]] = {
    "epsilon": {}, "classes": {"num_class_embeds": 3}, "from zero": {"center_input_sample": True},
    "variance": {"out_channels": 2}, "scale and shift": {"resnet_time_scale_shift": "scale_shift"},
    "all": {"num_class_embeds": 3, "center_input_sample": True, "resnet_time_scale_shift": "scale_shift"},
    "residual blocks": {
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    },
    "residual resampling": {"downsample_type": "resnet", "upsample_type": "resnet"},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_one_sigma_folded_draws_the_same(case: str, prediction: Prediction) -> None:
    found = taught_by(network(**CASES[case]), prediction, **CASES[case])
    start = torch.from_numpy(noise(5, range(4), (1, 8, 8)))
    labels = torch.arange(4) % 3 if "num_class_embeds" in CASES[case] else None
    with torch.no_grad():
        wanted = OneStep(found, 2.0)(start, labels)
        drawn = OneCall(found, 2.0).eval()(start, labels)
    assert wanted.std() > 0.01
    torch.testing.assert_close(drawn, wanted, rtol=1e-4, atol=1e-5)


def test_a_generator_is_kept_with_its_network_and_schedule(tmp_path: Path) -> None:
    made = folder_of(tmp_path / "net", scheduler={"prediction_type": "v_prediction"}, num_class_embeds=3)
    net = teachers.read(made)
    saved.write(net, tmp_path / "g.safetensors", facts={"start": 2.5})
    found, facts = saved.read(tmp_path / "g.safetensors")
    assert facts == {"start": 2.5}
    assert kinds.digest_of(found) == kinds.digest_of(net)
    x, sigma, labels = noisy(1.0), torch.full((3,), 1.0), torch.arange(3)
    with torch.no_grad():
        torch.testing.assert_close(found(x, sigma, labels), net(x, sigma, labels), rtol=0, atol=0)


def unet_field(**changed: Any) -> Callable[[Path], None]:
    return lambda path: rewritten(path / "unet" / "config.json", **changed)


def scheduler_field(**changed: Any) -> Callable[[Path], None]:
    return lambda path: rewritten(path / "scheduler" / "scheduler_config.json", **changed)


def without_betas(path: Path) -> None:
    place = path / "scheduler" / "scheduler_config.json"
    place.write_text('{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}')


def pickled(path: Path) -> None:
    weights = path / "unet" / diffusers_folder.WEIGHTS
    weights.rename(weights.with_suffix(".bin"))


def other_weights(path: Path) -> None:
    place = path / "unet" / diffusers_folder.WEIGHTS
    state = load_file(place)
    state["conv_in.weight"] = torch.zeros(8, 3, 3, 3)
    save_file(state, place)


def text(words: str) -> Callable[[Path], None]:
    return lambda path: (path / "unet" / "config.json").write_text(words) and None


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another class": (unet_field(_class_name="UNet2DConditionModel"), "class UNet2DConditionModel, read is UNet2DM"),
    "a transformer": (unet_field(_class_name="Transformer2DModel"), "class Transformer2DModel"),
    "no size": (unet_field(sample_size=None), "does not state its pictures' size"),
    "not square": (unet_field(sample_size=[8, 16]), "not square: sample_size is 8 x 16"),
    "latents": (unet_field(in_channels=4, out_channels=4), "takes 4 channels, pictures have 1 or 3"),
    "other answers": (unet_field(out_channels=3), "takes 1 channels and answers 3"),
    "not halved": (unet_field(sample_size=9), "9 px can't be halved"),
    "fourier": (unet_field(time_embedding_type="fourier"), "time_embedding_type is 'fourier'"),
    "class embedding": (unet_field(class_embed_type="timestep"), "class_embed_type is 'timestep'"),
    "huge": (unet_field(block_out_channels=[10**9, 8]), "block_out_channels holds a width"),
    "endless": (unet_field(layers_per_block=10**9), "layers_per_block is not"),
    "no such block": (unet_field(down_block_types=["SkipDownBlock2D"]), "holds 'SkipDownBlock2D', read are"),
    "fewer blocks": (unet_field(up_block_types=["UpBlock2D"]), "diffusers refused"),
    "a newer field": (unet_field(of_tomorrow=1), "diffusers refused.*of_tomorrow.*a newer one may know"),
    "not JSON": (text("{"), "config.json is not JSON"),
    "NaN": (text('{"norm_eps": NaN}'), "NaN is not a number"),
    "a list": (text("[]"), "no JSON object"),
    "no betas": (without_betas, "FlowMatchEulerDiscreteScheduler has no betas"),
    "another schedule": (scheduler_field(beta_schedule="sigmoid"), "beta_schedule is 'sigmoid'"),
    "betas of text": (scheduler_field(trained_betas="many"), "no numbers"),
    "betas beyond 1": (scheduler_field(beta_end=2.0), "between 0 and 1"),
    "another prediction": (scheduler_field(prediction_type="flow_prediction"), "prediction_type is 'flow_prediction'"),
    "a pickle": (pickled, r"diffusion_pytorch_model.bin alone, a pickle.*Convert it"),
    "no weights": (lambda path: (path / "unet" / diffusers_folder.WEIGHTS).unlink(), "holds no diffusion_pytorch"),
    "other weights": (other_weights, "conv_in.weight has the shape"),
    "no network": (lambda path: (path / "unet" / "config.json").unlink(), "holds no network of diffusers"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_teach_is_refused_and_named(case: str, tmp_path: Path) -> None:
    change, said = REFUSED[case]
    change(folder_of(tmp_path))
    with pytest.raises(BadInput, match=said) as raised:
        teachers.read(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert raised.value.hint


def test_without_diffusers_it_says_what_brings_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(NotThere, match="diffusers"):
        teachers.read(folder)


def test_it_teaches_and_becomes_a_bundle_that_runs_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One stage alone: torch's exporter takes most of the time, by the number of operators."""
    path, out = tmp_path / "net", tmp_path / "net.edge"
    folder_of(
        path, scheduler={"prediction_type": "v_prediction"}, block_out_channels=(8,), num_class_embeds=2,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    words = ("train", "onestep", "--teacher", path, "--sigma-data", "0.4", "--out", out, "--steps", "2", "--batch", "2")
    few = ("--threads", "1", "--calibration-samples", "2", "--samples", "100")
    code, _, err = called(capsys, *words, *few)
    assert code == 0, err
    net, facts = saved.read(out.with_suffix(".run") / saved.GENERATOR)
    assert facts[saved.START] == pytest.approx(5 * 0.4)
    assert kinds.digest_of(net) != kinds.digest_of(teachers.read(path))  # it learned
    start, labels = torch.from_numpy(noise(7, range(6), (1, 8, 8))), torch.arange(6) % 2
    with torch.no_grad():
        drawn = pictures_of(OneStep(net, facts[saved.START])(start, labels).numpy()).astype(int)
    for runtime in ("onnxruntime", "openvino"):
        with load_as(Generator, out, runtime=runtime, variant="fp32", threads=1) as generator:
            assert np.abs(generator.generate(6, seed=7).pixels - drawn).max() <= 1, runtime
    assert verify(out, runtimes=["onnxruntime", "openvino"]).passed
    code, shown, _ = called(capsys, *words, *few, "--dry-run")
    assert (code, "teacher              given" in shown) == (0, True)
    with Bundle.open(out) as bundle:
        graph = bundle.graph("fp32")
    try:
        confirmed = trt_confirm.confirm(graph)
    except NotThere as exc:
        pytest.skip(f"TensorRT-RTX is not here: {exc}")
    assert (confirmed.accepted, confirmed.errors) == (True, ())
