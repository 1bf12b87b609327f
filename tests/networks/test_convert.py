import h5py
import keras
import numpy as np
import pytest
from fakes import slim_matterport

from cascade.core.errors import ModelError
from cascade.networks.convert import CLASS_HEADS, convert_matterport, export_matterport
from cascade.networks.golden import golden_images
from cascade.networks.models import build_network, load_network, write_model
from cascade.networks.nets.presets import PRESETS

pytestmark = pytest.mark.slow

SIZE = 64  # one cell on the coarsest level
WIDTH = 8


@pytest.fixture(scope="module", autouse=True)
def _slim():
    with pytest.MonkeyPatch.context() as patch:
        slim_matterport(patch, WIDTH)
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A random network of Matterport's graph, and the file written from it."""
    keras.utils.set_random_seed(7)
    architecture = {**PRESETS["mrcnn-r50"], "size": SIZE, "channels": 3, "n_proposals": 20, "min_score": 0.0}
    network = build_network(architecture)
    folder = tmp_path_factory.mktemp("exported")
    info = write_model(
        folder / "model", network, task="segment", architecture=architecture, threshold=0.5, training={}, half=False
    )
    assert export_matterport(info, folder / "mask_rcnn.h5") == 133
    return network, folder / "mask_rcnn.h5"


def edited(source, tmp_path, edit):
    """A copy of a file after `edit`."""
    path = tmp_path / "edited.h5"
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def test_write_then_read_is_identity(exported, tmp_path):
    network, path = exported
    done = convert_matterport(path, tmp_path / "model", size=SIZE, channels=3)
    assert (done.n_layers, done.not_in_network, done.left_new) == (133, (), ())
    assert done.info.architecture["depth"] == 50
    for ours, read in zip(network.get_weights(), load_network(done.info).get_weights(), strict=True):
        np.testing.assert_array_equal(read, ours)


def test_keras_own_reader_finds_every_layer_by_name(exported):
    network, path = exported
    # The reader that Matterport's `load_weights(by_name=True)` calls, on a network of its layer names.
    feature = keras.Input((None, None, WIDTH))
    shared = keras.layers.Conv2D(WIDTH, 3, name="rpn_conv_shared")(feature)
    outputs = [
        keras.layers.Conv2D(n, 1, name=name)(shared) for name, n in (("rpn_class_raw", 6), ("rpn_bbox_pred", 12))
    ]
    rpn = keras.Model(feature, outputs, name="rpn_model")
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(WIDTH, 7, name="conv1")(image)
    x = keras.layers.BatchNormalization(name="bn_conv1")(x)
    reader = keras.Model([image, feature], [x, *rpn(feature)])
    reader.load_weights(path, by_name=True)
    for name, ours in (
        ("conv1", network.pyramid.get_layer("conv1")),
        ("bn_conv1", network.pyramid.get_layer("bn_conv1")),
    ):
        for got, expected in zip(reader.get_layer(name).get_weights(), ours.get_weights(), strict=True):
            np.testing.assert_array_equal(got, expected)
    for name, ours in (("rpn_class_raw", network.rpn_head.logits), ("rpn_bbox_pred", network.rpn_head.offsets)):
        np.testing.assert_array_equal(rpn.get_layer(name).kernel, ours.kernel)


def test_one_colour_does_what_three_equal_ones_did(exported, tmp_path):
    network, path = exported
    folded = load_network(convert_matterport(path, tmp_path / "model", size=SIZE, channels=1).info)
    assert folded.pyramid.get_layer("conv1").kernel.shape == (7, 7, 1, WIDTH)
    images = golden_images()[..., None].astype(np.float32)
    before, after = (
        keras.Model(n.pyramid.input, n.pyramid.get_layer("conv1").output).predict_on_batch(images)
        for n in (network, folded)
    )
    # But for the border, where the original pads with its mean pixel, colour by colour.
    np.testing.assert_allclose(after[:, 2:-2, 2:-2], before[:, 2:-2, 2:-2], atol=1e-3 * np.abs(before).max())


