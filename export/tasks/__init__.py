"""The export parts of tasks, by name: the product's own, and those of other packages. Importing it imports none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk import plugins
from edge_sdk.export.option import TaskOptions
from edge_sdk.extras import need

if TYPE_CHECKING:
    from edge_sdk.export.tasks.base import ExportTask

GROUP = "edge_sdk.export_tasks"
_HOMES = {
    "anomaly": ("edge_sdk.export.tasks.anomaly.task", "AnomalyExport"),
    "classification": ("edge_sdk.export.tasks.classification.task", "ClassificationExport"),
    "generation": ("edge_sdk.export.tasks.generation.task", "GenerationExport"),
    "segmentation": ("edge_sdk.export.tasks.segmentation.task", "SegmentationExport"),
    "tensor": ("edge_sdk.export.tasks.tensor", "TensorExport"),
}
_OPTIONS = {
    "anomaly": ("edge_sdk.export.tasks.anomaly.options", "AnomalyOptions"),
    "classification": ("edge_sdk.export.tasks.classification.options", "ClassificationOptions"),
    "generation": ("edge_sdk.export.tasks.generation.options", "GenerationOptions"),
    "segmentation": ("edge_sdk.export.tasks.segmentation.options", "SegmentationOptions"),
}
"""Where the options of our own tasks live, each in a light module: a command line needs them before anything else."""


def export_task(name: str) -> ExportTask:
    """The export part of the task called `name`; of a task that has none, the default one.

    Raises NotThere where its packages are missing, or its plug-in does not load. Our own names can't be taken.
    """
    if name in _HOMES:
        module, attribute = _HOMES[name]
        own: ExportTask = getattr(need(module, extra="export"), attribute)()
        return own
    from edge_sdk.export.tasks.base import ExportTask as Default

    offered = plugins.offered(GROUP)
    if name in offered:
        made: ExportTask = plugins.made(offered[name], Default)
        return made
    return Default()


def options_of(name: str) -> type[TaskOptions]:
    """What exporting the task adds to the command line."""
    if name in _HOMES and name not in _OPTIONS:
        return TaskOptions
    if name in _OPTIONS:
        module, attribute = _OPTIONS[name]
        own: type[TaskOptions] = getattr(need(module, extra="export"), attribute)
        return own
    return export_task(name).options
