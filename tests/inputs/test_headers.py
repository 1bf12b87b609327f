"""Tests of cascade.inputs.headers: one list of header fields, from which all else follows."""

from dataclasses import fields

import pyarrow as pa
import pytest

from cascade.core.exposure import HeaderFields
from cascade.inputs.headers import HEADER_SCHEMA, header_columns
from cascade.inputs.listing import LISTING
from cascade.inputs.preview_store import HEADERS
from cascade.runs.tables import EXPOSURES

COLUMNS = [
    ("expnum", pa.int64(), "exposure number; null if unknown, may repeat"),
    ("band", pa.string(), "filter"),
    ("mjd_obs", pa.float64(), "start of the exposure, MJD in days"),
    ("ra", pa.float64(), "pointing, degrees, ICRS"),
    ("dec", pa.float64(), "pointing, degrees, ICRS"),
    ("exptime", pa.float64(), "exposure time, s"),
]


def test_columns_have_the_types_and_meanings_that_runs_were_written_with():
    assert HEADER_SCHEMA.equals(
        pa.schema([pa.field(name, type_, metadata={"meaning": meaning}) for name, type_, meaning in COLUMNS]),
        check_metadata=True,
    )


def test_tables_of_runs_and_stores_hold_these_columns():
    for name, _, _ in COLUMNS:
        assert EXPOSURES.field(name).equals(HEADER_SCHEMA.field(name), check_metadata=True)
        assert HEADERS.field(name).equals(HEADER_SCHEMA.field(name).remove_metadata(), check_metadata=True)
    assert LISTING.field("expnum").equals(HEADER_SCHEMA.field("expnum"), check_metadata=True)


def test_every_field_is_looked_for_under_keywords_of_fits():
    assert {f.name: f.metadata["keywords"] for f in fields(HeaderFields)} == {
        "band": ("BAND", "FILTER", "FILT", "FILTER_NAME", "PHYSICAL_FILTER"),
        "mjd_obs": ("MJD-OBS", "MJD_OBS", "MJD"),
        "ra": ("TELRA", "RA", "RA_DEG"),
        "dec": ("TELDEC", "DEC", "DEC_DEG"),
        "exptime": ("EXPTIME", "EXP_TIME"),
    }


@pytest.mark.parametrize("row", [{}, {"expnum": 3, "band": None}, {"band": "g", "ra": 0.0, "noise": 2.5}])
def test_fields_are_taken_out_of_a_row(row):
    header = HeaderFields.of(row)
    assert (header.band, header.ra, header.exptime) == (row.get("band"), row.get("ra"), None)


def test_columns_of_any_table_come_to_the_types_of_the_schema():
    columns = {
        "expnum": pa.array(["D00158776", "", "158777.0"]),
        "band": pa.array([" g", "", None]),
        "exptime": pa.array(["90", "nan", ""]),
        "seeing": pa.array([1.0, 1.1, 1.2]),
    }
    converted = header_columns(columns, "x.csv")
    assert {name: column.to_pylist() for name, column in converted.items()} == {
        "expnum": [158776, None, 158777],
        "band": ["g", None, None],
        "exptime": [90.0, None, None],
    }


def test_one_warning_says_what_was_made_of_columns_and_values(caplog):
    columns = {
        " ExpID": pa.array(["890123.0", "20x", "0", "-1"]),
        "MJD_OBS": pa.array([57828.26, 0.0, 2457828.76, float("nan")]),
        "FILTER": pa.array(["z DECam SDSS c0004 9260.0 1520.0", "r_57", "", None]),
        "RA (deg)": pa.array(["12:29:17.948", "361", "10.5", "unknown"]),
        "seeing": pa.array([1.0, 1.1, 1.2, 1.3]),
    }
    converted = header_columns(columns, "x.csv")
    assert {name: column.to_pylist() for name, column in converted.items()} == {
        "expnum": [890123, None, None, None],
        "band": ["z", "r", None, None],
        "mjd_obs": [57828.26, None, None, None],
        "ra": [pytest.approx(187.32478333), None, 10.5, None],
    }
    (said,) = caplog.messages
    assert said == (
        "x.csv: ' ExpID' read as expnum; 'FILTER' read as band; 'MJD_OBS' read as mjd_obs; 'RA (deg)' read as ra; "
        "'seeing' not used; "
        "expnum: 2 of 4 values taken for unknown, the first in row 2: expected a positive whole number, got '20x'; "
        "mjd_obs: 2 of 4 values taken for unknown, the first in row 2: expected an MJD from 50000 to 80000, got '0.0'; "
        "ra: 1 of 4 values taken for unknown, the first in row 2: expected degrees from 0 to 360, got '361'"
    )


def test_columns_with_their_own_names_and_good_values_are_taken_without_a_word(caplog):
    columns = {"expnum": pa.array(["D00158776", ""]), "ra": pa.array([10.5, None]), "band": pa.array(["g", ""])}
    header_columns(columns, "x.csv")
    assert caplog.messages == []


@pytest.mark.parametrize(
    "values", [pa.array([True, False]), pa.array([1.5, 2.0**70]), pa.array([2**64 - 1], pa.uint64())]
)
def test_numbers_that_are_no_exposure_numbers_are_unknown(values, caplog):
    assert header_columns({"expnum": values}, "x").get("expnum").null_count == len(values)
    assert "expected a positive whole number" in caplog.text
