import hashlib
import tomllib
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import tomli_w

from cascade.core.artifact import Artifact
from cascade.core.errors import ModelError
from cascade.networks import models
from cascade.networks.calibration import Calibration, Guarantee
from cascade.networks.golden import golden_images, golden_outputs
from cascade.networks.model_info import read_model
from cascade.networks.models import (
    build_network,
    calibrated_copy,
    find_model,
    list_models,
    load_network,
    search_path,
    verify_weights,
    write_model,
)

TASKS = {"screen": "screen", "segment": "segment", "semantic": "segment"}


@pytest.fixture(scope="module")
def networks(tiny_architectures):
    keras.utils.set_random_seed(5)
    return {task: build_network(architecture) for task, architecture in tiny_architectures.items()}


@pytest.fixture
def written(networks, tiny_architectures, tmp_path):
    """A tiny screen in a model folder."""
    return write_model(
        tmp_path / "tiny", networks["screen"], task="screen", architecture=tiny_architectures["screen"], threshold=0.4,
        training={"steps": 3},
    )  # fmt: skip


def edit(info, *keys, value=None):
    """Set a key of the description, or delete it."""
    path = info.folder / "model.toml"
    text = tomllib.loads(path.read_text())
    table = text
    for key in keys[:-1]:
        table = table[key]
    if value is None:
        del table[keys[-1]]
    else:
        table[keys[-1]] = value
    path.write_text(tomli_w.dumps(text))
    return read_model(info.folder)


def rehash(info):
    """Make the description agree with whatever the weights are now."""
    return edit(info, "weights", "sha256", value=hashlib.sha256(info.weights.read_bytes()).hexdigest())


def describe(folder, task="screen"):
    """A model folder with a description and no weights."""
    folder.mkdir(parents=True)
    text = {
        "task": task, "architecture": {"name": "screen_cnn"}, "threshold": {"score": 0.5},
        "weights": {"sha256": "00", "golden": [0.5]}, "classes": ["rays"],
    }  # fmt: skip
    folder.joinpath("model.toml").write_text(tomli_w.dumps(text))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "task"), TASKS.items())
