"""
Find ghosts and scattered light in survey exposures.

A fast CNN screens every exposure, Mask R-CNN masks the flagged ones, and people make CCD veto lists of the result.
Names load on first use: importing this package loads neither Keras nor Dask.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade.camera import Camera
    from cascade.core.artifact import Artifact
    from cascade.core.errors import CascadeError, ConfigError, InputError, ModelError, StoreError
    from cascade.core.exposure import Exposure, Instances
    from cascade.inputs import open_inputs
    from cascade.pipeline.season import run_season
    from cascade.runs.run import Run, open_run
    from cascade.veto import VetoRule, veto_rows, write_veto

    __version__: str

_HOME = {
    "Artifact": "core.artifact",
    "Camera": "camera",
    "CascadeError": "core.errors",
    "ConfigError": "core.errors",
    "Exposure": "core.exposure",
    "InputError": "core.errors",
    "Instances": "core.exposure",
    "ModelError": "core.errors",
    "Run": "runs.run",
    "StoreError": "core.errors",
    "VetoRule": "veto",
    "open_inputs": "inputs",
    "open_run": "runs.run",
    "run_season": "pipeline.season",
    "veto_rows": "veto",
    "write_veto": "veto",
}

__all__ = [
    "Artifact",
    "Camera",
    "CascadeError",
    "ConfigError",
    "Exposure",
    "InputError",
    "Instances",
    "ModelError",
    "Run",
    "StoreError",
    "VetoRule",
    "open_inputs",
    "open_run",
    "run_season",
    "veto_rows",
    "write_veto",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first asked for, and look up the version."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("ghost-cascade")
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
