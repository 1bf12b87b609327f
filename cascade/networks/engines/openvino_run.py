"""Inference with exported OpenVINO files, without TensorFlow."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cascade.core.exposure import UInt8Array
from cascade.networks.engines.base import OUTPUT_NAMES, Outputs, blocks
from cascade.networks.model_info import Task

Precision = Literal["f32", "bf16"]

PARTS: dict[Task, dict[str, bool]] = {
    "screen": {"screen": True},
    "segment": {"features": True, "propose": False, "classify": True, "detect": False, "mask_head": True},
}
"""Parts of each network in execution order, and whether a part may run in bfloat16; boxes need float32."""

_CPUINFO = Path("/proc/cpuinfo")
_THREADS_VARIABLE = "OMP_NUM_THREADS"  # set for Dask's workers, which share the cores


def import_openvino() -> Any:  # noqa: ANN401
    """
    Import OpenVINO with its telemetry disabled.

    It reports its import to an analytics service unless a file in the home folder opts out, but runs without the
    telemetry package.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes importing it fail
    return importlib.import_module("openvino")


def native_precision() -> Precision:
    """
    bf16 if the CPU has matrix instructions for it (AMX), else f32.

    A CPU with only AVX-512 BF16 also supports bf16, but is slower than in float32 (measured).
    """
    try:
        flags = _CPUINFO.read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux
        return "f32"
    return "bf16" if "amx_bf16" in flags else "f32"


class OpenVINOEngine:
    """
    A network in OpenVINO on the CPU: a chain of compiled parts that share their tensors.

    Not thread-safe: there is one request per part.

    Parameters
    ----------
    folder : Path
        With one ``.xml`` and ``.bin`` for each of `PARTS`.
    task : str
    precision : str
        Of the convolutional parts; ``"f32"`` or ``"bf16"``.
    counting : bool
        Profile every layer, for `counts`.
    """

    def __init__(self, folder: Path, task: Task, precision: Precision, *, counting: bool = False) -> None:
        core = import_openvino().Core()
        self.name = f"openvino {precision}"
        self._task = task
        self._requests = []
        self._tensors: dict[str, Any] = {}
        for part, may_round in PARTS[task].items():
            compiled = core.compile_model(
                folder / f"{part}.xml", "CPU",
                {
                    "INFERENCE_PRECISION_HINT": precision if may_round else "f32",
                    "NUM_STREAMS": 1,
                    "ENABLE_CPU_PINNING": False,
                    "PERF_COUNT": counting,
                    "INFERENCE_NUM_THREADS": int(os.environ.get(_THREADS_VARIABLE) or 0),  # 0: all cores
                },
            )  # fmt: skip
            request = compiled.create_infer_request()
            for port in compiled.inputs:
                name = _own_name(port)
                if name in self._tensors:  # written by an earlier part
                    request.set_tensor(port, self._tensors[name])
                else:
                    self._tensors[name] = request.get_tensor(port)
            self._tensors |= {_own_name(port): request.get_tensor(port) for port in compiled.outputs}
            self._requests.append(request)

    def __call__(self, images: UInt8Array) -> Outputs:
        """Run the network; see `cascade.networks.engines.base.Engine`."""
        outputs: dict[str, list[Any]] = {key: [] for key in OUTPUT_NAMES[self._task] if key in self._tensors}
        image = self._tensors["image"].data
        for block in blocks(images, len(image), fill=True):
            image[:] = block
            for request in self._requests:
                request.infer()
            for key, blocks_ in outputs.items():
                blocks_.append(self._tensors[key].data.copy())
        return {key: np.concatenate(blocks_)[: len(images)] for key, blocks_ in outputs.items()}

    def counts(self) -> list[tuple[str, str, float]]:
        """Part, layer type and seconds of every layer executed for the last block."""
        return [
            (part, str(layer.node_type), layer.real_time.total_seconds())
            for part, request in zip(PARTS[self._task], self._requests, strict=True)
            for layer in request.get_profiling_info()
        ]


def _own_name(port: Any) -> str:  # noqa: ANN401
    """Our name of an input or output, among those added by TensorFlow."""
    return next(str(name) for name in sorted(port.get_names()) if ":" not in name and "/" not in name)
