"""A distillation as a training: it resumes as if it had not stopped, leaves the teacher alone, keeps the best."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.onestep import teacher, unet
from edge_sdk.export.onestep.distillation import Distillation
from edge_sdk.export.onestep.monitor import Monitor
from edge_sdk.export.onestep.recipe import DistillRecipe, Kind, Matching
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts, clone_of
from edge_sdk.export.onestep.unet import UNet
from edge_sdk.export.training import loop
from edge_sdk.export.training.checkpoint import Position
from edge_sdk.export.training.identity import digest_of_weights
from edge_sdk.export.training.loop import LoopPlan, Moment, Seen
from edge_sdk.progress import silent

FACTS = TeacherFacts(channels=1, side=8, classes=3, sigma_data=0.6)
SHARES = np.array([0.5, 0.3, 0.2])


def network(facts: TeacherFacts = FACTS) -> NetworkTeacher:
    torch.manual_seed(5)
    net = UNet(unet.layout(channels=1, side=8, base=8, multiples=(1, 1), classes=facts.classes))
    with torch.no_grad():
        for one in net.parameters():
            one.add_(torch.randn(one.shape) * 0.02)
    return NetworkTeacher(net, facts)


def lesson(recipe: DistillRecipe | None = None, *, seed: int = 1) -> Distillation:
    recipe = recipe or DistillRecipe(batch=4, rate=1e-3)
    return Distillation(network(), recipe, shares=SHARES, seed=seed)


def run(folder: Path, steps: int, *, watch: loop.Watch | None = None) -> tuple[Distillation, Position]:
    made = lesson()
    position = loop.run(
        made, LoopPlan(steps=steps), folder=folder, identity={"a": "b"}, seed=1, progress=silent, watch=watch
    )
    return made, position


class StopsAt:
    """Presses Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def __call__(self, done: int, total: int, note: str) -> None:
        if f"step {self._step}," in note:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole", 6)
    plan = LoopPlan(steps=6, checkpoint_every_s=1e-9)
    with pytest.raises(Exception, match="checkpoint is kept"):
        loop.run(lesson(), plan, folder=tmp_path / "cut", identity={"a": "b"}, seed=1, progress=StopsAt(3))
    resumed, position = run(tmp_path / "cut", 6)
    assert position.step == 6
    assert digest_of_weights(resumed._students) == digest_of_weights(whole._students)


def test_both_networks_learn_and_the_teacher_stays(tmp_path: Path) -> None:
    made = lesson()
    before = {name: one.clone() for name, one in made.module.state_dict().items()}
    taught = digest_of_weights(made._teacher)
    terms = made.losses(np.random.default_rng(0), Moment(0, 0.0))
    assert set(terms) == {"auxiliary", "generator"}
    sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert all(one.grad is None for one in made._teacher.parameters())
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in made._students.auxiliary.parameters())
    made.optimizer.step()
    changed = {name.split(".")[0] for name, one in made.module.state_dict().items() if not one.equal(before[name])}
    assert changed == {"generator", "auxiliary"}
    assert digest_of_weights(made._teacher) == taught


@pytest.mark.parametrize("kind", ["pseudo-huber", "l2", "sid", "diff-instruct"])
@pytest.mark.parametrize("levels", ["log-normal", "grid"])
def test_no_loss_of_one_network_reaches_the_other(kind: Kind, levels: str) -> None:
    recipe = DistillRecipe(batch=3, matching=Matching(kind=kind), levels=levels)  # type: ignore[arg-type]
    made = lesson(recipe)
    terms = made.losses(np.random.default_rng(0), Moment(0, 0.0))
    live = list(made._students.generator.live.parameters())
    auxiliary = list(made._students.auxiliary.parameters())
    of_auxiliary = torch.autograd.grad(terms["auxiliary"], live, allow_unused=True, retain_graph=True)
    of_generator = torch.autograd.grad(terms["generator"], auxiliary, allow_unused=True, retain_graph=True)
    assert all(one is None for one in (*of_auxiliary, *of_generator))
    moved = torch.autograd.grad(terms["generator"], live, allow_unused=True)
    assert all(one is not None for one in moved)


def test_rates_are_constant_for_half_of_the_run_and_fall_then() -> None:
    made = lesson()
    rates = [made.rate(Moment(0, done)) for done in (0.0, 0.3, 0.5, 0.75, 1.0)]
    assert rates[:3] == [1.0, 1.0, 1.0]
    assert 0.4 < rates[3] < 0.6
    assert rates[4] == pytest.approx(0.01)


class Scripted:
    """Real pictures whose distance is written beforehand, one value for each look."""

    def __init__(self, *distances: float, least_class: float = 1.0) -> None:
        self._left, self._least = list(distances), least_class

    def of(self, pictures: object) -> dict[str, float]:
        return {"frechet": self._left.pop(0), "least_class": self._least, "most_class": 1.0}


def monitor(made: Distillation, real: Scripted, *, patience: int | None = 2) -> Monitor:
    return Monitor(lesson=made, real=real, every=1, count=4, patience=patience)  # type: ignore[arg-type]


def test_the_best_generator_is_kept_and_patience_ends_the_run(tmp_path: Path) -> None:
    made = lesson()
    watch = monitor(made, Scripted(5.0, 3.0, 4.0, 6.0, 1.0))
    position = loop.run(
        made, LoopPlan(steps=9), folder=tmp_path, identity={"a": "b"}, seed=1, progress=silent, watch=watch
    )
    assert (position.step, position.ended_early) == (4, True)  # two looks without a better one
    assert float(made.best.value) == 3.0
    assert [row["frechet"] for _, row in position.history if "frechet" in row] == [5.0, 3.0, 4.0, 6.0]
    again, finished = run(tmp_path, 9)
    assert (finished.step, float(again.best.value)) == (4, 3.0)
    assert digest_of_weights(again.best.generator) == digest_of_weights(made.best.generator)
    assert digest_of_weights(again.best.generator) != digest_of_weights(again.kept)


def test_a_generator_that_forgets_a_class_is_not_the_best() -> None:
    made = lesson()
    found = monitor(made, Scripted(5.0, least_class=0.6)).look(Position())
    assert found == Seen(values=found.values, enough=False)
    assert float(made.best.value) == float("inf")


class Broken(NetworkTeacher):
    """A teacher with something wrong."""

    def __init__(self, what: str) -> None:
        made = network(replace(FACTS, classes=0))
        super().__init__(made.network, made.facts)
        self.what = what

    def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        answer = super().forward(noisy, sigma, labels)
        match self.what:
            case "nan":
                return answer * float("nan")
            case "shape":
                return answer[:, :, :4]
            case "detached":
                return answer.detach()
            case "numpy":
                return torch.from_numpy(answer.detach().numpy().copy())
            case "moved":
                return answer + 1.0
        return answer


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nan", "NaN or infinity at sigma"), ("shape", "answers .* to pictures of"), ("detached", "no gradient"),
        ("numpy", "no gradient"), ("moved", "moves pictures by up to 1"),
    ],
)  # fmt: skip
def test_a_teacher_that_cannot_teach_is_refused(what: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        teacher.check(Broken(what).eval(), where="x")


def test_a_good_teacher_is_taken() -> None:
    teacher.check(network().eval(), where="x")


class Shares(nn.Module):
    """A module whose copies share its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def __deepcopy__(self, memo: object) -> Shares:
        return copy.copy(self)


def test_a_copy_that_shares_weights_is_refused() -> None:
    with pytest.raises(BadUsage, match="shares weights"):
        clone_of(Shares())
