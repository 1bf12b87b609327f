"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from s3_server import FlakyS3

    from cascade.inputs import Reader

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Networks exported for OpenVINO are kept in the user's cache; tests have one of their own.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="cascade-tests-")

REPOSITORY = Path(__file__).parents[1]

# Some benchmarks have a small version among the tests.
sys.path.append(str(REPOSITORY / "benchmarks"))

_SLOW_FIXTURES = {"zoo"}
"""Fixtures that build networks to run: a test that asks for one is marked as slow."""


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture
def real_data() -> Path:
    """The shared real exposures, or a skip that says what is missing."""
    root = Path(os.environ.get("CASCADE_DATA", REPOSITORY / "../shared/data")).resolve()
    if not (root / "des_common_core").is_dir():
        pytest.skip("the real DES exposures are absent: set CASCADE_DATA to the folder that holds des_common_core")
    return root


@pytest.fixture(scope="session")
def tiny_architectures() -> dict[str, dict[str, object]]:
    """Networks as small as they get: a screen, and two that segment, with instances and without."""
    segment = {
        "name": "mask_rcnn", "offset": 53.0, "scale": 32.0, "widths": [4, 4, 8, 8, 8], "blocks": [0, 0, 0, 0, 0],
        "pyramid_channels": 8, "semantic_width": 4, "head_width": 8, "mask_width": 8, "mask_depth": 1,
        "anchor_sizes_px": [24.0, 56.0, 128.0, 280.0], "n_candidates": 32, "n_proposals": 16, "n_detections": 4,
        "min_score": 0.05,
    }  # fmt: skip
    return {
        "screen": {
            "name": "screen_cnn", "widths": [4, 4, 8, 8, 8], "blocks": [0, 0, 0, 0, 0], "offset": 53.0, "scale": 32.0,
            "dropout": 0.0, "map_width": 4,
        },
        "segment": segment,
        "semantic": {**segment, "name": "semantic"},
    }  # fmt: skip


@pytest.fixture(scope="session")
def season_folder(tmp_path_factory) -> Path:
    """A small synthetic season; not to be changed."""
    from seasons import simulated

    return simulated(tmp_path_factory.mktemp("season") / "season")


@pytest.fixture(params=["folder", "pattern", "zip", "npy", "zarr", "csv", "chain"])
def reader(request, tmp_path) -> Reader:
    """The previews 0, 1 and 2, by every kind of reader."""
    # Imported here: what conftest.py imports at its top is loaded before pytest turns warnings into errors.
    from reader_files import one_of_each

    from cascade.inputs import open_inputs
    from cascade.inputs.base import chain

    inputs = one_of_each(tmp_path)
    if request.param == "chain":
        return chain([open_inputs(inputs["npy"]).part(0, 2), open_inputs(inputs["folder"]).part(2, 3)])
    return open_inputs([inputs[request.param]])


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[tuple[FlakyS3, str]]:
    """A server on this machine, or a skip where the extra `s3` is not installed."""
    for package in ("moto", "obstore"):
        pytest.importorskip(package)
    from s3_server import serve

    with serve() as served:
        yield served


@pytest.fixture
def s3(_s3_server, monkeypatch) -> Iterator[FlakyS3]:
    """The S3 server, which this process and those it starts use; it fails as its `share` says."""
    from s3_server import ENVIRONMENT

    from cascade.storage.stores import connect

    app, url = _s3_server
    for name, value in (*ENVIRONMENT.items(), ("AWS_ENDPOINT_URL", url)):
        monkeypatch.setenv(name, value)
    connect.cache_clear()
    app.share = 0.0
    app.restart()
    yield app
    app.share, app.broken, app.denied = 0.0, "", ""
    connect.cache_clear()


@pytest.fixture
def s3_folder(s3, tmp_path) -> str:
    """URL of an empty place in the bucket."""
    from s3_server import BUCKET

    return f"s3://{BUCKET}/{tmp_path.name}"
