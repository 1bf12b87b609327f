"""Small stand-ins for readers and networks; picklable, so that worker processes can use them too."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cascade.core.artifact import Artifact
from cascade.core.errors import InputError
from cascade.core.exposure import PREVIEW_SHAPE, Exposure, HeaderFields, Instances, Source
from cascade.networks.model_id import ModelId
from cascade.runs.config import RunConfig
from cascade.runs.run import Run

# What an exposure is, written into its first pixel. A score is a tenth of it.
CLEAN, BRIGHT, OVERLAP, NAN_SCORE, SCREEN_CRASH, SEGMENT_CRASH, EMPTY_MASK = 0, 7, 8, 20, 21, 9, 10
# These cannot be read at all.
UNREADABLE, READ_CRASH, WRONG_SHAPE = -1, -2, -3
# This one takes its process with it.
DEADLY = -4

# (expnum, kind): a little of everything, an unknown and a repeated expnum.
SEASON = (
    (101, CLEAN),
    (102, BRIGHT),
    (103, UNREADABLE),
    (104, OVERLAP),
    (None, BRIGHT),
    (106, CLEAN),
    (107, READ_CRASH),
    (108, CLEAN),
    (102, OVERLAP),
    (110, BRIGHT),
    (111, CLEAN),
)


@dataclass(frozen=True)
class FakeReader:
    """Exposures of the kinds above."""

    items: tuple[tuple[int | None, int], ...] = SEASON

    def __len__(self):
        return len(self.items)

    def source(self, index):
        expnum, kind = self.items[index]
        return Source(f"night/{expnum}-{kind}.jpg", expnum)

    def read(self, index):
        kind = self.items[index][1]
        source = self.source(index)
        if kind == UNREADABLE:
            msg = f"{source.path}: not an image"
            raise InputError(msg)
        if kind == READ_CRASH:
            msg = "decoder fell over"
            raise ZeroDivisionError(msg)
        if kind == DEADLY:
            os.kill(os.getpid(), 9)
        image = np.zeros((4, 4) if kind == WRONG_SHAPE else PREVIEW_SHAPE, np.uint8)
        image[0, 0] = max(kind, 0)
        header = HeaderFields(band="g", mjd_obs=56232.0 + (source.expnum or 0) / 1000, ra=10.0, dec=-45.5, exptime=90.0)
        return Exposure(replace(source, header=header), image)

    def part(self, start, stop):
        return FakeReader(self.items[start:stop])


@dataclass(frozen=True)
class SlowReader(FakeReader):
    """Takes its time, so that things can happen meanwhile."""

    def read(self, index):
        time.sleep(0.05)
        return super().read(index)

    def part(self, start, stop):
        return SlowReader(self.items[start:stop])


class FakeScreener:
    """A score of a tenth of the first pixel."""

    def __init__(self):
        self.n_images = 0

    def score(self, images):
        self.n_images += len(images)
        kinds = images[:, 0, 0]
        if SCREEN_CRASH in kinds:
            msg = "screen fell over"
            raise ValueError(msg)
        return np.where(kinds == NAN_SCORE, np.nan, kinds / 10).astype(np.float32)


@dataclass
class FakeSegmenter:
    """Rectangles for the kinds that have artifacts; dies like a killed process at call number `kill_at`."""

    kill_at: int | None = None
    n_calls: int = 0
    n_images: int = 0

    def segment(self, images):
        self.n_calls += 1
        self.n_images += len(images)
        if self.n_calls == self.kill_at:
            os.kill(os.getpid(), 9)
        return [self._one(image[0, 0]) for image in images]

    def _one(self, kind):
        if kind == SEGMENT_CRASH:
            msg = "segmenter fell over"
            raise MemoryError(msg)
        if kind == BRIGHT:
            return instances((Artifact.BRIGHT, 0.9, 100, 120, 150, 180))
        if kind == OVERLAP:
            return instances((Artifact.FAINT, 0.8, 90, 90, 300, 300), (Artifact.RAYS, 0.6, 250, 250, 310, 350))
        if kind == EMPTY_MASK:
            return instances((Artifact.FAINT, 0.8, 10, 10, 10, 10))
        return Instances.empty()


def instances(*rectangles, shape=PREVIEW_SHAPE):
    """Instances with rectangular masks, from (class, score, y0, x0, y1, x1)."""
    masks = np.zeros((len(rectangles), *shape), bool)
    for mask, (_, _, y0, x0, y1, x1) in zip(masks, rectangles, strict=True):
        mask[y0:y1, x0:x1] = True
    return Instances(
        np.array([r[0] for r in rectangles], np.uint8),
        np.array([r[1] for r in rectangles], np.float32),
        np.array([r[2:] for r in rectangles], np.float32).reshape(-1, 4),
        masks,
    )


@dataclass(frozen=True)
class FakeLoader:
    """Loads the fake networks, and leaves a file named after the process each time it does."""

    traces: Path | None = None

    def __call__(self):
        if self.traces is not None:
            n_loads = len(list(self.traces.glob(f"{os.getpid()}-*")))
            (self.traces / f"{os.getpid()}-{n_loads}").touch()
        return FakeScreener(), FakeSegmenter()


def config(reader=None, **changes):
    """A configuration for a run of `reader`, three exposures a batch."""
    reader = reader or FakeReader()
    values = {
        "inputs": "f00d",
        "n_exposures": len(reader),
        "screen": ModelId("screen-fake", "aa", "cc"),
        "segment": ModelId("segment-fake", "bb", "dd"),
        "threshold": 0.7,
        "batch_size": 3,
    }
    return RunConfig(**{**values, **changes})


def new_run(path, reader=None, **changes):
    """A run directory for `reader`."""
    return Run.create_or_resume(path, config(reader, **changes))


def slim_matterport(patch: pytest.MonkeyPatch, width: int) -> None:
    """Give Matterport's graph all its layers, but few channels: the real one is 180 MB."""
    patch.setattr("cascade.networks.nets.resnet._FIRST_FILTERS", width)
    for name in ("_PYRAMID_CHANNELS", "_RPN_CHANNELS", "_HEAD_WIDTH", "_MASK_WIDTH"):
        patch.setattr(f"cascade.networks.nets.matterport.{name}", width)
