import keras
import numpy as np
import pytest

from cascade.networks.nets.backbone import residual_stages
from cascade.networks.nets.efficientnet import efficientnet_lite0_stages
from cascade.networks.nets.resnet import resnet_stages

pytestmark = pytest.mark.slow


def shapes(stages):
    return [tuple(stage.shape[1:]) for stage in stages]


def test_residual_stages_halve_the_image():
    stages = residual_stages(keras.Input((64, 64, 1)), (4, 8, 12), (0, 1, 2))
    assert shapes(stages) == [(32, 32, 4), (16, 16, 8), (8, 8, 12)]


def test_efficientnet_lite0_is_the_published_network():
    image = keras.Input((416, 416, 3))
    stages = efficientnet_lite0_stages(image)
    assert shapes(stages) == [(208, 208, 16), (104, 104, 24), (52, 52, 40), (26, 26, 112), (13, 13, 320)]
    trainable = keras.Model(image, stages).trainable_variables
    # Published: 4,652,008 parameters, of which 412,160 in the last convolution and 1,281,000 in the classifier.
    assert sum(int(np.prod(v.shape)) for v in trainable) == 4_652_008 - 412_160 - 1_281_000


@pytest.mark.parametrize(("depth", "last_of_stage_4"), [(50, "res4f_out"), (101, "res4w_out")])
def test_resnets_have_matterports_stages_and_names(depth, last_of_stage_4):
    image = keras.Input((128, 128, 3))
    stages = resnet_stages(image, depth)
    assert shapes(stages) == [(32, 32, 256), (16, 16, 512), (8, 8, 1024), (4, 4, 2048)]
    network = keras.Model(image, stages)
    assert network.get_layer(last_of_stage_4).output is stages[2]
    assert network.get_layer("res3a_branch2a").strides == (2, 2)
    assert network.get_layer("res3a_branch1").strides == (2, 2)
    assert network.get_layer("res2a_branch2a").strides == (1, 1)


def test_other_depths_are_refused():
    with pytest.raises(ValueError, match="depth: expected one of 50, 101, got 18"):
        resnet_stages(keras.Input((64, 64, 3)), 18)
