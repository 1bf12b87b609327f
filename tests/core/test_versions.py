"""Tests of cascade.core.versions."""

from cascade.core.versions import installed_versions


def test_versions_name_python_and_installed_packages_only():
    versions = installed_versions()
    assert {"python", "numpy", "zarr"} <= versions.keys()
    assert all(versions.values())
