"""
Put the newest tables of the studies into ``benchmarks/README.md``, between the marks of each study.

    python benchmarks/show.py
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
STUDIES = ("seasons", "roofline", "scaling", "real")


def shown(text: str, results: Path) -> str:
    """The text with every study that has results between its marks."""
    for name in STUDIES:
        table = results / f"{name}.md"
        if table.exists():
            block = f"<!-- {name} -->\n![{name}](results/{name}.png)\n\n{table.read_text(encoding='utf-8')}<!-- end -->"
            text = re.sub(rf"<!-- {name} -->\n.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    readme = FOLDER / "README.md"
    readme.write_text(shown(readme.read_text(encoding="utf-8"), FOLDER / "results"), encoding="utf-8")
