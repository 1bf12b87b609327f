"""Tests of readers on an object store."""

import pickle
import shutil

import numpy as np
import pytest
import zarr
from reader_files import encode, expnums, one_of_each, paths, preview

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError, OutageError
from cascade.inputs import open_inputs
from cascade.inputs.order import Reordered, reordered
from cascade.pipeline.batch import read_batch
from cascade.runs.config import Batch
from cascade.storage import object_store, open_storage, stores


@pytest.fixture
def night(s3_folder):
    """URL of three previews below a prefix, and a few other things."""
    storage = open_storage(s3_folder)
    for k in range(3):
        storage.write(f"night/{k}/D{k:08d}.png", encode(preview(k)))
    storage.write("night/notes.txt", b"clouds")
    return f"{s3_folder}/night"


def assert_previews(reader):
    moved = pickle.loads(pickle.dumps(reader.part(0, len(reader))))
    assert len(moved) == 3
    for k in range(3):
        np.testing.assert_array_equal(moved.read(k).image, preview(k))


def test_images_below_a_prefix_are_read(night):
    reader = open_inputs(night)
    assert_previews(reader)
    assert paths(reader) == [f"{night}/{k}/D{k:08d}.png" for k in range(3)]
    assert expnums(reader) == [None, 1, 2]


def test_images_of_a_pattern_and_single_ones_are_read(night):
    assert paths(open_inputs(f"{night}/*1.png")) == [f"{night}/1/D00000001.png"]
    assert_previews(open_inputs([f"{night}/{k}/D{k:08d}.png" for k in range(3)]))


def test_pictures_in_what_cascade_made_are_left_out(night, s3_folder, caplog):
    storage = open_storage(s3_folder)
    for name in (
        "report/index.html",
        "report/data.js",
        "report/previews/0.jpg",
        "figures/.cascade-made",
        "figures/1.png",
    ):
        storage.write(f"night/{name}", b"{}")
    for given in (night, f"{night}/*g"):
        assert_previews(open_inputs(given))
    assert "night/*g: left out of the files and folders in it: 1 folder that cascade made, 1 report" in caplog.text


@pytest.mark.parametrize("kind", ["csv", "zarr"])
def test_uploaded_input_is_read(kind, s3_folder, tmp_path):
    one_of_each(tmp_path)
    storage = open_storage(s3_folder)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            storage.write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    name = {"csv": "manifest.csv", "zarr": "store.zarr"}[kind]
    reader = open_inputs(f"{s3_folder}/{name}")
    assert_previews(reader)
    assert paths(reader)[1] == f"{s3_folder}/{'night/D00000001.png' if kind == 'csv' else 'store.zarr[1]'}"


def test_local_manifest_may_list_urls(night, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("expnum,path\n" + "".join(f"{7 + k},{night}/{k}/D{k:08d}.png\n" for k in range(3)))
    reader = open_inputs(manifest)
    assert_previews(reader)
    assert expnums(reader) == [7, 8, 9]
    manifest.write_text(f"path\n{night}/0/D00000000.png\nlocal.png\n")
    with pytest.raises(InputError, match=r"expected URLs in all rows or none, got local.png in row 2"):
        open_inputs(manifest)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.zip", "expected a local .zip file: copy it"),
        ("x.npy", "expected a local .npy file"),
        ("c4d_180908_000426_ood_g_v1.fits.fz", "expected FITS images of CCDs .*, got ood, a mask"),
        ("nothing", "expected images .* there, found none"),
        ("*.png", "expected images .* there, found none"),
        ("none.zarr", "expected a Zarr store of previews"),
        ("none.csv", "expected a manifest: .*no such object"),
    ],
)
def test_url_that_cannot_be_opened_is_an_error(name, message, s3_folder):
    with pytest.raises(InputError, match=message):
        open_inputs(f"{s3_folder}/{name}")


def test_missing_or_large_object_fails_alone(s3_folder, monkeypatch):
    monkeypatch.setattr("cascade.inputs.remote.MAX_BYTES", 2**20)
    storage = open_storage(s3_folder)
    storage.write("big.png", b"x" * (2**20 + 1))
    storage.write("ok.png", encode(preview(0)))
    reader = open_inputs([f"{s3_folder}/{name}.png" for name in ("ok", "gone", "big")])
    failures = [outcome.failure for outcome in read_batch(reader, Batch(0, 0, 3), Camera.decam()).outcomes]
    assert failures[0] is None
    assert failures[1] == ("read", f"{s3_folder}/gone.png: no such object")
    assert failures[2] == ("read", f"{s3_folder}/big.png: expected at most 1 MiB, got a larger file")


@pytest.mark.parametrize("odd", ["s3://survey/night//D1.png", "s3://survey/../D1.png", "s3://ada:s3cret@survey/D1.png"])
def test_odd_url_of_a_manifest_fails_alone(odd, night, tmp_path):
    names = [f"{night}/0/D00000000.png", odd, f"{night}/2/D00000002.png"]
    (tmp_path / "m.csv").write_text("path\n" + "\n".join(names) + "\n")
    outcomes = read_batch(open_inputs(tmp_path / "m.csv"), Batch(0, 0, 3), Camera.decam()).outcomes
    assert [outcome.failure is None for outcome in outcomes] == [True, False, True]
    assert "s3cret" not in str(outcomes)


