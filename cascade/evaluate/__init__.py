"""How good a result is, in the terms of the paper and of the field."""

from cascade.evaluate.ccd import GROUPS, CcdMetrics, affected_ccds, group_masks, majority

__all__ = ["GROUPS", "CcdMetrics", "affected_ccds", "group_masks", "majority"]
