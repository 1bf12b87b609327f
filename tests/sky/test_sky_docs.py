"""The page about the laws shows the figures of the fit that made the shipped ones."""

import json
from pathlib import Path

import pytest

from cascade.sky.laws import SkyLaws
from cascade.sky.prior import PriorLaw

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def measured():
    return json.loads((ROOT / "benchmarks/results/sky_laws.json").read_text())


def test_the_figures_are_those_of_the_shipped_laws(measured):
    laws, prior = SkyLaws.load(), PriorLaw.load()
    assert measured["reached"] == laws.description["reached"]
    assert measured["levels"] == laws.description["levels"]
    assert {name: prior.description[name] for name in measured["prior"]} == measured["prior"]


def test_the_page_shows_them(measured):
    page = (ROOT / "docs/sky.md").read_text()
    for value, low, high in measured["reached"].values():
        assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in page
    assert f"{100 * measured['survey']['all'][2]:.1f}" in page