def test_a_folded_network_is_written_with_three_colours(exported, tmp_path):
    _, path = exported
    info = convert_matterport(path, tmp_path / "one", size=SIZE, channels=1).info
    export_matterport(info, tmp_path / "again.h5")
    with h5py.File(tmp_path / "again.h5") as file:
        assert file["conv1/conv1/kernel:0"].shape == (7, 7, 3, WIDTH)
    again = convert_matterport(tmp_path / "again.h5", tmp_path / "two", size=SIZE, channels=1).info
    for a, b in zip(load_network(info).get_weights(), load_network(again).get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_heads_of_other_classes_are_left_out_on_request(exported, tmp_path):
    def of_coco(file):
        group = file["mrcnn_class_logits/mrcnn_class_logits"]
        del group["kernel:0"]
        group["kernel:0"] = np.zeros((WIDTH, 81), np.float32)

    path = edited(exported[1], tmp_path, of_coco)
    with pytest.raises(
        ModelError, match=r"layer mrcnn_class_logits: expected .*8, 4.*, got .*8, 81.*--new-heads leaves it out"
    ):
        convert_matterport(path, tmp_path / "model", size=SIZE)
    done = convert_matterport(path, tmp_path / "model", size=SIZE, new_heads=True)
    assert done.left_new == CLASS_HEADS
    assert done.n_layers == 130


def test_what_the_network_does_not_have_is_reported(exported, tmp_path):
    path = edited(
        exported[1], tmp_path, lambda file: file.create_dataset("extra/extra/kernel:0", data=np.zeros(3, "f"))
    )
    assert convert_matterport(path, tmp_path / "model", size=SIZE).not_in_network == ("extra",)


def test_numbers_that_keras_adds_to_names_do_not_matter(exported, tmp_path):
    def renumber(file):
        file.move("conv1/conv1", "conv1/conv1_1")
        file.move("rpn_model/rpn_class_raw", "rpn_model/rpn_class_raw_1")

    path = edited(exported[1], tmp_path, renumber)
    assert convert_matterport(path, tmp_path / "model", size=SIZE).n_layers == 133


def test_a_whole_saved_model_is_read_too(exported, tmp_path):
    def wrap(file):
        names = list(file)
        file.create_group("model_weights")
        for name in names:
            file.move(name, f"model_weights/{name}")
        file["optimizer_weights/training/SGD/iterations:0"] = np.int64(1000)
        file["optimizer_weights/training/SGD/conv1/kernel:0"] = np.zeros((7, 7, 3, WIDTH), np.float32)

    path = edited(exported[1], tmp_path, wrap)
    assert convert_matterport(path, tmp_path / "model", size=SIZE).n_layers == 133


def test_a_missing_layer_is_an_error(exported, tmp_path):
    path = edited(exported[1], tmp_path, lambda file: file.__delitem__("res3b_branch2b"))
    with pytest.raises(ModelError, match="expected weights of layer res3b_branch2b, which are missing"):
        convert_matterport(path, tmp_path / "model", size=SIZE)


def test_a_missing_weight_is_an_error(exported, tmp_path):
    path = edited(exported[1], tmp_path, lambda file: file.__delitem__("bn_conv1/bn_conv1/gamma:0"))
    with pytest.raises(ModelError, match=r"layer bn_conv1: expected \{'gamma': \(8,\), .*, got \{'beta'"):
        convert_matterport(path, tmp_path / "model", size=SIZE)


def test_weights_outside_the_file_are_refused(exported, tmp_path):
    def link_out(file):
        del file["conv1/conv1/bias:0"]
        file["conv1/conv1"].create_dataset(
            "bias:0", (WIDTH,), "f4", external=[(str(tmp_path / "secret"), 0, 4 * WIDTH)]
        )

    path = edited(exported[1], tmp_path, link_out)
    with pytest.raises(ModelError, match="expected an array of floats in the file itself"):
        convert_matterport(path, tmp_path / "model", size=SIZE)


def test_weights_that_are_no_numbers_are_refused(exported, tmp_path):
    path = edited(exported[1], tmp_path, lambda file: file.create_dataset("x/x/kernel:0", data=[b"pickle"]))
    with pytest.raises(ModelError, match="expected an array of floats in the file itself, got"):
        convert_matterport(path, tmp_path / "model", size=SIZE)


def test_weights_that_unpack_without_end_are_refused(exported, tmp_path):
    def bomb(file):
        file.create_dataset("x/x/kernel:0", (2**15, 2**15), "f4", chunks=(2**10, 2**10), compression="gzip")

    path = edited(exported[1], tmp_path, bomb)
    with pytest.raises(ModelError, match="bytes of decompressed weights, got more"):
        convert_matterport(path, tmp_path / "model", size=SIZE)


def test_too_large_a_file_is_refused(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.networks.convert.MAX_FILE_BYTES", 1000)
    with pytest.raises(ModelError, match="expected weights of at most 1000 bytes, got"):
        convert_matterport(exported[1], tmp_path / "model")


def test_too_many_weights_are_refused(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.networks.convert.MAX_DATASETS", 10)
    with pytest.raises(ModelError, match="expected at most 10 weights, got more"):
        convert_matterport(exported[1], tmp_path / "model")


@pytest.mark.parametrize("content", [None, b"no HDF5"])
def test_a_file_that_cannot_be_read_is_an_error(content, tmp_path):
    path = tmp_path / "x.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.h5: (cannot read the weights|expected)|No such file"):
        convert_matterport(path, tmp_path / "model")


def test_only_matterports_graph_can_be_exported(tiny_architectures, tmp_path):
    network = build_network(tiny_architectures["segment"])
    info = write_model(
        tmp_path / "tiny",
        network,
        task="segment",
        architecture=tiny_architectures["segment"],
        threshold=0.5,
        training={},
    )
    with pytest.raises(ModelError, match="model 'tiny': expected Matterport's graph, got architecture 'mask_rcnn'"):
        export_matterport(info, tmp_path / "x.h5")
