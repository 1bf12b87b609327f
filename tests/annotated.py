"""A small annotated set of simulated exposures, for tests of training."""

from __future__ import annotations

import numpy as np
from fakes import instances

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import Instances
from cascade.simulate import simulate_exposure
from cascade.training.annotated import AnnotatedSet

# Rectangles, each on one or a few CCDs, where annotators saw something: (class, score, y0, x0, y1, x1).
BRIGHT_ON_28 = (Artifact.BRIGHT, 1.0, 172, 190, 192, 210)
FAINT_ON_35 = (Artifact.FAINT, 1.0, 210, 180, 225, 220)
GHOST_LEVEL = 250
GAP_LEVEL = 23
CAMERA = Camera.decam()


def annotated_set(n_exposures: int = 4) -> AnnotatedSet:
    """
    Exposures of nights of two, on which two people marked a saturated square; the first saw a faint ghost as well.

    The squares, at grey level `GHOST_LEVEL`, are the only pixels of that level.
    """
    images = []
    for n in range(n_exposures):
        image = simulate_exposure((), CAMERA, np.random.default_rng(n))
        image[CAMERA.labels == 0] = GAP_LEVEL  # without the marks of JPEG, so that gaps can be compared
        image = np.minimum(image, GHOST_LEVEL - 90)  # room for noise to be matched
        image[BRIGHT_ON_28[2] : BRIGHT_ON_28[4], BRIGHT_ON_28[3] : BRIGHT_ON_28[5]] = GHOST_LEVEL
        images.append(image)
    drawn: tuple[Instances, ...] = (instances(BRIGHT_ON_28, FAINT_ON_35), instances(BRIGHT_ON_28))
    expnums = tuple(100_000 + 5000 * (n // 2) + n for n in range(n_exposures))
    return AnnotatedSet(expnums, np.stack(images), ("first", "second"), (drawn,) * n_exposures)
