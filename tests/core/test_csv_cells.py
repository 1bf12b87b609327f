"""Tests of cascade.core.csv_cells."""

import pytest

from cascade.core.csv_cells import with_formula, without_formula


@pytest.mark.parametrize(
    "text", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "-1+cmd|' /C calc'!A0", "=HYPERLINK(1)", "'=1", "''@a"]
)
def test_formula_becomes_text(text):
    assert without_formula(text) == f"'{text}"
    assert with_formula(without_formula(text)) == text


@pytest.mark.parametrize(
    "cell", ["", "g", "a=b", "'g", "'", "-1.5", "+2e-3", "-inf", -1.5, None, 7, "2013-11-03", "night/D1.png"]
)
def test_other_cells_stay(cell):
    assert without_formula(cell) == cell
    if isinstance(cell, str):
        assert with_formula(cell) == cell
