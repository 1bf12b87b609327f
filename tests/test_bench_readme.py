from __future__ import annotations

from pathlib import Path

from show import STUDIES, shown

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_readme_shows_the_newest_tables():
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text for name in STUDIES)
    assert shown(text, BENCHMARKS / "results") == text, "run: python benchmarks/show.py"


def test_no_trial_run_is_shown():
    assert "A trial run" not in (BENCHMARKS / "README.md").read_text(encoding="utf-8")


def test_tables_come_between_their_marks(tmp_path):
    (tmp_path / "real.md").write_text("| a \\1 |\n")
    text = "x\n<!-- seasons -->\nold\n<!-- end -->\n<!-- real -->\nold\n<!-- end -->\ny\n"
    expected = "<!-- real -->\n![real](results/real.png)\n\n| a \\1 |\n<!-- end -->\ny\n"
    assert shown(text, tmp_path) == "x\n<!-- seasons -->\nold\n<!-- end -->\n" + expected
