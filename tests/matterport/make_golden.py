"""
Write golden.npz: what Matterport's own Mask R-CNN (PyPI `mrcnn` 0.2) answers with the weights and images of weights.py.

It needs Python 3.7, since `mrcnn.model` is TensorFlow 1 and Keras 2::

    pyenv install 3.7.16 && ~/.pyenv/versions/3.7.16/bin/python -m venv oracle37
    oracle37/bin/pip install mrcnn==0.2 tensorflow==1.15.5 keras==2.2.5 "h5py<3" "protobuf<3.21" "numpy<1.19" \
        "scipy<1.5" "scikit-image<0.18" ipython imgaug opencv-python-headless
    oracle37/bin/python tests/matterport/make_golden.py [FOLDER_FOR_THE_H5_FILES]

With a folder, the weights go there as Matterport writes them: mask_rcnn_tiny_r50.h5 and mask_rcnn_tiny_r101.h5.

Configuration: `MaskRCNNTiny` below, all else Matterport's default. Keys are CASE/NAME, with the cases `r50-0`, `r50-1`
(resnet50 on image 0 and 1) and `r101-2` (resnet101 on image 2). Boxes are (y0, x0, y1, x1), normalised unless said.

=====================  ===============================================================================================
image_crc32            of `image(n).tobytes()`
image_meta             (16,) float64, what `mold_inputs` makes: id, original shape, shape, window, scale, active classes
resized                only r50-1: the (384, 384, 3) uint8 image, resized and padded, before the mean is taken off;
                       scikit-image 0.17 and 0.26 differ by one grey level where a value is whole, so feed this
molded                 sample (600) of the (384, 384, 3) network input
C2 C3 C4 C5            sample (600) of the backbone's stages (1, H, W, C)
P2 P3 P4 P5 P6         sample (600) of the pyramid, before the RPN
anchors                sample (1200) of the (27621, 4) anchors
rpn_class_logits       sample (1200) of (1, 27621, 2): background, object
rpn_class              sample (1200) of its softmax
rpn_bbox               sample (1200) of (1, 27621, 4)
rpn_rois               (64, 4), all proposals
pooled_class           sample (1200) of ROIAlign (1, 64, 7, 7, 256) at rpn_rois
mrcnn_class_logits     (64, 4) at rpn_rois; class 0 is background
mrcnn_class            (64, 4), its softmax
mrcnn_bbox             (64, 4, 4): region, class, offset
detections             (24, 6): box, class, score; zero rows fill up
pooled_mask            sample (1200) of ROIAlign (1, 24, 14, 14, 256) at the boxes of detections
mrcnn_mask             sample (6000) of (1, 24, 28, 28, 4), probabilities
result_rois            (N, 4) int32, pixels of the image given to `detect`
result_class_ids       (N,)
result_scores          (N,)
result_masks           `np.packbits` of the (N, H, W) bool masks, flat
=====================  ===============================================================================================

`sample` is that of weights.py. Every NAME that is a sample has `NAME_rms`, the root mean square of the whole array.
"""

import sys
import tempfile
import zlib
from pathlib import Path

import keras
import numpy as np
from keras import backend
from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from weights import image, sample, weight

CASES = {"resnet50": (0, 1), "resnet101": (2,)}
LAYERS = {
    "C2": "res2c_out", "C3": "res3d_out", "C5": "res5c_out", "P2": "fpn_p2", "P3": "fpn_p3", "P4": "fpn_p4",
    "P5": "fpn_p5", "P6": "fpn_p6", "rpn_class": "rpn_class", "rpn_bbox": "rpn_bbox", "rpn_rois": "ROI",
    "pooled_class": "roi_align_classifier", "mrcnn_class_logits": "mrcnn_class_logits", "mrcnn_class": "mrcnn_class",
    "mrcnn_bbox": "mrcnn_bbox", "detections": "mrcnn_detection", "pooled_mask": "roi_align_mask",
    "mrcnn_mask": "mrcnn_mask",
}  # fmt: skip
LAST_OF_STAGE_4 = {"resnet50": "res4f_out", "resnet101": "res4w_out"}
SAMPLES = {"mrcnn_mask": 6000, "pooled_class": 1200, "pooled_mask": 1200, "anchors": 1200, "molded": 600}
SAMPLES.update(dict.fromkeys(("rpn_class_logits", "rpn_class", "rpn_bbox"), 1200))
SAMPLES.update(dict.fromkeys(("C2", "C3", "C4", "C5", "P2", "P3", "P4", "P5", "P6"), 600))


