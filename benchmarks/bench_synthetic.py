"""Smoke test of the evaluation on synthetic exposures."""

import pytest
from PIL import Image

pytestmark = pytest.mark.slow


def test_the_evaluation_measures_and_draws(tmp_path):
    import synthetic_evaluation as evaluation

    trained = evaluation.CASES["as trained"]
    case = evaluation.score_season(tmp_path, trained, 120, 1)
    assert case["n"] == 120
    assert 0.5 < case["screen"]["roc_auc"] <= 1
    assert 0 < case["segment"]["ccd_f1"]["All"][0] <= 1
    evaluation.gallery(tmp_path, tmp_path / "worst.png")
    with Image.open(tmp_path / "worst.png") as picture:
        assert picture.width > 1000
    result = {"command": "python", "date": "2026-11-22", "models": {}, "cases": {"as trained": case}}
    assert "| as trained | 120 |" in evaluation.table(result)
    evaluation.draw(result, tmp_path / "synthetic.png")
    assert (tmp_path / "synthetic.png").stat().st_size > 0