def test_object_at_which_the_store_always_fails_fails_alone(s3, night, monkeypatch):
    monkeypatch.setattr(stores, "_N_RETRIES", 0)
    monkeypatch.setattr(object_store, "_FIRST_PAUSE_S", 0.01)
    stores.connect.cache_clear()
    s3.broken = "/D00000001.png"
    outcomes = read_batch(open_inputs(night), Batch(0, 0, 3), Camera.decam()).outcomes
    assert [outcome.failure is None for outcome in outcomes] == [True, False, True]
    assert "the store fails on this object" in outcomes[1].failure[1]


@pytest.mark.slow
def test_flaky_store_gives_every_preview(s3, s3_folder, tmp_path):
    shutil.copytree(one_of_each(tmp_path)["zarr"], tmp_path / "copy.zarr")
    for path in (tmp_path / "copy.zarr").rglob("*"):
        if path.is_file():
            open_storage(s3_folder).write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    reader = open_inputs(f"{s3_folder}/copy.zarr")
    s3.share = 0.3
    for _ in range(10):
        assert_previews(reader)
    assert s3.n_faults["refused"] > 2


def test_store_of_another_camera_is_taken_when_asked_for(s3_folder, tmp_path):
    store = one_of_each(tmp_path)["zarr"]
    zarr.open_group(store).attrs["camera"] = "lsstcam"
    for path in store.rglob("*"):
        if path.is_file():
            open_storage(s3_folder).write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    url = f"{s3_folder}/{store.name}"
    with pytest.raises(InputError, match="expected previews of decam, got previews of lsstcam"):
        open_inputs(url)
    assert len(open_inputs(url, camera="lsstcam")) == 3


@pytest.mark.slow
def test_unavailable_store_makes_no_failed_exposure(s3, night, s3_folder, tmp_path, monkeypatch):
    one_of_each(tmp_path)
    for path in (tmp_path / "store.zarr").rglob("*"):
        if path.is_file():
            open_storage(s3_folder).write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    readers = [open_inputs(night), open_inputs(f"{s3_folder}/store.zarr")]
    monkeypatch.setattr("cascade.storage.object_store._N_ATTEMPTS", 1)
    monkeypatch.setattr(s3, "FAULTS", ("cut off",))
    s3.share = 1.0
    for reader in readers:
        with pytest.raises(OutageError, match="the store is unavailable"):
            read_batch(reader, Batch(0, 0, 3), Camera.decam())


def test_reader_in_another_order(tmp_path):
    reader = open_inputs(one_of_each(tmp_path)["folder"])
    turned = reordered(reader, np.array([2, 0, 1]))
    assert isinstance(turned, Reordered)
    assert len(turned) == 3
    expected = [paths(reader)[k] for k in (2, 0, 1)]
    assert paths(turned) == expected
    np.testing.assert_array_equal(turned.read(0).image, preview(2))
    for start, stop in ((0, 3), (1, 3), (1, 1)):
        part = turned.part(start, stop)
        assert paths(part) == expected[start:stop]
    np.testing.assert_array_equal(turned.part(0, 2).read(1).image, preview(0))
    assert reordered(reader, np.arange(3)) is reader
    with pytest.raises(IndexError, match="exposure 3: the reader has 3"):
        turned.source(3)
    with pytest.raises(IndexError, match="part 2:4: the reader has 3"):
        turned.part(2, 4)


@pytest.fixture
def manifest(s3, s3_folder, tmp_path, monkeypatch):
    """A manifest of ten previews on the store."""
    monkeypatch.setattr(stores, "_N_RETRIES", 0)
    monkeypatch.setattr(object_store, "_FIRST_PAUSE_S", 0.01)
    stores.connect.cache_clear()
    storage = open_storage(s3_folder)
    for k in range(10):
        storage.write(f"night/D{k:08d}.png", encode(preview(k)))
    lines = [f"{s3_folder}/night/D{k:08d}.png" for k in range(10)]
    (tmp_path / "m.csv").write_text("path\n" + "\n".join(lines) + "\n")
    return tmp_path / "m.csv"


def test_objects_that_are_all_denied_fail_and_are_no_outage(s3, manifest):
    s3.denied = ".png"
    outcomes = read_batch(open_inputs(manifest), Batch(0, 0, 10), Camera.decam()).outcomes
    assert all("access denied" in outcome.failure[1] for outcome in outcomes)
    s3.denied = "/D00000003"
    outcomes = read_batch(open_inputs(manifest), Batch(0, 0, 10), Camera.decam()).outcomes
    assert [k for k, outcome in enumerate(outcomes) if outcome.failure] == [3]


def test_denied_bucket_is_an_error_at_once(s3, manifest, monkeypatch):
    monkeypatch.setattr(s3, "FAULTS", ("denied",))
    s3.share = 1.0
    s3.n_requests.clear()
    with pytest.raises(ConfigError, match=r"access denied: .*; nor can its folder be listed: check the credentials"):
        read_batch(open_inputs(manifest), Batch(0, 0, 10), Camera.decam())
    assert s3.n_requests.total() == 2


def test_objects_at_which_the_store_always_fails_cost_themselves(s3, manifest):
    s3.broken = "/D00000003.png"
    outcomes = read_batch(open_inputs(manifest), Batch(0, 0, 10), Camera.decam()).outcomes
    assert [k for k, outcome in enumerate(outcomes) if outcome.failure] == [3]
    s3.broken = ".png"
    outcomes = read_batch(open_inputs(manifest), Batch(0, 0, 10), Camera.decam()).outcomes
    assert all("the store fails on this object" in outcome.failure[1] for outcome in outcomes)
