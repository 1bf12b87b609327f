"""Starting a training from the weights of another network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cascade.core.artifact import Artifact
from cascade.core.errors import ModelError
from cascade.networks.model_info import ModelInfo
from cascade.networks.models import load_network

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

PARTS = ("pyramid", "semantic_head", "rpn_head", "box_head", "mask_head")
"""Parts that networks share by name; a screen is one part."""

_CLASSLESS = ("pyramid", "rpn_head")


def take_over(start: ModelInfo, network: keras.Model, classes: Sequence[Artifact] = tuple(Artifact)) -> tuple[str, ...]:
    """
    Copy the weights of the parts that two networks have in common.

    A part is taken over if all its weights have the same shapes and, where it tells classes apart, these are the same;
    a semantic net thus becomes the trunk of a Mask R-CNN.

    Parameters
    ----------
    start : ModelInfo
    network : keras.Model
        Changed in place.
    classes : sequence of Artifact
        What it tells apart.

    Returns
    -------
    tuple of str
        The parts taken over.

    Raises
    ------
    ModelError
        If there is none.
    """
    old = load_network(start)
    taken = []
    for name in PARTS if hasattr(network, "pyramid") else ("",):
        ours, theirs = (getattr(net, name, None) if name else net for net in (network, old))
        if ours is None or theirs is None or (name not in _CLASSLESS and start.classes != tuple(classes)):
            continue
        weights = theirs.get_weights()
        if [weight.shape for weight in weights] == [weight.shape for weight in ours.get_weights()]:
            ours.set_weights(weights)
            taken.append(name or "network")
    if not taken:
        msg = f"{start.folder}: no part of it fits the network to be trained; expected one with the same backbone"
        raise ModelError(msg)
    logger.info("taken over from %s: %s", start.name, ", ".join(taken))
    return tuple(taken)
