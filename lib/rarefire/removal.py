"""Units and their removal: how important each is, by which measure, and a network without some of them.

A unit is one output of a linear layer, or one channel of a convolution. *Silenced*, its output is 0 and the
network keeps its size. *Removed*, it is sliced out, with everything that reads it: the same outputs to
rounding, from fewer weights.
"""

from __future__ import annotations

import contextlib
import copy
import math
import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from rarefire import embeddings, poz
from rarefire._engine.arguments import checked
from rarefire.embeddings import PENULTIMATE
from rarefire.errors import InputError, unknown
from rarefire.stimuli import Stimuli

__all__ = [
    "ACTIVATIONS",
    "LABELLED",
    "ORDERS",
    "Cost",
    "Site",
    "ablation",
    "answers",
    "apoz",
    "balanced_accuracy",
    "cost",
    "importance",
    "removed",
    "resized",
    "silenced",
    "site",
    "sites",
]

#: Measures of a unit's importance (:func:`importance`), and those that need labels.
ORDERS = ("poz", "mean", "sd", "entropy", "norm", "taylor", "ablation", "random")
LABELLED = ("taylor", "ablation")


# --- where units are, and who reads them ----------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """A layer whose units can be removed.

    Attributes
    ----------
    layer
        Name of the linear or convolutional layer.
    activation
        Name of the layer behind it whose output is its activations; of `layer` itself where none is: where
        it is a function, or a module that is called more than once.
    norms
        Names of batch norms between `layer` and `reader`.
    reader
        Name of the one layer with weights that reads it.
    n_units
        Its outputs or channels.
    positions
        Inputs that `reader` has for each unit: more than 1 where positions are flattened in between.
    """

    layer: str
    activation: str
    norms: tuple[str, ...]
    reader: str
    n_units: int
    positions: int


#: What leaves a unit that is 0 at 0, and mixes no two units.
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_PLAIN = (*ACTIVATIONS, nn.Dropout, nn.Dropout2d, nn.Identity)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_FUNCTIONS = {F.relu, torch.relu, F.relu6, F.gelu, F.silu, F.dropout}
_POOL_FUNCTIONS = {F.max_pool2d, F.adaptive_avg_pool2d}
_METHODS = {"relu", "relu_", "contiguous"}


def sites(network: nn.Module) -> list[Site]:
    """The layers whose units can be removed: what they put out goes, unit by unit, to one layer alone.

    Parameters
    ----------
    network
        Any module that ``torch.fx`` can trace: the LeNets, torchvision's classifiers.

    Returns
    -------
    list of Site
        In the order of calls. Without layers that several read (residual streams, concatenations), grouped
        convolutions, and the last layer, whose units are the classes.

    Raises
    ------
    InputError
        If the network cannot be traced.
    """
    nodes, modules = _traced(network), dict(network.named_modules())
    calls = Counter(str(node.target) for node in nodes if node.op == "call_module")
    found = [each for node in nodes if (each := _followed(node, modules, calls))]
    return [each for each in found if all(calls[m] == 1 for m in (each.layer, *each.norms, each.reader))]


def site(network: nn.Module, layer: str = PENULTIMATE) -> Site:
    """One of :func:`sites`: by the name of its layer, or of its activation.

    Parameters
    ----------
    network
        As for :func:`sites`.
    layer
        ``"penultimate"``: the one whose units the last layer reads.

    Raises
    ------
    UnknownNameError
        The message lists those that there are.
    """
    there, modules = sites(network), dict(network.named_modules())
    called = [modules.get(str(node.target)) for node in _traced(network) if node.op == "call_module"]
    last = [module for module in called if isinstance(module, nn.Linear | nn.Conv2d)][-1:]
    for each in there:
        is_penultimate = modules[each.reader] in last
        if layer in (each.layer, each.activation, PENULTIMATE if is_penultimate else None):
            return each
    raise unknown("layer whose units can be removed", layer, [each.layer for each in there])


def _traced(network: nn.Module) -> list[fx.Node]:
    try:
        return list(fx.symbolic_trace(network).graph.nodes)
    except Exception as error:  # a trace fails in as many ways as code has
        raise InputError(
            f"{type(network).__name__} cannot be traced to see which layer reads which "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}). Units can be "
            "removed from networks without branches that depend on data."
        ) from error


def _followed(node: fx.Node, modules: Mapping[str, nn.Module], calls: Mapping[str, int]) -> Site | None:
    """The site that begins at a node, if one does."""
    layer = modules.get(str(node.target)) if node.op == "call_module" else None
    n_units = _width(layer)
    if layer is None or n_units is None:
        return None
    norms: list[str] = []
    name = activation = str(node.target)
    flat = pooled = False
    while True:
        readers = [user for user in node.users if not _asks_shape(user)]
        if len(readers) != 1:
            return None
        (node,) = readers
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if module is None:
            flattens, pools = _flattens(node), node.target in _POOL_FUNCTIONS
            if not (flattens or pools or node.target in _FUNCTIONS or node.target in _METHODS):
                return None
            flat, pooled = flat or flattens, pooled or pools
            continue
        into = _inputs(module)
        if into is not None:
            fits = {
                (nn.Conv2d, nn.Conv2d): not flat and into == n_units,
                (nn.Conv2d, nn.Linear): flat and into % n_units == 0,
                # Its units are the last axis: pooling would mix them, and flattened tokens lie between them.
                (nn.Linear, nn.Linear): not pooled and into == n_units,
            }
            if not fits.get((_kind(layer), _kind(module)), False):
                return None
            return Site(name, activation, tuple(norms), str(node.target), n_units, into // n_units)
        if isinstance(module, _NORMS) and module.affine and module.num_features == n_units:
            norms.append(str(node.target))
        elif isinstance(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1:
            flat = True
        elif isinstance(module, _POOLS):
            pooled = True
        elif not isinstance(module, _PLAIN):
            return None
        if isinstance(module, ACTIVATIONS) and calls[str(node.target)] == 1:
            activation = str(node.target)


def _kind(layer: nn.Module) -> type[nn.Module]:
    return nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d


def _width(layer: nn.Module | None) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) and layer.groups == 1 else None


def _inputs(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.in_channels if isinstance(layer, nn.Conv2d) and layer.groups == 1 else None


def _asks_shape(node: fx.Node) -> bool:
    return (node.op == "call_method" and node.target in ("size", "dim")) or (
        node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim")
    )


def _flattens(node: fx.Node) -> bool:
    """Whether a call makes ``(n, c·h·w)`` of ``(n, c, h, w)``."""
    if (node.op, node.target) in (("call_function", torch.flatten), ("call_method", "flatten")):
        return (*node.args[1:], *node.kwargs.items()) in ((1,), (("start_dim", 1),))
    if node.op == "call_method" and node.target in ("view", "reshape"):
        return bool(len(node.args) == 3 and node.args[2] == -1 and _is_batch(node.args[1]))
    return False


def _is_batch(argument: Any) -> bool:
    """Whether an argument is the number of images: ``x.size(0)`` or ``x.shape[0]``."""
    if not isinstance(argument, fx.Node):
        return False
    if argument.op == "call_method" and argument.target == "size":
        return bool(argument.args[1:] == (0,))
    is_item = argument.op == "call_function" and argument.target is operator.getitem
    return bool(is_item and argument.args[1] == 0)


# --- networks without some units ------------------------------------------------------------------


def removed(network: nn.Module, units: Mapping[str, ArrayLike]) -> nn.Module:
    """A smaller network: some units are sliced out, with every weight that reads them.

    Parameters
    ----------
    network
        As for :func:`sites`; it is left as it is.
    units
        By layer (a name from :func:`sites`), the places of the units to remove, in [0, n_units). At least
        one unit of each layer stays.

    Returns
    -------
    nn.Module
        A copy. Its outputs are those of :func:`silenced`, to rounding; its layers have the same names.

    Raises
    ------
    UnknownNameError
        For a layer that is not one of :func:`sites`.
    InputError
        For places that are none of its units, or all of them.
    """
    smaller = copy.deepcopy(network)
    for where, gone in _checked(network, units):
        _slice(smaller, where, np.setdiff1d(np.arange(where.n_units), gone))
    return smaller


def silenced(network: nn.Module, units: Mapping[str, ArrayLike]) -> nn.Module:
    """A network of the same size in which some units are always 0; as :func:`removed`."""
    quiet = copy.deepcopy(network)
    modules = dict(quiet.named_modules())
    with torch.no_grad():
        for where, gone in _checked(network, units):
            for name in (where.layer, *where.norms):
                for parameter in modules[name].parameters(recurse=False):
                    parameter[torch.from_numpy(gone)] = 0
    return quiet


def resized(network: nn.Module, widths: Mapping[str, int]) -> nn.Module:
    """A network with fewer units, for weights of :func:`removed` to be loaded into.

    Parameters
    ----------
    network
        Of the original size.
    widths
        By layer, how many units it has, in [1, n_units].

    Raises
    ------
    UnknownNameError
        For a layer that is not one of :func:`sites`.
    InputError
        For a width outside its range.
    """
    there = {each.layer: each for each in sites(network)}
    units = {}
    for layer, width in widths.items():
        if layer not in there:
            raise unknown("layer whose units can be removed", layer, list(there))
        if not 1 <= width <= there[layer].n_units:
            raise InputError(f"{layer} can have 1 to {there[layer].n_units} units; got {width}.")
        units[layer] = np.arange(width, there[layer].n_units)
    return removed(network, units)


def _checked(network: nn.Module, units: Mapping[str, ArrayLike]) -> Iterator[tuple[Site, NDArray[np.intp]]]:
    there = {each.layer: each for each in sites(network)}
    for layer, given in units.items():
        if layer not in there:
            raise unknown("layer whose units can be removed", layer, list(there))
        n, values = there[layer].n_units, np.asarray(given)
        if values.size and (values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= n):
            raise InputError(
                f"units of {layer} are places from 0 to {n - 1}; got {values.ravel()[:10].tolist()}."
            )
        gone = np.unique(values).astype(np.intp)
        if len(gone) == n:
            raise InputError(f"all {n} units of {layer} would be removed; at least one must stay.")
        yield there[layer], gone


def _slice(network: nn.Module, where: Site, kept: NDArray[np.intp]) -> None:
    modules = dict(network.named_modules())
    rows = torch.from_numpy(kept)
    columns = (rows[:, None] * where.positions + torch.arange(where.positions)).flatten()
    for name in (where.layer, *where.norms):
        _take(modules[name], rows, 0, ("weight", "bias", "running_mean", "running_var"))
    _take(modules[where.reader], columns, 1, ("weight",))
    for name in (where.layer, where.reader, *where.norms):
        module = modules[name]
        shape = getattr(module, "weight").shape  # noqa: B009 — a Tensor, which mypy does not know
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = shape
        elif isinstance(module, nn.Conv2d):
            module.out_channels, module.in_channels = shape[:2]
        elif isinstance(module, _NORMS):
            module.num_features = shape[0]


def _take(module: nn.Module, places: Tensor, axis: int, names: Iterable[str]) -> None:
    for name in names:
        tensor = getattr(module, name, None)
        if tensor is not None:
            part = tensor.detach().index_select(axis, places.to(tensor.device)).clone()
            is_weight = isinstance(tensor, nn.Parameter)
            setattr(module, name, nn.Parameter(part, tensor.requires_grad) if is_weight else part)


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes
    ----------
    parameters
        Weights and biases.
    flops
        Floating-point operations for one image (a product and a sum are two), convolutions and linear layers.
    seconds
        For the batch that it was timed with, median; NaN where it was not timed.
    """

    parameters: int
    flops: int
    seconds: float = math.nan


