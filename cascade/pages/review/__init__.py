"""The page for reviewing the artifacts of a run; needs the extra ``review``."""

from cascade.pages.review.serve import serve
from cascade.pages.review.session import ReviewSession

__all__ = ["ReviewSession", "serve"]