def test_write_then_load_is_identity(kind, task, networks, tiny_architectures, tmp_path):
    network, architecture = networks[kind], tiny_architectures[kind]
    info = write_model(
        tmp_path / "m", network, task=task, architecture=architecture, threshold=0.3, semantic=0.6,
        training={"steps": 7, "by": "us"},
    )  # fmt: skip
    assert (info.name, info.task, info.threshold, info.semantic) == ("m", task, 0.3, 0.6)
    assert (info.calibration, info.guarantees) == ((), ())
    assert info.architecture == architecture
    assert info.training == {"steps": 7, "by": "us"}
    assert read_model(tmp_path / "m") == info
    loaded = load_network(info)
    for ours, theirs in zip(loaded.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = golden_images()[..., None].astype(np.float32)
    expected, got = network.predict_on_batch(images), loaded.predict_on_batch(images)
    assert keras.tree.map_structure(np.array_equal, got, expected) == keras.tree.map_structure(lambda _: True, got)


@pytest.mark.parametrize(("kind", "task"), TASKS.items())
def test_a_model_has_as_many_outputs_as_it_names_classes(kind, task, tiny_architectures, tmp_path):
    classes = (Artifact.RAYS, Artifact.BRIGHT)
    network = build_network(tiny_architectures[kind], classes)
    info = write_model(
        tmp_path / "m", network, task=task, architecture=tiny_architectures[kind], threshold=0.3, training={},
        classes=classes,
    )  # fmt: skip
    assert info.classes == classes
    assert [weight.shape for weight in load_network(info).get_weights()] == [w.shape for w in network.get_weights()]
    key = "classes" if task == "segment" else "map_classes"
    with pytest.raises(ModelError, match=r"model\.toml: names 1 classes \(faint\), but the network has 2$"):
        load_network(edit(info, key, value=["faint"]))
    with pytest.raises(ModelError, match=r"names 3 classes \(faint, rays, bright\), but the network has 2$"):
        load_network(edit(info, key, value=["faint", "rays", "bright"]))


def test_weights_are_stored_as_float16_and_sealed(written):
    with h5py.File(written.weights) as file:
        dtypes = []
        file.visititems(lambda _, item: dtypes.append(item.dtype) if isinstance(item, h5py.Dataset) else None)
    assert set(dtypes) == {np.dtype(np.float16)}
    assert written.sha256 == hashlib.sha256(written.weights.read_bytes()).hexdigest()
    verify_weights(written)


def test_weights_beyond_float16_survive(tiny_architectures, tmp_path):
    network = build_network(tiny_architectures["screen"])
    variance = network.get_layer("stage1_norm").moving_variance
    variance.assign([1e5, 1.0, 1.0, 1.0])
    info = write_model(
        tmp_path / "m", network, task="screen", architecture=tiny_architectures["screen"], threshold=0.5, training={}
    )
    loaded = load_network(info).get_layer("stage1_norm").moving_variance
    assert keras.ops.convert_to_numpy(loaded).tolist() == [1e5, 1, 1, 1]


def test_writing_again_replaces_the_model(written, networks, tiny_architectures):
    again = write_model(
        written.folder, networks["screen"], task="screen", architecture=tiny_architectures["screen"], threshold=0.9,
        training={},
    )  # fmt: skip
    assert again.threshold == 0.9
    assert again.sha256 == written.sha256
    assert {path.name for path in written.folder.iterdir()} == {"model.toml", "model.weights.h5"}


def test_golden_images_never_change():
    assert golden_images().shape == (2, 400, 400)
    assert np.array_equal(golden_images(), golden_images())
    assert golden_images()[0].mean() == pytest.approx(53, abs=1)
    assert golden_images()[1, 150, 305] > 90  # on the ring


def test_a_flipped_byte_is_found(written):
    content = bytearray(written.weights.read_bytes())
    content[len(content) // 2] ^= 1
    written.weights.write_bytes(content)
    with pytest.raises(ModelError, match=f"expected sha256 {written.sha256}, got .* damaged or of another model"):
        load_network(written)


def test_missing_weights_are_an_error(written):
    written.weights.unlink()
    with pytest.raises(ModelError, match=r"model\.weights\.h5: cannot read the weights: No such file"):
        verify_weights(written)


def test_oversized_weights_are_not_even_hashed(written, monkeypatch):
    monkeypatch.setattr(models, "MAX_WEIGHTS_BYTES", 100)
    with pytest.raises(ModelError, match="expected weights of at most 100 bytes"):
        verify_weights(written)


def test_truncated_weights_are_an_error_even_with_their_hash(written):
    written.weights.write_bytes(written.weights.read_bytes()[:-500])
    with pytest.raises(ModelError, match="the weights do not fit architecture 'screen_cnn'"):
        load_network(rehash(written))


def test_weights_of_another_width_are_an_error(written, networks, tiny_architectures):
    other = {**tiny_architectures["screen"], "widths": [4, 4, 8, 8, 16]}
    build_network(other).save_weights(written.weights)
    with pytest.raises(ModelError, match="the weights do not fit architecture 'screen_cnn'"):
        load_network(rehash(written))


def test_weights_of_a_shallower_network_are_an_error(written, tiny_architectures):
    deeper = {**tiny_architectures["screen"], "blocks": [0, 0, 0, 0, 1]}
    with pytest.raises(ModelError, match="the weights do not fit architecture 'screen_cnn'"):
        load_network(edit(written, "architecture", value=deeper))


def test_changed_outputs_are_an_error(written):
    changed = [value + 0.1 for value in written.golden]
    with pytest.raises(ModelError, match=r"expected golden outputs \[.*\], got \[.*\]: weights or code changed"):
        load_network(edit(written, "weights", "golden", value=changed))


def test_another_number_of_outputs_is_an_error(written):
    with pytest.raises(ModelError, match="expected golden outputs"):
        load_network(edit(written, "weights", "golden", value=[*written.golden, 0.0]))


def test_golden_outputs_that_are_no_numbers_are_an_error(written):
    with pytest.raises(ModelError, match=r"key weights\.golden\[0\]: expected a number, got nan"):
        load_network(edit(written, "weights", "golden", value=[float("nan")] * len(written.golden)))


@pytest.mark.parametrize(
    ("kind", "part"), [("segment", "mask_head"), ("segment", "semantic_head"), ("semantic", "semantic_head")]
)
def test_golden_outputs_see_a_changed_weight(kind, part, networks):
    network = networks[kind]
    before = golden_outputs(network, "segment")
    bias = getattr(network, part).get_layer("logits").bias
    shift = np.full(bias.shape, 0.5)
    bias.assign_add(shift)
    after = golden_outputs(network, "segment")
    bias.assign_sub(shift)
    assert np.abs(after - before).max() > 0.1


def test_golden_outputs_of_a_semantic_net_are_those_of_each_image_and_channel(networks):
    assert golden_outputs(networks["semantic"], "segment").shape == (2 * 4,)


@pytest.mark.parametrize(("name", "got"), [("yolo", "'yolo'"), (["screen_cnn"], "a list of 1"), (None, "None")])
def test_unknown_architecture_is_an_error(name, got):
    with pytest.raises(
        ModelError, match=f"architecture: expected one of screen_cnn, mask_rcnn, semantic, matterport, got {got}"
    ):
        build_network({"name": name})


@pytest.mark.parametrize("task", ["screen", "segment", "semantic"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"colour": "red"},
            "unexpected keyword argument 'colour'|key colour: unknown; expected one of offset, scale, ",
        ),
        ({"widths": [4, 4]}, "is longer than|is shorter than"),
        ({"widths": 4}, "not iterable|key widths: expected a list, got 4"),
        ({"widths": [0, 4, 8, 8, 8]}, "strictly positive"),
        ({"scale": 0.0}, "division by zero"),
    ],
)
def test_wrong_parameters_are_an_error(task, change, message, tiny_architectures):
    with pytest.raises(ModelError, match=f"architecture '.*': .*({message})"):
        build_network({**tiny_architectures[task], **change})


