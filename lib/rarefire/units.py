"""What single units do across images, told by how often they fire: spike counts and class selectivity.

A unit fires for an image if its activation is above 0. How many images of a window of n it fires for is its
spike count, and the Fano factor is the variance of the counts over their mean. Of independent images the
count is binomial: the Fano factor is then PoZ and says nothing more. It is more where images of a class come
together and the unit tells classes apart: PoZ·(1 + (n−1)·ρ), with ρ the correlation of its firing for two
images of a class. A Fano factor beyond PoZ is selectivity *and* the order of the images; the same images
shuffled are its control. One shuffle is one draw for all the units: average over shuffles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire._engine.resampling import check_rng
from rarefire.errors import InputError
from rarefire.poz import check_activations

__all__ = ["class_blocks", "expected_fano", "fano", "selectivity"]


def fano(embedding: ArrayLike, *, window: int, order: ArrayLike | None = None) -> NDArray[np.float64]:
    """Fano factor of every unit: variance over mean of its spike counts in windows of images.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU.
    window
        Consecutive images that make a window, at least 2; what is left after the last whole one is not
        counted.
    order
        Image indices, each at most once, in the order in which the images are shown: a permutation, or some
        of them, as from :func:`class_blocks`. By default as given.

    Returns
    -------
    ndarray
        ``(n_features,)``, ≥ 0; the variance is over windows, with one degree of freedom less. NaN for a unit
        that does not fire in them. Over all orders of N images in whole windows its mean is exactly
        PoZ·N/(N−1).

    Raises
    ------
    InputError
        For activations that are not post-ReLU, a wrong order, and for fewer than two windows.
    """
    fires = check_activations(embedding, dimensions=2) > 0
    shown = np.arange(len(fires)) if order is None else np.asarray(order)
    indices = shown.ndim == 1 and np.issubdtype(shown.dtype, np.integer)
    if not indices or len(np.intersect1d(shown, np.arange(len(fires)))) < len(shown):
        raise InputError(
            f"order must be image indices from 0 to {len(fires) - 1}, each at most once; got {shown.dtype} "
            f"{shown.shape}."
        )
    n = _check_window(window, len(shown))
    n_windows = len(shown) // n
    counts = fires[shown[: n_windows * n]].reshape(n_windows, n, -1).sum(axis=1)
    mean, variance = counts.mean(axis=0), counts.var(axis=0, ddof=1)
    return np.asarray(np.divide(variance, mean, out=np.full(len(mean), np.nan), where=mean > 0))


def selectivity(embedding: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """How far classes decide whether a unit fires: the intraclass correlation ρ of its firing.

    The classes are those there are, not a sample of others. So ρ is the variance of their firing rates over
    that of the firing, p(1−p), and its estimate ε² (Kelley 1935; adjusted R²), one minus the mean square
    within classes over the total mean square: what chance alone gives is taken off. It is the estimate with
    which :func:`expected_fano` can be exact. That of the analysis of variance with random effects, where
    classes are drawn from others, is up to C/(C−1) times as large, with C classes.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU.
    labels
        ``(n_images,)``, at least two classes, fewer than images.

    Returns
    -------
    ndarray
        ``(n_features,)``, at most 1: the unit fires for all images of some classes and for none of the
        others. Around 0 where classes make no difference, so also negative. NaN for a unit that always or
        never fires.

    Raises
    ------
    InputError
        For activations that are not post-ReLU, and for labels that are not as above.
    """
    fires = check_activations(embedding, dimensions=2) > 0
    n = len(fires)
    given = np.asarray(labels)
    if given.shape != (n,):
        raise InputError(f"labels must be one per image: expected ({n},), got {given.shape}.")
    classes, sizes = np.unique(given, return_counts=True)
    if not 2 <= len(classes) < n:
        raise InputError(
            f"selectivity needs two classes or more, one of them with two images; got {len(classes)} classes "
            f"of {n} images."
        )
    fired = np.stack([np.count_nonzero(fires[given == c], axis=0) for c in classes])
    rest = sizes[:, None] - fired
    within = (fired * rest / sizes[:, None]).sum(axis=0) / (n - len(classes))
    total = fired.sum(axis=0) * rest.sum(axis=0) / n / (n - 1)
    return np.asarray(1 - np.divide(within, total, out=np.full(len(total), np.nan), where=total > 0))


def expected_fano(poz: ArrayLike, selectivity: ArrayLike, *, window: int) -> NDArray[np.float64]:
    """Fano factor to expect where every window is of one class: PoZ·(1 + (n−1)·ρ).

    The factor is Kish's (1965) design effect of clusters. The formula is for many windows: with classes of
    equal size, N images and M windows that hold them all, the mean of :func:`fano` over all their class
    blocks is exactly PoZ·N/(N−1)·(1 + (n−1)·ρ·M/(M−1)), as classes take turns and are not drawn.

    Parameters
    ----------
    poz
        ``(n_features,)`` in [0, 1], from :func:`rarefire.poz.poz`.
    selectivity
        ``(n_features,)``, ρ, from :func:`selectivity`.
    window
        n, at least 2.

    Returns
    -------
    ndarray
        ``(n_features,)``; NaN where ρ is, but for a unit that always fires 0.

    Raises
    ------
    InputError
        For numbers out of range or of different shapes, and a window below 2.
    """
    rates, rho = np.asarray(poz, dtype=np.float64), np.asarray(selectivity, dtype=np.float64)
    if rates.shape != rho.shape or not ((rates >= 0) & (rates <= 1)).all() or (rho > 1).any():
        raise InputError(
            "poz and selectivity must be one number per feature, in [0, 1] and at most 1; got shapes "
            f"{rates.shape} and {rho.shape}."
        )
    return np.where(rates == 0, 0.0, rates * (1 + (_check_window(window) - 1) * rho))


def class_blocks(labels: ArrayLike, *, window: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Images in an order in which every window is of one class, for :func:`fano`.

    Parameters
    ----------
    labels
        ``(n_images,)``.
    window
        Images of a window, at least 2.
    rng
        Draws which images of a class go together and which window comes when.

    Returns
    -------
    ndarray
        Image indices, each at most once; of each class the images beyond whole windows are left out, by
        chance. A permutation of it, ``rng.permutation``, shows the same images without blocks.

    Raises
    ------
    InputError
        Where the classes do not fill two windows.
    """
    given = np.asarray(labels)
    if given.ndim != 1:
        raise InputError(f"labels must be one per image; got shape {given.shape}.")
    n = _check_window(window)
    check_rng(rng)
    mixed = rng.permutation(len(given))
    own = [mixed[given[mixed] == c] for c in np.unique(given)]
    windows = [images[: len(images) // n * n].reshape(-1, n) for images in own]
    if sum(map(len, windows)) < 2:
        sizes = [len(images) for images in own]
        raise InputError(f"the classes must fill two windows of {n}; they have {sizes[:10]} images.")
    return rng.permutation(np.concatenate(windows)).ravel()


def _check_window(window: int, n_images: int | None = None) -> int:
    if not isinstance(window, (int, np.integer)) or window < 2:
        raise InputError(f"window must be at least 2, a whole number of images; got {window!r}.")
    if n_images is not None and n_images < 2 * window:
        raise InputError(f"a variance needs at least two windows of {window}; got {n_images} images.")
    return int(window)
