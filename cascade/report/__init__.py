"""Looking at a run."""

from cascade.report.overview import Panel, draw_overview

__all__ = ["Panel", "draw_overview"]
