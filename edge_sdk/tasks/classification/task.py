"""The classification task: settings, checks, meaning of errors. Sources are those of the tensor task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np

from edge_sdk.bundle.store import Bundle
from edge_sdk.counted import counted
from edge_sdk.errors import BadBundle
from edge_sdk.golden import OutputCheck
from edge_sdk.shown import shown
from edge_sdk.tasks.base import MODEL, Headline, Loaded, Running, Setup, settings_of
from edge_sdk.tasks.classification.classifier import Classifier
from edge_sdk.tasks.classification.scores import ClassificationSettings, output_of, settings_problem
from edge_sdk.tasks.tensor import TensorTask


class ClassificationTask(TensorTask):
    """One graph, one of whose outputs holds class scores: floats (N, classes)."""

    name: ClassVar[str] = "classification"
    roles: ClassVar[tuple[str, ...]] = (MODEL,)
    settings: ClassVar[type[msgspec.Struct]] = ClassificationSettings
    predictor: ClassVar[type[Running[Any, Any]]] = Classifier

    def check(self, setup: Setup, *, where: str) -> None:
        super().check(setup, where=where)
        if problem := settings_problem(setup.settings, setup.outputs[MODEL]):
            names = [spec.name for spec in setup.outputs[MODEL]]
            one = names.count(setup.settings.output) == 1 or (not setup.settings.output and len(names) == 1)
            hint = "Export it again" if one or not names else f"Name one: --setting output={shown(names[0])}"
            raise BadBundle(f"the settings of the task {self.name}: {problem}", where=where, hint=hint)
        if setup.preprocessing is not None and setup.preprocessing.mode == "tiles":
            raise BadBundle(
                "its preprocessing cuts a picture into tiles, and a classifier gives one answer a picture", where=where,
                hint="Export it with another way of resizing",
            )  # fmt: skip

    def open(self, loaded: Loaded) -> Classifier:
        return Classifier(loaded, settings_of(loaded.bundle, ClassificationSettings))

    def headline(self, bundle: Bundle, checks: Sequence[OutputCheck]) -> Headline:
        """The largest error of a class score, and whether it can have changed the first class of a golden sample."""
        settings = settings_of(bundle, ClassificationSettings)
        name = output_of(settings, bundle.manifest.graphs[0].outputs).name
        found = [check for check in checks if check.output == name]
        if not found:
            return Headline()
        worst, margins = max(check.worst for check in found), _margins(bundle, name)
        # Two scores that move towards each other by `worst` change places where they are less than twice that apart.
        open_ = {check.sample for check in found if not 2 * check.worst < margins[check.sample]}
        sure = len(margins) - len(open_)
        what = "logits" if settings.scores == "logits" else "probabilities"
        lines = (
            f"{what}: off by up to {worst:.3g}; the error is too small to change the first class of {sure} of "
            f"{counted(len(margins), 'golden sample')}",
        )
        return Headline(lines=lines, facts={"worst_class_score": worst, "first_class_certain": sure})

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        settings = settings_of(bundle, ClassificationSettings)
        listed = ", ".join(map(shown, settings.labels[:5])) + ", ..." * (len(settings.labels) > 5)
        how = "logits, softmax on the host" if settings.scores == "logits" else "probabilities"
        return [("classes", f"{len(settings.labels)}: {listed}"), ("scores", how)]


def _margins(bundle: Bundle, output: str) -> list[float]:
    """By golden sample, how far the first class score is above the second: the least of any graph."""
    found = []
    for sample in bundle.manifest.golden:
        scores: Mapping[str, np.ndarray[Any, Any]] = {
            graph: bundle.array(arrays[output]).astype(np.float64).ravel() for graph, arrays in sample.outputs.items()
        }
        found.append(min(float(np.diff(np.sort(one)[-2:])[0]) for one in scores.values()))
    return found
