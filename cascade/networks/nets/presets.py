"""Named architectures, for `cascade models presets` and for training configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COMPACT: Mapping[str, Any] = {
    "name": "mask_rcnn", "offset": 53.0, "scale": 32.0, "semantic_width": 96,
    "anchor_sizes_px": [24.0, 56.0, 128.0, 280.0], "n_candidates": 256, "n_detections": 16, "min_score": 0.05,
}  # fmt: skip

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # The default of both stages.
    "screen": {
        "name": "screen_cnn", "offset": 53.0, "scale": 32.0, "widths": [16, 24, 64, 96, 128],
        "blocks": [0, 0, 1, 1, 1], "dropout": 0.2, "map_width": 48,
    },
    "segment-lite": {
        **_COMPACT, "widths": [16, 32, 96, 160, 256], "blocks": [0, 0, 2, 3, 3], "pyramid_channels": 96,
        "head_width": 256, "mask_width": 64, "mask_depth": 3, "n_proposals": 96,
    },
    # The same with a backbone pretrained on ImageNet; on a CPU it trains four times as slowly.
    "segment-lite0": {
        **_COMPACT, "backbone": "efficientnet_lite0", "pyramid_channels": 128, "head_width": 512, "mask_width": 128,
        "mask_depth": 4, "n_proposals": 128,
    },
    # The network of the paper.
    "mrcnn-r50": {"name": "matterport", "depth": 50},
    "mrcnn-r101": {"name": "matterport", "depth": 101},
}  # fmt: skip
"""`[architecture]` tables by name."""
