"""Features that die: a small LeNet is trained in the page, and its features fall silent one by one.

The browser trains (``js/convnet.js``, in a worker); this module has the same network in torch, which starts
from the same weights, goes through the digits in the same order and is trained by the same rule: what the
page shows can be repeated and checked here.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import traitlets
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from rarefire import curves, poz, stimuli
from rarefire._engine.arguments import checked
from rarefire.errors import DataError, InputError
from rarefire.page import frame, palette, plots
from rarefire.page.widgets import PageWidget, script

__all__ = [
    "BATCH",
    "DECAYS",
    "MOMENTUM",
    "RATES",
    "SHOWN",
    "WIDTHS",
    "Course",
    "Digits",
    "DyingFeatures",
    "digits",
    "epoch_order",
    "initial",
    "loss",
    "network",
    "read",
    "train",
]

#: What the sliders offer: learning rates, weight decays, numbers of penultimate features.
RATES = (0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
DECAYS = (0.0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
WIDTHS = (16, 32, 48, 64, 80, 96, 112, 128)
#: Images in a batch of stochastic gradient descent, and its momentum.
BATCH, MOMENTUM = 64, 0.9
#: Test images between which the geometry is measured.
SHOWN = 100
_FIXED, _EACH = 1258, 75  # parameters: in all but, and for every penultimate feature
_GOLDEN, _WORD = np.uint64(0x6D2B79F5), np.uint64(0xFFFFFFFF)

_Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Digits:
    """scikit-learn's 1,797 handwritten digits at their own size, in the book's split.

    Attributes
    ----------
    images
        ``(1797, 8, 8)``, ink from 0 to 16, one byte each; the training images come first.
    labels
        ``(1797,)``.
    n_train
        How many of them are for training.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    n_train: int

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Images ``(1797, 1, 8, 8)`` in [0, 1], and labels: what the network takes."""
        images = torch.from_numpy(self.images.astype(np.float32) / 16)
        return images[:, None], torch.from_numpy(self.labels.astype(np.int64))


@functools.cache
def digits() -> Digits:
    """The digits as they travel in the page."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    test = stimuli.stratified_mask(bunch.target, 500 / len(bunch.target), seed=0)  # as stimuli.load("digits")
    order = np.argsort(test, kind="stable")
    return Digits(
        bunch.images[order].astype(np.uint8), bunch.target[order].astype(np.uint8), int((~test).sum())
    )


# --- the network, as js/convnet.js has it ----------------------------------------------------------


