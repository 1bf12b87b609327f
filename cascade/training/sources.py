"""Sources of training images: annotated and synthetic exposures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError, reason
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Float32Array, Instances, UInt8Array, tight_boxes
from cascade.core.run_lengths import decode_mask
from cascade.simulate.conditions import Ranges
from cascade.training.annotated import AnnotatedSet
from cascade.training.augment import Warp
from cascade.training.composite import Compositor
from cascade.training.config import RealConfig, SeasonConfig
from cascade.training.sample import Sample, marked_share

N_HELD_OUT = 512
"""Exposures at the end of a synthetic season that are held out for validation."""

_GAP_PX = 7  # wider than any gap
_MARGIN_PX = 6  # of sky around annotations, pasted with them


class Source(Protocol):
    """Interface of sources of training images."""

    def draw(self, rng: np.random.Generator) -> Sample:
        """Sample one image, not yet augmented."""
        ...


class SyntheticSeason:
    """
    A season written by `cascade simulate`.

    Parameters
    ----------
    folder : Path
    config : SeasonConfig
        Expected configuration of the season.

    Raises
    ------
    ConfigError
        If there is no season, or one of another configuration.
    InputError
        If it is damaged.
    """

    def __init__(self, folder: Path, config: SeasonConfig) -> None:
        import zarr

        self.config = config
        self._folder = folder
        marker = folder / "season.json"
        command = (
            f"cascade simulate {config.n_exposures} --seed {config.seed} --ghosted-share {config.ghosted_share} "
            f"--out {folder}"
        )
        try:
            made = dict(json.loads(marker.read_text(encoding="utf-8")))
            got = {key: made.get(key) for key in ("n_exposures", "ghosted_share", "seed", "format", "ranges")}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            msg = f"{marker}: expected a synthetic season; make it with `{command}`"
            raise ConfigError(msg) from error
        if got != {**config.drawn, "format": "zarr", "ranges": json.loads(json.dumps(asdict(Ranges())))}:
            msg = f"{marker}: expected the season of the configuration, got {got}; make it with `{command}`"
            raise ConfigError(msg)
        try:
            self._previews: Any = zarr.open_array(folder / "previews.zarr" / "preview", mode="r")
            labels = json.loads((folder / "coco.json").read_text(encoding="utf-8"))
            index_of = {image["id"]: n for n, image in enumerate(labels["images"])}
            classes = {category["id"]: Artifact.from_label(category["name"]) for category in labels["categories"]}
            self._labels: list[list[tuple[Artifact, float, str]]] = [[] for _ in index_of]
            for label in labels["annotations"]:
                self._labels[index_of[label["image_id"]]].append(
                    (classes[label["category_id"]], float(label["drawn_share"]), str(label["segmentation"]["counts"]))
                )
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            msg = f"{folder}: expected previews.zarr and coco.json of a synthetic season: {error!r}"
            raise InputError(msg) from error

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def held_out(self) -> range:
        """Exposures held out from `draw`."""
        return range(max(len(self) - N_HELD_OUT, len(self) // 2), len(self))

    def draw(self, rng: np.random.Generator) -> Sample:
        """Sample one exposure, with the artifacts of a random annotator, who omits weak ones at times."""
        n = int(rng.integers(self.held_out.start))
        found, shares = self._labelled(n)
        marked = np.zeros((len(Artifact) + 1, *PREVIEW_SHAPE), np.float32)
        for class_, share, mask in zip(found.classes, shares, found.masks, strict=True):
            for channel in (class_, -1):
                np.maximum(marked[channel], share, out=marked[channel], where=mask)
        drawn = found.select(rng.random(len(found)) < shares)
        return Sample(self._preview(n), drawn, marked)

    def sample(self, n: int) -> Sample:
        """Exposure n, with the artifacts that most annotators would draw."""
        found, shares = self._labelled(n)
        return Sample.of_one(self._preview(n), found.select(shares > 0.5))

    def _preview(self, n: int) -> UInt8Array:
        """The preview of exposure n."""
        try:
            preview: UInt8Array = np.asarray(self._previews[n], np.uint8)
        except Exception as error:  # every codec has its own errors
            msg = f"{self._folder / 'previews.zarr'}: exposure {n}: {reason(error)}; make the season anew"
            raise InputError(msg) from error
        if preview.shape != PREVIEW_SHAPE:
            msg = f"{self._folder / 'previews.zarr'}: expected previews of {PREVIEW_SHAPE}, got {preview.shape}"
            raise InputError(msg)
        return preview

    def _labelled(self, n: int) -> tuple[Instances, Float32Array]:
        """The labels of exposure n, and the fraction of annotators who would draw each."""
        if not self._labels[n]:
            return Instances.empty(), np.zeros(0, np.float32)
        classes, shares, rles = zip(*self._labels[n], strict=True)
        try:
            masks = np.stack([decode_mask(rle) for rle in rles])
        except InputError as error:
            msg = f"{self._folder / 'coco.json'}: exposure {n}: {error}; make the season anew"
            raise InputError(msg) from error
        found = Instances(np.array(classes, np.uint8), np.ones(len(classes), np.float32), tight_boxes(masks), masks)
        return found, np.array(shares, np.float32)


@dataclass(frozen=True)
class TrainingData:
    """
    Training data; not both None.

    Attributes
    ----------
    annotated
        Real exposures.
    season
        Synthetic ones.
    """

    annotated: AnnotatedSet | None
    season: SyntheticSeason | None

    @property
    def description(self) -> dict[str, Any]:
        """Provenance for the model's description."""
        described: dict[str, Any] = {}
        if self.annotated is not None:
            described |= {"exposures": list(self.annotated.expnums), "annotators": len(self.annotated.annotators)}
        if self.season is not None:
            described["season"] = self.season.config.drawn
        return described


