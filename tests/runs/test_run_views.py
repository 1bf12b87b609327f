from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from looked_at import FOUND, N, looked_at

import cascade
from cascade.core.errors import ConfigError, InputError, StoreError
from cascade.storage import open_storage

REPOSITORY = Path(__file__).parents[2]
_EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
print(len(notebook.cells), sum("image/png" in output.get("data", {}) for output in outputs))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return cascade.open_run(looked_at(tmp_path_factory.mktemp("looked-at")).path)


def test_frames_hold_the_tables(run):
    frame = run.frame("exposures")
    assert len(frame) == N
    assert frame.expnum.tolist() == [700000 + k for k in range(N)]
    assert str(frame.dtypes["expnum"]) == "int64[pyarrow]"  # which stays whole where some are unknown
    with pytest.raises(StoreError, match="expected a table of"):
        run.frame("ghosts")


def test_masks_are_lazy_and_the_same_in_all_forms(run):
    masks = run.dataset()["mask"]
    assert masks.dims == ("exposure", "y", "x")
    assert np.array_equal(masks[2], run.masks[2])
    assert np.array_equal(run.mask(700002), run.masks[2])
    assert run.mask(700002).any()


def test_masks_on_an_object_store_are_lazy_and_the_same(run, s3_folder):
    for key in ("run.json", *run.storage.files_below("masks.zarr"), *run.storage.files_below("ledger")):
        open_storage(s3_folder).write(key, run.storage.read(key))
    remote = cascade.open_run(s3_folder)
    assert np.array_equal(remote.dataset()["mask"][2], run.masks[2])
    assert remote.dataset().sel(exposure=2).expnum == 700002
    assert np.array_equal(remote.masks[2], run.masks[2])


def test_an_exposure_is_plotted_with_its_preview(run):
    axes = run.plot(700002)
    assert axes.get_title() == "700002  score 0.58  37 CCDs"
    sky = axes.images[0].get_array()[20:60, 150:250].mean()
    assert 0.2 < sky < 0.6
    with pytest.raises(InputError, match="expected the number of one of its exposures, got 1"):
        run.plot(1)


def test_a_run_shows_itself_and_escapes_its_name(run, tmp_path):
    assert f"{N}: {len(FOUND)} flagged" in run._repr_html_()
    folder = tmp_path / "<script>"
    folder.symlink_to(run.path)
    html = cascade.open_run(folder)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(("package", "method"), [("pandas", "frame"), ("xarray", "dataset")])
def test_what_is_not_installed_is_named(run, monkeypatch, package, method):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"expected {package}: pip install 'ghost-cascade\[notebook\]'"):
        getattr(run, method)(*(["ccds"] if method == "frame" else []))


@pytest.mark.slow
def test_the_example_notebook_runs(tmp_path):
    looked_at(tmp_path / "demo")
    (tmp_path / "demo" / "RUN").rename(tmp_path / "demo" / "run")
    notebook = REPOSITORY / "docs" / "look_at_a_run.ipynb"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": ""}
    environment.pop("MPLBACKEND")
    result = subprocess.run(
        [sys.executable, "-c", _EXECUTE, str(notebook)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["11", "1"]
