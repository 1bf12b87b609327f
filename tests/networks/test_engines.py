import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from multiprocessing import util

import keras
import numpy as np
import pytest

from cascade.core.errors import ConfigError, ModelError
from cascade.networks.engines import KerasEngine, check_engine, load_engine, openvino_engines, select
from cascade.networks.engines.base import OUTPUT_NAMES, blocks
from cascade.networks.engines.parity import Parity, compare, parity_previews
from cascade.networks.models import build_network, find_model, load_network, write_model

pytestmark = pytest.mark.slow

THRESHOLD = 0.3


class FakeNetwork:
    """Answers with the mean grey level of an image, and notes the shapes that it saw."""

    def __init__(self):
        self.seen = []

    def predict_on_batch(self, images):
        self.seen.append((images.shape, images.dtype.name))
        return images.mean(axis=(1, 2))


@pytest.fixture(scope="module")
def models(tiny_architectures, tmp_path_factory):
    """Tiny models of all kinds with something to say; the plain one has no semantic head."""
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("models")
    written = {}
    plain = {**tiny_architectures["segment"], "semantic_width": 0}
    for kind, architecture in {**tiny_architectures, "plain": plain}.items():
        network = build_network(architecture)
        if kind in ("segment", "plain"):
            rng = np.random.default_rng(3)
            for layer, scale in (
                (network.rpn_head.logits, 2.0), (network.rpn_head.offsets, 1.0),
                (network.box_head.get_layer("logits"), 2.0), (network.mask_head.get_layer("logits"), 3.0),
            ):  # fmt: skip
                layer.kernel.assign(rng.normal(0, scale, layer.kernel.shape))
        written[kind] = write_model(
            folder / kind, network, task="screen" if kind == "screen" else "segment", architecture=architecture,
            threshold=THRESHOLD, training={},
        )  # fmt: skip
    return written


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own for every test."""
    from cascade.networks.engines import openvino_cache

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    openvino_cache._cache_folder.cache_clear()
    yield tmp_path / "cache/ghost-cascade"
    openvino_cache._cache_folder.cache_clear()


@pytest.mark.parametrize(("n_images", "n_blocks"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_blocks_are_filled_up_with_black_images(n_images, n_blocks):
    images = np.full((n_images, 2, 3), 7, np.uint8)
    cut = list(blocks(images, 4, fill=True))
    assert [block.shape for block in cut] == [(4, 2, 3)] * n_blocks
    assert sum(int(block.sum()) for block in cut) == 7 * 6 * n_images
    if n_images:
        assert np.array_equal(np.concatenate(cut)[:n_images], images)


def test_blocks_need_not_be_filled_up():
    assert [len(block) for block in blocks(np.zeros((5, 2, 3), np.uint8), 4, fill=False)] == [4, 1]


@pytest.mark.parametrize(("backend", "last"), [("jax", 32), ("tensorflow", 1)])
def test_shapes_that_keras_sees(backend, last, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    network = FakeNetwork()
    images = np.stack([np.full((400, 400), level, np.uint8) for level in range(33)])
    assert KerasEngine(network, "screen")(images)["logit"][:, 0].tolist() == list(range(33))
    assert network.seen == [((32, 400, 400, 1), "float32"), ((last, 400, 400, 1), "float32")]


@pytest.mark.parametrize("kind", ["screen", "segment", "plain"])
def test_openvino_in_float32_says_what_keras_says(models, kind):
    openvino = pytest.importorskip("cascade.networks.engines.openvino_run")
    info = models[kind]
    engines = {engine.name: parity for engine, parity in openvino_engines(info)}
    assert list(engines)[-1] == "openvino f32"
    assert len(engines) == (2 if openvino.native_precision() == "bf16" else 1)
    parity = engines["openvino f32"]
    assert parity.n_compared > 0
    assert parity.close
    assert parity.min_iou > 0.999
    assert parity.max_score_difference < 1e-3


OUTPUTS_OF = {
    "screen": OUTPUT_NAMES["screen"],
    "segment": OUTPUT_NAMES["segment"],
    "plain": OUTPUT_NAMES["segment"][:-1],
}


@pytest.mark.parametrize("kind", OUTPUTS_OF)
@pytest.mark.parametrize("n_images", [1, 9])
def test_engines_answer_alike_image_by_image(models, kind, n_images):
    from cascade.networks.engines.openvino_cache import exported
    from cascade.networks.engines.openvino_run import OpenVINOEngine

    images = np.random.default_rng(1).integers(0, 256, (n_images, 400, 400)).astype(np.uint8)
    info = models[kind]
    expected = load_engine(info, "keras")(images)
    got = OpenVINOEngine(exported(info)[0], info.task, "f32")(images)
    assert set(got) == set(expected) == set(OUTPUTS_OF[kind])
    for name, value in expected.items():
        assert got[name].shape == value.shape
        assert got[name].dtype == value.dtype
    assert compare(info, expected, got).close
    if kind == "segment":
        np.testing.assert_allclose(got["semantic"], expected["semantic"], atol=1e-4)
        # Each image has its own map, with something in it.
        assert np.ptp(got["semantic"]) > 0.01
        assert n_images == 1 or not np.allclose(got["semantic"][0], got["semantic"][-1], atol=1e-3)


def test_a_semantic_net_runs_on_keras(models):
    images = np.random.default_rng(1).integers(0, 256, (9, 400, 400)).astype(np.uint8)
    answer = load_engine(models["semantic"], "keras")(images)
    assert {name: value.shape for name, value in answer.items()} == {"semantic": (9, 100, 100, 4)}
    alone = load_engine(models["semantic"], "keras")(images[8:])
    np.testing.assert_allclose(alone["semantic"][0], answer["semantic"][8], atol=1e-5)


def test_a_semantic_net_runs_on_whatever_is_the_default(models):
    images = np.zeros((1, 400, 400), np.uint8)
    assert load_engine(models["semantic"], "auto")(images)["semantic"].shape == (1, 100, 100, 4)


def test_another_semantic_map_is_another_answer(models):
    images = np.random.default_rng(1).integers(0, 256, (2, 400, 400)).astype(np.uint8)
    expected = load_engine(models["segment"], "keras")(images)
    assert compare(models["segment"], expected, expected).close
    inverted = {**expected, "semantic": 1 - expected["semantic"]}
    assert not compare(models["segment"], expected, inverted).close


def test_a_second_load_takes_what_the_first_exported(models, cache, monkeypatch):
    load_engine(models["screen"], "openvino")
    (folder,) = cache.iterdir()
    assert folder.name.startswith("screen-")
    monkeypatch.setattr("cascade.networks.engines.openvino_cache._export", lambda *_: pytest.fail("exported again"))
    assert load_engine(models["screen"], "openvino").name.startswith("openvino")


def rewritten(path, change):
    path.write_bytes(change(bytearray(path.read_bytes())))


def zeroed(content):
    content[100:] = bytes(len(content) - 100)
    return content


def linked(path):
    other = path.parents[2] / "elsewhere"
    path.rename(other)
    path.symlink_to(other)


@pytest.mark.parametrize(
    ("harm", "remark"),
    [
        (lambda folder: os.truncate(folder / "screen.bin", 0), "screen.bin has another sha256 than when it was"),
        (lambda folder: rewritten(folder / "screen.bin", zeroed), "screen.bin has another sha256 than when it was"),
        (lambda folder: os.truncate(folder / "keras.npz", 9), "keras.npz has another sha256 than when it was"),
        (lambda folder: (folder / "screen.xml").unlink(), "it should hold keras.npz, screen.bin, screen.xml, but"),
        (lambda folder: (folder / "more.bin").touch(), "but holds keras.npz, more.bin, screen.bin"),
        (lambda folder: (folder / "sha256.json").unlink(), "sha256.json: expected JSON"),
        (lambda folder: (folder / "screen.bin").chmod(0o666), "screen.bin: expected to be of user"),
        (lambda folder: folder.chmod(0o777), "expected to be of user"),
        (lambda folder: linked(folder / "screen.bin"), "screen.bin is no plain file"),
        (lambda folder: (shutil.rmtree(folder), folder.touch()), "Not a directory"),
    ],
)  # fmt: skip
def test_a_damaged_cache_is_made_anew(models, cache, caplog, harm, remark):
    images = np.random.default_rng(1).integers(0, 256, (2, 400, 400)).astype(np.uint8)
    expected = load_engine(models["screen"], "openvino")(images)
    (folder,) = cache.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    harm(folder)
    got = load_engine(models["screen"], "openvino")(images)
    np.testing.assert_array_equal(got["logit"], expected["logit"])
    assert f"{folder}: made anew, since" in caplog.text
    assert remark in caplog.text
    assert list(cache.iterdir()) == [folder]


def test_verify_asks_keras_again_instead_of_the_cache(models, monkeypatch):
    """Whoever can write the files of the cache can write their hashes, too."""
    answer = KerasEngine.__call__
    with monkeypatch.context() as patched:
        patched.setattr(KerasEngine, "__call__", lambda *args: {"logit": answer(*args)["logit"] + 3})
        assert not any(parity.close for _, parity in openvino_engines(models["screen"]))
    assert not any(parity.close for _, parity in openvino_engines(models["screen"]))
    assert all(parity.close for _, parity in openvino_engines(models["screen"], load_network(models["screen"])))


def test_a_model_in_the_cache_runs_without_tensorflow(models, cache):
    load_engine(models["screen"], "openvino")
    code = (
        "import sys, numpy as np; from cascade.networks.model_info import read_model;"
        "from cascade.networks.engines import load_engine;"
        "from pathlib import Path;"
        f"load_engine(read_model(Path({str(models['screen'].folder)!r})))(np.zeros((1, 400, 400), np.uint8));"
        "print({'tensorflow', 'keras', 'openvino_telemetry.main'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def test_damaged_weights_are_noticed_although_the_export_is_in_the_cache(models, cache, tmp_path):
    from cascade.networks.model_info import read_model

    shutil.copytree(models["screen"].folder, tmp_path / "copy")
    info = read_model(tmp_path / "copy")
    load_engine(info, "openvino")
    info.weights.write_bytes(b"x" + info.weights.read_bytes()[1:])
    with pytest.raises(ModelError, match="expected sha256"):
        load_engine(info, "openvino")


def test_an_unwritable_cache_is_replaced_for_the_time_being(models, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert load_engine(models["screen"], "openvino").name.startswith("openvino")
    assert "will not be cached" in caplog.text
    assert len(list(tmp_path.glob("ghost-cascade-*"))) == 1
    for finalizer in [f for key, f in util._finalizer_registry.items() if f._callback is shutil.rmtree]:
        finalizer()
    assert list(tmp_path.glob("ghost-cascade-*")) == []


def test_an_engine_that_says_otherwise_is_refused(models, monkeypatch, caplog):
    monkeypatch.setattr(select, "compare", lambda *_: Parity(3, 1, 0.5, 0.4))
    caplog.set_level(logging.INFO, logger="cascade.networks")
    with pytest.raises(ModelError, match=r"outputs of OpenVINO differ from Keras, in float32 too \(3 compared, 1 unm"):
        load_engine(models["screen"], "openvino")
    assert "outputs of openvino f32 differ from Keras" in caplog.text


def test_auto_takes_keras_where_openvino_says_otherwise(models, monkeypatch, caplog):
    monkeypatch.setattr(select, "compare", lambda *_: Parity(3, 1, 0.5, 0.4))
    assert load_engine(models["screen"]).name.startswith("keras/")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [text for text in warnings if text.startswith("screen: outputs of OpenVINO differ from Keras (3 compared")]


def test_unknown_engines_are_refused():
    with pytest.raises(ConfigError, match="engine: expected one of auto, keras, openvino, got 'tensorrt'"):
        check_engine("tensorrt")


def test_openvino_must_be_there_if_it_is_asked_for(models, monkeypatch):
    monkeypatch.setattr(select, "has_openvino", lambda: False)
    with pytest.raises(ConfigError, match="engine openvino: expected the package openvino, which is not installed"):
        check_engine("openvino")
    assert load_engine(models["screen"]).name.startswith("keras/")


def test_auto_takes_keras_with_a_gpu_or_another_backend(models, monkeypatch):
    monkeypatch.setattr(select, "_has_gpu", lambda: True)
    assert load_engine(models["screen"]).name == "keras/tensorflow float32"
    monkeypatch.setattr(select, "_has_gpu", lambda: False)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert load_engine(models["screen"]).name.startswith("keras/")


def test_another_backend_cannot_export(models, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ConfigError, match="engine openvino: expected Keras on tensorflow, got jax; use --engine keras"):
        load_engine(models["screen"], "openvino")


def answer(*instances):
    """A segmenter's answer on one image from (class, score, box)."""
    boxes, scores = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4), np.float32)
    classes, masks = np.zeros((1, 4), np.int32), np.ones((1, 4, 28, 28), np.float32)
    for k, (artifact, score, box) in enumerate(instances):
        boxes[0, k], scores[0, k], classes[0, k] = box, score, artifact
    return {"boxes": boxes, "scores": scores, "classes": classes, "masks": masks}


HERE, MOVED, FAR = [10, 10, 110, 110], [10, 13, 110, 113], [200, 200, 300, 300]


@pytest.mark.parametrize(
    ("got", "close"),
    [
        (answer((1, 0.9, HERE)), True),
        (answer((1, 0.87, HERE)), True),
        (answer((1, 0.9, HERE), (0, 0.31, FAR)), True),  # within the margin of the threshold
        (answer((1, 0.8, HERE)), False),  # another score
        (answer((2, 0.9, HERE)), False),  # another class
        (answer((1, 0.9, MOVED)), False),  # 3 px to the side: an IoU of .94
        (answer((1, 0.9, HERE), (1, 0.5, FAR)), False),  # one too many
        (answer(), False),  # one too few
    ],
)
def test_what_counts_as_the_same(models, got, close):
    assert compare(models["segment"], answer((1, 0.9, HERE)), got).close is close


def test_segmenters_of_the_zoo_find_artifacts_of_every_class_in_the_images_of_comparison():
    info = find_model("segment-lite-v1")
    said = load_engine(info, "keras")(parity_previews())
    found = said["classes"][said["scores"] >= info.threshold]
    assert set(found.tolist()) == {0, 1, 2}