def test_a_semantic_net_needs_a_semantic_head(tiny_architectures):
    with pytest.raises(ModelError, match=r"architecture 'semantic': semantic_width: expected a positive number, got 0"):
        build_network({**tiny_architectures["semantic"], "semantic_width": 0})


def test_an_unknown_backbone_is_an_error(tiny_architectures):
    with pytest.raises(ModelError, match=r"backbone: expected one of residual, efficientnet_lite0, got 'vgg'"):
        build_network({**tiny_architectures["semantic"], "backbone": "vgg"})


def test_missing_parameters_are_an_error():
    with pytest.raises(ModelError, match=r"architecture 'screen_cnn': .*missing .* required"):
        build_network({"name": "screen_cnn"})


@pytest.mark.parametrize(
    ("task", "architecture"), [("screen", "segment"), ("segment", "screen"), ("screen", "semantic")]
)
def test_architecture_of_the_other_task_is_an_error(task, architecture, networks, tiny_architectures, tmp_path):
    info = write_model(
        tmp_path / "m", networks[architecture], task=TASKS[architecture], architecture=tiny_architectures[architecture],
        threshold=0.5, training={},
    )  # fmt: skip
    with pytest.raises(ModelError, match=f"an architecture for task '{task}'"):
        load_network(edit(edit(info, "classes", value=["rays"]), "task", value=task))


PLATT = Calibration("platt", (2.0,), (-1.0,))
PROMISE = Guarantee(0.99, 0.95, 0.125, 312, "labels.csv")


