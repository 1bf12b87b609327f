"""The README's commands and example, as a newcomer would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.simulate import simulate_exposure

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def _block(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, marker
    return found[1]


@pytest.mark.slow
def test_python_example_works_as_written(tmp_path):
    previews = tmp_path / "demo" / "previews"
    previews.mkdir(parents=True)
    for n, artifacts in enumerate([(), (Artifact.RAYS,), (Artifact.BRIGHT,)]):
        image = simulate_exposure(artifacts, Camera.decam(), np.random.default_rng(n))
        Image.fromarray(image).save(previews / f"D{800001 + n:08d}.png")
    example = _block("example")
    assert len(example.strip().splitlines()) <= 12
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rule, names = (tmp_path / "veto.csv").read_text().splitlines()[:2]
    assert rule.startswith("# cascade veto min_area=0.05 ")
    assert names.startswith("expnum,ccdnum,detpos,")


def test_both_commands_install_before_they_run():
    assert "pip install --quiet . && .venv/bin/cascade demo" in _block("demo")
    assert ".[test]" in _block("tests")
    assert _block("tests").rstrip().endswith("-m pytest")


@pytest.mark.parametrize("path", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_every_link_into_the_repository_leads_somewhere(path):
    assert (REPOSITORY / path).is_file()


def test_every_model_of_the_table_is_in_the_zoo():
    for name in re.findall(r"^\| `([\w-]+)` \| (?:screen|segment) ", README, re.MULTILINE):
        assert (REPOSITORY / "models" / name / "model.toml").is_file()