@checked
def cost(network: nn.Module, images: NDArray[np.floating] | Tensor, *, repeats: int = 0) -> Cost:
    """What a network costs: parameters, operations, and seconds for a batch.

    Parameters
    ----------
    network
        Called in evaluation mode.
    images
        The batch, ``(n, c, h, w)`` in [0, 1], or whatever else the network takes.
    repeats
        How often it is timed; 0 for not at all.

    Raises
    ------
    InputError
        For images that are no batch, or an empty one.
    """
    batch = torch.as_tensor(images).to(_device(network), dtype=torch.float32)
    if batch.ndim < 2 or not len(batch):
        raise InputError(f"images must be a batch, (n, c, h, w), of at least one; got {tuple(batch.shape)}.")
    with _evaluating(network), torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(batch[:1])
        took = []
        for _ in range(repeats):
            start = time.perf_counter()
            network(batch)
            took.append(time.perf_counter() - start)
    parameters = sum(p.numel() for p in network.parameters())
    return Cost(parameters, counter.get_total_flops(), float(np.median(took)) if took else math.nan)


# --- importance -----------------------------------------------------------------------------------


@checked
def apoz(
    network: nn.Module, images: embeddings.Images, where: Iterable[Site], *, batch_size: int = 500
) -> dict[str, NDArray[np.float64]]:
    """Average percentage of zeros of every unit of some layers (Hu et al. 2016, eq. 1).

    Parameters
    ----------
    network, images, batch_size
        As for :func:`rarefire.embeddings.extract`.
    where
        From :func:`sites`.

    Returns
    -------
    dict
        By layer, ``(n_units,)`` in [0, 1]: the share of zeros over images and positions.

    Raises
    ------
    InputError
        For activations below 0, NaN or infinite.
    """
    found = {}
    for each in where:
        zeros, n = np.zeros(each.n_units), 0
        options: dict[str, Any] = {"layer": each.activation, "spatial": "keep", "batch_size": batch_size}
        for batch in embeddings.stream(network, images, **options):
            poz.check_activations(batch)
            by_unit = np.moveaxis(batch, 1, -1).reshape(-1, each.n_units)
            zeros += np.count_nonzero(by_unit == 0, axis=0)
            n += len(by_unit)
        found[each.layer] = zeros / n
    return found


