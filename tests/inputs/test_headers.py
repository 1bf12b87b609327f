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
        "band": ("BAND", "FILTER"),
        "mjd_obs": ("MJD-OBS",),
        "ra": ("TELRA", "RA"),
        "dec": ("TELDEC", "DEC"),
        "exptime": ("EXPTIME",),
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
