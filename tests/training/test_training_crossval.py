import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from annotated import GHOST_LEVEL, annotated_set
from fakes import instances
from trainings import train_config

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.training import crossval, measure
from cascade.training.crossval import cross_validate
from cascade.training.sources import TrainingData

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()
N_MOSAICS = 2


@pytest.fixture(autouse=True)
def few_mosaics_and_settings(monkeypatch):
    monkeypatch.setattr(crossval, "_MOSAICS_PER_EXPOSURE", N_MOSAICS)
    monkeypatch.setattr(measure, "_MIN_SCORES", (0.5, 0.9))
    monkeypatch.setattr(measure, "_SEMANTIC", (0.5,))


@pytest.fixture(scope="module")
def config():
    return train_config({"name": "none"}, None)


class Trained:
    """Stands for a model folder, and remembers what it learned from."""

    def __init__(self, folder, seen, start):
        self.folder, self.seen, self.start = folder, seen, start


@pytest.fixture
def trainings(monkeypatch):
    """Replace training by taking notes."""
    notes = []

    def train(_task, _config, data, _camera, folder, *, start=None, on_steps=None):
        assert on_steps is None
        notes.append(Trained(folder, set(data.annotated.expnums), start))
        return notes[-1]

    monkeypatch.setattr(crossval, "train", train)
    monkeypatch.setattr(crossval, "read_model", lambda folder: SimpleNamespace(folder=folder, task="segment"))
    return notes


def nights(n_nights):
    """Exposures of as many nights, two each, every one with its own truth, and that by the exposure's pixels."""
    annotated = annotated_set(2 * n_nights)
    truths = [(8 + 33 * (n % 10), 180, 20 + 33 * (n % 10), 230) for n in range(len(annotated))]
    drawn = tuple((instances((Artifact.BRIGHT, 1.0, *box)),) * 2 for box in truths)
    annotated = replace(annotated, instances=drawn)
    return annotated, {image.tobytes(): n for n, image in enumerate(annotated.images)}, truths


class Oracle:
    """A network that knows every exposure, and sees something in every other clean mosaic."""

    name = "oracle"

    def __init__(self, annotated, place, truths, trainings, *, semantic=False):
        self._annotated, self._place, self._truths, self._trainings = annotated, place, truths, trainings
        self._semantic = semantic

    def __call__(self, images):
        n_images = len(images)
        boxes, scores = np.zeros((n_images, 1, 4), np.float32), np.zeros((n_images, 1), np.float32)
        for k, image in enumerate(images):
            n = self._place.get(image.tobytes())
            if n is None:  # a mosaic
                boxes[k], scores[k] = [0, 180, 40, 230], 0.45 * (k % 2)
                continue
            assert self._annotated.expnums[n] not in self._trainings[-1].seen
            boxes[k], scores[k] = self._truths[n], 0.95
        answer = {
            "boxes": boxes, "scores": scores, "classes": np.zeros((n_images, 1), np.int32),
            "masks": np.ones((n_images, 1, 28, 28), np.float32),
        }  # fmt: skip
        return {**answer, "semantic": np.zeros((n_images, 100, 100, 4), np.float32)} if self._semantic else answer


@pytest.mark.parametrize("semantic", [False, True])
def test_every_exposure_is_segmented_by_a_network_that_never_saw_its_night(
    semantic, config, trainings, monkeypatch, tmp_path
):
    annotated, place, truths = nights(6)
    monkeypatch.setattr(crossval, "load_network", lambda info: info.folder)

    def engine(folder, _task):
        assert folder == trainings[-1].folder
        return Oracle(annotated, place, truths, trainings, semantic=semantic)

    monkeypatch.setattr(crossval, "KerasEngine", engine)
    figures = cross_validate("segment", config, TrainingData(annotated, None), CAMERA, tmp_path)
    assert [trained.folder.name for trained in trainings] == [f"fold-{k}" for k in range(5)]
    assert all(trained.start is None for trained in trainings)
    assert sorted(expnum for fold in figures["folds"] for expnum in fold) == list(annotated.expnums)
    # Perfect answers get perfect marks only if they come back in the order of the exposures.
    assert figures["area_0.0"]["Bright"]["f1"] == 1.0
    assert figures["area_0.0"]["Bright"]["f1_interval"] == [1.0, 1.0]
    assert figures["nested"]["area_0.0"]["Bright"]["f1"] == 1.0
    assert len(figures["nested"]["settings"]) == 5
    assert set(figures["best_by_kind"]) == ({"both", "instances", "map"} if semantic else {"instances"})
    assert figures["best_by_kind"]["instances"]["Bright"] == 1.0
    assert figures["f1_by_setting"]["instances 0.9"]["Bright"] == 1.0
    assert figures["n_clean_mosaics"] == 12 * N_MOSAICS
    # At 0.4, the threshold of the configuration, every other mosaic shows something.
    ours = "instances 0.4, map 0.6" if semantic else "instances 0.4"
    assert figures["n_clean_mosaics_with_artifacts"][ours] == 12 * N_MOSAICS / 2
    assert json.loads((tmp_path / "cross_validation.json").read_text()) == json.loads(json.dumps(figures))


