"""Weights and images made from their names alone, the same under any Python and NumPy, for the Matterport oracle.

`weight("res2a_branch2a/kernel", shape)` is one Matterport weight, `image(n)` the n-th (H, W, 3) uint8 image, and
`sample(x)` the values of a large array that golden.npz keeps. Nothing in the network dies and its outputs are varied.
"""

import zlib

import numpy as np

GAINS = {
    "conv1": 0.015,  # grey levels of some 70 come in
    "fpn_c2p2": 0.6,
    "fpn_c3p3": 0.5,
    "fpn_c4p4": 0.4,
    "fpn_c5p5": 0.4,
    "fpn_p3": 1.2,
    "fpn_p4": 1.8,
    "fpn_p5": 3.0,
    "rpn_bbox_pred": 0.5,
    "mrcnn_bbox_fc": 0.5,
    "mrcnn_mask": 3.0,
}
"""Factor on the He scale of a layer's kernel, 1 elsewhere; tuned for proposals from all levels of the pyramid."""
GAMMAS = {"2c": 0.5, "h1": 0.7}
"""Batch norm that ends a branch, by the end of its name: sums of up to 33 blocks keep their size."""
CLASS_BIASES = (-0.5, 0.2, 1.2, -0.6)
"""Tuned for detections of all classes."""
SEEDS = (100, 103, 101)
"""Of the images, chosen so that no two scores, and no overlap and its limit, are within rounding of each other."""


def weight(name, shape):
    """Value of the weight `layer/kind` of that shape (Keras' order of axes), float32."""
    layer, kind = name.split("/")
    uniform = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).random_sample(shape) * 2 - 1
    if kind == "kernel":
        inputs = (3,) if layer == "mrcnn_mask_deconv" else tuple(range(len(shape) - 1))
        fan_in = np.prod([shape[axis] for axis in inputs])
        values = GAINS.get(layer, 1) * np.sqrt(6 / fan_in) * (uniform - uniform.mean(axis=inputs, keepdims=True))
    elif kind == "gamma":
        values = GAMMAS.get(layer[-2:], 1) * (1 + 0.2 * uniform)
    elif kind == "beta" and layer.endswith(("branch2a", "branch2b", "conv1")):
        values = 0.2 * uniform - 0.4  # few pixels pass the ReLU that follows: far parts of the image stay different
    elif kind == "moving_variance":
        values = 1 + 0.5 * uniform
    elif name == "mrcnn_class_logits/bias":
        values = np.array(CLASS_BIASES)
    else:
        values = 0.2 * uniform
    return values.astype(np.float32)


def image(n):
    """Bright and dark tilted ellipses in integer arithmetic: 0 fits the network, 1 is small, 2 narrow and grey."""
    height, width = ((384, 384), (150, 200), (384, 300))[n]
    random = np.random.RandomState(SEEDS[n])
    noise = random.randint(70, 131, (height, width, 3))
    pixels = noise if n != 1 else np.full_like(noise, 100)  # 1 is resized, and without noise packs well
    y, x = np.mgrid[:height, :width]
    for _ in range(14):
        y0, x0 = random.randint(0, height), random.randint(0, width)
        a, b, tilt = random.randint(1, 8), random.randint(1, 8), random.randint(-2, 3)
        reach = random.randint(10, width // 3) ** 2
        inside = a * (y - y0) ** 2 + b * (x - x0) ** 2 + tilt * (y - y0) * (x - x0) < reach
        pixels[inside] += random.randint(-120, 121, 3)
    pixels = np.clip(pixels, 0, 255)
    return (pixels if n < 2 else np.repeat(pixels[:, :, :1], 3, axis=2)).astype(np.uint8)


def sample(x, n=600):
    """Every k-th value in row-major order, k odd (never a divisor of the channels): n values or a few more."""
    x = np.asarray(x)
    return x.ravel()[:: max(1, (x.size // n - 1) | 1)]
