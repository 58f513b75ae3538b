"""How many dimensions images span through the layers of networks, before, during and after training.

Of LeNets the untrained network is the first of several epochs of one training; of ImageNet networks it is a
twin with other weights (:func:`rarefire.networks.untrained`). Every position of a layer is a feature.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn
from tqdm import tqdm

from rarefire import dimension, embeddings, networks, poz, stimuli, store, training
from rarefire.errors import DataError, InputError, unknown
from rarefire.records import people_across, record
from rarefire.records.people_orders import labelled
from rarefire.records.record import Array, Stack, answer_each
from rarefire.stimuli import Stimuli
from rarefire.training import Recipe

__all__ = [
    "EPOCHS",
    "GROUP",
    "LAYERS",
    "SETTINGS",
    "SHARES",
    "Dimensions",
    "Setting",
    "by_images",
    "each_stage",
    "known",
    "known_network",
    "known_networks",
    "measure",
    "measure_here",
    "measure_network",
    "measure_points",
    "stages",
    "through",
    "twin_facts",
    "untrained",
]

#: Layers of LeNet-5, before and after ReLU and pooling.
LAYERS = (
    *("input", "conv1", "relu1", "pool1", "conv2", "relu2", "pool2"),
    *("fc1", "relu3", "fc2", "relu4", "fc3"),
)
#: Epochs after which LeNets are measured.
EPOCHS = (0, 1, 2, 4, 8, 16)
#: Shares of the penultimate features that are kept.
SHARES = tuple(round(share / 10, 1) for share in range(1, 11))
#: Outputs of ImageNet networks that are one kind of thing: the breeds of dogs.
GROUP = range(151, 269)

_SMALLEST = 100  # images of the smallest part
_LINEAR = 500  # images of linear dimensions, evenly spaced
_RANDOM = 5  # random orders of features
_MOST = 400_000  # features of a layer
_OF_CLASS = 500  # images of one class
_CALIBRATING = 64  # images on whose scale twins with capped ReLUs are


@dataclass(frozen=True)
class Setting:
    """On what LeNets are measured.

    Attributes
    ----------
    mixed
        How many test images of all classes together.
    seeds
        How many networks are recorded.
    """

    mixed: int
    seeds: int = 6

    def recipe(self, images: str) -> Recipe:
        """The image set's own, without stopping."""
        last = EPOCHS[-1]
        return replace(training.recipe_for(images), max_epochs=last, patience=last, typical=0.0, keep="last")


#: By image set.
SETTINGS = {"digits": Setting(500, seeds=3), "mnist": Setting(2000), "cifar10-jpg": Setting(2000)}


