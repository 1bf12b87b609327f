"""Tests of cascade.inputs.fits.remote: FITS exposures on an object store."""

import pickle

import numpy as np
import pytest
from fits_files import night, small_fits

from cascade.camera import Camera
from cascade.core.errors import OutageError
from cascade.inputs import open_inputs
from cascade.pipeline.batch import read_batch
from cascade.runs.config import Batch
from cascade.storage import open_storage
from cascade.storage.object_store import ObjectStorage

pytestmark = pytest.mark.slow


def upload(files, url):
    for file in files:
        open_storage(url).write(file.name, file.read_bytes())


@pytest.fixture(scope="module")
def instcal(tmp_path_factory):
    """One file with all CCDs."""
    return night(tmp_path_factory.mktemp("instcal"), 158776, compress=True)


@pytest.fixture(scope="module")
def immasked(tmp_path_factory):
    """One file a CCD."""
    return night(tmp_path_factory.mktemp("immasked"), 700002, layout="immasked", compress=True)


@pytest.fixture
def folder(s3_folder, instcal, immasked):
    """URL of two exposures below a prefix, and a log."""
    url = f"{s3_folder}/night"
    upload([*instcal, *immasked], url)
    open_storage(url).write("log.txt", b"clouds")
    return url


def failure(reader):
    return read_batch(reader, Batch(0, 0, 1), Camera.decam()).outcomes[0].failure


@pytest.mark.parametrize("inputs", ["/", "/*.fits*", "one by one"])
def test_exposures_are_read_as_from_disk(inputs, folder, instcal, immasked):
    names = [f"{folder}{inputs}"] if inputs != "one by one" else [f"{folder}/{f.name}" for f in instcal + immasked]
    local = open_inputs([*instcal, *immasked])
    reader = open_inputs(names)
    reader = pickle.loads(pickle.dumps(reader.part(0, len(reader))))
    assert len(reader) == len(local) == 2
    want = {source.expnum: (source, image) for source, image in ((e.source, e.image) for e in map(local.read, (0, 1)))}
    for got in map(reader.read, (0, 1)):
        source, image = want[got.source.expnum]
        np.testing.assert_array_equal(got.image, image)
        assert got.source.header == source.header
        assert got.source.path == f"{folder}/{source.path.rpartition('/')[2]}"


def test_mask_beside_an_image_counts_and_may_be_missing(s3_folder, tmp_path):
    (image,) = night(tmp_path, ccdnums=(28,))
    bad = np.zeros((4094, 2046), np.int32)
    bad[:2000] = 1
    mask = small_fits(image.with_name(image.name.replace("_ooi_", "_ood_")), bad, CCDNUM=28)
    upload([image], s3_folder)
    bare = open_inputs(f"{s3_folder}/{image.name}").read(0)
    upload([mask], s3_folder)
    masked = open_inputs(f"{s3_folder}/{image.name}").read(0)
    assert (bare.image != masked.image).any()
    np.testing.assert_array_equal(masked.image, open_inputs(image).read(0).image)


def test_parts_of_a_large_object_make_it_whole(s3, s3_folder, tmp_path, monkeypatch):
    data = np.random.default_rng(1).bytes(1_000_003)
    open_storage(s3_folder).write("big", data)
    monkeypatch.setattr("cascade.storage.object_store._PART_BYTES", 70_000)
    s3.share = 0.3
    open_storage(s3_folder).download("big", tmp_path / "big", max_bytes=2_000_000)
    assert (tmp_path / "big").read_bytes() == data
    assert s3.n_faults.total() > 2


def test_missing_large_or_damaged_object_fails_alone(s3_folder, monkeypatch):
    open_storage(s3_folder).write("bad.fits", b"SIMPLE")
    gone = f"{s3_folder}/gone.fits"
    assert failure(open_inputs(gone)) == ("read", f"{gone}: no such object: gone.fits")
    stage, told = failure(open_inputs(f"{s3_folder}/bad.fits"))
    assert stage == "read"
    assert told.startswith(f"{s3_folder}/bad.fits: ")
    monkeypatch.setattr("cascade.inputs.fits.remote._MAX_FILE_BYTES", 0)
    assert failure(open_inputs(f"{s3_folder}/bad.fits"))[1].endswith("expected at most 0 MiB, got a larger file")


def test_full_disk_or_unavailable_store_makes_no_failed_exposure(s3, folder, monkeypatch):
    reader = open_inputs(folder)

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStorage, "download", full)
        with pytest.raises(OutageError, match="no place to copy it to: No space left on device"):
            failure(reader)
    monkeypatch.setattr("cascade.storage.object_store._N_ATTEMPTS", 1)
    monkeypatch.setattr(s3, "FAULTS", ("cut off",))
    s3.share = 1.0
    with pytest.raises(OutageError, match="the store is unavailable"):
        failure(reader)
