"""The few CUDA calls that TensorRT's adapter needs, with errors that say what failed. Knows no TensorRT."""

from __future__ import annotations

from typing import Any, Protocol

from edge_sdk.errors import NotThere
from edge_sdk.extras import need
from edge_sdk.tensors import Array


class Device(Protocol):
    """Memory and one stream of a GPU. Pointers are integers. Made by `Cuda`, or by a stand-in without a GPU."""

    def allocate(self, size_bytes: int) -> int: ...
    def free(self, pointer: int) -> None: ...
    def stream(self) -> int: ...
    def end_stream(self, stream: int) -> None: ...
    def copy_in(self, pointer: int, array: Array, stream: int) -> None:
        """Host to device; `array` is C-contiguous and stays untouched until `wait`."""

    def copy_out(self, array: Array, pointer: int, stream: int) -> None:
        """Device to host, into a C-contiguous `array`, complete after `wait`."""

    def wait(self, stream: int) -> None: ...


class Cuda:
    """The runtime API through cuda-bindings, for one GPU by index. Calls may come from any thread."""

    def __init__(self, index: int, *, extra: str) -> None:
        self._rt = need("cuda.bindings.runtime", extra=extra)
        self._index = index

    def count(self) -> int:
        """How many GPUs the driver shows. Raises NotThere without a driver."""
        return int(self._call("cudaGetDeviceCount"))

    def identity(self) -> str:
        """Name, compute capability and driver: what decides whether an engine still fits."""
        properties = self._call("cudaGetDeviceProperties", self._index)
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        driver = self._call("cudaDriverGetVersion")
        return f"{name} SM{properties.major}{properties.minor} driver {driver}"

    def allocate(self, size_bytes: int) -> int:
        self._select()
        return int(self._call("cudaMalloc", max(1, size_bytes)))

    def free(self, pointer: int) -> None:
        self._call("cudaFree", pointer)

    def stream(self) -> int:
        self._select()
        return int(self._call("cudaStreamCreate"))

    def end_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def copy_in(self, pointer: int, array: Array, stream: int) -> None:
        self._select()
        self._call("cudaMemcpyAsync", pointer, array.ctypes.data, array.nbytes, self._kind("HostToDevice"), stream)

    def copy_out(self, array: Array, pointer: int, stream: int) -> None:
        self._call("cudaMemcpyAsync", array.ctypes.data, pointer, array.nbytes, self._kind("DeviceToHost"), stream)

    def wait(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def _select(self) -> None:
        self._call("cudaSetDevice", self._index)  # per thread, so on the way into each call

    def _kind(self, direction: str) -> Any:
        return getattr(self._rt.cudaMemcpyKind, f"cudaMemcpy{direction}")

    def _call(self, name: str, *arguments: Any) -> Any:
        """The value of one runtime call, each of which answers (error,) or (error, value)."""
        error, *value = getattr(self._rt, name)(*arguments)
        if int(error) != 0:
            _, text = self._rt.cudaGetErrorString(error)
            raise NotThere(
                f"{name} failed: {text.decode()}", where=f"GPU {self._index}", hint="Check the NVIDIA driver"
            )
        return value[0] if value else None
