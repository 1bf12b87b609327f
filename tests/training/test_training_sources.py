import json
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
from annotated import BRIGHT_ON_28, FAINT_ON_35, GHOST_LEVEL, annotated_set
from fakes import instances
from seasons import CONFIG, edit_mark
from typer.testing import CliRunner

from cascade.camera import Camera
from cascade.cli.app import app
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.core.via import read_via, region_instances
from cascade.inputs import open_inputs
from cascade.training import sources
from cascade.training.config import RealConfig
from cascade.training.sample import Sample
from cascade.training.sources import AnnotatedExposures, SyntheticSeason, TrainingData

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()


@pytest.fixture(scope="module")
def season(season_folder):
    return SyntheticSeason(season_folder, CONFIG)


@pytest.fixture
def copy(season_folder, tmp_path):
    """A season that may be changed."""
    return shutil.copytree(season_folder, tmp_path / "season")


def shares_of(season_folder):
    """Share of annotators who would draw each label, by exposure."""
    document = json.loads((season_folder / "coco.json").read_text())
    return [
        np.array([a["drawn_share"] for a in document["annotations"] if a["image_id"] == image["id"]])
        for image in document["images"]
    ]


def test_a_season_gives_back_what_most_annotators_would_draw(season, season_folder):
    shares = shares_of(season_folder)
    drawn = read_via(season_folder / "via.json")
    reader = open_inputs([season_folder / "previews.zarr"])
    assert len(season) == len(reader) == 8
    n_instances = []
    for n in range(8):
        exposure, sample = reader.read(n), season.sample(n)
        expected = region_instances(drawn[f"D{exposure.source.expnum:08d}.jpg"]).select(shares[n] > 0.5)
        assert np.array_equal(sample.image, exposure.image)
        assert np.array_equal(sample.found.masks, expected.masks)
        assert np.array_equal(sample.found.classes, expected.classes)
        assert np.array_equal(sample.found.boxes, expected.boxes)
        assert np.array_equal(sample.marked, Sample.of_one(exposure.image, expected).marked)
        n_instances.append(len(expected))
    assert [n > 0 for n in n_instances][::2] == [False] * 4
    assert len({*n_instances}) > 2


def test_weak_artifacts_are_left_out_now_and_then(copy):
    document = json.loads((copy / "coco.json").read_text())
    for label in document["annotations"]:
        label["drawn_share"] = 0.3
    (copy / "coco.json").write_text(json.dumps(document))
    season = SyntheticSeason(copy, CONFIG)
    samples = [season.draw(np.random.default_rng(seed)) for seed in range(60)]
    ghosted = [sample for sample in samples if sample.marked.any()]
    assert all(set(np.unique(sample.marked)) == {0, np.float32(0.3)} for sample in ghosted)
    n_drawn = [len(sample.found) for sample in ghosted]
    assert 0 in n_drawn
    assert max(n_drawn) > 0


def test_exposures_without_artifacts_are_clean(season):
    sample = season.sample(0)
    assert sample.found.masks.shape == (0, *PREVIEW_SHAPE)
    assert not sample.marked.any()


@pytest.mark.parametrize(("n_held_out", "first"), [(512, 4), (2, 6), (8, 4)])
def test_held_out_exposures_are_never_drawn_and_all_others_are(n_held_out, first, season, monkeypatch):
    monkeypatch.setattr(sources, "N_HELD_OUT", n_held_out)
    assert season.held_out == range(first, 8)
    rng = np.random.default_rng(0)
    drawn = {season.draw(rng).image.tobytes() for _ in range(80)}
    assert drawn == {season.sample(n).image.tobytes() for n in range(first)}


