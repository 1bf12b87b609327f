import keras
import numpy as np
import pytest

from cascade.networks.models import build_network
from cascade.networks.nets.cost import gflop
from cascade.networks.nets.presets import PRESETS

pytestmark = pytest.mark.slow


def counted_by_tensorflow(function, shape):
    """Operations of convolutions and matrix products in 1e9, by TensorFlow's own profiler."""
    tf = pytest.importorskip("tensorflow")
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = tf.function(function).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    frozen = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options = tf.compat.v1.profiler.ProfileOptionBuilder(options).with_empty_output().build()
        profile = tf.compat.v1.profiler.profile(graph, options=options)
    return sum(
        node.total_float_ops for node in profile.children
        if node.name.endswith(("convolution", "MatMul", "depthwise", "conv_transpose"))
    ) / 1e9  # fmt: skip


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the oracle is TensorFlow's profiler")
def test_operations_of_the_screen_are_those_that_tensorflow_counts():
    network = build_network(PRESETS["screen"])
    assert counted_by_tensorflow(network, (1, 400, 400, 1)) == pytest.approx(gflop(network), rel=0.01)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the oracle is TensorFlow's profiler")
@pytest.mark.parametrize("preset", ["segment-lite", "segment-lite0"])
def test_operations_of_mask_rcnn_are_those_that_tensorflow_counts(preset):
    network = build_network(PRESETS[preset])
    assert counted_by_tensorflow(network, (1, 400, 400, 1)) == pytest.approx(gflop(network), rel=0.02)


def test_default_presets_are_light():
    assert gflop(build_network(PRESETS["screen"])) <= 1.0
    assert gflop(build_network(PRESETS["segment-lite"])) <= 15.0


def test_the_semantic_head_costs_something():
    with_it, without = (gflop(build_network({**PRESETS["segment-lite"], "semantic_width": w})) for w in (96, 0))
    # Two 3x3 convolutions of 96 channels on 52 x 52 cells are most of it.
    assert with_it - without == pytest.approx(2 * 2 * 9 * 96**2 * 52**2 / 1e9, rel=0.15)


# Matterport's summary of a network for one class and background; each class more takes 5,382.
@pytest.mark.parametrize(("preset", "parameters"), [("mrcnn-r50", 44_662_942), ("mrcnn-r101", 63_733_406)])
def test_matterports_graphs_have_matterports_parameters(preset, parameters):
    network = build_network({**PRESETS[preset], "size": 128, "channels": 3})
    assert sum(int(np.prod(w.shape)) for w in network.get_weights()) == parameters + 2 * 5_382
