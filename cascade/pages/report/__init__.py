"""Looking at a run."""

from cascade.pages.report.overview import Panel, draw_overview
from cascade.pages.report.write import write_report

__all__ = ["Panel", "draw_overview", "write_report"]
