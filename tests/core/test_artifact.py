"""The table of artifact classes."""

import re

import pytest
from class_table import TRAIL, table_with

from cascade.core.artifact import PAPER_CLASSES, Artifact, coco_categories
from cascade.core.errors import InputError


def test_classes_that_are_stored_keep_their_bits():
    assert {artifact.label: artifact.bit for artifact in PAPER_CLASSES} == {"bright": 1, "faint": 2, "rays": 4}
    assert [artifact.category_id for artifact in PAPER_CLASSES] == [1, 2, 3]


def test_classes_are_numbered_in_the_order_of_their_lines():
    assert [int(artifact) for artifact in Artifact] == list(range(len(Artifact)))
    assert [artifact.bit for artifact in Artifact] == [2**k for k in range(len(Artifact))]


def test_class_is_found_by_its_label():
    assert Artifact.from_label(" Rays") is Artifact.RAYS
    assert Artifact(2) is Artifact.RAYS
    with pytest.raises(InputError, match=r"artifact class: expected one of bright, faint, rays.*, got 'comet'"):
        Artifact.from_label("comet")


def test_every_class_can_be_told_apart():
    for name in ("colour", "dash", "key", "meaning", "ds9"):
        assert len({getattr(artifact, name) for artifact in Artifact}) == len(Artifact), name
    assert all(re.fullmatch("#[0-9A-F]{6}", artifact.colour) for artifact in Artifact)
    assert all(re.fullmatch(r"(\d+( \d+)*)?", artifact.dash) for artifact in Artifact)
    assert all(len(artifact.key) == 1 and artifact.key not in "arjkducmx0" for artifact in Artifact)


def test_class_without_a_colour_for_ds9_has_its_own_there():
    assert Artifact.BRIGHT.ds9 == "red"
    trail = table_with(TRAIL).Artifact.TRAIL
    assert (trail.value, trail.bit, trail.colour, trail.ds9) == (3, 8, "#009E73", "#009E73")


def test_coco_counts_categories_from_one():
    assert coco_categories()[:3] == [{"id": 1, "name": "bright"}, {"id": 2, "name": "faint"}, {"id": 3, "name": "rays"}]


def test_more_classes_than_a_mask_has_bits_are_refused():
    lines = [f'EXTRA{k} = "#00000{k}", "{k}", "{k}", "of a test"' for k in range(len(table_with().Artifact), 9)]
    assert table_with(*lines[:-1]).Artifact(7).bit == 128
    with pytest.raises(ValueError, match="expected at most 8, one per bit of a uint8 mask, got 9"):
        table_with(*lines)
