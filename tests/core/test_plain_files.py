"""Tests of cascade.core.plain_files, and of what reads the files that a user names."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cascade.camera import Camera
from cascade.core.errors import CascadeError
from cascade.core.plain_files import NotPlainError, open_plain, read_plain
from cascade.core.via import read_annotations
from cascade.evaluate.agreement import read_human_line
from cascade.evaluate.truth import read_stack_labels
from cascade.inputs import open_inputs
from cascade.networks.convert import _read
from cascade.networks.model_info import DESCRIPTION, read_model
from cascade.training.calibrate import read_labels
from cascade.training.config import read_config
from cascade.veto.reading import open_list

READERS = {
    "veto list": lambda path: open_list(path, Camera.decam()),
    "annotations": read_annotations,
    "labels": read_stack_labels,
    "human line": read_human_line,
    "training configuration": read_config,
    "model": lambda path: read_model(path.parent),
    "weights of others": lambda path: _read(path),
    "labels of exposures": read_labels,
}


def test_file_and_link_to_one_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_plain(tmp_path / "link") == b"x"
    with open_plain(tmp_path / "file") as stream:
        assert stream.read() == b"x"


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path, kind in ((tmp_path, "a folder"), (tmp_path / "pipe", "a pipe"), (tmp_path / "socket", "a socket"),
                           (Path("/dev/zero"), "a device")):  # fmt: skip
            with pytest.raises(NotPlainError, match=f"expected a plain file, got {kind}"):
                open_plain(path)
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "none")


@pytest.mark.parametrize("reader", READERS)
def test_pipe_that_a_user_names_is_refused(tmp_path, reader):
    path = tmp_path / (DESCRIPTION if reader == "model" else "pipe")
    os.mkfifo(path)
    with pytest.raises(CascadeError, match=r"expected a plain file, got a pipe|: not a file"):
        READERS[reader](path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("camera.toml", lambda path: Camera.load(str(path))),
        ("manifest.csv", open_inputs),
        ("manifest.parquet", open_inputs),
        ("x.npy", open_inputs),
        ("set.zip", open_inputs),
        ("store.zarr", open_inputs),
        ("a.fits", open_inputs),
        ("a.fits.gz", open_inputs),
    ],
)
def test_pipe_among_inputs_is_refused(tmp_path, name, read):
    """A test that hangs has failed."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(CascadeError, match=name.partition(".")[0]):
        read(tmp_path / name)


def test_pipe_among_images_fails_alone(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(CascadeError, match=r"a\.png: not a file"):
        open_inputs([tmp_path]).read(0)