@checked
def importance(
    network: nn.Module,
    images: Stimuli,
    by: str,
    *,
    layer: str = PENULTIMATE,
    rng: np.random.Generator | None = None,
    batch_size: int = 500,
) -> NDArray[np.float64]:
    """How important each unit of a layer is; ``poz.order(…, first="high")`` makes it an order.

    Parameters
    ----------
    network
        Its outputs are scores of classes.
    images
        On which importance is measured: those of training, where others are to be predicted. Their labels
        are places among the outputs; only :data:`LABELLED` measures look at them.
    by
        ``"poz"``: 1 − APoZ (Hu et al. 2016); ``"mean"``, ``"sd"``, ``"entropy"`` of the activation, over
        positions averaged (:func:`rarefire.poz.statistic`); ``"norm"``: Euclidean norm of the weights that
        read the unit; ``"taylor"``: the size of activation × gradient of the loss, averaged over positions
        before its size is taken and over images after (Molchanov et al. 2017, eq. 8); ``"ablation"``: what
        balanced accuracy loses without the unit, mean over the classes that there are
        (:func:`ablation`); ``"random"``.
    layer
        Its output's channels or features are the units.
    rng
        For ``"random"``.
    batch_size
        Images at a time.

    Returns
    -------
    ndarray
        ``(n_units,)``, larger is more important.

    Raises
    ------
    UnknownNameError
        For another measure, or a layer that the network does not have.
    InputError
        For labels that are not outputs, a layer without units, or a random order without `rng`.
    """
    if by not in ORDERS:
        raise unknown("order of units", by, list(ORDERS))
    if by == "ablation":
        lost = ablation(network, images, layer=layer, batch_size=batch_size)
        return np.asarray(np.nanmean(lost, axis=1))
    if by == "taylor":
        return _taylor(network, images, layer, batch_size)
    if by == "norm":
        return _reading_norm(network, images, layer)
    if by == "random" and rng is None:
        raise InputError("a random order needs rng=, a numpy.random.Generator.")
    *_, n_units = _place(network, _first(network, images), layer)
    if rng is not None and by == "random":
        return rng.permutation(n_units).astype(np.float64)
    streamed = embeddings.stream(network, images, layer=layer, spatial="keep", batch_size=batch_size)
    if by == "poz":
        zeros = [(batch == 0).reshape(*batch.shape[:2], -1).mean(axis=2) for batch in streamed]
        return np.asarray(1 - np.concatenate(zeros).mean(axis=0))
    pooled = np.concatenate([batch.reshape(*batch.shape[:2], -1).mean(axis=2) for batch in streamed])
    return poz.statistic(pooled, by)


