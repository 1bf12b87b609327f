"""Versions of what a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("ghost-cascade", "dask", "keras", "numpy", "openvino", "pyarrow", "tensorflow", "zarr")


def installed_versions() -> dict[str, str]:
    """Versions of Python and of those packages that are installed; imports none of them."""
    installed = {name: _version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        **{name: v for name, v in installed.items() if v is not None},
    }


def _version(name: str) -> str | None:
    """Version of a package, or None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
