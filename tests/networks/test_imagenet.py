import numpy as np
import pytest

from cascade.core.errors import ModelError
from cascade.networks.imagenet import PRESET, _names, convert_efficientnet
from cascade.networks.models import build_network, load_network
from cascade.networks.nets.presets import PRESETS

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="the imagenet extra is not installed")

UNUSED = {"_conv_head.weight": (8, 4, 1, 1), "_fc.weight": (10, 8), "_fc.bias": (10,)}
NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.fixture(scope="module")
def published():
    """Random weights under the names and in the shapes of the published file."""
    rng = np.random.default_rng(0)
    shapes = {**UNUSED, **{f"_bn1.{name}": (8,) for name in NORM}}
    for layer, name in _names(build_network(PRESETS[PRESET]).pyramid):
        if len(layer.weights) > 1:
            shapes |= {f"{name}.{part}": tuple(layer.weights[0].shape) for part in NORM}
            continue
        height, width, n_in, n_out = layer.weights[0].shape
        if name.endswith("_depthwise_conv"):
            n_in, n_out = 1, n_in
        shapes[f"{name}.weight"] = (n_out, 3 if name == "_conv_stem" else n_in, height, width)
    return {name: torch.tensor(rng.uniform(0.1, 1, shape).astype(np.float32)) for name, shape in shapes.items()}


def written(tmp_path, weights):
    path = tmp_path / "efficientnet-lite0.pth"
    torch.save(weights, path)
    return path


def test_every_layer_of_the_backbone_gets_its_weights(published, tmp_path):
    info = convert_efficientnet(written(tmp_path, published), tmp_path / "start")
    layers = {layer.name: layer for layer in load_network(info).pyramid.layers}
    stem = published["_conv_stem.weight"].numpy()
    np.testing.assert_allclose(layers["stem_conv"].get_weights()[0][:, :, 0, 5], stem[5].sum(axis=0), rtol=1e-3)
    depth = published["_blocks.3._depthwise_conv.weight"].numpy()
    np.testing.assert_allclose(layers["group2_block0_depth_conv"].get_weights()[0][..., 7, 0], depth[7, 0], rtol=1e-3)
    project = published["_blocks.15._project_conv.weight"].numpy()[..., 0, 0]
    np.testing.assert_allclose(layers["group6_block0_project_conv"].get_weights()[0][0, 0], project.T, rtol=1e-3)
    variance = published["_blocks.15._bn2.running_var"].numpy()
    np.testing.assert_allclose(layers["group6_block0_project_norm"].get_weights()[3], variance, rtol=1e-3)
    assert info.training["licence"] == "Apache-2.0"


def test_a_missing_weight_is_an_error(published, tmp_path):
    fewer = {name: value for name, value in published.items() if name != "_blocks.3._bn0.bias"}
    with pytest.raises(ModelError, match=r"'_blocks\.3\._bn0\.bias' is missing"):
        convert_efficientnet(written(tmp_path, fewer), tmp_path / "start")


def test_a_weight_too_many_is_an_error(published, tmp_path):
    with pytest.raises(ModelError, match=r"got 1 unexpected weights, e\.g\. _blocks\.16\.x"):
        convert_efficientnet(written(tmp_path, {**published, "_blocks.16.x": torch.zeros(2)}), tmp_path / "start")


def test_a_weight_of_another_shape_is_an_error(published, tmp_path):
    changed = {**published, "_conv_stem.weight": torch.zeros(32, 3, 5, 5)}
    with pytest.raises(ModelError, match=r"_conv_stem: expected shapes \[\(3, 3, 1, 32\)\], got \[\(5, 5, 1, 32\)\]"):
        convert_efficientnet(written(tmp_path, changed), tmp_path / "start")


class Bomb:
    """What unpickling it would do is what must not happen."""

    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    with pytest.raises(ModelError, match="expected PyTorch weights of EfficientNet-Lite0"):
        convert_efficientnet(written(tmp_path, {"_conv_stem.weight": Bomb()}), tmp_path / "start")
    assert "executed" not in capsys.readouterr().out


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="expected PyTorch weights"):
        convert_efficientnet(tmp_path / "nothing.pth", tmp_path / "start")
