"""For which target profiles the graphs of a bundle are fit, by linter and opset. Knows no family; runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from edge_sdk.bundle.manifest import Graph
from edge_sdk.calibration.lint.linter import RUNTIMES, lint
from edge_sdk.runtimes import targets
from edge_sdk.runtimes.targets import Target
from edge_sdk.tasks.base import MODEL


def checked(graphs: Sequence[tuple[Graph, bytes]], roles: Sequence[str] = (MODEL,)) -> dict[str, str]:
    """Target profile -> what it would run, or why nothing fits, in words; of several roles for each of them. graphs:
    each with its ONNX bytes.

    The order is that of `targets.choose`; whether the runtime is there is for the device to say.
    """
    by_role = {role: _checked([one for one in graphs if one[0].role == role]) for role in roles}
    if len(by_role) == 1:
        return next(iter(by_role.values()))
    names = next(iter(by_role.values()), {})
    return {name: "; ".join(f"{role}: {found[name]}" for role, found in by_role.items()) for name in names}


def _checked(graphs: Sequence[tuple[Graph, bytes]]) -> dict[str, str]:
    @cache
    def faults(name: str, runtime: str) -> str:
        data = next(data for graph, data in graphs if graph.name == name)
        found = lint(data, tuple(known for known in RUNTIMES if runtime.startswith(known)))
        return f"{found[0].rule} {found[0].what}" if found else ""

    def first_fit(target: Target) -> str:
        problems = []
        for variant in target.variants:
            for place in target.places:
                graph = targets.taken([graph for graph, _ in graphs], variant, place.runtime)
                what = f"{variant} on {place.runtime}"
                if graph is None:
                    problems.append(f"no {what}")
                elif graph.opset > target.opset:
                    problems.append(f"{what} has opset {graph.opset}, it reads up to {target.opset}")
                elif why := graph.refused.get(place.runtime):
                    problems.append(f"{what}: refused when the bundle was packed: {why}")
                elif fault := faults(graph.name, place.runtime):
                    problems.append(f"{what}: {fault}")
                else:
                    found = f"the linter finds no fault, opset {graph.opset}; not tried on such a device"
                    return f"{what} {place.device} ({graph.name}): {found}"
        return "nothing fits: " + "; ".join(dict.fromkeys(problems))

    return {target.name: first_fit(target) for target in targets.TARGETS if not target.refusal}
