"""The page on which people judge what a run found; needs the extra ``review``."""

from cascade.review.desk import ReviewDesk
from cascade.review.serve import serve

__all__ = ["ReviewDesk", "serve"]
