import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.pages.report import Panel, draw_overview

CAMERA = Camera.decam()


def panel(bits=0, vetoed=(), title="D00158776"):
    mask = np.zeros((400, 400), np.uint8)
    mask[100:300, 100:300] = bits
    return Panel(title, np.zeros((400, 400), np.uint8), mask, vetoed)


def drawn(tmp_path, panels):
    """The PNG as an (H, W, 3) array."""
    path = tmp_path / "overview.png"
    draw_overview(panels, CAMERA, path, title="season")
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def count(picture, rgb):
    """Pixels within two levels of a colour in [0, 1]."""
    return np.sum(np.all(np.abs(picture - 255.0 * np.array(rgb)) <= 2, axis=-1))


def test_four_panels_stand_in_a_row(tmp_path):
    one, five = (drawn(tmp_path, [panel()] * n).shape for n in (1, 5))
    assert one == (494, 1560, 3)
    assert five == (910, 1560, 3)


@pytest.mark.parametrize("artifact", Artifact)
def test_a_mask_has_the_colour_of_its_class(tmp_path, artifact):
    shade = 0.3 * np.array(to_rgb(artifact.colour))  # on a black sky
    area = count(drawn(tmp_path, [panel(artifact.bit)]), shade)
    assert area > 10_000
    assert count(drawn(tmp_path, [panel(0)]), shade) < area / 100


def test_vetoed_ccds_are_outlined(tmp_path):
    yellow = to_rgb("#F0E442")
    without, with_veto = (count(drawn(tmp_path, [panel(vetoed=vetoed)]), yellow) for vetoed in ((), (28, 35)))
    assert with_veto > without + 100


def test_no_panels_are_said_in_words(tmp_path):
    picture = drawn(tmp_path, [])
    assert picture.shape == (494, 1560, 3)
    assert (picture[100:400] < 128).any()  # the sentence