class MaskRCNNTiny(Config):
    NAME = "tiny"
    NUM_CLASSES = 1 + 3
    IMAGES_PER_GPU = 1
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 384  # the smallest that sends boxes to all levels, P2 to P5
    POST_NMS_ROIS_INFERENCE = 64
    DETECTION_MAX_INSTANCES = 24
    DETECTION_MIN_CONFIDENCE = 0.4

    def __init__(self, backbone):
        self.BACKBONE = backbone
        super().__init__()


def build(config):
    """Matterport's network with the weights of weights.py."""
    network = MaskRCNN("inference", config, tempfile.gettempdir())
    pairs = []
    for layer in network.keras_model.layers:
        for part in layer.layers if isinstance(layer, keras.models.Model) else [layer]:
            for variable in part.weights:
                kind = variable.name.split("/")[-1].split(":")[0]
                pairs.append((variable, weight(part.name + "/" + kind, backend.int_shape(variable))))
    backend.batch_set_value(pairs)
    return network


def outputs(network):
    """Tensors to record, by name."""
    model = network.keras_model
    tensors = {name: model.get_layer(layer).output for name, layer in LAYERS.items()}
    tensors["C4"] = model.get_layer(LAST_OF_STAGE_4[network.config.BACKBONE]).output
    rpn = model.get_layer("rpn_model")
    logits = [rpn.get_output_at(call)[0] for call in range(1, 6)]  # 0 is its own building
    tensors["rpn_class_logits"] = keras.layers.Concatenate(axis=1)(logits)
    return tensors


def answer(network, pixels):
    """Everything that Matterport's network and `detect` say of one image."""
    found = dict(network.run_graph([pixels], list(outputs(network).items())))
    molded, metas, _ = network.mold_inputs([pixels])
    found.update(molded=molded[0], anchors=network.get_anchors(molded[0].shape))
    kept = {"image_crc32": np.uint32(zlib.crc32(pixels.tobytes())), "image_meta": metas[0]}
    if pixels.shape[0] < molded[0].shape[0]:
        kept["resized"] = np.round(molded[0] + network.config.MEAN_PIXEL).astype(np.uint8)
    for name, values in found.items():
        if name in SAMPLES:
            kept[name] = sample(values, SAMPLES[name]).astype(np.float32)
            kept[name + "_rms"] = np.sqrt(np.mean(np.square(values, dtype=np.float64)))
        else:
            kept[name] = values[0]
    result = network.detect([pixels])[0]
    kept.update({"result_" + name: result[name] for name in ("rois", "class_ids", "scores")})
    kept["result_masks"] = np.packbits(np.moveaxis(result["masks"], -1, 0))
    return kept


def main(folder):
    golden = {}
    for backbone, numbers in CASES.items():
        keras.backend.clear_session()
        network = build(MaskRCNNTiny(backbone))
        short = backbone.replace("resnet", "r")
        if folder:
            network.keras_model.save_weights(str(Path(folder) / f"mask_rcnn_tiny_{short}.h5"))
        for number in numbers:
            case = f"{short}-{number}/"
            golden.update({case + name: value for name, value in answer(network, image(number)).items()})
    np.savez_compressed(str(Path(__file__).with_name("golden.npz")), **golden)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
