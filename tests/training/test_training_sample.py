import numpy as np
from fakes import instances

from cascade.core.artifact import Artifact
from cascade.training.sample import Sample, class_masks, marked_share

SHAPE = (8, 10)


def test_class_masks_unite_the_instances_of_each_class():
    found = instances(
        (Artifact.RAYS, 1.0, 0, 0, 4, 4), (Artifact.RAYS, 1.0, 2, 2, 6, 6), (Artifact.BRIGHT, 1.0, 0, 0, 1, 1),
        shape=SHAPE,
    )  # fmt: skip
    masks = class_masks(found)
    assert masks.shape == (3, *SHAPE)
    assert masks.sum(axis=(1, 2)).tolist() == [1, 0, 16 + 16 - 4]


def test_marked_is_the_share_of_annotators_by_class_and_for_any():
    votes = np.zeros((4, 3, *SHAPE), bool)
    votes[0, Artifact.BRIGHT, 2, 3] = votes[1, Artifact.FAINT, 2, 3] = votes[2, Artifact.FAINT, 2, 3] = True
    votes[3, Artifact.FAINT, 5, 5] = votes[3, Artifact.RAYS, 5, 5] = True  # who marks two classes counts once
    share = marked_share(votes)
    assert (share.shape, share.dtype) == ((4, *SHAPE), np.float32)
    assert share[:, 2, 3].tolist() == [0.25, 0.5, 0.0, 0.75]
    assert share[:, 5, 5].tolist() == [0.0, 0.25, 0.25, 0.25]
    assert share.sum() == 1.5 + 0.75


def test_who_knows_some_classes_says_nothing_of_the_others():
    found = instances((Artifact.BRIGHT, 1.0, 0, 0, 4, 4), (Artifact.RAYS, 0.5, 2, 2, 6, 6), shape=SHAPE)
    votes = np.zeros((4, len(Artifact), *SHAPE), bool)
    votes[0, Artifact.BRIGHT, 2, 3] = votes[1, Artifact.RAYS, 2, 3] = votes[2, Artifact.FAINT, 2, 3] = True
    votes[3, [Artifact.BRIGHT, Artifact.RAYS], 5, 5] = True
    sample = Sample(np.zeros(SHAPE, np.uint8), found, marked_share(votes)).of_classes((Artifact.RAYS, Artifact.BRIGHT))
    assert sample.found.classes.tolist() == [1, 0]
    assert sample.marked.shape == (3, *SHAPE)
    assert sample.marked[:, 2, 3].tolist() == [0.25, 0.25, 0.5]
    assert sample.marked[:, 5, 5].tolist() == [0.25, 0.25, 0.25]  # who marks two classes counts once
    rays = Sample.of_one(sample.image, found).of_classes((Artifact.RAYS,))
    assert (len(rays.found), rays.found.scores.tolist(), rays.marked[-1].sum()) == (1, [0.5], 16)


def test_who_knows_all_classes_says_the_same():
    sample = Sample.of_one(np.zeros(SHAPE, np.uint8), instances((Artifact.RAYS, 1.0, 2, 2, 6, 6), shape=SHAPE))
    assert sample.of_classes(tuple(Artifact)) is sample


def test_shares_of_many_exposures_are_those_of_each():
    votes = np.random.default_rng(0).random((3, 5, 3, *SHAPE)) < 0.4
    share = marked_share(votes)
    assert share.shape == (5, 4, *SHAPE)
    for n in range(5):
        np.testing.assert_array_equal(share[n], marked_share(votes[:, n]))


def test_one_annotator_is_sure_of_what_he_drew():
    found = instances((Artifact.FAINT, 1.0, 1, 2, 4, 6), shape=SHAPE)
    sample = Sample.of_one(np.zeros(SHAPE, np.uint8), found)
    expected = np.zeros((4, *SHAPE))
    expected[[Artifact.FAINT, 3], 1:4, 2:6] = 1
    np.testing.assert_array_equal(sample.marked, expected)
    assert sample.found is found


def test_on_a_clean_image_nobody_marks_anything():
    sample = Sample.clean(np.zeros(SHAPE, np.uint8))
    assert len(sample.found) == 0
    assert sample.found.masks.shape == (0, *SHAPE)
    assert (sample.marked.shape, sample.marked.any()) == ((4, *SHAPE), False)
