from __future__ import annotations

from pathlib import Path

import pytest
from show import PAGES, shown

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("page", PAGES)
def test_pages_show_the_newest_tables(page):
    text = (BENCHMARKS / page).read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text for name in PAGES[page])
    assert shown(text, BENCHMARKS / "results") == text, "run: python benchmarks/show.py"


def test_no_trial_run_is_shown():
    assert "A trial run" not in (BENCHMARKS / "README.md").read_text(encoding="utf-8")


def test_tables_come_between_their_marks(tmp_path):
    (tmp_path / "real.md").write_text("| a \\1 |\n")
    (tmp_path / "real.png").touch()
    (tmp_path / "chaos.md").write_text("| b |\n")
    text = (
        "x\n<!-- seasons -->\nold\n<!-- end -->\n<!-- chaos -->\nold\n<!-- end -->\n"
        "<!-- real -->\nold\n<!-- end -->\ny\n"
    )
    chaos = "<!-- chaos -->\n| b |\n<!-- end -->\n"
    expected = "<!-- real -->\n![real](results/real.png)\n\n| a \\1 |\n<!-- end -->\ny\n"
    assert shown(text, tmp_path) == "x\n<!-- seasons -->\nold\n<!-- end -->\n" + chaos + expected
