"""Networks with a name: what `cascade models presets` lists and a training configuration may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # The default of both stages.
    "screen": {
        "name": "screen_cnn", "offset": 53.0, "scale": 32.0, "widths": [16, 32, 64, 96, 128],
        "blocks": [0, 0, 1, 1, 1], "dropout": 0.2,
    },
    "segment-lite": {
        "name": "mask_rcnn", "backbone": "efficientnet_lite0", "offset": 53.0, "scale": 32.0, "pyramid_channels": 128,
        "head_width": 512, "mask_width": 128, "mask_depth": 4, "anchor_sizes_px": [24.0, 56.0, 128.0, 280.0],
        "n_candidates": 256, "n_proposals": 128, "n_detections": 16, "min_score": 0.05,
    },
    # The paper's way.
    "mrcnn-r50": {"name": "matterport", "depth": 50},
    "mrcnn-r101": {"name": "matterport", "depth": 101},
}  # fmt: skip
"""`[architecture]` tables by name."""