@checked
def initial(width: int, *, seed: int = 0) -> _Floats:
    """The weights that a network starts from, the same here and in the page.

    Parameters
    ----------
    width
        Penultimate features, at least 1.
    seed
        Of the generator (mulberry32).

    Returns
    -------
    ndarray
        ``(1258 + 75 width,)``, the parameters of :func:`network` in torch's order: weights normal with
        variance 2 / inputs (He et al. 2015), biases 0.
    """
    if width < 1:
        raise InputError(f"width is a number of features, at least 1; got {width}.")
    shapes = [(p.shape, p.numel()) for p in _empty(width).parameters()]
    weights = [(n // shape[0], n) if len(shape) > 1 else (0, n) for shape, n in shapes]
    drawn = _uniform(seed, 0, 2 * sum(n for inputs, n in weights if inputs)).reshape(-1, 2)
    normal = np.sqrt(-2 * np.log(1 - drawn[:, 0])) * np.cos(2 * np.pi * drawn[:, 1])
    parts, used = [], 0
    for inputs, n in weights:
        parts.append(np.sqrt(2 / inputs) * normal[used : used + n] if inputs else np.zeros(n))
        used += n if inputs else 0
    return np.concatenate(parts).astype(np.float32)


@checked
def epoch_order(n: int, *, seed: int = 0, epoch: int = 0) -> NDArray[np.intp]:
    """The order in which an epoch goes through `n` images: ``(n,)``, a permutation."""
    return np.argsort(_uniform(seed, 1 + epoch, n), kind="stable")


def _uniform(seed: int, stream: int, n: int) -> NDArray[np.float64]:
    """mulberry32: n numbers in [0, 1)."""
    state = (
        np.uint64((seed * 1000003 + stream) % 2**32) + np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN
    ) & _WORD
    t = ((state ^ (state >> np.uint64(15))) * (state | np.uint64(1))) & _WORD
    t ^= (t + (((t ^ (t >> np.uint64(7))) * (t | np.uint64(61))) & _WORD)) & _WORD
    return np.asarray((t ^ (t >> np.uint64(14))) / 2.0**32)


def _empty(width: int) -> nn.Sequential:
    layers: list[tuple[str, nn.Module]] = []
    for i, (into, channels) in enumerate([(1, 8), (8, 16)], start=1):
        layers.append((f"conv{i}", nn.Conv2d(into, channels, 3, padding=1)))
        layers += [(f"relu{i}", nn.ReLU()), (f"pool{i}", nn.MaxPool2d(2))]
    layers += [("flatten", nn.Flatten()), ("fc1", nn.Linear(64, width)), ("relu3", nn.ReLU())]
    return nn.Sequential(OrderedDict([*layers, ("fc2", nn.Linear(width, 10))]))


@checked
def network(weights: NDArray[Any]) -> nn.Sequential:
    """The page's network in torch.

    Parameters
    ----------
    weights
        ``(1258 + 75 width,)``, as from :func:`initial` or of a :class:`Course`.

    Returns
    -------
    nn.Sequential
        ``conv1 relu1 pool1 conv2 relu2 pool2 flatten fc1 relu3 fc2``, for images ``(n, 1, 8, 8)`` in [0, 1];
        ``relu3`` gives the penultimate features.
    """
    values = np.asarray(weights, dtype=np.float32)
    width = _width(values)
    if values.ndim != 1 or width is None or not np.isfinite(values).all():
        raise InputError(
            f"weights are 1258 + 75 × width finite numbers in one vector; got shape {values.shape}. "
            "Take those of initial(), of a course or of the page."
        )
    made = _empty(width)
    nn.utils.vector_to_parameters(torch.from_numpy(values.copy()), made.parameters())
    return made.eval()


def _width(weights: NDArray[Any]) -> int | None:
    width, rest = divmod(weights.size - _FIXED, _EACH)
    return width if width > 0 and not rest else None


@checked
def read(path: str | Path) -> nn.Sequential:
    """The network that the page offers for download as *weights*: its file -> :func:`network`.

    Parameters
    ----------
    path
        A CSV with the columns ``parameter`` and ``value``, in the order of the page.

    Raises
    ------
    DataError
        For another file.
    """
    try:
        table = pd.read_csv(path)
        values = table["value"].to_numpy(dtype=np.float32)
        named = table["parameter"].tolist()
    except (KeyError, ValueError, OSError) as error:
        what = "no table of weights (parameter, value): download it from the page"
        raise DataError(f"{path} is {what}. {error}") from error
    width = _width(values)
    expected = (
        [] if width is None else [n for n, p in _empty(width).named_parameters() for _ in range(p.numel())]
    )
    if named != expected or not np.isfinite(values).all():
        raise DataError(
            f"{path} has {len(values)} weights, not those of the page's network. Download it again."
        )
    return network(values)


# --- training --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Course:
    """What became of one network.

    Attributes
    ----------
    learning_rate, weight_decay, seed
        How it was trained. Where weights grew beyond all numbers, loss, r2 and weights are not finite.
    loss
        ``(epochs,)``, mean cross-entropy of each epoch's batches.
    accuracy
        ``(epochs + 1,)``, on the test images; first, untrained.
    poz
        ``(epochs + 1, width)``, over the training images.
    r2
        ``(width,)``, at the end: of the first k features with all, low→high PoZ, on the first :data:`SHOWN`
        test images; NaN where it says nothing.
    weights
        ``(1258 + 75 width,)``, at the end.
    """

    learning_rate: float
    weight_decay: float
    seed: int
    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    poz: NDArray[np.float64]
    r2: NDArray[np.float64]
    weights: _Floats

    def share(self, kind: str) -> NDArray[np.float64]:
        """``(epochs + 1,)``: share of features that are of a kind of :data:`rarefire.poz.KINDS`."""
        return np.array([np.mean(poz.kinds(rates) == kind) for rates in self.poz])

    def revived(self) -> int:
        """Features that were dead at first and are not at the end."""
        return int(((self.poz[0] == 1) & (self.poz[-1] < 1)).sum())


@checked
def loss(weights: NDArray[Any], images: Tensor, labels: Tensor) -> tuple[float, _Floats]:
    """Mean cross-entropy of some images, and its gradient, ``(1258 + 75 width,)``."""
    made = network(weights)
    value = nn.functional.cross_entropy(made(images), labels)
    gradients = torch.autograd.grad(value, list(made.parameters()))
    return value.item(), torch.cat([g.flatten() for g in gradients]).numpy()


@checked
def train(settings: Sequence[tuple[float, float, int]], *, width: int = 48, epochs: int = 15) -> list[Course]:
    """Train networks on the digits, as the page does; all at once, which takes little longer than one.

    Parameters
    ----------
    settings
        ``(learning_rate, weight_decay, seed)`` of each network.
    width
        Penultimate features of all of them.
    epochs
        At least 1.

    Returns
    -------
    list of Course
        In the order of `settings`. Stochastic gradient descent with :data:`MOMENTUM`, in batches of
        :data:`BATCH`.
    """
    if not settings or epochs < 1:
        raise InputError(f"training needs a network and an epoch; got {len(settings)} and {epochs}.")
    for given in settings:
        if len(given) != 3 or not (0 < given[0] < np.inf and 0 <= given[1] < np.inf):
            raise InputError(f"settings are (learning_rate > 0, weight_decay ≥ 0, seed); got {given}.")
    data = digits()
    images, labels = data.tensors()
    rate, decay = (torch.tensor([s[i] for s in settings], dtype=torch.float32)[:, None] for i in (0, 1))
    weights = torch.from_numpy(np.stack([initial(width, seed=seed) for *_, seed in settings]))
    velocity = torch.zeros_like(weights)
    step = vmap(grad(functools.partial(_loss, _empty(width)), has_aux=True))
    accuracy, rates, losses = [], [], []

    def look() -> NDArray[np.float32]:
        features, answers = (t.numpy() for t in _run(weights, images))
        rates.append((~(features[:, : data.n_train] > 0)).mean(axis=1))
        accuracy.append((answers == data.labels)[:, data.n_train :].mean(axis=1))
        return features[:, data.n_train : data.n_train + SHOWN]

    look()
    for epoch in range(epochs):
        orders = {s: epoch_order(data.n_train, seed=s, epoch=epoch) for s in {s for *_, s in settings}}
        order = torch.from_numpy(np.stack([orders[s] for *_, s in settings]))
        total = torch.zeros(len(settings))
        batches = order.split(BATCH, dim=1)
        for rows in batches:
            gradient, value = step(weights, images[rows], labels[rows])
            velocity = MOMENTUM * velocity + gradient + decay * weights
            weights = weights - rate * velocity
            total += value
        losses.append((total / len(batches)).numpy())
        shown = look()
    made = []
    for i, (learning_rate, weight_decay, seed) in enumerate(settings):
        each, right, of = (np.stack(values)[:, i] for values in (losses, accuracy, rates))
        told = each.astype(np.float64), right, of, _r2(shown[i], of[-1]), weights[i].numpy()
        made.append(Course(learning_rate, weight_decay, seed, *told))
    return made


def _loss(made: nn.Sequential, weights: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = functional_call(made, _named(made, weights), images)
    value = nn.functional.cross_entropy(logits, labels)
    return value, value


def _named(made: nn.Sequential, weights: Tensor) -> dict[str, Tensor]:
    named = dict(made.named_parameters())
    parts = weights.split([p.numel() for p in named.values()])
    return {name: part.view(p.shape) for (name, p), part in zip(named.items(), parts, strict=True)}


@torch.no_grad()
def _run(weights: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Of each network: features ``(n, width)`` and answers ``(n,)``."""
    features, answers = [], []
    for vector in weights:
        made = _empty((len(vector) - _FIXED) // _EACH)
        nn.utils.vector_to_parameters(vector.clone(), made.parameters())
        features.append(made[:-1](images))
        answers.append(made[-1](features[-1]).argmax(dim=1))
    return torch.stack(features), torch.stack(answers)


def _r2(features: NDArray[Any], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(features).all():
        return np.full(len(rates), np.nan)
    curve = curves.geometry_curve(features, poz.order(rates, first="low"))
    return np.where(curves.enough(curve.n_images, len(features)), curve.r2, np.nan)


# --- the widget ------------------------------------------------------------------------------------


class DyingFeatures(PageWidget):
    """A network that is trained in the page; its features as dots by PoZ.

    Parameters
    ----------
    courses
        Networks trained before, for the figure where no script runs.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    **state
        Any of the traits below.

    Attributes
    ----------
    learning_rate, weight_decay, width
        Of :data:`RATES`, :data:`DECAYS`, :data:`WIDTHS`. Another width starts a new network.
    seed
        Of the weights and the order of the images, ≥ 0.
    epochs
        That one press of the button trains, at least 1.
    weights
        float32, little-endian: the network's when training last stopped; empty before.

    Raises
    ------
    InputError
        Without a course.
    traitlets.TraitError
        For a value that the page does not offer.
    """

    _esm = script("dying")
    _height = (58, 87)

    worker = traitlets.Unicode(script("geometry", "convnet", "dying_worker")).tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)
    labels = traitlets.Bytes().tag(sync=True)
    fixed = traitlets.Dict().tag(sync=True)
    learning_rate = traitlets.Float(0.03).tag(sync=True)
    weight_decay = traitlets.Float(0.0).tag(sync=True)
    width = traitlets.Int(48).tag(sync=True)
    seed = traitlets.Int(0, min=0).tag(sync=True)
    epochs = traitlets.Int(15, min=1).tag(sync=True)
    weights = traitlets.CBytes().tag(sync=True)

    def __init__(
        self,
        courses: Sequence[Course],
        *,
        name: str = "dying",
        caption: str = "Features fall silent as a network is trained.",
        **state: Any,
    ) -> None:
        if not courses:
            raise InputError("the figure for pages without scripts needs at least one course; see train().")
        data = digits()
        fixed = {
            "rates": RATES,
            "decays": DECAYS,
            "widths": WIDTHS,
            "trained": data.n_train,
            "shown": SHOWN,
            "batch": BATCH,
            "momentum": MOMENTUM,
            "rare": poz.RARE,
            "parameters": [key for key, _ in _empty(1).named_parameters()],
        }
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(courses, name, caption),
            images=data.images.tobytes(),
            labels=data.labels.tobytes(),
            fixed=fixed,
            **state,
        )

    @traitlets.validate("learning_rate", "weight_decay", "width")
    def _offered(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        offered = {"learning_rate": RATES, "weight_decay": DECAYS, "width": WIDTHS}[name]
        if value not in offered:
            listed = ", ".join(f"{v:g}" for v in offered)
            raise traitlets.TraitError(f"{name} is one of {listed}; got {value:g}.")
        return value

    def network(self) -> nn.Sequential:
        """The network as it was when training last stopped, in torch; untrained before."""
        given = np.frombuffer(self.weights, dtype="<f4")
        return network(given if given.size else initial(self.width, seed=self.seed))


def _still(courses: Sequence[Course], name: str, caption: str) -> Any:
    """Dead features and accuracy after every epoch, by learning rate."""
    left, dead = plots.panel(3.0, 2.3, title="dead features")
    right, accuracy = plots.panel(3.0, 2.3, title="test accuracy")
    inks, rows, told = ["low", "again", "high", "ghosts"], [], []
    rates = sorted({course.learning_rate for course in courses})
    legend = {f"learning rate {rate:g}": inks[i % len(inks)] for i, rate in enumerate(rates)}
    for course in courses:
        ink = palette.COLOURS[inks[rates.index(course.learning_rate) % len(inks)]]
        epochs = np.arange(len(course.accuracy))
        shares = course.share("dead")
        dead.plot(epochs, shares, color=ink)
        accuracy.plot(epochs, course.accuracy, color=ink)
        line = {
            "learning_rate": course.learning_rate,
            "weight_decay": course.weight_decay,
            "seed": course.seed,
        }
        rows += [
            {**line, "epoch": e, "dead": d, "accuracy": a}
            for e, d, a in zip(epochs, shares, course.accuracy, strict=True)
        ]
        told.append(f"{course.learning_rate:g}: {shares[-1]:.0%} dead, accuracy {course.accuracy[-1]:.0%}")
    for axes in (dead, accuracy):
        axes.set(ylim=(-0.02, 1.02), xlabel="epoch")
        plots.percent(axes, "y")
    return frame.show(
        [left, right],
        name=name,
        alt=f"Dead features and test accuracy by epoch. By learning rate, at the end: {'; '.join(told)}.",
        caption=caption,
        numbers=pd.DataFrame(rows),
        legend=legend,
    )
