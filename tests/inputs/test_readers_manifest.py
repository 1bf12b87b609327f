from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from reader_files import expnums, paths, preview, write

from cascade.core.errors import InputError
from cascade.core.exposure import HeaderFields
from cascade.inputs import open_inputs


def write_manifest(path: Path, text: str) -> Path:
    path.write_text(text)
    if path.suffix == ".csv":
        return path
    table = pyarrow.csv.read_csv(path)
    pyarrow.parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_manifest_gives_paths_expnums_and_header_fields(tmp_path, name):
    elsewhere = write(tmp_path / "elsewhere" / "b.png", preview(2))
    write(tmp_path / "night" / "D00158776.png", preview(1))
    text = (
        "expnum,path,band,mjd_obs,ra,dec,exptime,note\n"
        "360471,night/D00158776.png,g,56900.5,10,-5.5,90,fine\n"
        f",{elsewhere},,,,,,\n"
        ",night/D00158776.png,r,,,,30,\n"
    )
    reader = open_inputs(write_manifest(tmp_path / name, text))
    assert expnums(reader) == [360471, None, 158776]
    assert paths(reader) == [f"{tmp_path}/night/D00158776.png", str(elsewhere), f"{tmp_path}/night/D00158776.png"]
    assert reader.source(0).header == HeaderFields("g", 56900.5, 10.0, -5.5, 90.0)
    assert reader.source(1).header == HeaderFields()
    np.testing.assert_array_equal(reader.read(1).image, preview(2))


@pytest.mark.parametrize("text", ["00360471", "D00360471", "360471.0", " 360471"])
def test_expnum_in_a_manifest_may_be_written_in_any_way(tmp_path, text):
    assert expnums(open_inputs(write_manifest(tmp_path / "m.csv", f"expnum,path\n{text},a.jpg\n"))) == [360471]


def test_manifest_with_floats_for_expnums_and_categories_for_bands_is_read(tmp_path):
    table = pa.table(
        {
            "path": pa.array(["a.jpg", "b.jpg"]).dictionary_encode(),
            "expnum": [360471.0, float("nan")],
            "band": pa.array(["g", "r"]).dictionary_encode(),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    reader = open_inputs(tmp_path / "m.parquet")
    assert expnums(reader) == [360471, None]
    assert reader.source(1).header.band == "r"


def test_path_of_digits_is_a_path(tmp_path):
    assert paths(open_inputs(write_manifest(tmp_path / "m.csv", "path\n0158776\n"))) == [f"{tmp_path}/0158776"]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_manifest_without_paths_is_refused_with_the_columns_it_has(tmp_path, name):
    with pytest.raises(InputError, match="expected columns 'expnum' and 'path', got expnum, file"):
        open_inputs(write_manifest(tmp_path / name, "expnum,file\n1,a.jpg\n"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected a manifest: Empty CSV file"),
        ("expnum,path\n", "expected a manifest of images, got no rows"),
        ("expnum,path\n1,a.jpg\n2,\n", "expected a path in every row, got none in row 2"),
        ("expnum,path\n1,a.jpg,g\n", "expected a manifest: CSV parse error"),
        ("path,path\na.jpg,b.jpg\n", "expected a manifest: the column 'path' occurs more than once"),
    ],
)
def test_manifest_that_makes_no_sense_is_refused(tmp_path, text, problem):
    with pytest.raises(InputError, match=rf"m\.csv: {problem}"):
        open_inputs(write_manifest(tmp_path / "m.csv", text))


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
@pytest.mark.parametrize(
    "head", ["path,EXPNUM,MJD-OBS,Filter", "Path, expnum, mjd_obs, band", " PATH,expid,mjd,filter "]
)
def test_columns_are_found_under_any_usual_name(tmp_path, name, head, caplog):
    blank = " " if ", " in head else ""
    row = f",{blank}".join((f"{blank}170316_062107_z.png", "630780", "57828.26", "z DECam SDSS c0004 9260.0 1520.0"))
    reader = open_inputs(write_manifest(tmp_path / name, f"{head},note\n{row},fine\n"))
    assert (paths(reader), expnums(reader)) == ([f"{tmp_path}/170316_062107_z.png"], [630780])
    assert reader.source(0).header == HeaderFields("z", 57828.26)
    (said,) = caplog.messages
    assert "'note' not used" in said


@pytest.mark.parametrize("text", ["expnum,path\nx,a.jpg\n", "expnum,path\n1.5,a.jpg\n", "ra,path\n10h,a.jpg\n"])
def test_value_that_makes_no_sense_is_unknown_and_said(tmp_path, text, caplog):
    reader = open_inputs(write_manifest(tmp_path / "m.csv", text))
    assert (expnums(reader), reader.source(0).header) == ([None], HeaderFields())
    assert "m.csv: " in caplog.text
    assert "1 of 1 values taken for unknown, the first in row 1: expected a " in caplog.text


def test_path_keeps_its_blanks_where_columns_are_written_without(tmp_path):
    assert paths(open_inputs(write_manifest(tmp_path / "m.csv", "path\n a.png\n"))) == [f"{tmp_path}/ a.png"]


def test_file_that_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"m\.parquet: expected a manifest: ."):
        open_inputs(write(tmp_path / "m.parquet", b"no parquet"))


def test_parquet_with_text_that_is_none_is_refused(tmp_path):
    path = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(pa.table({"path": ["name.jpg"]}), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"name.jpg", b"n\xffme.jpg"))
    with pytest.raises(InputError, match=r"m\.parquet: expected a manifest: .*UTF8"):
        open_inputs(path)


def test_manifest_of_a_missing_image_spoils_that_exposure_only(tmp_path):
    write(tmp_path / "b.png", preview())
    reader = open_inputs(write_manifest(tmp_path / "m.csv", "path\na.png\nb.png\n"))
    with pytest.raises(InputError, match=r"a\.png: no such file"):
        reader.read(0)
    reader.read(1)


def test_warning_about_a_manifest_whose_name_is_no_text_is_escaped(tmp_path, caplog):
    write(tmp_path / "7.png", preview())
    manifest = tmp_path / os.fsdecode(b"m\xe9.csv")
    manifest.write_text("path,note\n7.png,x\n")
    assert len(open_inputs(manifest)) == 1
    assert r"m\udce9.csv: 'note' not used" in caplog.text
    caplog.text.encode()


def test_name_with_a_zero_byte_costs_its_row(tmp_path):
    write(tmp_path / "a.png", preview())
    reader = open_inputs(write_manifest(tmp_path / "m.csv", "path\na\0.png\na.png\n"))
    with pytest.raises(InputError, match=r"a\\x00\.png: embedded null byte"):
        reader.read(0)
    assert reader.read(1).image.any()
