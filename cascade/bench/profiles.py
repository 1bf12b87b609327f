"""Run time by layer of a network, from OpenVINO's performance counters."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import Any

from cascade.bench.networks import OPENVINO_16
from cascade.networks.engines.openvino_cache import exported
from cascade.networks.engines.openvino_run import PARTS, OpenVINOEngine
from cascade.networks.models import find_model

_ROUNDS = 10
_N_KINDS = 8


def profile(name: str, engine: str) -> dict[str, Any]:
    """
    Profile a model by part and layer type in OpenVINO; the overhead is a few per cent.

    Parameters
    ----------
    name : str
        A model by name or folder.
    engine : str
        `OPENVINO_32` or `OPENVINO_16`.

    Returns
    -------
    dict
        `parts` and `layers`: fractions of the time; layer types largest first, small ones summed as ``others``.
    """
    info = find_model(name)
    folder, images, _ = exported(info)
    counted = OpenVINOEngine(folder, info.task, "bf16" if engine == OPENVINO_16 else "f32", counting=True)
    parts: defaultdict[str, float] = defaultdict(float)
    layers: defaultdict[str, float] = defaultdict(float)
    for _ in range(_ROUNDS):
        counted(images)
        for part, layer, seconds in counted.counts():
            parts[part] += seconds
            layers[layer] += seconds
    total = max(sum(parts.values()), 1e-12)
    named = dict(sorted(layers.items(), key=itemgetter(1), reverse=True)[:_N_KINDS])
    named["others"] = sum(layers.values()) - sum(named.values())
    return {
        "parts": {part: parts[part] / total for part in PARTS[info.task]},
        "layers": {layer: seconds / total for layer, seconds in named.items()},
    }