@checked
def ablation(
    network: nn.Module, images: Stimuli, *, layer: str = PENULTIMATE, batch_size: int = 500
) -> NDArray[np.float64]:
    """What each class's balanced accuracy loses when one unit is set to 0 (Bau et al. 2020).

    Parameters
    ----------
    network, images, layer, batch_size
        As for :func:`importance`.

    Returns
    -------
    ndarray
        ``(n_units, n_classes)``, in [−1, 1]; negative where the class does better without the unit. NaN for
        a class without images.

    Raises
    ------
    UnknownNameError, InputError
        As for :func:`importance`.
    """
    with _cut(network, images, layer, batch_size) as (n_units, scores):
        whole = _balanced(scores(None), images)
        one_gone = ~np.eye(n_units, dtype=bool)
        return np.stack([whole - _balanced(scores(kept), images) for kept in one_gone])


@checked
def balanced_accuracy(
    network: nn.Module,
    images: Stimuli,
    *,
    layer: str = PENULTIMATE,
    kept: ArrayLike | None = None,
    batch_size: int = 500,
) -> NDArray[np.float64]:
    """Of each class, the mean of recall and of the share of other images that are not taken for it.

    Parameters
    ----------
    network, images, layer, batch_size
        As for :func:`importance`.
    kept
        ``(n_units,)`` or ``(n_sets, n_units)``, which units of the layer are not set to 0; default: all.

    Returns
    -------
    ndarray
        ``(n_classes,)``, or ``(n_sets, n_classes)``, in [0, 1]; .5 for a class that is never named; NaN for
        one without images, or without others.

    Raises
    ------
    UnknownNameError
        For a layer that the network does not have.
    InputError
        For labels that are not outputs, or `kept` of another shape.
    """
    with _cut(network, images, layer, batch_size) as (n_units, scores):
        if kept is None:
            return _balanced(scores(None), images)
        sets = _checked_sets(kept, n_units)
        each = [_balanced(scores(row), images) for row in np.atleast_2d(sets)]
        return np.stack(each) if sets.ndim == 2 else each[0]