def test_what_is_drawn_follows_the_generator(season):
    first, again = (season.draw(np.random.default_rng(1)).image for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("change", [{"n_exposures": 9}, {"ghosted_share": 0.4}, {"seed": 4}])
def test_another_season_than_the_configured_one_is_refused(change, season_folder):
    wanted = replace(CONFIG, **change)
    with pytest.raises(
        ConfigError, match=r"expected the season of the configuration, got .*'n_exposures': 8"
    ) as refused:
        SyntheticSeason(season_folder, wanted)
    command = (
        f"`cascade simulate {wanted.n_exposures} --seed {wanted.seed} --ghosted-share {wanted.ghosted_share} --out "
        f"{season_folder}`"
    )
    assert command in str(refused.value)


def test_the_command_in_the_message_makes_the_season(tmp_path):
    wanted = replace(CONFIG, n_exposures=2)
    with pytest.raises(ConfigError, match=r"season\.json: expected a synthetic season; make it with `") as refused:
        SyntheticSeason(tmp_path / "season", wanted)
    command = str(refused.value).split("`")[1]
    assert CliRunner().invoke(app, [*shlex.split(command)[1:], "--quiet"]).exit_code == 0
    assert len(SyntheticSeason(tmp_path / "season", wanted)) == 2


def test_a_season_of_jpegs_is_refused(copy):
    edit_mark(copy, format="jpeg")
    with pytest.raises(ConfigError, match=r"got .*'format': 'jpeg'"):
        SyntheticSeason(copy, CONFIG)


def test_a_season_whose_simulation_was_broken_off_is_refused(copy):
    (copy / "season.json").write_text("{}\n")
    with pytest.raises(ConfigError, match=r"expected the season of the configuration, got .*'seed': None"):
        SyntheticSeason(copy, CONFIG)


@pytest.mark.parametrize("text", ["{", "\x00"])
def test_a_damaged_mark_is_refused(text, copy):
    (copy / "season.json").write_text(text)
    with pytest.raises(ConfigError, match=r"season\.json: expected a synthetic season"):
        SyntheticSeason(copy, CONFIG)


def test_a_mark_of_another_shape_is_refused(copy):
    (copy / "season.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"season\.json: expected the season of the configuration"):
        SyntheticSeason(copy, CONFIG)


@pytest.mark.parametrize("lost", ["coco.json", "previews.zarr"])
def test_a_season_that_lacks_a_part_is_damaged(lost, copy):
    path = copy / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=r"season: expected previews\.zarr and coco\.json of a synthetic season"):
        SyntheticSeason(copy, CONFIG)


@pytest.mark.parametrize("text", ["[", "{}", '{"images": [], "annotations": [{"image_id": 1}]}', '{"images": 3}'])
def test_damaged_labels_are_an_error(text, copy):
    (copy / "coco.json").write_text(text)
    with pytest.raises(InputError, match=r"season: expected previews\.zarr and coco\.json of a synthetic season"):
        SyntheticSeason(copy, CONFIG)


def test_damaged_run_lengths_of_a_label_are_an_error(copy):
    labels = json.loads((copy / "coco.json").read_text())
    for label in labels["annotations"]:
        label["segmentation"]["counts"] = "5"
    (copy / "coco.json").write_text(json.dumps(labels))
    damaged = SyntheticSeason(copy, CONFIG)
    with pytest.raises(InputError, match=r"coco\.json: exposure \d: expected COCO's .*; make the season anew"):
        [damaged.sample(n) for n in range(len(damaged))]


def test_data_describe_themselves(season):
    annotated = annotated_set(2)
    assert TrainingData(annotated, None).description == {"exposures": list(annotated.expnums), "annotators": 2}
    assert TrainingData(None, season).description == {"season": {"n_exposures": 8, "ghosted_share": 0.5, "seed": 3}}
    both = TrainingData(annotated, season).description
    assert set(both) == {"exposures", "annotators", "season"}
    json.dumps(both)


REAL = RealConfig("i", "a", share=1.0, clean_share=0.0, injected_share=0.0, warp_share=0.0)
RAYS_ON_40 = (Artifact.RAYS, 1.0, 245, 180, 265, 200)


@pytest.fixture(scope="module")
def annotated():
    return annotated_set(4)


class OneSynthetic:
    """A season of one exposure, with saturated Rays."""

    def __init__(self):
        self.n_drawn = 0

    def draw(self, rng):
        self.n_drawn += 1
        image = np.clip(rng.normal(90, 10, PREVIEW_SHAPE), 60, 140).astype(np.uint8)  # brighter than real skies
        image[RAYS_ON_40[2] : RAYS_ON_40[4], RAYS_ON_40[3] : RAYS_ON_40[5]] = 255
        return Sample.of_one(image, instances(RAYS_ON_40))


def exposures(annotated, season=None, **shares):
    return AnnotatedExposures(annotated, CAMERA, replace(REAL, **shares), season)


def rectangle(artifact):
    """The pixels of one of the planted rectangles."""
    return instances(artifact).masks[0]


def test_a_clean_draw_shows_nothing_and_nobody_marked_it(annotated):
    source = exposures(annotated, clean_share=1.0)
    for seed in range(5):
        sample = source.draw(np.random.default_rng(seed))
        assert sample.image.max() < GHOST_LEVEL - 20
        assert len(sample.found) == 0
        assert not sample.marked.any()


def test_an_exposure_as_it_is_keeps_its_marked_ccds_and_all_that_people_said(annotated):
    source = exposures(annotated)
    kept = np.isin(CAMERA.labels, [28, 35])
    n_found = set()
    for seed in range(20):
        sample = source.draw(np.random.default_rng(seed))
        assert any(np.array_equal(sample.image[kept], image[kept]) for image in annotated.images)
        n_found.add(len(sample.found))
        # Both people marked the square, one of them the faint ghost, whoever of them is asked here.
        assert np.array_equal(sample.marked[Artifact.BRIGHT] == 1.0, rectangle(BRIGHT_ON_28))
        assert np.array_equal(sample.marked[Artifact.FAINT] == 0.5, rectangle(FAINT_ON_35))
        assert np.array_equal(sample.marked[3], sample.marked[:3].max(axis=0))
        assert not sample.marked[Artifact.RAYS].any()
    assert n_found == {1, 2}  # each of the two people is asked now and then


def test_synthetic_artifacts_stand_on_a_clean_mosaic(annotated):
    season = OneSynthetic()
    source = exposures(annotated, season, injected_share=1.0)
    rays = rectangle(RAYS_ON_40)
    for seed in range(5):
        sample = source.draw(np.random.default_rng(seed))
        assert sample.image[rays & (CAMERA.labels > 0)].min() > 200
        assert np.median(sample.image[(CAMERA.labels > 0) & ~rays]) < 65  # the sky of the real exposures
        assert sample.image[rectangle(BRIGHT_ON_28)].max() < GHOST_LEVEL - 20  # and none of their artifacts
        assert sample.found.classes.tolist() == [Artifact.RAYS]
        assert np.array_equal(sample.found.masks[0], rays)
        assert np.array_equal(sample.marked[3] > 0, rays)
    assert season.n_drawn == 5


def test_without_a_season_nothing_is_injected(annotated):
    assert len(exposures(annotated, None, injected_share=1.0).draw(np.random.default_rng(0)).found) > 0


def test_artifacts_in_another_place_take_what_was_said_with_them(annotated):
    source = exposures(annotated, warp_share=1.0)
    places = set()
    for seed in range(12):
        sample = source.draw(np.random.default_rng(seed))
        bright = sample.marked[Artifact.BRIGHT] == 1.0
        if not bright.any():  # it fell into a gap, or onto the dead CCD
            continue
        lit = bright & (CAMERA.labels > 0) & ~CAMERA.dark_pixels(None)
        assert np.mean(sample.image[lit] > GHOST_LEVEL - 70) > 0.9
        assert sample.image[~bright].max() < GHOST_LEVEL - 20
        for artifact, mask in zip(sample.found.classes, sample.found.masks, strict=True):
            on_ccds = CAMERA.labels > 0
            assert np.array_equal(mask & on_ccds, (sample.marked[artifact] > 0) & on_ccds)
        places.add(tuple(np.argwhere(bright).mean(axis=0).astype(int) // 10))
    assert len(places) > 5


class Named:
    """A compositor that only notes how it is asked."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        return lambda *_: (self.asked.append(name), np.zeros(PREVIEW_SHAPE, np.uint8))[1]


@pytest.mark.parametrize(
    ("clean_share", "injected_share", "warp_share"), [(0.25, 0.25, 0.5), (0.5, 0.0, 0.2), (0.0, 0.6, 1.0)]
)
def test_each_way_is_taken_as_often_as_configured(clean_share, injected_share, warp_share, annotated):
    source = exposures(
        annotated, OneSynthetic(), clean_share=clean_share, injected_share=injected_share, warp_share=warp_share
    )
    source._compositor = named = Named()
    rng = np.random.default_rng(0)
    n_draws = 150
    for _ in range(n_draws):
        source.draw(rng)
    rest = 1 - clean_share - injected_share
    expected = {
        "clean": clean_share, "injected": injected_share, "transplanted": rest * warp_share,
        "with_other_background": rest * (1 - warp_share),
    }  # fmt: skip
    assert set(named.asked) <= set(expected)
    for way, share in expected.items():
        assert named.asked.count(way) == pytest.approx(n_draws * share, abs=4 * np.sqrt(n_draws * share * (1 - share)))


def test_draws_follow_the_generator(annotated):
    source = exposures(annotated, OneSynthetic(), clean_share=0.2, injected_share=0.3, warp_share=0.5)
    for seed in range(6):
        first, again = (source.draw(np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(first.image, again.image)
        assert np.array_equal(first.marked, again.marked)


def test_exposures_marked_all_over_make_no_mosaics(annotated):
    everything = instances((Artifact.FAINT, 1.0, 0, 0, 400, 400))
    crowded = replace(annotated, instances=((everything, everything),) * 4)
    with pytest.raises(ConfigError, match="clean mosaics: expected an exposure with 12 whole unmarked CCDs"):
        exposures(crowded)
