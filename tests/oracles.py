"""Slow and simple versions that several files of tests compare with."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-12  # of shares, cosines and correlations, in double precision


def numpy_curve(
    partial: np.ndarray, full: np.ndarray, *, power: int = 1, cosine: bool = False
) -> tuple[float, int]:
    """A curve at one k, by numpy: r of two sets of similarities between rows that have one; how many do."""
    has = partial.any(axis=1) if cosine else np.ptp(partial, axis=1) > 0
    pairs = np.triu_indices(has.sum(), 1)
    if has.sum() < 3:
        return np.nan, int(has.sum())

    def similarities(x: np.ndarray) -> np.ndarray:
        if not cosine:
            return np.corrcoef(x[has])[pairs] ** power
        unit = x[has] / np.linalg.norm(x[has], axis=1, keepdims=True)
        return (unit @ unit.T)[pairs] ** power

    return float(np.corrcoef(similarities(partial), similarities(full))[0, 1]), int(has.sum())


def pca(x):
    """Scores and shares of variance; the origin scores below the mean."""
    centred = x - x.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    real = s > 1e-9 * s[0]
    scores = (u * s * np.where(-x.mean(axis=0) @ vt.T > 0, -1, 1))[:, real][:, :10]
    return scores, (s**2 / (s**2).sum())[real][:10]


def sixteenths(x):
    """Rectified and rounded, so that sums are exact and images with the same share tie."""
    return np.round(np.maximum(x, 0) * 16) / 16


def naive_auc(inside, outside):
    """Scores that are the same but for rounding tie."""
    return np.mean([0.5 if abs(o - i) < ROUNDING else o > i for i in inside for o in outside])


def ghosts_score(defining, images):
    """Share of activation on what is silent for the defining images."""
    silent = ~(defining > 0).any(axis=0)
    total = images.sum(axis=1)
    return images[:, silent].sum(axis=1) / np.where(total > 0, total, 1)


def mean_score(defining, images):
    mean = defining.mean(axis=0)
    lengths = np.linalg.norm(images, axis=1) * np.linalg.norm(mean)
    return 1 - np.divide(images @ mean, lengths, out=np.zeros(len(images)), where=lengths > 0)