@checked
def answers(
    network: nn.Module,
    images: Stimuli,
    *,
    layer: str = PENULTIMATE,
    kept: ArrayLike | None = None,
    batch_size: int = 500,
) -> NDArray[np.intp]:
    """The output that is largest for each image, with some units set to 0.

    Parameters
    ----------
    network, images, layer, kept, batch_size
        As for :func:`balanced_accuracy`.

    Returns
    -------
    ndarray
        ``(n_images,)``, or ``(n_sets, n_images)``, places among the outputs.

    Raises
    ------
    UnknownNameError, InputError
        As for :func:`balanced_accuracy`.
    """
    with _cut(network, images, layer, batch_size) as (n_units, scores):
        if kept is None:
            return scores(None)
        sets = _checked_sets(kept, n_units)
        found = _at_once(network, images, layer, batch_size, np.atleast_2d(sets))
        if found is None:
            found = np.stack([scores(row) for row in np.atleast_2d(sets)])
        return found if sets.ndim == 2 else found[0]


def _at_once(
    network: nn.Module, images: Stimuli, layer: str, batch_size: int, sets: NDArray[np.bool_]
) -> NDArray[np.intp] | None:
    """The largest outputs with each of several sets, in one pass; None where that cannot be done.

    From the layer on, each image runs once for each set, as an image of its own. Where other layers join
    behind it, their images do not fit.
    """
    batches = _batches(network, images, batch_size)
    place, before, _ = _place(network, batches[0][0], layer)
    masks = torch.from_numpy(sets).to(batches[0][0])

    def repeated(values: Tensor) -> Tensor:
        shape = (len(sets), 1, -1, *[1] * (values.ndim - 2))
        return (masks.view(shape) * values[None]).flatten(0, 1)

    found = []
    try:
        with _evaluating(network), _tap(network, place, before, repeated), torch.inference_mode():
            for x, _ in batches:
                outputs = network(x)
                if len(outputs) != len(sets) * len(x):
                    return None
                found.append(outputs.argmax(1).view(len(sets), len(x)).cpu().numpy())
    except RuntimeError:  # torch's, of sizes that do not fit
        return None
    return np.concatenate(found, axis=1)


