"""
Classifier two-sample test of simulated CCDs: `python benchmarks/simulator_two_sample.py REAL ANNOTATIONS`.

A small CNN is trained to classify CCD-size patches as real or simulated, with folds grouped by exposure; an AUC of 0.5
is perfect. Boosted trees on named features, trained in the same way, show which features differ.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from cascade.camera import Camera
from cascade.simulate import Season, Simulator
from cascade.training.annotated import load_annotated

SKIPPED = {2, 25, 31, 32, 38, 61}  # dead or cut by the image border
SHAPE = (32, 62)


def patches(images, marked, camera, least, most):
    """CCD windows with a marked fraction within limits, and the exposure of each."""
    found, exposure = [], []
    for n, image in enumerate(images):
        for ccd in camera.ccds:
            if ccd.ccdnum in SKIPPED:
                continue
            on_ccd = camera.labels == ccd.ccdnum
            if not least <= marked[n][on_ccd].mean() <= most:
                continue
            row, column = (int(np.flatnonzero(on_ccd.any(axis=axis))[0]) - 1 for axis in (1, 0))
            patch = image[row : row + SHAPE[0], column : column + SHAPE[1]]
            if patch.shape == SHAPE:
                found.append(patch)
                exposure.append(n)
    return np.array(found), np.array(exposure)


FEATURES = (
    "sky", "mad", "sd below", "p1", "p5", "p25", "p75", "p90", "p95", "p99", "saturated px", "lag 0,1", "lag 1,0",
    "lag 1,1", "lag 0,2", "lag 2,0", "lag 0,4", "lag 4,0", "peaks > 30", "peaks > 80", "gap mean", "gap sd",
    "first row", "second row", "last row", "row before", "first column", "second column", "last column",
    "column before", "half diff", "sd of row means", "sd of column means", "blobs >= 4 px", "dark px", "laplacian",
)  # fmt: skip


def features(patch):
    """Interpretable features of a patch."""
    patch = patch.astype(float)
    inner = patch[4:-4, 4:-5]
    sky = np.median(inner)
    mad = 1.4826 * np.median(np.abs(inner - sky)) + 1e-3
    clipped = np.clip(inner - sky, -3 * mad, 2 * mad)
    clipped -= clipped.mean()

    def lag(dy, dx):
        a, b = clipped[dy:, dx:], clipped[: clipped.shape[0] - dy, : clipped.shape[1] - dx]
        return (a * b).mean() / (clipped**2).mean()

    peaks = (ndimage.maximum_filter(inner, 3) == inner) * (inner - sky)
    blobs, _ = ndimage.label(inner >= 245)
    share = (patch - 23) / max(sky - 23, 5)
    middle = np.s_[6:-6]
    gap = np.concatenate([patch[0], patch[:, 0]])
    return [
        sky, mad, sky - np.percentile(inner, 15.9), *(np.percentile(inner, [1, 5, 25, 75, 90, 95, 99]) - sky),
        (inner >= 245).sum(), lag(0, 1), lag(1, 0), lag(1, 1), lag(0, 2), lag(2, 0), lag(0, 4), lag(4, 0),
        (peaks > 30).sum(), (peaks > 80).sum(), gap.mean(), gap.std(),
        *(np.median(share[row, middle]) for row in (1, 2, 30, 29)),
        *(np.median(share[middle, column]) for column in (1, 2, 59, 58)),
        np.median(inner[: len(inner) // 2]) - np.median(inner[len(inner) // 2 :]),
        np.median(inner, axis=1).std(), np.median(inner, axis=0).std(),
        (np.bincount(blobs.ravel())[1:] >= 4).sum(), (inner < 5).sum(), np.abs(ndimage.laplace(clipped)).mean() / mad,
    ]  # fmt: skip


def fold_of(groups, n_folds):
    return groups % n_folds


def trees(real, simulated, n_folds=5):
    """AUC of boosted trees, and of each feature alone."""
    x = np.array([features(patch) for patch in np.concatenate([real[0], simulated[0]])])
    y = np.repeat([0, 1], [len(real[0]), len(simulated[0])])
    folds = np.concatenate([fold_of(real[1], n_folds), fold_of(simulated[1], n_folds)])
    scores = np.zeros(len(y))
    for fold in range(n_folds):
        test = folds == fold
        model = HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, max_leaf_nodes=8, random_state=0)
        scores[test] = model.fit(x[~test], y[~test]).predict_proba(x[test])[:, 1]
    single = [(abs(roc_auc_score(y, column) - 0.5) + 0.5, name) for column, name in zip(x.T, FEATURES, strict=True)]
    medians = {
        name: (np.median(a), np.median(b)) for name, a, b in zip(FEATURES, x[y == 0].T, x[y == 1].T, strict=True)
    }
    return roc_auc_score(y, scores), sorted(single, reverse=True), medians


def cnn(real, simulated, n_folds=5, epochs=12):
    """AUC of a small CNN."""
    import keras

    x = np.concatenate([real[0], simulated[0]])[..., None].astype("float32") / 64 - 1
    y = np.repeat([0.0, 1.0], [len(real[0]), len(simulated[0])])
    folds = np.concatenate([fold_of(real[1], n_folds), fold_of(simulated[1], n_folds)])
    weight = np.where(y == 0, 0.5 / np.mean(y == 0), 0.5 / np.mean(y == 1))
    scores = np.zeros(len(y))
    for fold in range(n_folds):
        keras.utils.set_random_seed(fold)
        layers = [keras.Input((*SHAPE, 1))]
        for width, stride in ((16, 1), (24, 2), (32, 1), (48, 2)):
            layers += [
                keras.layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False),
                keras.layers.BatchNormalization(momentum=0.9),
                keras.layers.ReLU(),
            ]
        layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.AdamW(2e-3, weight_decay=1e-3), loss)
        test = folds == fold
        model.fit(x[~test], y[~test], sample_weight=weight[~test], batch_size=64, epochs=epochs, verbose=0)
        scores[test] = model.predict(x[test], verbose=0, batch_size=256)[:, 0]
    return roc_auc_score(y, scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--n", type=int, default=100, help="simulated exposures")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--no-cnn", action="store_true")
    options = parser.parse_args()
    camera, simulator = Camera.decam(), Simulator()
    real = load_annotated(options.images, options.annotations)
    marked = np.any(real.votes(), axis=(0, 2))
    season = Season(options.n, 0.75, options.seed)
    drawn = [season.draw(n, simulator) for n in range(options.n)]
    labelled = [exposure.instances.bit_mask() > 0 for exposure in drawn]
    images = [exposure.image for exposure in drawn]
    for what, least, most in (("without artifacts", 0.0, 0.0), ("with artifacts", 0.25, 1.0)):
        a = patches(real.images, marked, camera, least, most)
        b = patches(images, labelled, camera, least, most)
        pick = np.random.default_rng(0).permutation(len(b[0]))[: len(a[0])]
        b = b[0][pick], b[1][pick]
        auc, single, medians = trees(a, b)
        print(f"{what}: {len(a[0])} real, {len(b[0])} simulated patches; trees AUC {auc:.3f}", flush=True)
        for value, name in single[:10]:
            print(
                f"   {name}: AUC {value:.2f} alone, median real {medians[name][0]:.2f} simulated {medians[name][1]:.2f}"
            )
        if not options.no_cnn:
            print(f"   CNN AUC {cnn(a, b):.3f}", flush=True)


if __name__ == "__main__":
    main()
