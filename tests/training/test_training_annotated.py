import json

import numpy as np
import pytest
from annotated import BRIGHT_ON_28, FAINT_ON_35, annotated_set
from PIL import Image

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError
from cascade.training.annotated import folds_by_night, load_annotated


def via(*records):
    """VIA 2 annotations, from (file name, list of (label, y, x, height, width))."""
    return {
        name: {
            "filename": name,
            "regions": [
                {
                    "shape_attributes": {"name": "rect", "y": y, "x": x, "height": h, "width": w},
                    "region_attributes": {"Type": label},
                }
                for label, y, x, h, w in regions
            ],
        }
        for name, regions in records
    }


@pytest.fixture
def folders(tmp_path):
    """Two exposures and the annotations of two people, one of whom saw nothing on the second."""
    images, annotations = tmp_path / "images", tmp_path / "annotations"
    images.mkdir()
    annotations.mkdir()
    for expnum, level in ((200, 20), (100, 10)):
        Image.fromarray(np.full((400, 400), level, np.uint8)).save(images / f"D00000{expnum}.png")
    ann = via(("D00000200.png", []), ("D00000100.png", [("Bright", 10, 20, 5, 6)]), ("D00000300.png", []))
    bob = via(("D00000100.png", [("Rays", 0, 0, 9, 9), ("Rays", 50, 50, 9, 9)]), ("D00000200.png", []))
    annotations.joinpath("bob.json").write_text(json.dumps(bob))
    annotations.joinpath("ann.json").write_text(json.dumps(ann))
    return images, annotations


def test_exposures_meet_their_annotations_by_file_name(folders):
    annotated = load_annotated(*folders)
    assert len(annotated) == 2
    assert annotated.expnums == (100, 200)
    assert annotated.annotators == ("ann", "bob")
    assert annotated.images[:, 0, 0].tolist() == [10, 20]
    assert [[len(found) for found in by_annotator] for by_annotator in annotated.instances] == [[1, 2], [0, 0]]
    assert annotated.instances[0][0].classes.tolist() == [Artifact.BRIGHT]


def test_an_exposure_that_an_annotator_does_not_list_is_an_error(folders):
    images, annotations = folders
    annotations.joinpath("eve.json").write_text(json.dumps(via(("D00000100.png", []))))
    with pytest.raises(InputError, match=r"eve\.json: expected annotations of D00000200\.png, which it does not list"):
        load_annotated(images, annotations)


def test_an_exposure_with_a_region_of_no_known_class_is_not_trained_on(folders, caplog):
    images, annotations = folders
    path = annotations / "bob.json"
    content = json.loads(path.read_text())
    next(record for record in content.values() if record["filename"] == "D00000100.png")["regions"][0][
        "region_attributes"
    ] = {}
    path.write_text(json.dumps(content))
    assert load_annotated(images, annotations).expnums == (200,)
    assert "1 exposures with regions that are not known, not trained on" in caplog.text


def test_a_folder_without_annotations_is_an_error(folders, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a folder with VIA annotations \(\*\.json\), found none"):
        load_annotated(folders[0], tmp_path)


def test_votes_unite_the_instances_of_each_annotator_by_class():
    votes = annotated_set(2).votes()
    assert votes.shape == (2, 2, 3, 400, 400)
    assert votes[0, 0].sum(axis=(1, 2)).tolist() == [400, 600, 0]
    assert votes[1, 1].sum(axis=(1, 2)).tolist() == [400, 0, 0]
    assert votes[0, 0, Artifact.FAINT, FAINT_ON_35[2], FAINT_ON_35[3]]


def test_a_ccd_is_marked_where_any_annotator_marked_a_pixel():
    marked = annotated_set(2).marked_ccds(Camera.decam())
    assert marked.shape == (2, 63)
    assert np.flatnonzero(marked[0]).tolist() == [28, 35]


def test_selected_exposures_keep_the_order_asked_for():
    annotated = annotated_set(4)
    chosen = annotated.select([3, 1])
    assert chosen.expnums == (annotated.expnums[3], annotated.expnums[1])
    assert np.array_equal(chosen.images, annotated.images[[3, 1]])
    assert chosen.instances == (annotated.instances[3], annotated.instances[1])
    assert len(annotated.select([])) == 0


def test_folds_hold_every_exposure_once_and_never_part_a_night():
    rng = np.random.default_rng(0)
    expnums = np.sort(rng.choice(200_000, 60, replace=False))
    folds = folds_by_night(expnums.tolist(), 5)
    assert np.array_equal(np.sort(np.concatenate(folds)), np.arange(60))
    fold_of = np.empty(60, int)
    for k, fold in enumerate(folds):
        fold_of[fold] = k
    same_night = np.diff(expnums) <= 1000
    assert np.all(fold_of[1:][same_night] == fold_of[:-1][same_night])


def test_folds_are_of_similar_size():
    folds = folds_by_night([10, 20, 30, 5000, 5001, 9000, 12_000], 3)
    assert [fold.tolist() for fold in folds] == [[0, 1, 2], [3, 4], [5, 6]]


def test_a_chain_of_close_exposures_is_one_night():
    assert [fold.tolist() for fold in folds_by_night([0, 1000, 2000, 3001], 2)] == [[0, 1, 2], [3]]


def test_fewer_nights_than_folds_are_an_error():
    with pytest.raises(ConfigError, match="expected at least 3 nights, one per fold, got 2"):
        folds_by_night([1, 2, 5000], 3)


@pytest.mark.slow
def test_real_exposures_split_into_five_folds(real_data):
    core = real_data / "des_common_core"
    annotated = load_annotated(core / "images", core / "annotations")
    assert len(annotated.annotators) == 8
    folds = folds_by_night(annotated.expnums, 5)
    assert sum(map(len, folds)) == len(annotated)
    assert np.ptp([len(fold) for fold in folds]) <= 3


def test_the_marked_square_lies_on_the_ccd_that_it_is_named_after():
    assert Camera.decam().labels[BRIGHT_ON_28[2] : BRIGHT_ON_28[4], BRIGHT_ON_28[3] : BRIGHT_ON_28[5]].min() == 28