def test_screen_figures_by_hand(config, trainings, monkeypatch, tmp_path):
    annotated = annotated_set(10)  # of five nights
    place = {image.tobytes(): n for n, image in enumerate(annotated.images)}
    score_of = [0.9 - 0.06 * n for n in range(len(annotated))]  # 0.9 ... 0.36

    class Screener:
        """Knows the exposures; calls clean mosaics clean, and every fourth ghosted one."""

        @classmethod
        def load(cls, info, *, engine):
            assert (info.folder, engine) == (trainings[-1].folder, "keras")
            return cls()

        def score(self, images):
            known = [place.get(image.tobytes()) for image in images]
            if known[0] is not None:
                assert not {annotated.expnums[n] for n in known} & trainings[-1].seen
                return np.array([score_of[n] for n in known], np.float32)
            ghosted = (images == GHOST_LEVEL).any(axis=(1, 2))  # the planted square
            return np.where(ghosted & (np.arange(len(images)) % 4 > 0), 0.6, 0.1).astype(np.float32)

    monkeypatch.setattr(crossval, "NetworkScreener", Screener)
    figures = cross_validate("screen", config, TrainingData(annotated, None), CAMERA, tmp_path)
    assert figures["threshold"] == 0.4
    assert (figures["n_ghosted"], figures["n_ghosted_flagged"]) == (10, 9)
    assert (figures["n_clean_mosaics"], figures["n_clean_mosaics_flagged"]) == (20, 0)
    assert (figures["n_ghosted_mosaics"], figures["n_ghosted_mosaics_flagged"]) == (20, 15)
    assert figures["roc_auc_exposures_against_mosaics"] == 1.0
    assert figures["roc_auc_mosaics_against_mosaics"] == 0.5 + 0.5 * 15 / 20
    expected = dict(zip(map(str, annotated.expnums), score_of, strict=True))
    assert figures["scores"] == {expnum: pytest.approx(score) for expnum, score in expected.items()}
    assert figures["clean_score_percentiles_50_90_95_99"] == [0.1] * 4


def model(**training):
    return SimpleNamespace(folder="m", sha256="00", name="m", training=training)


def test_every_fold_starts_from_the_same_model(config, trainings, monkeypatch, tmp_path):
    annotated, place, truths = nights(5)
    monkeypatch.setattr(crossval, "load_network", lambda info: info.folder)
    monkeypatch.setattr(crossval, "KerasEngine", lambda *_: Oracle(annotated, place, truths, trainings))
    start = model(season={"seed": 1})
    cross_validate("segment", config, TrainingData(annotated, None), CAMERA, tmp_path, start=start)
    assert [trained.start for trained in trainings] == [start] * 5


def test_a_start_that_has_seen_the_exposures_is_refused(config, trainings, tmp_path):
    annotated = annotated_set(10)
    start = model(exposures=[annotated.expnums[3], 7])
    with pytest.raises(ConfigError, match="cross-validation: m was trained on exposures to be held out"):
        cross_validate("screen", config, TrainingData(annotated, None), CAMERA, tmp_path, start=start)
    assert not trainings


def test_synthetic_exposures_alone_cannot_be_cross_validated(config, trainings, tmp_path):
    with pytest.raises(ConfigError, match=r"cross-validation: expected a configuration with \[real\] exposures"):
        cross_validate("screen", config, TrainingData(None, None), CAMERA, tmp_path)
    assert not trainings


def test_too_few_nights_are_an_error(config, trainings, tmp_path):
    with pytest.raises(ConfigError, match="expected at least 5 nights, one per fold, got 2"):
        cross_validate("screen", config, TrainingData(annotated_set(4), None), CAMERA, tmp_path)
    assert not trainings
