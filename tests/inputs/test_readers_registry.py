from __future__ import annotations

import pickle

import pytest
from reader_files import expnums, one_of_each, paths, preview, write

from cascade.core.errors import InputError
from cascade.inputs import open_inputs


def test_inputs_are_read_in_the_order_given(tmp_path):
    inputs = one_of_each(tmp_path)
    night = inputs["folder"]
    reader = open_inputs([inputs["npy"], night / "D00000002.png", night / "D00000000.png", str(night)])
    assert paths(reader)[:5] == [*(f"{inputs['npy']}[{k}]" for k in range(3)), *paths(reader)[3:5]]
    assert expnums(reader) == [None, None, None, 2, None, None, 1, 2]


def test_single_path_needs_no_list(tmp_path):
    path = write(tmp_path / "D00158776.png", preview())
    assert expnums(open_inputs(path)) == expnums(open_inputs(str(path))) == [158776]


def test_no_input_is_refused():
    with pytest.raises(InputError, match="expected at least one: a folder of images"):
        open_inputs([])


@pytest.mark.parametrize("name", ["nothing", "nothing.jpg", "nothing.zip", "nothing.npy", "nothing.zarr", "a\0b"])
def test_missing_input_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="no such file or folder"):
        open_inputs([tmp_path / name])


@pytest.mark.parametrize("name", ["a.npz", "a.pkl", "a.txt", "a"])
def test_unknown_kind_is_refused_with_a_list_of_the_known(tmp_path, name):
    path = write(tmp_path / name, pickle.dumps("never loaded"))
    with pytest.raises(InputError, match=r"a folder of images, .* a \.zip .* a manifest \(\.csv, \.parquet\)"):
        open_inputs([path])


def test_input_that_may_not_be_looked_at_is_refused(tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        open_inputs([tmp_path / ("x" * 300)])