def test_a_calibrated_copy_promises_and_flags_what_was_flagged_before(written, tmp_path):
    copy = calibrated_copy(written, tmp_path / "copy", PLATT, [PROMISE], default=False)
    assert copy == read_model(tmp_path / "copy")
    assert (copy.name, copy.sha256, copy.architecture) == ("copy", written.sha256, written.architecture)
    assert (copy.calibration, copy.guarantees) == ((PLATT,), (PROMISE,))
    scores = np.linspace(0, 1, 1001, dtype=np.float32)
    assert np.array_equal(PLATT(scores) >= np.float32(copy.threshold), scores >= np.float32(written.threshold))
    assert load_network(copy)
    assert (read_model(written.folder), written.calibration) == (written, ())


def test_the_promised_threshold_may_become_the_default(written, tmp_path):
    assert calibrated_copy(written, tmp_path / "copy", PLATT, [PROMISE], default=True).threshold == PROMISE.threshold


def test_a_second_calibration_follows_the_first_and_replaces_its_promise(written, tmp_path):
    once = calibrated_copy(written, tmp_path / "once", PLATT, [PROMISE], default=True)
    steps, other = Calibration("isotonic", (0.0, 0.5, 1.0), (0.1, 0.2, 0.9)), replace(PROMISE, threshold=0.25)
    twice = calibrated_copy(once, tmp_path / "twice", steps, [other], default=False)
    assert (twice.calibration, twice.guarantees) == ((PLATT, steps), (other,))
    assert twice.threshold == pytest.approx(float(steps(np.array([PROMISE.threshold], np.float32))[0]))


def test_a_calibrated_copy_overwrites_nothing(written, tmp_path):
    with pytest.raises(ModelError, match="tiny: expected a new folder for the calibrated model"):
        calibrated_copy(written, written.folder, PLATT, [PROMISE], default=False)
    assert read_model(written.folder) == written


def test_models_are_found_by_name_and_by_path(tmp_path, monkeypatch):
    describe(tmp_path / "zoo" / "a")
    assert find_model("a", tmp_path / "zoo").folder == tmp_path / "zoo" / "a"
    assert find_model(tmp_path / "zoo" / "a").name == "a"
    monkeypatch.chdir(tmp_path / "zoo")
    assert find_model("a").name == "a"


def test_a_given_folder_precedes_the_variable_and_that_the_zoo(tmp_path, monkeypatch):
    for folder, task in (("given", "screen"), ("variable", "segment")):
        describe(tmp_path / folder / "a", task)
    describe(tmp_path / "variable" / "b", "segment")
    monkeypatch.setenv("CASCADE_MODELS", str(tmp_path / "variable"))
    assert search_path(tmp_path / "given")[:2] == [tmp_path / "given", tmp_path / "variable"]
    assert find_model("a", tmp_path / "given").task == "screen"
    assert find_model("a").task == "segment"
    assert find_model("b", tmp_path / "given").task == "segment"


def test_an_unknown_model_names_every_folder_that_was_searched(tmp_path, monkeypatch):
    monkeypatch.setenv("CASCADE_MODELS", str(tmp_path / "variable"))
    with pytest.raises(ModelError, match=r"model 'ghost': not found in .*given, .*variable, .*models; `cascade models"):
        find_model("ghost", tmp_path / "given")


def test_a_path_without_a_model_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere/model\.toml: cannot read the model"):
        find_model(tmp_path / "nowhere")


def test_models_are_listed_once_by_name(tmp_path, monkeypatch):
    for name in ("given/b", "given/a", "variable/b", "variable/c"):
        describe(tmp_path / name)
    monkeypatch.setenv("CASCADE_MODELS", str(tmp_path / "variable"))
    found = {info.name: info.folder.parent.name for info in list_models(tmp_path / "given")}
    assert list(found) == sorted(found)
    assert {name: found[name] for name in "abc"} == {"a": "given", "b": "given", "c": "variable"}


def test_a_missing_folder_lists_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "search_path", lambda _=None: [tmp_path / "nowhere"])
    assert list_models() == []