class AnnotatedExposures:
    """
    Real exposures with their annotations, and mosaics of their CCDs.

    Parameters
    ----------
    annotated : AnnotatedSet
    camera : Camera
    config : RealConfig
    season : SyntheticSeason or None
        Source of the artifacts pasted onto clean mosaics, if configured.

    Raises
    ------
    ConfigError
        If no exposure has enough clean CCDs for a mosaic.
    """

    def __init__(
        self, annotated: AnnotatedSet, camera: Camera, config: RealConfig, season: SyntheticSeason | None
    ) -> None:
        self._annotated, self._config, self._season = annotated, config, season
        votes = annotated.votes()
        marked: BoolArray = np.any(votes, axis=(0, 2))
        self._region = _with_margin(marked)
        self._marked = marked_share(votes)
        # Annotators outline across the gaps between CCDs, but not beyond the outermost.
        on_ccds = camera.labels > 0
        self._field: BoolArray = ndimage.binary_closing(on_ccds, np.ones((_GAP_PX, _GAP_PX))) | on_ccds
        self._compositor = Compositor(annotated.images, annotated.marked_ccds(camera), camera)

    def draw(self, rng: np.random.Generator) -> Sample:
        """
        Sample one exposure: clean, with synthetic artifacts, with its own artifacts warped, or unchanged ones.

        The background of all is a mosaic of shuffled unmarked CCDs.
        """
        index = int(rng.integers(len(self._annotated)))
        chance = rng.random()
        if chance < self._config.clean_share:
            return Sample.clean(self._compositor.clean(index, rng))
        if chance < self._config.clean_share + self._config.injected_share and self._season is not None:
            return self._injected(self._season.draw(rng), rng)
        found = self._annotated.instances[index][rng.integers(len(self._annotated.annotators))]
        if rng.random() >= self._config.warp_share:
            return Sample(self._compositor.with_other_background(index, rng), found, self._marked[index])
        warp = Warp.random(self._annotated.images.shape[1:], rng)
        region = self._region[index] | (rng.random() < 0.5)  # with or without the rest of the exposure
        image = self._compositor.transplanted(index, warp, region, rng)
        return warp.sample(Sample(image, found, self._marked[index]), image, self._field)

    def _injected(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Paste a synthetic exposure's artifacts onto a clean mosaic of real CCDs."""
        region = _with_margin(sample.marked[-1:] > 0)[0]
        image = self._compositor.injected(sample.image, region, rng)
        return Sample(image, sample.found, sample.marked)


def _with_margin(masks: BoolArray) -> BoolArray:
    """Masks (N, H, W), dilated by a few pixels."""
    ball = np.hypot(*np.ogrid[-_MARGIN_PX : _MARGIN_PX + 1, -_MARGIN_PX : _MARGIN_PX + 1]) <= _MARGIN_PX
    return np.stack([ndimage.binary_dilation(mask, ball) for mask in masks])
