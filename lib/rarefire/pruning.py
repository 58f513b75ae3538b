"""Pruning of weights: which are masked, and what a network trained again without them becomes.

One network is trained (round 0). In each round after it some of the weights that are left are masked, by
their size or otherwise, and it is trained again: from its first weights (*reset*, the lottery ticket of
Frankle & Carbin 2019) or from those that it has, the learning rate replayed (Renda, Frankle & Carbin
2020). Controls do the same without choosing, without masking, or from other weights (:data:`METHODS`).

Biases are never masked by size. Masks hold after every step of the optimiser, which is a new one in every
round (:func:`rarefire.training.fit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rarefire import networks, removal, stimuli, store, training
from rarefire._engine import blocks
from rarefire._engine.arguments import checked
from rarefire.errors import DataError, InputError, unknown
from rarefire.stimuli import Stimuli
from rarefire.training import Recipe

__all__ = [
    "CONTROLS",
    "DENSE",
    "METHODS",
    "Masks",
    "Method",
    "Round",
    "Scope",
    "full_masks",
    "left",
    "magnitude_masks",
    "random_masks",
    "rounds",
    "share_left",
    "trimmed_masks",
]

Scope = Literal["layer", "global"]
Masks = dict[str, Tensor]

_VERSION = 1  # raise it when the same facts would give other weights

DENSE = "dense"  # round 0 of every method


@dataclass(frozen=True)
class Method:
    """What is done from one round to the next.

    Attributes
    ----------
    title
        In a few words.
    masks
        ``"magnitude"``: the smallest of the weights that are left go; ``"once"``: the smallest of the trained
        network's, all at once; ``"random"``: as many of each layer as by ``"imp"`` in this round, drawn;
        ``"same"``: those of ``"imp"`` in this round; ``"units"``: :func:`trimmed_masks`; ``"none"``.
    start
        Weights that a round begins with: ``"first"``, the network's first; ``"trained"``, those of the
        round before; ``"new"``, another draw.
    """

    title: str
    masks: Literal["magnitude", "once", "random", "same", "units", "none"]
    start: Literal["first", "trained", "new"]

    @property
    def every(self) -> bool:
        """Whether a round begins where the one before it ended."""
        return self.masks in ("magnitude", "units") or (self.masks, self.start) == ("none", "trained")


METHODS = {
    "imp": Method("lottery ticket", "magnitude", "first"),
    "lrr": Method("magnitude, no reset", "magnitude", "trained"),
    "one-shot": Method("magnitude, at once", "once", "trained"),
    "trim": Method("trim units by PoZ", "units", "trained"),
    "random": Method("random mask", "random", "first"),
    "reinitialised": Method("mask with new weights", "same", "new"),
    "again": Method("trained again", "none", "first"),
    "on": Method("trained on", "none", "trained"),
    "seed": Method("another seed", "none", "new"),
}

#: Of METHODS, those that decide whether pruning does anything: nothing is masked, or not by what was learned.
CONTROLS = ("again", "on", "seed", "random", "reinitialised")


# --- masks ----------------------------------------------------------------------------------------


def full_masks(network: nn.Module) -> Masks:
    """A mask of ones for the weights of every linear and convolutional layer, in the order of definition.

    Raises
    ------
    InputError
        If the network has none.
    """
    masks = {
        f"{name}.weight".lstrip("."): torch.ones_like(module.weight, dtype=torch.bool)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    if not masks:
        raise InputError("the network has no linear or convolutional layer: there is nothing to prune.")
    return masks


def left(masks: Mapping[str, Tensor]) -> dict[str, int]:
    """How many weights of each layer are left; biases and norms, which have one axis, do not count."""
    return {name: int(mask.sum()) for name, mask in masks.items() if mask.ndim > 1}


def share_left(masks: Mapping[str, Tensor]) -> float:
    """Share of the weights that are left, in [0, 1]."""
    found = left(masks)
    return sum(found.values()) / sum(masks[name].numel() for name in found)


@checked
def magnitude_masks(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    *,
    rate: float,
    last_rate: float | None = None,
    scope: Scope = "layer",
) -> Masks:
    """Mask the smallest of the weights that are left.

    Parameters
    ----------
    weights
        State dict.
    masks
        By parameter, True for what is left; in the order of the layers.
    rate
        Share of these that goes, in [0, 1): of n weights ``round(rate · n)``, exactly.
    last_rate
        For the last layer; default half of `rate` (Frankle & Carbin). For ``scope="global"`` the last layer
        is kept whole where it is 0, and is one with the others else.
    scope
        ``"layer"``: of each layer that share; ``"global"``: of all together, by size.

    Returns
    -------
    dict
        New masks, which are True nowhere that `masks` are not.

    Raises
    ------
    InputError
        If nothing would be left of a layer.
    """
    _check_rates(rate, last_rate, scope)
    last = list(masks)[-1]
    if scope == "layer":
        rates = dict.fromkeys(masks, rate) | {last: rate / 2 if last_rate is None else last_rate}
        groups = [([name], rates[name]) for name in masks]
    else:
        kept = [last] if last_rate == 0 else []
        groups = [([name for name in masks if name not in kept], rate), (kept, 0.0)]
    found: Masks = {}
    for names, share in groups:
        found |= _without_smallest({name: weights[name] for name in names}, masks, share)
    empty = [name for name, n in left(found).items() if not n]
    if empty:
        raise InputError(
            f"nothing would be left of {', '.join(empty)}, and nothing could pass. Prune less, or per layer."
        )
    return {name: found[name] for name in masks}


def _check_rates(rate: float, last_rate: float | None, scope: str) -> None:
    for name, value in (("rate", rate), ("last_rate", last_rate)):
        if value is not None and not 0 <= value < 1:
            raise InputError(f"{name} is a share in [0, 1) of the weights that are left; got {value}.")
    if scope not in ("layer", "global"):
        raise unknown("scope", scope, ["layer", "global"])


def _without_smallest(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], rate: float) -> Masks:
    """Of several layers taken together, exactly ``round(rate · n)`` of n fewer."""
    if not weights:
        return {}
    sizes = [weights[name].numel() for name in weights]
    alive = torch.cat([masks[name].flatten() for name in weights])
    size = torch.cat([weights[name].detach().flatten().abs() for name in weights])
    places = alive.nonzero().flatten()
    gone = size[places].argsort(stable=True)[: round(rate * len(places))]
    alive[places[gone]] = False
    parts = alive.split(sizes)
    return {name: part.view_as(masks[name]) for name, part in zip(weights, parts, strict=True)}


@checked
def random_masks(masks: Mapping[str, Tensor], *, rng: np.random.Generator) -> Masks:
    """Masks that leave as many weights of each layer, drawn at random.

    Parameters
    ----------
    masks
        By parameter, as from :func:`magnitude_masks`.
    rng
        Source of randomness.
    """
    found = {}
    for name, mask in masks.items():
        drawn = torch.zeros(mask.numel(), dtype=torch.bool)
        drawn[torch.from_numpy(rng.permutation(mask.numel())[: int(mask.sum())])] = True
        found[name] = drawn.view_as(mask)
    return found


@checked
def trimmed_masks(
    network: nn.Module, masks: Mapping[str, Tensor], images: Stimuli, *, most: int | None = None
) -> Masks:
    """Mask units that rarely fire: APoZ above mean + 1 SD of their layer's (Hu et al. 2016).

    Units that are gone already do not count.

    Parameters
    ----------
    network
        Trained, with the units that are gone silenced.
    masks
        By parameter, biases too.
    images
        On which PoZ is measured: those set aside for validation.
    most
        How many layers are trimmed, those with the highest mean APoZ first, as the authors begin; default:
        all at once.

    Returns
    -------
    dict
        Masks of everything that belongs to the units that go, what reads them included. `masks` where no
        unit exceeds the border, or only one would stay.
    """
    there = removal.sites(network)
    rates = removal.apoz(network, images, there)
    candidates = []
    for where in there:
        alive, rate = masks[f"{where.layer}.weight"].flatten(1).any(dim=1).numpy(), rates[where.layer]
        gone = alive & (rate > rate[alive].mean() + rate[alive].std())
        if gone.any() and (alive & ~gone).sum() > 1:
            candidates.append((rate[alive].mean(), where, gone))
    found = {name: mask.clone() for name, mask in masks.items()}
    for _, where, gone in sorted(candidates, key=lambda candidate: -candidate[0])[:most]:
        units = torch.from_numpy(np.flatnonzero(gone))
        for name in (where.layer, *where.norms):
            for kind in ("weight", "bias"):
                if f"{name}.{kind}" in found:
                    found[f"{name}.{kind}"][units] = False
        columns = (units[:, None] * where.positions + torch.arange(where.positions)).flatten()
        found[f"{where.reader}.weight"][:, columns] = False
    return found


# --- rounds ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """One network on the way.

    Attributes
    ----------
    method
        Of :data:`METHODS`, or ``"dense"``.
    number
        0 for the network that was not pruned yet.
    seed
        Of its first weights and of the order of its images.
    path
        Its checkpoint.
    build
        Arguments of :func:`rarefire.networks.build`, for the network with its first weights.
    """

    method: str
    number: int
    seed: int
    path: Path
    build: Mapping[str, Any]

    @property
    def fitted(self) -> training.Fitted:
        """Weights, masks and history."""
        return training.fitted(self.path)

    def network(self) -> nn.Module:
        """The network, in evaluation mode."""
        return networks.load_weights(networks.build(**self.build), self.fitted.weights)

    @property
    def masks(self) -> Masks:
        """By parameter, True for what is left; all of it where nothing was masked."""
        return self.fitted.masks or full_masks(networks.build(**self.build))


@checked
def rounds(
    images: str | Stimuli,
    network: str = "lenet5",
    *,
    methods: Sequence[str] = ("imp",),
    seeds: Sequence[int],
    n_rounds: int = 10,
    at: Sequence[int] | None = None,
    rate: float = 0.2,
    last_rate: float | None = None,
    scope: Scope = "layer",
    recipe: Recipe | None = None,
    retrain: Recipe | None = None,
    jobs: int | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> dict[str, dict[int, dict[int, Round]]]:
    """Prune and train, round after round, or take up what an earlier run left.

    Parameters
    ----------
    images, network
        As for :func:`rarefire.training.train`.
    methods
        Of :data:`METHODS`.
    seeds
        One network each.
    n_rounds
        Of the methods whose rounds build on each other.
    at
        Rounds of the other methods, from 1 on; default: all.
    rate, last_rate, scope
        As for :func:`magnitude_masks`, in each round.
    recipe
        Of every round; by default the image set's own.
    retrain
        Of rounds that begin with trained weights, where it differs.
    jobs
        Processes, one thread each; by default one for each processor core.
    folder
        Where the checkpoints go; by default under the user's cache.
    progress
        Show a bar on standard error: trainings.

    Returns
    -------
    dict
        By method, seed and number; number 0 is the same for all methods, and alone under ``"dense"``.

    Notes
    -----
    The images of round k come in an order of their own, which is that of ``"again"`` in its round k too: the
    two differ in the masks alone.

    Raises
    ------
    UnknownNameError
        For a method or a scope that does not exist.
    InputError
        For seeds that are not distinct, rounds below 1 or rates outside [0, 1); if a layer would lose all its
        weights (:func:`magnitude_masks`).
    """
    for method in methods:
        if method not in METHODS:
            raise unknown("method of pruning", method, list(METHODS))
    data = images if isinstance(images, Stimuli) else stimuli.splits(images)[0]
    recipe = recipe or training.recipe_for(data.name)
    networks.check_name(network, own=False)
    if not len(seeds) or len(set(seeds)) != len(seeds):
        raise InputError(f"seeds must be distinct, and at least one; got {list(seeds)}.")
    if n_rounds < 1 or min(at or [1]) < 1:
        raise InputError(f"n_rounds and at are counted from 1; got {n_rounds} and {at}.")
    _check_rates(rate, last_rate, scope)
    facts: dict[str, Any] = {"train_digest": data.digest, "network": network, "recipe": recipe.facts()}
    facts |= {"rate": rate, "last_rate": last_rate, "scope": scope, "version": _VERSION}
    if retrain is not None:
        facts["retrain"] = retrain.facts()
    place = Path(folder or store.cache_dir() / "checkpoints" / f"pruned-{network}-{store.key(**facts)}")
    plan = _Plan(data, network, recipe, retrain or recipe, place, rate, last_rate, scope)
    numbers = list(range(1, n_rounds + 1))
    asked = {m: numbers if METHODS[m].every or at is None else sorted(set(at)) for m in methods}
    steps = {m: list(n) for m, n in asked.items()}
    if {"random", "reinitialised"} & set(steps):  # whose masks are those of this round
        needed = [n for m in ("random", "reinitialised", "imp") for n in steps.get(m, [])]
        steps["imp"] = list(range(1, max(needed, default=0) + 1))
    with store.alone(place / "pruning", wait_for=f"{data.name}, {network}, pruned"):
        _train(plan, steps, [int(s) for s in seeds], jobs=jobs or blocks.cores(), progress=progress)
    asked = {DENSE: [], **asked}
    return {
        method: {int(s): {n: plan.round(method if n else DENSE, n, int(s)) for n in (0, *of)} for s in seeds}
        for method, of in asked.items()
    }


@dataclass(frozen=True)
class _Plan:
    data: Stimuli
    network: str
    recipe: Recipe
    retrain: Recipe
    folder: Path
    rate: float
    last_rate: float | None
    scope: Scope

    def round(self, method: str, number: int, seed: int) -> Round:
        build = {
            "name": self.network,
            "input_shape": self.data.input_shape,
            "n_classes": len(self.data.class_names),
            "mean": self.data.mean,
            "std": self.data.std,
            "seed": seed,
        }
        return Round(method, number, seed, self.folder / f"seed-{seed:04d}-{method}-{number:02d}.pt", build)

    def before(self, each: Round) -> Round:
        """The round that `each` builds on."""
        method = METHODS[each.method]
        if method.masks in ("random", "same"):
            return self.round("imp", each.number, each.seed)
        number = each.number - 1 if method.every else 0
        return self.round(each.method if number else DENSE, number, each.seed)


def _train(
    plan: _Plan, steps: Mapping[str, Sequence[int]], seeds: Sequence[int], *, jobs: int, progress: bool
) -> None:
    """Every round of every method, as soon as what it builds on is there."""
    waiting = [plan.round(DENSE, 0, seed) for seed in seeds]
    waiting += [plan.round(m, n, seed) for m, numbers in steps.items() for n in numbers for seed in seeds]
    done = {each.path for each in waiting if _is_done(each)}
    title = f"{plan.data.name}, {plan.network}: pruning"
    with tqdm(total=len(waiting), initial=len(done), desc=title, disable=not progress) as bar:
        while waiting := [each for each in waiting if each.path not in done]:
            ready = [e for e in waiting if e.method == DENSE or plan.before(e).path in done]
            with blocks.processes(min(jobs, len(ready))):
                tasks = (joblib.delayed(_train_round)(plan, each) for each in ready)
                options = {"max_nbytes": "1M", "mmap_mode": "r", "batch_size": 1}
                for path in joblib.Parallel(return_as="generator_unordered", **options)(tasks):
                    done.add(path)
                    bar.update()


def _is_done(each: Round) -> bool:
    try:
        training.fitted(each.path)
    except DataError:
        return False
    return True


def _train_round(plan: _Plan, each: Round) -> Path:
    """Train one round, in a process of its own."""
    network, masks, recipe = networks.build(**each.build), None, plan.recipe
    if each.method != DENSE:
        masks = _begin(plan, each, network)
        recipe = plan.retrain if METHODS[each.method].start == "trained" else plan.recipe
    options: dict[str, Any] = {"recipe": recipe, "seed": each.seed, "order": each.number, "masks": masks}
    training.fit(network, plan.data, path=each.path, **options)
    return each.path


def _begin(plan: _Plan, each: Round, network: nn.Module) -> Masks | None:
    """Give the network the weights that a round begins with, and say what is masked."""
    method, before = METHODS[each.method], plan.before(each)
    options: dict[str, Any] = {"last_rate": plan.last_rate, "scope": plan.scope}
    rng = np.random.default_rng([each.seed, each.number, 1])
    weights, given = before.fitted.weights, before.masks
    masks: Masks | None
    if method.masks == "none":
        masks = None
    elif method.masks == "magnitude":
        masks = magnitude_masks(weights, given, rate=plan.rate, **options)
    elif method.masks == "once":
        masks = given  # the ladder, without training in between
        for _ in range(each.number):
            masks = magnitude_masks(weights, masks, rate=plan.rate, **options)
    elif method.masks == "random":
        masks = random_masks(given, rng=rng)
    elif method.masks == "units":
        whole = {name: torch.ones_like(p, dtype=torch.bool) for name, p in network.named_parameters()}
        aside = training.validation_images(plan.data, recipe=plan.recipe)
        masks = trimmed_masks(before.network(), whole | given, aside)
    else:
        masks = given
    if method.start == "trained":
        networks.load_weights(network, weights)
    elif method.start == "new":
        other = int(rng.integers(2**31))
        networks.load_weights(network, networks.build(**{**each.build, "seed": other}).state_dict())
    return masks
