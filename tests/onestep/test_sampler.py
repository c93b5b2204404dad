"""A teacher's sampler on a runtime draws what the sampler draws in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_sdk.export.onestep import unet
from edge_sdk.export.onestep.edm import sample
from edge_sdk.export.onestep.sampler import sampled_on
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
from edge_sdk.export.onestep.unet import UNet
from edge_sdk.export.tasks.generation.real import pictures_of
from edge_sdk.tasks.generation.noise import noise


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("classes", [0, 3])
def test_a_runtime_samples_what_torch_samples(classes: int, runtime: str) -> None:
    torch.manual_seed(3)
    net = UNet(unet.layout(channels=1, side=8, base=8, multiples=(1, 2), classes=classes)).eval()
    with torch.no_grad():
        for one in net.parameters():
            one.add_(torch.randn(one.shape) * 0.1)
    teacher = NetworkTeacher(net, TeacherFacts(channels=1, side=8, classes=classes, sigma_data=0.5)).eval()
    start = noise(5, range(3), (1, 8, 8))
    labels = np.arange(3) % classes if classes else None
    on = sampled_on(teacher, runtime, threads=1)
    drawn = on.draw(start, labels)
    given = None if labels is None else torch.from_numpy(labels)
    wanted = sample(lambda noisy, sigma: teacher(noisy, sigma, given), torch.from_numpy(start))
    apart = np.abs(drawn.astype(int) - pictures_of(wanted.numpy()))
    assert on.calls == 35
    assert wanted.std() > 0.05
    assert apart.max() <= 1
    on.session.close()
