from __future__ import annotations

import pickle

import pytest
from reader_files import expnums, one_of_each, paths, preview, write

from cascade.core.errors import InputError
from cascade.core.made import mark_made
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


def test_hidden_files_and_what_was_made_of_exposures_are_left_out_and_said(tmp_path, caplog):
    night = tmp_path / "night"
    for name in (
        "D00158776.png", ".D00158776.png", ".ipynb_checkpoints/D00158776-checkpoint.png", "__MACOSX/D00158776.png",
        "RUN/report/ghost.png", "report/previews/ghost.png",
    ):  # fmt: skip
        write(night / name, preview())
    for name in ("RUN/run.json", "report/index.html", "report/data.js"):
        write(night / name, b"{}")
    for given in (night, f"{night}/", f"{night}/**/*.png", f"{night}/*"):
        assert expnums(open_inputs(given)) == [158776]
    assert f"{night}: left out of the files and folders in it: " in caplog.text
    assert "3 hidden" in caplog.text
    assert "1 run" in caplog.text
    assert "1 report" in caplog.text


@pytest.mark.parametrize("marks", [("index.html", "data.js"), (".cascade-made",), ("run.json",), ("zarr.json",)])
@pytest.mark.parametrize("given", ["", "/", "/**/*.png", "/*/*.png", "/*/*/*.png"])
def test_pictures_in_what_cascade_made_are_left_out_however_inputs_are_named(tmp_path, caplog, marks, given):
    season = tmp_path / "season"
    for name in ("n1/D00158776.png", "n1/p/D00158777.png", "made/ghost.png", "made/previews/ghost.png"):
        write(season / name, preview())
    for mark in marks:
        write(season / "made" / mark, b"{}")
    found = expnums(open_inputs(f"{season}{given}"))
    assert found == {"/*/*.png": [158776], "/*/*/*.png": [158777]}.get(given, [158776, 158777])
    assert "left out of the files and folders in it: 1 " in caplog.text


def test_marked_folder_is_no_input_itself(tmp_path):
    write(tmp_path / "previews" / "7.png", preview())
    mark_made(tmp_path / "previews")
    for given in (tmp_path / "previews", f"{tmp_path}/previews/*.png"):
        with pytest.raises(InputError, match=r"found none|matches no image"):
            open_inputs(given)


@pytest.mark.parametrize(("mark", "picture"), [("season.json", "gallery.png"), (".cascade-demo", "overview.png")])
def test_overviews_that_cascade_draws_beside_exposures_are_left_out(tmp_path, caplog, mark, picture):
    for name in ("previews/D00158776.png", picture):
        write(tmp_path / name, preview())
    write(tmp_path / mark, b"{}")
    for given in (tmp_path, f"{tmp_path}/**"):
        assert expnums(open_inputs(given)) == [158776]
    assert "1 picture that cascade drew" in caplog.text
    (tmp_path / mark).unlink()
    assert len(open_inputs(tmp_path)) == 2


def test_each_file_is_taken_once_whatever_links_lead_to_it(tmp_path, caplog):
    for name in ("season/night1/D00158776.png", "disk2/night2/D00158777.png", "disk2/D00158778.png"):
        write(tmp_path / name, preview())
    season = tmp_path / "season"
    (season / "a_link").symlink_to("night1")
    (season / "all").symlink_to(".")
    (season / "all_again").symlink_to(".")
    (season / "night2").symlink_to("../disk2/night2")
    (season / "one.png").symlink_to("night1/D00158776.png")
    (season / "other.png").symlink_to("../disk2/D00158778.png")
    listed = ["night1/D00158776.png", "night2/D00158777.png", "other.png"]
    for given in (season, f"{season}/", f"{season}/**/*.png", f"{season}/**"):
        assert paths(open_inputs(given)) == [f"{season}/{name}" for name in listed]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.png", ["a.png", "n1/b.png", "n1/deep/c.png"]),
        ("n*/**/*.png", ["n1/b.png", "n1/deep/c.png"]),
        ("**/d*p/?.png", ["n1/deep/c.png"]),
        ("**/[ab].png", ["a.png", "n1/b.png"]),
        ("n1/**", ["n1/b.png", "n1/deep/c.png"]),
        ("*/*.png", ["n1/b.png"]),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_patterns_go_through_folders(tmp_path, monkeypatch, pattern, expected, absolute):
    for name in ("a.png", "n1/b.png", "n1/deep/c.png"):
        write(tmp_path / name, preview())
    monkeypatch.chdir(tmp_path)
    start = f"{tmp_path}/" if absolute else ""
    assert paths(open_inputs(start + pattern)) == [start + name for name in expected]