def _checked_sets(kept: ArrayLike, n_units: int) -> NDArray[np.bool_]:
    sets = np.asarray(kept)
    if sets.dtype != bool or sets.shape[-1:] != (n_units,) or sets.ndim > 2:
        raise InputError(
            f"kept must say of each of the {n_units} units whether it stays, (…, {n_units}) of bool; got "
            f"{sets.shape} of {sets.dtype}."
        )
    return sets


def _balanced(named: NDArray[np.intp], images: Stimuli) -> NDArray[np.float64]:
    labels = np.asarray(images.labels)
    classes = np.arange(len(images.class_names))
    is_class, is_named = labels[:, None] == classes, named[:, None] == classes
    with np.errstate(invalid="ignore"):
        recall = (is_class & is_named).sum(axis=0) / is_class.sum(axis=0)
        spared = (~is_class & ~is_named).sum(axis=0) / (~is_class).sum(axis=0)
    return np.asarray((recall + spared) / 2)


@contextlib.contextmanager
def _cut(
    network: nn.Module, images: Stimuli, layer: str, batch_size: int
) -> Iterator[tuple[int, Callable[[NDArray[np.bool_] | None], NDArray[np.intp]]]]:
    """How many units a layer has, and the classes named with only some of them, ``(n_images,)``.

    What lies before the layer is computed once, where what lies behind it can be run alone.
    """
    batches = _batches(network, images, batch_size)
    place, before, n_units = _place(network, batches[0][0], layer)
    multiplier: list[Tensor] = []

    def masked(values: Tensor) -> Tensor:
        return values * multiplier[0].view(1, -1, *[1] * (values.ndim - 2)) if multiplier else values

    with _evaluating(network), contextlib.ExitStack() as stack:
        tail = _behind(network, place, before, batches[0][0][:1])
        if tail is None:
            given = [x for x, _ in batches]
            stack.enter_context(_tap(network, place, before, masked))
        else:
            options: dict[str, Any] = {"layer": layer, "spatial": "keep", "batch_size": batch_size}
            device = batches[0][0].device
            given = [torch.from_numpy(b).to(device) for b in embeddings.stream(network, images, **options)]
        run = network if tail is None else (lambda values: tail(masked(values)))

        def scores(kept: NDArray[np.bool_] | None) -> NDArray[np.intp]:
            multiplier[:] = [] if kept is None else [torch.from_numpy(kept).to(given[0])]
            with torch.inference_mode():
                return np.concatenate([run(values).argmax(1).cpu().numpy() for values in given])

        yield n_units, scores


def _behind(network: nn.Module, place: str, before: bool, x: Tensor) -> nn.Module | None:
    """The layers behind a place, as a module; None where they are not simply a sequence."""
    if isinstance(network, nn.Sequential) and type(network).forward is nn.Sequential.forward:
        names = list(network._modules)
        if place in names:  # not of children(), which names a module once that comes twice
            return nn.Sequential(*list(network)[names.index(place) + (not before) :])
    module, last = dict(network.named_modules())[place], list[Tensor]()
    if before and isinstance(module, nn.Linear):
        with _tap(network, place, False, lambda v: _noted(v, last)), torch.inference_mode():
            output = network(x)
        return module if output is last[0] else None
    return None


