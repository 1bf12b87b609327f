import logging

import keras
import numpy as np
import pytest
from annotated import annotated_set
from seasons import CONFIG as SEASON
from trainings import close, shorten_epochs, train_config

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ModelError
from cascade.networks.models import build_network, load_network, write_model
from cascade.training.fit import train
from cascade.training.sources import SyntheticSeason, TrainingData
from cascade.training.warm_start import PARTS, transfer_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def starts(tiny_architectures, tmp_path_factory):
    """A model folder of each kind."""
    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("starts")
    return {
        kind: write_model(
            folder / kind, build_network(architecture), task="screen" if kind == "screen" else "segment",
            architecture=architecture, threshold=0.5, training={},
        )
        for kind, architecture in tiny_architectures.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def networks(starts):
    return {kind: load_network(info) for kind, info in starts.items()}


def fresh(tiny_architectures, kind, **changes):
    keras.utils.set_random_seed(2)
    return build_network({**tiny_architectures[kind], **changes})


def same_parts(ours, theirs):
    """Parts of two networks with equal weights."""
    return {
        name
        for name in PARTS
        if getattr(ours, name, None) is not None
        and getattr(theirs, name, None) is not None
        and close(getattr(ours, name).get_weights(), getattr(theirs, name).get_weights(), atol=0)
    }


def test_parts_that_tell_other_classes_apart_are_not_taken_over(starts, tiny_architectures):
    network = fresh(tiny_architectures, "segment")
    assert transfer_weights(starts["segment"], network, tuple(Artifact)[::-1]) == ("pyramid", "rpn_head")


def test_a_semantic_net_becomes_the_trunk_of_a_mask_rcnn(starts, networks, tiny_architectures, caplog):
    network = fresh(tiny_architectures, "segment")
    heads = network.box_head.get_weights()
    with caplog.at_level(logging.INFO, logger="cascade.training"):
        assert transfer_weights(starts["semantic"], network) == ("pyramid", "semantic_head")
    assert same_parts(network, networks["semantic"]) == {"pyramid", "semantic_head"}
    assert close(network.box_head.get_weights(), heads, atol=0)
    assert "weights copied from semantic: pyramid, semantic_head" in caplog.text


def test_the_trunk_of_a_mask_rcnn_becomes_a_semantic_net(starts, networks, tiny_architectures):
    network = fresh(tiny_architectures, "semantic")
    assert transfer_weights(starts["segment"], network) == ("pyramid", "semantic_head")
    images = np.random.default_rng(0).integers(0, 256, (1, 400, 400, 1)).astype(np.float32)
    expected = networks["segment"].predict_on_batch(images)["semantic"]
    np.testing.assert_allclose(network.predict_on_batch(images)["semantic"], expected, atol=1e-5)


def test_all_parts_of_a_network_of_the_same_kind_are_taken_over(starts, networks, tiny_architectures):
    network = fresh(tiny_architectures, "segment")
    assert transfer_weights(starts["segment"], network) == PARTS
    assert same_parts(network, networks["segment"]) == set(PARTS)


def test_parts_of_another_shape_stay_new(starts, networks, tiny_architectures):
    network = fresh(tiny_architectures, "segment", mask_width=6, semantic_width=8)
    assert transfer_weights(starts["segment"], network) == ("pyramid", "rpn_head", "box_head")
    assert same_parts(network, networks["segment"]) == {"pyramid", "rpn_head", "box_head"}


def test_a_missing_semantic_head_is_left_out(starts, tiny_architectures):
    network = fresh(tiny_architectures, "segment", semantic_width=0)
    assert transfer_weights(starts["segment"], network) == ("pyramid", "rpn_head", "box_head", "mask_head")


def test_a_screen_is_taken_over_as_a_whole(starts, networks, tiny_architectures):
    network = fresh(tiny_architectures, "screen")
    assert transfer_weights(starts["screen"], network) == ("network",)
    assert close(network.get_weights(), networks["screen"].get_weights(), atol=0)


@pytest.mark.parametrize(
    ("start", "kind", "changes"),
    [
        ("screen", "segment", {}),
        ("segment", "screen", {}),
        ("screen", "screen", {"widths": [4, 4, 8, 8, 16]}),
        # Other channels change every part.
        ("semantic", "segment", {"pyramid_channels": 12}),
    ],
)
def test_a_stranger_is_refused(start, kind, changes, starts, tiny_architectures):
    network = fresh(tiny_architectures, kind, **changes)
    with pytest.raises(ModelError, match=f"{start}: no part matches the network to be trained; expected a model with"):
        transfer_weights(starts[start], network)


def test_a_damaged_start_is_refused(starts, tiny_architectures, tmp_path):
    import shutil

    from cascade.networks.model_info import read_model

    copy = read_model(shutil.copytree(starts["screen"].folder, tmp_path / "copy"))
    copy.weights.write_bytes(b"x" + copy.weights.read_bytes()[1:])
    with pytest.raises(ModelError, match="expected sha256"):
        transfer_weights(copy, fresh(tiny_architectures, "screen"))


def test_training_begins_with_the_weights_of_the_start(starts, networks, season_folder, tiny_architectures, tmp_path,
                                                       monkeypatch):  # fmt: skip
    """With next to no learning rate the start is what comes out; without a start it is not."""
    shorten_epochs(monkeypatch)
    data = TrainingData(annotated_set(2), SyntheticSeason(season_folder, SEASON))
    config = train_config(
        tiny_architectures["screen"], SEASON, steps=2, learning_rate=1e-9, weight_decay=0.0, validate_every=0
    )
    trained = {
        name: train("screen", config, data, Camera.decam(), tmp_path / name, start=start)
        for name, start in (("warm", starts["screen"]), ("cold", None))
    }
    warm, cold = (
        [np.asarray(keras.ops.convert_to_numpy(w)) for w in load_network(trained[name]).trainable_variables]
        for name in ("warm", "cold")
    )
    expected = [np.asarray(keras.ops.convert_to_numpy(w)) for w in networks["screen"].trainable_variables]
    assert close(warm, expected)
    assert not close(cold, expected)
    told = trained["warm"].training
    assert (told["start"], told["start_sha256"]) == ("screen", starts["screen"].sha256)
    assert "start" not in trained["cold"].training
