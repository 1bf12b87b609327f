"""The page on which people judge what a run found; needs the extra ``review``."""

from cascade.pages.review.serve import serve
from cascade.pages.review.session import ReviewSession

__all__ = ["ReviewSession", "serve"]
