"""Tests of cascade.core.plain_files, and that what a user names is opened through it."""

import os

import pytest

from cascade.camera import Camera
from cascade.core.errors import CascadeError
from cascade.core.plain_files import open_plain, read_plain
from cascade.core.via import read_annotations
from cascade.evaluate import read_stack_labels
from cascade.inputs import open_inputs
from cascade.networks.convert import convert_matterport
from cascade.networks.model_info import read_model
from cascade.training.config import read_config
from cascade.veto import read_list


def test_plain_file_is_read_and_nothing_else(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("a")
    assert read_plain(tmp_path / "a") == read_plain(tmp_path / "link") == b"abc"
    with pytest.raises(OSError, match="expected a file, got a pipe or a device"):
        open_plain(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a file, got a pipe or a device"):
        open_plain(tmp_path / ".." / ".." / ".." / ".." / ".." / ".." / "dev" / "zero")
    with pytest.raises(IsADirectoryError, match="expected a file, got a folder"):
        open_plain(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("list.txt", lambda path: read_list(path, Camera.decam())),
        ("via.json", read_annotations),
        ("y.npy", read_stack_labels),
        ("train.toml", read_config),
        ("camera.toml", lambda path: Camera.load(str(path))),
        ("model.toml", lambda path: read_model(path.parent)),
        ("weights.h5", lambda path: convert_matterport(path, path.parent / "model")),
        ("manifest.csv", open_inputs),
        ("manifest.parquet", open_inputs),
        ("x.npy", open_inputs),
        ("set.zip", open_inputs),
        ("store.zarr", open_inputs),
        ("a.fits", open_inputs),
        ("a.fits.gz", open_inputs),
    ],
)
def test_pipe_is_refused_whatever_it_stands_for(tmp_path, name, read):
    """A test that hangs has failed."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(CascadeError, match=name.partition(".")[0]):
        read(tmp_path / name)


def test_pipe_among_images_fails_alone(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(CascadeError, match=r"a\.png: not a file"):
        open_inputs([tmp_path]).read(0)
