"""Rank around single images, and how nearly orthogonal features and images are, through LeNets.

The networks are those of :mod:`rarefire.records.dimension`, before and after training. Rank never grows with
depth (a theorem), and a layer after ReLU has at most as much of it as features fire for the image, so that
PoZ bounds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

from rarefire import dimension, embeddings, stimuli, training
from rarefire.errors import unknown
from rarefire.records import record
from rarefire.records.dimension import EPOCHS, LAYERS, SETTINGS, through
from rarefire.records.record import Array, Stack
from rarefire.stimuli import Stimuli

__all__ = ["SIZE", "Ranks", "by_images", "known", "measure"]

#: Side of the square of pixels by which is derived.
SIZE = 16

_LAYERS = LAYERS[1:]
_AROUND = 10  # images around which rank is measured, one of each class where there are ten
_SHOWN = 500  # images of orthogonality
_STATES = (EPOCHS[0], EPOCHS[-1])


@dataclass(frozen=True, eq=False, repr=False)
class Ranks(Stack):
    """Ranks and orthogonality of layers. The first axis is the instance, the second before/after training."""

    layer = Array("I, L", "names of the layers")
    width = Array("I, L", "number of features")
    epoch = Array("I, 2", "of training, when it was measured")
    rank = Array("I, 2, A, L", "rank of the layer's Jacobian around each of A images")
    fires = Array("I, 2, A, L", "features that are not 0 for the image")
    poz = Array("I, 2, L", "mean PoZ over features; NaN where not post-ReLU")
    features = Array("I, 2, L", "root mean square cosine of pairs of features")
    images = Array("I, 2, L", "that of pairs of images")
    chance = Array("I, L, 2", "what these are without any relation: of features, of images")
    constant = Array("I, 2, L", "features that are the same for all images, left out there")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in their order."""
        return tuple(self.layer[0].tolist())

    def grows(self) -> int:
        """How often rank grows from a layer to the next, over networks and images: 0, by the theorem."""
        return int(np.count_nonzero(np.diff(self.rank.astype(np.int64), axis=-1) > 0))

    def table(self) -> pd.DataFrame:
        """A row for each epoch and layer, medians over instances.

        Returns
        -------
        DataFrame
            ``epoch, layer, width``; ``rank`` and ``fires``, means over images; ``PoZ``; ``features, images``,
            cosines, and ``features by chance, images by chance``; ``constant``.
        """
        rows = []
        for s, epoch in enumerate(self.epoch[0]):
            for place, layer in enumerate(self.layers):
                row: dict[str, Any] = {"epoch": int(epoch), "layer": layer}
                row["width"] = int(self.width[0, place])
                row["rank"] = np.median(self.rank[:, s, :, place].mean(axis=1))
                row["fires"] = np.median(self.fires[:, s, :, place].mean(axis=1))
                row["PoZ"] = np.median(self.poz[:, s, place])
                row["features"] = np.median(self.features[:, s, place])
                row["features by chance"] = self.chance[0, place, 0]
                row["images"] = np.median(self.images[:, s, place])
                row["images by chance"] = self.chance[0, place, 1]
                row["constant"] = np.median(self.constant[:, s, place])
                rows.append(row)
        return pd.DataFrame(rows)


def measure(
    images: str,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Ranks:
    """Measure the LeNets of :mod:`rarefire.records.dimension`; compute only what is not known.

    Parameters
    ----------
    images
        Of :data:`rarefire.records.dimension.SETTINGS`.
    seeds
        One network each; by default as many as are recorded.
    jobs
        Processes, one thread each; by default one for each processor core.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show a progress bar.

    Raises
    ------
    UnknownNameError
        For images without a setting.
    """
    _check(images)
    options: dict[str, Any] = {"jobs": jobs, "use_shipped": use_shipped, "progress": progress}
    options |= {"seeds": seeds or range(SETTINGS[images].seeds), "about": "ranks"}
    return Ranks(record.measured_lenets("rank", images, _facts(images), _trained_and_measured, **options))


def known(images: str) -> Ranks | None:
    """What is shipped or cached; None where that is nothing. Needs no data."""
    _check(images)
    answers = record.known_lenets("rank", images, _facts, seeds=range(SETTINGS[images].seeds))
    return Ranks(answers) if answers else None


def by_images(profile: str = "default", *, instances: int | None = None) -> dict[str, Ranks]:
    """The LeNets that a chapter shows; as :func:`rarefire.records.record.by_images`.

    Parameters
    ----------
    profile
        ``"default"`` or ``"full"``.
    instances
        Of digits; default: as many as those of :mod:`rarefire.records.dimension`.
    """
    return record.by_images(SETTINGS, measure, known, profile, instances or SETTINGS["digits"].seeds)


def _check(images: str) -> None:
    if images not in SETTINGS:
        raise unknown("image set", images, list(SETTINGS))


def _facts(images: str) -> dict[str, Any]:
    return {
        **training.identity(images, "lenet5", recipe=SETTINGS[images].recipe(images)),
        "test_digest": stimuli.content_digest(images, "test"),
        "epochs": list(_STATES),
        "around": _AROUND,
        "shown": _SHOWN,
        "size": SIZE,
    }


def _trained_and_measured(
    seed: int, train: Stimuli, test: Stimuli, images: str
) -> tuple[int, dict[str, NDArray[Any]]]:
    with threadpool_limits(1), training.one_thread():
        shown = test.subset(test.spread(_SHOWN))
        around = np.array([np.argmax(shown.labels == c) for c in range(len(shown.class_names))])[:_AROUND]
        networks = zip(EPOCHS, through(train, SETTINGS[images].recipe(images), seed), strict=True)
        each = [_measured(network, shown, around) for epoch, network in networks if epoch in _STATES]
    arrays = {name: np.stack([one[name] for one in each]) for name in each[0]}
    arrays |= {name: each[0][name] for name in ("width", "chance")}
    small = {name: a.astype(np.float32) for name, a in arrays.items() if a.dtype == np.float64}
    return seed, {**arrays, **small, "layer": np.array(_LAYERS), "epoch": np.array(_STATES)}


def _measured(network: nn.Module, shown: Stimuli, around: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """The arrays of one network, ``(…, L)``."""
    ranks = [
        list(dimension.jacobian_ranks(network, image, layers=_LAYERS, size=SIZE).values())
        for image in shown.images[around]
    ]
    rows: dict[str, list[Any]] = {}
    for _, values in embeddings.each(network, shown, layers=_LAYERS, spatial="keep"):
        points = np.ascontiguousarray(values.reshape(len(values), -1))
        of_features = dimension.quasi_orthogonality(points)
        of_images = dimension.quasi_orthogonality(points, of="images")
        for name, number in (
            ("width", points.shape[1]),
            ("fires", np.count_nonzero(points[around], axis=1)),
            ("poz", float((points == 0).mean()) if points.min() >= 0 else np.nan),
            ("features", of_features.cosine),
            ("images", of_images.cosine),
            ("chance", (of_features.chance, of_images.chance)),
            ("constant", of_features.dropped),
        ):
            rows.setdefault(name, []).append(number)
    arrays = {name: np.array(numbers) for name, numbers in rows.items()}
    return {**arrays, "fires": arrays["fires"].T, "rank": np.array(ranks)}
