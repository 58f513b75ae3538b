"""Try yours: a reader's own embedding, measured in the page itself, without a kernel and without a network.

What a page can read are ``.npy``, ``.npz`` and text; PoZ, orders and nested curves are those of
:mod:`rarefire.poz` and :mod:`rarefire.curves`, and bad files get the sentences that Python has for them.
Files are read and curves computed by workers of the browser (``js/files.js``, ``js/measure.js``); nothing
leaves it.

>>> from rarefire.page.try_yours import TryYours
>>> TryYours(embedding, labels)  # doctest: +SKIP
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from numpy.typing import ArrayLike, NDArray

from rarefire import labels as labels_
from rarefire import names, poz
from rarefire.curves import ENOUGH, geometry_curve
from rarefire.errors import InputError
from rarefire.page import frame, palette, plots
from rarefire.page.widgets import PageWidget, page_of, script

__all__ = ["TryYours"]

_ORDERS = {"low": "low→high PoZ", "high": "high→low PoZ", "random": "random"}
_MOST_BYTES = 2**20  # of the example: it travels in the page


class TryYours(PageWidget):
    """Places for a reader's files, and what is measured of them.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU: the example that is shown until the reader gives another one;
        at least three images, at most a megabyte.
    labels
        ``(n_images,)`` names of categories, or None.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    seed
        Of the random order, and of the draws where there are more images than a page can take:
        ``numpy.random.default_rng(seed).permutation``, in the page too.

    **state
        ``work``: how many products of two features the pairs of images may take in the page, by default about
        half a minute's on two cores. Where all images would take more, some are drawn.

    Raises
    ------
    InputError
        For an embedding that is not post-ReLU or too large, and for labels that do not fit it.

    Notes
    -----
    PoZ is over all images, of a file of any length, which is read in slices. Curves are over all pairs of
    images: of 2,000 × 4,096 at every per cent of the features in about ten seconds on two cores. Where there
    are more images than that would take half a minute for, they are drawn; the page says so. R² agrees with
    :func:`rarefire.curves.geometry_curve` and :func:`rarefire.curves.rdm_curve` to 1e-9.
    """

    _esm = script("geometry", "curve", "try_yours")
    _height = (109, 152)

    worker = traitlets.Unicode(script("geometry", "files", "measure", "worker")).tag(sync=True)
    explorer = traitlets.Unicode(script("geometry", "curve", "feature", "explorer")).tag(sync=True)
    page = traitlets.Unicode().tag(sync=True)
    example = traitlets.Bytes().tag(sync=True)
    labels = traitlets.Unicode().tag(sync=True)
    colours = traitlets.Bytes().tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    rare = traitlets.Float(poz.RARE, read_only=True).tag(sync=True)
    least = traitlets.Float(ENOUGH, read_only=True).tag(sync=True)
    work = traitlets.Float(2.0**36, min=1.0).tag(sync=True)

    def __init__(
        self,
        embedding: ArrayLike,
        labels: Sequence[str] | None = None,
        *,
        name: str = "try-yours",
        caption: str = "Your own embedding, measured in this page: nothing leaves it.",
        seed: int = 0,
        **state: Any,
    ) -> None:
        given = np.asarray(embedding)
        rates = poz.poz(given)  # refuses what is not post-ReLU
        file = io.BytesIO()
        np.save(file, given)
        if len(file.getvalue()) > _MOST_BYTES:
            raise InputError(
                f"the example travels in the page: at most {_MOST_BYTES / 2**20:.0f} MiB; got "
                f"{len(file.getvalue()) / 2**20:.1f}. Choose some of its images."
            )
        categories = [] if labels is None else [str(label) for label in labels]
        if labels is not None and len(categories) != len(given):
            raise InputError(f"labels are one per image: expected {len(given)}, got {len(categories)}.")
        names.check_writable(categories)
        if any(len(category) > labels_.LONGEST for category in categories):
            raise InputError(f"a category's name has at most {labels_.LONGEST} characters. Shorten it.")
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(given, rates, name, caption, seed),
            page=page_of(heading="@HEADING@", figures="@FIGURE@", state="@STATE@"),
            example=file.getvalue(),
            labels="".join(f"{category}\n" for category in categories),
            colours=palette.shades(),
            seed=seed,
            **state,
        )


def _still(embedding: NDArray[Any], rates: NDArray[np.float64], name: str, caption: str, seed: int) -> HTML:
    """The figure for pages without scripts: PoZ and curves of the example."""
    n = len(rates)
    silent, axes = plots.panel(title="How silent")
    plots.histogram(axes, rates, colour="digits", bins=np.linspace(0, 1, 21).tolist())
    axes.set(xlabel="PoZ", ylabel="features")
    carried, axes = plots.panel(title="What the first features carry")
    orders = {
        "low": poz.order(rates, first="low"),
        "high": poz.order(rates, first="high"),
        "random": np.random.default_rng(seed).permutation(n),
    }
    table = pd.DataFrame({"k": np.arange(1, n + 1)})
    for first, order in orders.items():
        table[first] = geometry_curve(embedding, order).r2
        axes.plot(table["k"] / n, table[first], color=palette.COLOURS[first], linewidth=1.6)
    axes.set(xlabel="share of features kept", ylabel="R² with all features", ylim=(0, 1.02))
    plots.percent(axes, "x")
    kinds = poz.kinds(rates)
    counts = ", ".join(f"{np.count_nonzero(kinds == kind)} {kind}" for kind in poz.KINDS)
    return frame.show(
        [silent, carried],
        name=name,
        alt=f"An example of {len(embedding)} images and {n} features: {counts}; nested curves, three orders.",
        caption=caption,
        numbers=table,
        legend={title: first for first, title in _ORDERS.items()},
    )