def _noted(values: Tensor, seen: list[Tensor]) -> Tensor:
    seen.append(values)
    return values


def _taylor(network: nn.Module, images: Stimuli, layer: str, batch_size: int) -> NDArray[np.float64]:
    batches = _batches(network, images, batch_size)
    place, before, _ = _place(network, batches[0][0], layer)
    seen: list[Tensor] = []

    def watched(values: Tensor) -> Tensor:
        seen[:] = [values.detach().clone().requires_grad_()]
        return seen[0].clone()  # what follows may work in place

    sums = []
    with _evaluating(network), _tap(network, place, before, watched):
        for x, y in batches:
            loss = F.cross_entropy(network(x), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, seen)
            product = (seen[0].detach() * gradient)[:, :, None].flatten(2).mean(2)
            sums.append(product.abs().double().sum(0).cpu().numpy())
    return np.asarray(np.sum(sums, axis=0) / len(images))


def _reading_norm(network: nn.Module, images: Stimuli, layer: str) -> NDArray[np.float64]:
    place, _, n_units = _place(network, _first(network, images), layer)
    name = place if layer == PENULTIMATE else site(network, layer).reader
    reader = dict(network.named_modules())[name]
    if _inputs(reader) is None:
        raise InputError("the last layer reads its units in groups: their norm is not defined.")
    columns = reader.weight.detach().cpu().double().transpose(0, 1)  # (inputs, …)
    return np.asarray(columns.reshape(n_units, -1).norm(dim=1).numpy())


def _batches(network: nn.Module, images: Stimuli, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Images and labels on the network's device; labels must be outputs."""
    device = _device(network)
    x = torch.from_numpy(np.require(images.images, requirements="W"))
    y = torch.from_numpy(np.asarray(images.labels, dtype=np.int64))
    with _evaluating(network), torch.inference_mode():
        outputs = network(x[:1].to(device))
    if outputs.ndim != 2 or int(y.max()) >= outputs.shape[1]:
        raise InputError(
            f"labels go up to {int(y.max())}, but the network's output is {tuple(outputs.shape[1:])}: give "
            "images whose labels are places among its classes."
        )
    pairs = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return [(a.to(device), b.to(device)) for a, b in pairs]


def _first(network: nn.Module, images: Stimuli) -> Tensor:
    return torch.from_numpy(np.array(images.images[:1])).to(_device(network))


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters(), torch.empty(0)).device


def _place(network: nn.Module, x: Tensor, layer: str) -> tuple[str, bool, int]:
    """The module whose output, or (True) whose input, is the layer; and how many units that has."""
    if layer == PENULTIMATE:
        with _evaluating(network):
            place, before = embeddings.last_weighted(network, x), True
    elif layer in dict(network.named_modules()):
        place, before = layer, False
    else:
        raise unknown("layer", layer, [PENULTIMATE, *embeddings.layers(network)])
    seen: list[Tensor] = []
    with (
        _evaluating(network),
        _tap(network, place, before, lambda v: _noted(v, seen)),
        torch.inference_mode(),
    ):
        network(x[:1])
    shapes = [tuple(getattr(values, "shape", ())) for values in seen]
    if len(shapes) != 1 or len(shapes[0]) not in (2, 4):
        raise InputError(
            "units are those of a layer that is called once, with (n, units) or (n, channels, h, w); "
            f"{layer!r} gives {', '.join(map(str, shapes)) or 'nothing'}."
        )
    return place, before, shapes[0][1]


@contextlib.contextmanager
def _tap(network: nn.Module, place: str, before: bool, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """In the block, what passes at a place is changed."""
    module = dict(network.named_modules())[place]
    handle = (
        module.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]),))
        if before
        else module.register_forward_hook(lambda _, __, output: change(output))
    )
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
