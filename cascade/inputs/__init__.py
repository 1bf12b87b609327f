"""Where exposures come from: images, folders, archives, stacks and manifests, read one at a time."""

from cascade.inputs.base import Reader, expnum_from_name
from cascade.inputs.registry import open_inputs

__all__ = ["Reader", "expnum_from_name", "open_inputs"]
