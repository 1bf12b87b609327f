"""The report on a run."""

from cascade.pages.report.overview import draw_overview
from cascade.pages.report.write import write_report
from cascade.runs.picture import Panel

__all__ = ["Panel", "draw_overview", "write_report"]
