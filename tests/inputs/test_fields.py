"""Tests of cascade.inputs.fields: one parser a field."""

import numpy as np
import pyarrow as pa
import pytest

from cascade.core.exposure import HeaderFields
from cascade.inputs.fields import PARSERS, columns_of_fields, finite_number, header_facts, parse_gain, whole_number
from cascade.inputs.headers import header_columns


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        *(("expnum", text, 890123) for text in (890123, 890123.0, "890123", "00890123", "D00890123", " 890123.0 ")),
        ("expnum", 2024110800123, 2024110800123),
        *(("expnum", text, None) for text in (-1, "-1", "", "nan", None, "N/A", float("nan"))),
        ("band", "z DECam SDSS c0004 9260.0 1520.0", "z"),
        ("band", " r_57 ", "r"),
        ("band", "none", None),
        ("mjd_obs", "57828.26", 57828.26),
        ("mjd_obs", " ", None),
        ("ra", "12:29:17.948", 187.32478333),
        ("ra", "12 29 17.948", 187.32478333),
        ("ra", 360, 360.0),
        ("dec", "-00:28:40.296", -0.47786),
        ("exptime", "90", 90.0),
        ("exptime", 0, 0.0),
    ],
)
def test_values_are_taken_as_text_or_number(field, value, expected):
    assert PARSERS[field](value) == (expected if not isinstance(expected, float) else pytest.approx(expected))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        *(("expnum", value, "a positive whole number") for value in (0, -5, 1.5, 2**63, "1e5", "x", True, "1" * 40)),
        ("band", 7, "the name of a filter"),
        *(("mjd_obs", value, "an MJD from 50000 to 80000") for value in (0, -1, 2457828.76, "20170316", 1.49e9)),
        ("mjd_obs", "2017-03-16", "a number"),
        ("ra", "10h", "a number"),
        ("ra", -1, "degrees from 0 to 360"),
        ("ra", "25:00:00", "degrees from 0 to 360"),
        ("dec", "10:60:00", "an angle"),
        ("dec", 91, "degrees from -90 to 90"),
        ("exptime", -1, "seconds from 0 to 86400"),
        ("exptime", float("inf"), "a number"),
    ],
)
def test_values_out_of_range_are_refused(field, value, problem):
    with pytest.raises(ValueError, match=f"^expected {problem}, got "):
        PARSERS[field](value)


def test_message_of_a_hostile_value_is_short_and_one_line():
    with pytest.raises(ValueError, match="got ") as caught:
        PARSERS["expnum"]("a\nb" * 1000)
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", sorted(PARSERS))
def test_a_column_of_good_values_is_read_as_each_value_is(field):
    rng = np.random.default_rng(1)
    texts = {
        "expnum": [f"D{n:08d}" for n in rng.integers(1, 10**6, 50)] + ["7.0"],
        "band": ["g", "Y DECam c0005"],
        "mjd_obs": [f"{x:.5f}" for x in rng.uniform(50000, 80000, 50)],
        "ra": [f"{x:.6f}" for x in rng.uniform(0, 360, 50)],
        "dec": [f"{x:.6f}" for x in rng.uniform(-90, 90, 50)],
        "exptime": ["90", "30.0", "0"],
    }[field]
    assert header_columns({field: pa.array([*texts, ""])}, "x")[field].to_pylist() == [
        *map(PARSERS[field], texts), None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [(28, 28, 28.0), (28.0, 28, 28.0), (" 28 ", 28, 28.0), (True, None, None), ("x", None, None), (2.5, None, 2.5)],
)
def test_numbers_of_headers_are_read_in_any_type(value, whole, number):
    assert (whole_number(value), finite_number(value)) == (whole, number)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_is_no_number(value):
    assert (whole_number(value), finite_number(value)) == (None, None)


def test_gain_is_positive():
    assert (parse_gain("4.3"), parse_gain(None)) == (4.3, None)
    with pytest.raises(ValueError, match="expected a positive number, got '0'"):
        parse_gain(0)


def test_a_header_goes_on_to_the_next_keyword_and_says_what_it_left():
    facts = header_facts({"EXPNUM": 0, "EXPID": "890123", "MJD-OBS": 0.0, "FILTER": "g DECam", "EXPTIME": "90."})
    assert (facts.expnum, facts.header) == (890123, HeaderFields("g", None, None, None, 90.0))
    assert facts.remarks == (
        "EXPNUM: expected a positive whole number, got '0': taken for unknown",
        "MJD-OBS: expected an MJD from 50000 to 80000, got '0.0': taken for unknown",
    )


def test_a_column_called_as_its_field_goes_before_others():
    names = ["EXPNUM", "expnum", "Mjd-Obs", "visit"]
    assert columns_of_fields(names) == {"expnum": "expnum", "mjd_obs": "Mjd-Obs"}