@dataclass(frozen=True, eq=False, repr=False)
class Dimensions(Stack):
    """Dimensions of a network's layers. The first axis is the instance, the second the epoch."""

    layer = Array("I, L", "names of the layers")
    epoch = Array("I, E", "of training; one for a network that is not trained here")
    accuracy = Array("I, E", "on the images")
    width = Array("I, L", "number of features")
    points = Array("I, K", "images of a part: all, halves, quarters, …")
    two_nn = Array("I, E, L, K", "TwoNN, mean over the parts")
    se = Array("I, E, L, K", "its standard error, from how parts differ")
    dropped = Array("I, E, L, 2", "of all images: duplicates, ties")
    gride = Array("I, E, L, G", "Gride, neighbours 1 and 2, 2 and 4, 4 and 8, …")
    grouped = Array("I, E, L, C", "TwoNN of the images of one class, or group of classes")
    grouped_points = Array("I, C", "how many images these are")
    linear = Array("I, E, L, 2", "components to 90 % of the standardised variance; participation ratio")
    silent = Array("I, E, L, 3", "mean PoZ, share with PoZ > .8, share with PoZ = 1; NaN where not post-ReLU")
    kept = Array("I, E, 7, H, 2", "TwoNN and participation ratio of the shares of penultimate features that "
                 "come first by PoZ: low first, high first, five random orders")  # fmt: skip

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in their order."""
        return tuple(self.layer[0].tolist())

    def place(self, layer: str) -> int:
        """Where a layer stands.

        Raises
        ------
        UnknownNameError
            For a layer that was not measured.
        """
        if layer not in self.layers:
            raise unknown("layer", layer, list(self.layers))
        return self.layers.index(layer)

    def state(self, values: NDArray[Any], *, trained: bool) -> NDArray[Any]:
        """Of values ``(I, E, …)``, those of trained or of untrained networks, ``(I', …)``.

        An untrained network is a LeNet before its first epoch, or a twin of an ImageNet network.
        """
        if self.epoch.shape[1] > 1:
            return np.asarray(values[:, -1 if trained else 0])
        return np.asarray(values[(self.epoch[:, 0] < 0) == trained, 0])

    def along(self, *, epoch: int = -1, points: int | None = None) -> NDArray[np.float64]:
        """TwoNN through the layers, ``(I, L)``.

        Parameters
        ----------
        epoch
            Place on the axis of epochs; −1 the last.
        points
            Images of a part; by default all.

        Raises
        ------
        InputError
            For a number of images that was not measured.
        """
        there = self.points[0].tolist()
        if points is not None and points not in there:
            raise InputError(f"points is one of {', '.join(map(str, there))}; got {points}.")
        return np.asarray(self.two_nn[:, epoch, :, there.index(points) if points else 0], dtype=np.float64)

    def table(self) -> pd.DataFrame:
        """A row for each instance, epoch and layer.

        Returns
        -------
        DataFrame
            ``instance, epoch, layer, width``; ``two_nn, se`` of all images; ``gride 1``, …; ``one class``,
            the mean over classes; ``pc, participation``; ``PoZ, rare, dead``.
        """
        rows = []
        for i, e, place in np.ndindex(self.two_nn.shape[:3]):
            row: dict[str, Any] = {"instance": i, "epoch": int(self.epoch[i, e])}
            row |= {"layer": str(self.layer[i, place]), "width": int(self.width[i, place])}
            row |= {"two_nn": self.two_nn[i, e, place, 0], "se": self.se[i, e, place, 0]}
            row |= {f"gride {2**g}": value for g, value in enumerate(self.gride[i, e, place])}
            one = self.grouped[i, e, place]
            row["one class"] = float(np.mean(one)) if len(one) else np.nan
            row |= dict(zip(("pc", "participation"), self.linear[i, e, place], strict=True))
            row |= dict(zip(("PoZ", "rare", "dead"), self.silent[i, e, place], strict=True))
            rows.append(row)
        return pd.DataFrame(rows)


# --- one layer, one network -----------------------------------------------------------------------


def measure_points(
    points: NDArray[np.floating],
    *,
    mixed: NDArray[np.intp],
    groups: Sequence[NDArray[np.intp]] = (),
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """Dimensions of one layer: the arrays of :class:`Dimensions` for it.

    Parameters
    ----------
    points
        ``(n_images, n_features)``.
    mixed
        Rows of all classes together, of which everything is measured.
    groups
        Rows of single classes.
    seed
        Of the division into parts; the same images for the same seed.
    """
    source = np.ascontiguousarray(points[mixed])
    scales = dimension.decimation(source, rng=np.random.default_rng([seed, 7]), smallest=_SMALLEST)
    some = source[np.linspace(0, len(source) - 1, min(_LINEAR, len(source))).astype(int)]
    silent = np.full(3, np.nan)
    if source.min() >= 0:
        rates = (source == 0).mean(axis=0)
        silent = np.array([rates.mean(), float(poz.rare_share(rates)), (rates == 1).mean()])
    return {
        "two_nn": np.array([one.dimension for one in scales]),
        "se": np.array([one.se for one in scales]),
        "dropped": np.array([scales[0].dropped[why] for why in ("duplicates", "ties")]),
        "gride": np.array([one.dimension for one in dimension.gride(source)]),
        "grouped": np.array([dimension.two_nn(points[rows]).dimension for rows in groups]),
        "linear": np.array([dimension.pc_id(some).dimension, dimension.participation_ratio(some).dimension]),
        "silent": silent,
    }


def _kept(features: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """Dimensions of shares of the features: low PoZ first, high PoZ first, random; ``(2 + R, T, 2)``."""
    rates = (features == 0).mean(axis=0)
    rng = np.random.default_rng([seed, 8])
    orders = [poz.order(rates, first="low"), poz.order(rates, first="high")]
    orders += [rng.permutation(len(rates)) for _ in range(_RANDOM)]
    found = np.full((len(orders), len(SHARES), 2), np.nan)
    for i, order in enumerate(orders):
        for t, share in enumerate(SHARES):
            part = np.ascontiguousarray(features[:, order[: max(1, round(share * len(order)))]])
            found[i, t] = [
                dimension.two_nn(part).dimension,
                dimension.participation_ratio(part).dimension,
            ]
    return found


def measure_network(
    network: nn.Module,
    images: Stimuli,
    *,
    layers: Sequence[str],
    mixed: NDArray[np.intp],
    groups: Sequence[NDArray[np.intp]] = (),
    penultimate: str = "pooled",
    seed: int = 0,
    progress: bool = False,
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Dimensions` for one network in one epoch.

    Parameters
    ----------
    network
        Its outputs are scores of the images' classes.
    images
        With labels.
    layers
        Names; also ``"input"``, ``"pooled"`` (the layer before it in this list, averaged over positions) and
        ``"outputs"``.
    mixed, groups, seed
        As for :func:`measure_points`.
    penultimate
        The layer whose features are left out by PoZ.
    progress
        Show a progress bar.
    """
    found: dict[str, list[Any]] = {}
    extra: dict[str, Any] = {}
    bar = tqdm(total=len(layers), desc="layers", disable=not progress, leave=False)
    for layer, values in each_stage(network, images, layers):
        flat = values.reshape(len(values), -1)
        for name, numbers in measure_points(flat, mixed=mixed, groups=groups, seed=seed).items():
            found.setdefault(name, []).append(numbers)
        found.setdefault("width", []).append(np.asarray(flat.shape[1]))
        if layer == penultimate:
            extra["kept"] = _kept(flat[mixed], seed)
        if layer == layers[-1]:
            extra["accuracy"] = np.asarray((flat.argmax(axis=1) == images.labels).mean())
        bar.update()
    bar.close()
    points = [len(mixed) // 2**k for k in range(len(found["two_nn"][0]))]
    arrays = {name: np.stack(numbers) for name, numbers in found.items()}
    return {
        **arrays,
        **extra,
        "layer": np.array(list(layers)),
        "points": np.array(points),
        "grouped_points": np.array([len(rows) for rows in groups], dtype=np.int64),
    }


def each_stage(
    network: nn.Module, images: Stimuli, layers: Sequence[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Activations, with positions, of layers and of what :func:`measure_network` adds to them."""
    inside = ["" if layer == "outputs" else layer for layer in layers if layer not in ("input", "pooled")]
    streamed = embeddings.each(network, images, layers=inside, spatial="keep")
    last = images.images
    for layer in layers:
        if layer == "pooled":
            last = last.mean(axis=tuple(range(2, last.ndim)))
        elif layer != "input":
            _, last = next(streamed)
        yield layer, last


# --- LeNets through training ----------------------------------------------------------------------


def measure(
    images: str,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Dimensions:
    """Measure LeNets through their layers and their training; compute only what is not known.

    Parameters
    ----------
    images
        Of :data:`SETTINGS`.
    seeds
        One network each; by default as many as are recorded.
    jobs
        Processes, one thread each; by default one for each processor core.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show progress bars.

    Raises
    ------
    UnknownNameError
        For images without a setting.
    """
    options: dict[str, Any] = {"jobs": jobs, "use_shipped": use_shipped, "progress": progress}
    options |= {"seeds": seeds or range(_setting(images).seeds), "about": "dimensions"}
    measured = record.measured_lenets("dimension", images, _facts(images), _trained_and_measured, **options)
    return Dimensions(measured)


def known(images: str) -> Dimensions | None:
    """What is known of LeNets, shipped or cached; None where that is nothing. Needs no data."""
    answers = record.known_lenets("dimension", images, _facts, seeds=range(_setting(images).seeds))
    return Dimensions(answers) if answers else None


def _setting(images: str) -> Setting:
    if images not in SETTINGS:
        raise unknown("image set", images, list(SETTINGS))
    return SETTINGS[images]


def _facts(images: str) -> dict[str, Any]:
    setting = _setting(images)
    return {
        **training.identity(images, "lenet5", recipe=setting.recipe(images)),
        "test_digest": stimuli.content_digest(images, "test"),
        "epochs": list(EPOCHS),
        "mixed": setting.mixed,
        "of_class": _OF_CLASS,
        "smallest": _SMALLEST,
    }


def _trained_and_measured(
    seed: int, train: Stimuli, test: Stimuli, images: str
) -> tuple[int, dict[str, NDArray[Any]]]:
    setting = _setting(images)
    with threadpool_limits(1), training.one_thread():
        shown, mixed, groups = _chosen(test, setting.mixed)
        each = [
            measure_network(
                network,
                shown,
                layers=LAYERS,
                mixed=mixed,
                groups=groups,
                penultimate="relu4",
                seed=seed,
            )
            for network in through(train, setting.recipe(images), seed)
        ]
    changing = ("accuracy", "two_nn", "se", "dropped", "gride", "grouped", "linear", "silent", "kept")
    found = {name: np.stack([one[name] for one in each]) for name in changing}
    found |= {name: each[0][name] for name in ("width", "points", "grouped_points")}
    small = {name: a.astype(np.float32) for name, a in found.items() if a.dtype == np.float64}
    return seed, {**found, **small, "layer": np.array(LAYERS), "epoch": np.array(EPOCHS)}


def _chosen(test: Stimuli, n_mixed: int) -> tuple[Stimuli, NDArray[np.intp], list[NDArray[np.intp]]]:
    """Test images, as many of each class as there can be; rows of all classes together, and of each.

    Where the images suffice for parts of :data:`_SMALLEST` of one class.
    """
    of = [np.flatnonzero(test.labels == c)[:_OF_CLASS] for c in range(len(test.class_names))]
    least = min(map(len, of))
    rows = np.stack([own[:least] for own in of], axis=1).ravel()  # class by class by class
    mixed = np.arange(min(n_mixed, len(rows)))
    groups = [np.arange(c, len(rows), len(of)) for c in range(len(of))] if least >= _SMALLEST else []
    return test.subset(rows), mixed, groups


def through(train: Stimuli, recipe: Recipe, seed: int) -> Iterator[nn.Module]:
    """One LeNet-5 after each of :data:`EPOCHS`; trained where its weights are not kept yet.

    Parameters
    ----------
    train
        Images to train on.
    recipe
        Of at least as many epochs, without stopping: of a :class:`Setting`.
    seed
        Of the weights and of the order of the images.

    Yields
    ------
    nn.Module
        In evaluation mode.
    """
    facts = {"train_digest": train.digest, "recipe": recipe.facts(), "epochs": list(EPOCHS), "version": 1}
    folder = store.cache_dir() / "checkpoints" / f"through-{train.name}-{store.key(**facts)}"
    options: dict[str, Any] = {
        "input_shape": train.input_shape,
        "n_classes": len(train.class_names),
        "mean": train.mean,
        "std": train.std,
        "seed": seed,
    }

    def path(epoch: int) -> Path:
        return folder / f"seed-{seed:04d}-epoch-{epoch:02d}.pt"

    with store.alone(folder / f"seed-{seed:04d}", wait_for=f"{train.name}, through training"):
        kept: list[dict[str, Any] | None] = [training.resumed(path(epoch), dict) for epoch in EPOCHS]
        if not all(kept):
            network = networks.build("lenet5", **options)

            def keep(epoch: int, *_: Any) -> None:
                if epoch in EPOCHS:
                    with store.atomic_write(path(epoch)) as file:
                        torch.save({k: v.clone() for k, v in network.state_dict().items()}, file)

            keep(0)
            # Never resumed: what was before would not be kept. It takes seconds.
            checkpoint = folder / f"seed-{seed:04d}.pt"
            checkpoint.unlink(missing_ok=True)
            training.fit(network, train, path=checkpoint, recipe=recipe, seed=seed, report=keep)
            kept = [training.resumed(path(epoch), dict) for epoch in EPOCHS]
    for weights in kept:
        yield networks.load_weights(networks.build("lenet5", **options), weights or {}).eval()


# --- ImageNet networks ----------------------------------------------------------------------------


def stages(network: nn.Module, image: NDArray[np.floating], *, most: float = _MOST) -> list[str]:
    """Layers of a network to measure: the images, each step of its features, these pooled, the outputs.

    Parameters
    ----------
    network
        With a sequence named ``features``, as torchvision's classifiers that have one after another.
    image
        ``(1, c, h, w)``.
    most
        Features of a step; those that have more are left out. By default a first convolution, whose pooling
        comes next.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If there is no such sequence.
    """
    named = dict(network.named_modules())
    found = [n for n, m in named.items() if n.split(".")[-1] == "features" and isinstance(m, nn.Sequential)]
    if not found:
        raise InputError("the network has no sequence named features: name its layers instead.")
    steps = [f"{found[0]}.{name}" for name, _ in named[found[0]].named_children()]
    widths = {layer: values[0].size for layer, values in embeddings.each(network, image, layers=steps)}
    return ["input", *(layer for layer in steps if widths[layer] <= most), "pooled", "outputs"]


def measure_here(
    only: Sequence[str] = tuple(people_across.NETWORKS),
    *,
    twins: int = 1,
    use_shipped: bool = True,
    progress: bool = True,
) -> dict[str, Dimensions]:
    """Measure the ImageNet networks that are on this machine, and untrained twins of each.

    Parameters
    ----------
    only
        Names of networks.
    twins
        Untrained networks beside each.
    use_shipped, progress
        As for :func:`measure`.

    Returns
    -------
    dict
        By network; the trained one is the first instance.

    Raises
    ------
    UnknownNameError
        For a name that is not there.
    DataError
        Where no network, or no photograph, is on this machine.
    """
    here = {name: people_across.place(name) for name in only if people_across.ready(name)}
    if not here:
        raise DataError(
            f"no network of {', '.join(only)} is on this machine: set RAREFIRE_MIRROR to a folder with one."
        )
    found = {}
    for name, where in here.items():
        photographs = labelled(stimuli.gallery(size=where.size))
        network = networks.build(where.name, weights=networks.local_weights(where.name))

        def compute(
            missing: list[int], name: str = name, network: nn.Module = network, shown: Stimuli = photographs
        ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
            layers = stages(network, shown.images[:1])
            group = [np.flatnonzero(np.isin(shown.labels, GROUP))]
            for twin in tqdm(missing, desc=name, disable=not progress):
                model = untrained(network, twin, shown) if twin else network
                options: dict[str, Any] = {"layers": layers, "groups": group, "progress": progress}
                one = measure_network(model, shown, mixed=np.arange(len(shown)), **options)
                fixed = ("layer", "width", "points", "grouped_points")
                yield (
                    twin,
                    {
                        **{n: a if n in fixed else a[None] for n, a in one.items()},
                        "epoch": np.array([-1 if not twin else 0]),
                    },
                )

        facts = _network_facts(name, networks.digest(network), photographs.digest)
        own = {0: {"twin": 0}} | twin_facts(network, range(1, twins + 1))
        what = f"{name}, dimensions"
        answers = answer_each("dimension", facts, own, compute, use_shipped=use_shipped, what=what)
        found[name] = Dimensions(tuple(answers.values()))
    return found


def untrained(network: nn.Module, twin: int, images: Stimuli) -> nn.Module:
    """A twin of an ImageNet network; on the scale of its first images where its ReLUs are capped."""
    few = images.images[:_CALIBRATING] if networks.capped(network) else None
    return networks.untrained(network, seed=twin, images=few)


def twin_facts(network: nn.Module, twins: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The facts of each twin, for :func:`rarefire.records.record.answer_each`."""
    more = {"calibrating": _CALIBRATING} if networks.capped(network) else {}
    return {twin: {"twin": twin, **more} for twin in twins}


def _network_facts(name: str, weights: str, photographs: str) -> dict[str, Any]:
    return {
        **{"stimuli": stimuli.SAMPLE, "network": name, "weights_digest": weights, "photographs": photographs},
        "smallest": _SMALLEST,
    }


def known_network(name: str) -> Dimensions | None:
    """What is shipped of an ImageNet network; the trained one is the first instance."""
    from rarefire.records.record import shipped

    answers = [a for a in shipped("dimension") if a.provenance["facts"]["network"] == name]
    ranked: Mapping[int, store.Answer] = {int(a.provenance["facts"].get("twin", 0)): a for a in answers}
    return Dimensions(tuple(ranked[twin] for twin in sorted(ranked))) if ranked else None


# --- what a chapter shows -------------------------------------------------------------------------


def by_images(profile: str = "default", *, instances: int | None = None) -> dict[str, Dimensions]:
    """The LeNets that a chapter shows; as :func:`rarefire.records.record.by_images`.

    Parameters
    ----------
    profile
        ``"default"`` or ``"full"``.
    instances
        Of digits; default: as many as in :data:`SETTINGS`.
    """
    return record.by_images(SETTINGS, measure, known, profile, instances or SETTINGS["digits"].seeds)


def known_networks() -> dict[str, Dimensions]:
    """What is shipped of ImageNet networks, by name, in the order of chapter 4."""
    found = {name: known_network(name) for name in people_across.NETWORKS}
    return {name: each for name, each in found.items() if each is not None}
