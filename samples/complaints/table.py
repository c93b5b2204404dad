"""The one table of replayed complaints: which script, what it is about, who reported it. Knows no measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """script: file name in this folder, without ".py". title: of its section on the page. reported: public threads,
    GitHub owner/repository#number, PR#number for pull requests. needs: packages without which there is nothing to
    replay."""

    script: str
    title: str
    reported: tuple[str, ...]
    needs: tuple[str, ...] = ("onnx", "onnxruntime")


COMPLAINTS: tuple[Complaint, ...] = (
    Complaint(
        script="slower_than_float",
        title="int8 is slower than float",
        reported=(
            "microsoft/onnxruntime#26143", "microsoft/onnxruntime#20052", "microsoft/onnxruntime#17389",
            "microsoft/onnxruntime#12854",
        ),
        needs=("onnx", "onnxruntime", "openvino"),
    ),
    Complaint(
        script="nan_in_half",
        title="A black picture gives NaN in half precision",
        reported=("pytorch/pytorch#32137", "NVIDIA/TensorRT#1787", "openvinotoolkit/openvino PR#8676"),
        needs=("onnx", "onnxruntime", "torch"),
    ),
    Complaint(
        script="score_scale",
        title="Boxes are fine, confidences are gone",
        reported=("ultralytics/ultralytics#24668", "ultralytics/ultralytics#23987", "ultralytics/ultralytics#22644"),
    ),
    Complaint(
        script="wrong_without_vnni",
        title="int8 is right on one CPU and wrong on the next",
        reported=(
            "microsoft/onnxruntime#6004", "microsoft/onnxruntime#14642", "uxlfoundation/oneDNN#1354",
            "openvinotoolkit/openvino#25342",
        ),
        needs=("onnx", "onnxruntime", "openvino"),
    ),
    Complaint(
        script="silent_cpu",
        title="The GPU was asked for, the CPU answered",
        reported=(
            "microsoft/onnxruntime#23372", "microsoft/onnxruntime#17801", "microsoft/onnxruntime#21424",
            "livekit/agents PR#5877",
        ),
    ),
    Complaint(
        script="refused_by_tensorrt",
        title="TensorRT refuses the int8 file, or clips it",
        reported=(
            "NVIDIA/TensorRT#2774", "NVIDIA/TensorRT#4698", "NVIDIA/TensorRT#3577", "NVIDIA/TensorRT#2527",
            "microsoft/onnxruntime#10743",
        ),
    ),
    Complaint(
        script="calibration_memory",
        title="Calibration runs out of memory",
        reported=(
            "microsoft/onnxruntime#10503", "microsoft/onnxruntime#21979", "microsoft/onnxruntime#11020",
            "onnx/onnx#4091",
        ),
    ),
    Complaint(
        script="resized_by_hand",
        title="The exported model gives other scores",
        reported=(
            "open-edge-platform/anomalib#2266", "open-edge-platform/anomalib#2448", "open-edge-platform/anomalib#2483",
            "roboflow/rf-detr#1203",
        ),
        needs=("onnx", "onnxruntime", "openvino", "torch"),
    ),
    Complaint(
        script="file_runs_code",
        title="Loading a model runs its code, or reads another file",
        reported=(
            "open-edge-platform/anomalib PR#2729", "ecmwf/anemoi-core#1416", "kyutai-labs/moshi#408",
            "ultralytics/ultralytics#16569", "onnx/onnx#3991", "onnx/onnx PR#7040",
        ),
        needs=("onnx", "onnxruntime", "torch", "safetensors"),
    ),
    Complaint(
        script="other_runtime",
        title="One int8 file, two runtimes, two answers",
        reported=(
            "NVIDIA/TensorRT#2103", "NVIDIA/Model-Optimizer#869", "microsoft/onnxruntime#12638",
            "open-edge-platform/anomalib#2483",
        ),
        needs=("onnx", "onnxruntime", "openvino"),
    ),
)  # fmt: skip


def complaint(script: str) -> Complaint:
    """The row of one script."""
    return next(one for one in COMPLAINTS if one.script == script)
