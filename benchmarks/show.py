"""
Insert the newest tables of the studies into ``benchmarks/README.md`` and ``scale.md``, between their markers.

    python benchmarks/show.py
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGES = {
    "README.md": ("seasons", "roofline", "scaling", "real", "fuzz"),
    "scale.md": ("million", "chaos", "hosts", "throughput", "gpu"),
}
"""The studies of each page, in the order of their commands."""


def shown(text: str, results: Path) -> str:
    """The text with the figure and table of every study that has results inserted between its markers."""
    for name in [name for names in PAGES.values() for name in names]:
        table = results / f"{name}.md"
        if table.exists():
            picture = f"![{name}](results/{name}.png)\n\n" if table.with_suffix(".png").exists() else ""
            block = f"<!-- {name} -->\n{picture}{table.read_text(encoding='utf-8')}<!-- end -->"
            text = re.sub(rf"<!-- {name} -->\n.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    for page in PAGES:
        path = FOLDER / page
        path.write_text(shown(path.read_text(encoding="utf-8"), FOLDER / "results"), encoding="utf-8")
