"""Warm start: initialise a network with the weights of another."""

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
"""Parts of networks by name; a screen is a single part."""

_CLASSLESS = ("pyramid", "rpn_head")


def transfer_weights(
    start: ModelInfo, network: keras.Model, classes: Sequence[Artifact] = tuple(Artifact)
) -> tuple[str, ...]:
    """
    Copy the weights of the parts that two networks have in common.

    A part is copied if all its weights have the same shapes and, where it depends on classes, these are the same; a
    semantic net thus initialises a Mask R-CNN.

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
        The copied parts.

    Raises
    ------
    ModelError
        If no part matches.
    """
    old = load_network(start)
    copied = []
    for name in PARTS if hasattr(network, "pyramid") else ("",):
        ours, theirs = (getattr(net, name, None) if name else net for net in (network, old))
        if ours is None or theirs is None or (name not in _CLASSLESS and start.classes != tuple(classes)):
            continue
        weights = theirs.get_weights()
        if [weight.shape for weight in weights] == [weight.shape for weight in ours.get_weights()]:
            ours.set_weights(weights)
            copied.append(name or "network")
    if not copied:
        msg = f"{start.folder}: no part matches the network to be trained; expected a model with the same backbone"
        raise ModelError(msg)
    logger.info("weights copied from %s: %s", start.name, ", ".join(copied))
    return tuple(copied)
