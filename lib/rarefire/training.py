"""Ensembles: independent instances of one network, from different seeds.

The rule: train, with Adam unless the recipe says otherwise; after each epoch measure accuracy on a
tenth of the training images, set aside and the same for all instances; stop when it has not risen for
`patience` epochs, and keep the weights of the best epoch. An instance whose best accuracy stays below
the recipe's `typical` one is reported.

Each instance has one checkpoint, written whole after every epoch. A killed run goes on from there,
and ends with the same weights, bit for bit on the same machine, as one that was never killed: the
order of the images is a function of seed and epoch, and the optimiser's state is kept.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import AuthenticationError, connection
from pathlib import Path
from typing import Any, Literal, TypeVar

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from rarefire import networks, stimuli, store
from rarefire._engine import blocks
from rarefire._engine.arguments import check_fields, checked
from rarefire.errors import DataError, InputError, RarefireWarning, unknown
from rarefire.stimuli import Stimuli

__all__ = [
    "RECIPES",
    "Fitted",
    "Instance",
    "Recipe",
    "accuracy",
    "fit",
    "fitted",
    "identity",
    "one_thread",
    "recipe_for",
    "resumed",
    "train",
    "validation_images",
]

_VERSION = 1  # of this step: raise it when the same recipe would give other weights


@dataclass(frozen=True)
class Recipe:
    """How an instance is trained.

    Attributes
    ----------
    learning_rate, weight_decay
        Of the optimiser; weight decay as an L2 penalty, but for AdamW.
    batch_size
        Images per step.
    max_epochs
        Upper bound; the rule usually stops earlier.
    patience
        Epochs without a rise in validation accuracy before stopping.
    validation
        Share of the training images set aside for the rule, in (0, 1).
    typical
        Validation accuracy in [0, 1] that an instance is expected to reach.
    optimizer
        ``"adam"``, ``"adamw"`` (weight decay apart from the gradient) or ``"sgd"`` (momentum .9).
    keep
        ``"best"``: the weights of the epoch with the best validation accuracy; ``"last"``;
        ``"least-loss"``: those of the check with the least validation loss.
    milestones
        Epochs after which the learning rate is divided by ten.
    check_every
        Steps between two checks of the validation loss; 0 for none.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 128
    max_epochs: int = 40
    patience: int = 5
    validation: float = 0.1
    typical: float = 0.0
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    keep: Literal["best", "last", "least-loss"] = "best"
    milestones: tuple[int, ...] = ()
    check_every: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimizer", self.optimizer, list(_OPTIMIZERS)),
            ("way to keep weights", self.keep, ["best", "last", "least-loss"]),
        ):
            if value not in known:
                raise unknown(name, value, known)
        check_fields(self)
        if self.learning_rate < 0 or self.weight_decay < 0:
            raise InputError(
                f"learning_rate and weight_decay are at least 0; got {self.learning_rate:g} and "
                f"{self.weight_decay:g}."
            )
        if self.keep == "least-loss" and self.check_every < 1:
            raise InputError(
                "keep='least-loss' needs check_every=, the steps between two checks of the loss."
            )

    def facts(self) -> dict[str, Any]:
        """What determines the weights; JSON-able.

        Fields that came after the first recorded runs are named only where they differ from what
        was done then, so that those runs keep their keys.
        """
        first = {"optimizer": "adam", "keep": "best", "milestones": (), "check_every": 0}
        return {k: v for k, v in asdict(self).items() if k not in first or v != first[k]}


_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
}

RECIPES = {
    "digits": Recipe(batch_size=64, max_epochs=40, patience=12, typical=0.95),
    "mnist": Recipe(batch_size=128, max_epochs=20, patience=3, typical=0.985),
    "cifar10": Recipe(batch_size=128, max_epochs=40, patience=5, typical=0.60),
    "cifar10-jpg": Recipe(batch_size=128, max_epochs=40, patience=5, typical=0.60),
}


@dataclass(frozen=True)
class Instance:
    """One trained instance.

    Attributes
    ----------
    seed
        Of its weights and of the order of its images.
    path
        Its checkpoint.
    network_name, input_shape, n_classes, mean, std
        What its network is built with.
    history
        Per epoch: ``loss`` (mean cross-entropy, nats) and ``accuracy`` (validation, in [0, 1]).
    best_epoch
        Epoch (from 1) with the best validation accuracy; its weights were kept, unless the recipe
        keeps the last.
    """

    seed: int
    path: Path
    network_name: str
    input_shape: tuple[int, int, int]
    n_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    history: dict[str, list[float]]
    best_epoch: int

    def network(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        network = networks.build(
            self.network_name,
            input_shape=self.input_shape,
            n_classes=self.n_classes,
            mean=self.mean,
            std=self.std,
        )
        return networks.load_weights(network, _read(self.path)["best"])


def identity(images: str, network: str = "lenet5", *, recipe: Recipe | None = None) -> dict[str, Any]:
    """What determines an ensemble's weights, the seed aside; JSON-able, for keys and provenance."""
    digest = stimuli.content_digest(images, "train")
    return _identity(images, digest, network, recipe or recipe_for(images))


def _identity(images: str, digest: str, network: str, recipe: Recipe) -> dict[str, Any]:
    return {
        "stimuli": images,
        "train_digest": digest,
        "normalisation": [list(values) for values in stimuli.normalisation(images)],
        "network": network,
        "recipe": recipe.facts(),
        "training_version": _VERSION,
    }


def recipe_for(images: str) -> Recipe:
    """The recipe for an image set: its own where it has one, else the general one."""
    return RECIPES.get(images, Recipe())


@checked
def train(
    images: str | Stimuli,
    network: str = "lenet5",
    *,
    seeds: Sequence[int],
    recipe: Recipe | None = None,
    jobs: int | None = None,
    device: str | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> list[Instance]:
    """Train one instance for each seed, or take up what an earlier run left.

    Parameters
    ----------
    images
        Name of an image set, or its training images.
    network
        Name of a network, see :func:`rarefire.networks.names`.
    seeds
        One instance each.
    recipe
        By default the image set's own, from :data:`RECIPES`.
    jobs
        Processes, one thread each; by default one for each processor core.
    device
        A GPU (``"cuda"``) trains all the instances at once, stacked; ``"cpu"`` one after the other
        in `jobs` processes. By default the GPU where there is one. ``"stacked-cpu"`` stacks on the
        CPU, to check the one against the other. The two agree up to rounding, which training
        amplifies: instances of one seed are then different draws, not copies.
    folder
        Where the checkpoints go; by default under the user's cache.
    progress
        Show a bar on standard error: epochs, accuracy, time left at most.

    Returns
    -------
    list of Instance
        In the order of `seeds`.
    """
    data = images if isinstance(images, Stimuli) else stimuli.splits(images)[0]
    recipe = recipe or recipe_for(data.name)
    networks.check_name(network, own=False)
    if not len(seeds) or len(set(seeds)) != len(seeds):
        raise InputError(f"seeds must be distinct, and at least one; got {list(seeds)}.")
    facts = _identity(data.name, data.digest, network, recipe)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if chosen != "cpu":
        facts["stacked"] = True
    if folder is None:
        name = f"{data.name.partition(':')[0]}-{network}-{store.key(**facts)}"
        folder = store.cache_dir() / "checkpoints" / name
    tasks = [_Task(data, network, recipe, int(seed), Path(folder) / f"seed-{seed:04d}.pt") for seed in seeds]
    waiting = [task for task in tasks if not _finished(task.path)]
    if waiting:
        with store.alone(Path(folder) / "training", wait_for=f"{data.name}, {network}"):
            waiting = [task for task in waiting if not _finished(task.path)]  # by another process, meanwhile
            if waiting:
                _train(waiting, device=chosen, jobs=jobs or blocks.cores(), progress=progress)
    instances = [_instance(task) for task in tasks]
    low = [i.seed for i in instances if max(i.history["accuracy"]) < recipe.typical]
    if low:
        warnings.warn(
            f"{len(low)} of {len(instances)} instances stayed below the typical accuracy of "
            f"{recipe.typical:.1%} on the validation images (seeds {low[:10]}).",
            RarefireWarning,
            stacklevel=3,
        )
    return instances


def _train(tasks: list[_Task], *, device: str, jobs: int, progress: bool) -> None:
    with _progress(tasks, enabled=progress) as bar:
        if device == "cpu":
            _train_apart(tasks, jobs=jobs, bar=bar)
        else:
            _train_stacked(tasks, device=device.removeprefix("stacked-"), bar=bar)


@dataclass(frozen=True)
class Fitted:
    """What :func:`fit` did.

    Attributes
    ----------
    weights
        State dict of the weights that were kept.
    masks
        By parameter, True for what stays; None where nothing was masked.
    history
        Per epoch: ``loss``, ``accuracy``, as of an :class:`Instance`; per check: ``validation_loss``.
    best_epoch
        Epoch (from 1) with the best validation accuracy.
    """

    weights: dict[str, Tensor]
    masks: dict[str, Tensor] | None
    history: dict[str, list[float]]
    best_epoch: int


@checked
def fit(
    network: nn.Module,
    images: Stimuli,
    *,
    path: str | Path,
    recipe: Recipe,
    seed: int,
    order: int = 0,
    masks: Mapping[str, Tensor] | None = None,
    report: Callable[[int, float, bool], None] | None = None,
) -> Fitted:
    """Train a network in its place, from the weights that it has, or take up what an earlier run left.

    Every run starts with a fresh optimiser. A run that was killed ends with the same weights, bit for bit
    on the same machine.

    Parameters
    ----------
    network
        Any module with `images`' classes as outputs. It ends with the weights that the recipe keeps.
    images
        To train on; the recipe sets a part aside.
    path
        The checkpoint. It belongs to these weights, images, masks and this recipe; a finished one is read.
    recipe
        How to train.
    seed, order
        Of the order of the images. With `order` 0 it is that of :func:`train`'s instance of this seed.
    masks
        By parameter, True for what stays, ``(shape of the parameter)``. What does not is 0 at the start and
        after every step: a zero gradient would not hold it there, since momentum moves it.
    report
        Called after each epoch with its number, the validation accuracy, and whether it was the last.

    Raises
    ------
    InputError
        If a mask is of no parameter, or has another shape.
    """
    path, given = Path(path), _check_masks(network, masks)
    if not _finished(path):
        state = _resume(path)
        state.masks = given
        with one_thread():
            _fit(
                network,
                images,
                recipe,
                state,
                path,
                seed=int(seed),
                order=int(order),
                report=report or (lambda *_: None),
            )
    found = fitted(path)
    networks.load_weights(network, found.weights)
    network.zero_grad(set_to_none=True)
    network.eval()
    return found


@checked
def fitted(path: str | Path) -> Fitted:
    """What a finished :func:`fit` left at `path`.

    Raises
    ------
    DataError
        If there is no finished one.
    """
    if not _finished(Path(path)):
        raise DataError(f"there is no finished training at {path}.")
    state = _State(**_read(Path(path)))
    history = {"loss": state.losses, "accuracy": state.accuracies, "validation_loss": state.checks}
    return Fitted(state.best, state.masks, history, state.best_epoch)


def validation_images(images: Stimuli, *, recipe: Recipe) -> Stimuli:
    """The images that a recipe sets aside, the same for every seed."""
    return images.subset(np.flatnonzero(stimuli.stratified_mask(images.labels, recipe.validation, seed=0)))


def _check_masks(network: nn.Module, masks: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    if masks is None:
        return None
    parameters = dict(network.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise unknown("parameter", name, list(parameters))
        if mask.shape != parameters[name].shape:
            raise InputError(
                f"the mask of {name} must have its shape {tuple(parameters[name].shape)}; got "
                f"{tuple(mask.shape)}."
            )
    return {name: mask.bool().clone() for name, mask in masks.items()}


@checked
def accuracy(network: nn.Module, images: Stimuli, *, batch_size: int = 1000) -> float:
    """Share of images, in [0, 1], whose class the network gives the highest output."""
    # Worker processes share images through a read-only memory map, which torch does not take.
    shown, labels = (
        torch.from_numpy(np.require(a, requirements="W")) for a in (images.images, images.labels)
    )
    return _accuracy(network, shown, labels, batch_size)


_Kept = TypeVar("_Kept")

# --- one instance --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    data: Stimuli
    network: str
    recipe: Recipe
    seed: int
    path: Path

    def build(self) -> nn.Module:
        return networks.build(
            self.network,
            input_shape=self.data.input_shape,
            n_classes=len(self.data.class_names),
            mean=self.data.mean,
            std=self.data.std,
            seed=self.seed,
        )

    def epoch_order(self, epoch: int, n: int) -> Tensor:
        return _epoch_order(n, self.seed, epoch)


def _epoch_order(n: int, seed: int, epoch: int, order: int = 0) -> Tensor:
    """The order of the images: a function of seed and epoch, so that a resumed run repeats it."""
    entropy = [seed, epoch, order] if order else [seed, epoch]
    state = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    return torch.randperm(n, generator=torch.Generator().manual_seed(state))


@dataclass
class _State:
    """What a checkpoint holds; `model` and `optimizer` are dropped once it is done."""

    epoch: int
    model: dict[str, Tensor] | None
    optimizer: dict[str, Any] | None
    best: dict[str, Tensor]
    best_epoch: int
    losses: list[float]
    accuracies: list[float]
    done: bool
    checks: list[float] = field(default_factory=list)
    masks: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        begun = self.done or not self.epoch or (self.model is not None and self.optimizer is not None)
        counted = len(self.losses) == len(self.accuracies) == self.epoch
        if not (begun and counted and (self.best or not self.done)):
            raise ValueError("it is not the state of a training")

    def check(self, recipe: Recipe, model: Mapping[str, Tensor], loss: float) -> None:
        """Enter one check of the validation loss."""
        self.checks.append(loss)
        if recipe.keep == "least-loss" and (not self.best or loss < min(self.checks[:-1])):
            self.best = {k: v.detach().clone().cpu() for k, v in model.items()}

    def close_epoch(
        self, recipe: Recipe, model: dict[str, Tensor], optimizer: dict[str, Any], loss: float, acc: float
    ) -> None:
        """Enter one epoch and apply the stopping rule."""
        self.epoch += 1
        self.losses.append(loss)
        self.accuracies.append(acc)
        rises = acc > max(self.accuracies[:-1], default=-1.0)
        if rises:
            self.best_epoch = self.epoch
        if (rises and recipe.keep == "best") or recipe.keep == "last":
            self.best = {k: v.detach().clone().cpu() for k, v in model.items()}
        stale = self.epoch - self.best_epoch >= recipe.patience
        self.done = stale or self.epoch >= recipe.max_epochs
        self.model = None if self.done else model
        self.optimizer = None if self.done else optimizer


def resumed(path: Path, make: Callable[..., _Kept]) -> _Kept | None:
    """What a checkpoint of this package holds, as `make` takes it; None where there is no whole one.

    A damaged one is named in a warning. What is there and cannot be replaced is refused, before a training.

    Parameters
    ----------
    path
        The checkpoint: a dictionary, from :func:`torch.save`.
    make
        Takes what is in it by name, and raises an exception of any kind where it is not what was written.
    """
    if not os.path.lexists(path):
        return None
    try:
        return make(**_read(path))
    except Exception as error:  # torch raises many kinds for a damaged file
        warnings.warn(
            f"the checkpoint {path} is damaged ({store.reason(error)}); this network is trained again from "
            "the start.",
            RarefireWarning,
            stacklevel=1,  # one place, so that it is shown once
        )
    store.make_way(path)
    store.target(path)
    return None


def _read(path: Path) -> dict[str, Any]:
    # torch does not look at the checksums that it writes.
    with zipfile.ZipFile(store.check_file(path)) as archive:
        changed = archive.testzip()
    if changed is not None:
        raise DataError(
            f"{path}: {changed} was changed since it was written. Remove the file and train again."
        )
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def _resume(path: Path) -> _State:
    """The state in the checkpoint, or that of a fresh instance."""
    return resumed(path, _State) or _fresh()


def _fresh() -> _State:
    return _State(0, None, None, {}, 0, [], [], False)


def _finished(path: Path) -> bool:
    return _resume(path).done


def _save(path: Path, state: _State) -> None:
    with store.atomic_write(path) as file:
        torch.save(vars(state), file)


def _instance(task: _Task) -> Instance:
    state = _State(**_read(task.path))
    return Instance(
        seed=task.seed,
        path=task.path,
        network_name=task.network,
        input_shape=task.data.input_shape,
        n_classes=len(task.data.class_names),
        mean=task.data.mean,
        std=task.data.std,
        history={"loss": state.losses, "accuracy": state.accuracies},
        best_epoch=state.best_epoch,
    )


def _divide(data: Stimuli, recipe: Recipe, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train on, and those to validate on (the same for every seed)."""
    aside = stimuli.stratified_mask(data.labels, recipe.validation, seed=0)
    images, labels = data.images, data.labels
    parts = (images[~aside], labels[~aside], images[aside], labels[aside])
    fit, fit_labels, check, check_labels = (torch.from_numpy(part).to(device) for part in parts)
    return fit, fit_labels, check, check_labels


def _train_one(task: _Task, report: Callable[[int, int, float, bool], None]) -> None:
    """Train one instance on one thread, from its checkpoint on."""

    def told(epoch: int, acc: float, done: bool) -> None:
        report(task.seed, epoch, acc, done)

    with one_thread():
        _fit(task.build(), task.data, task.recipe, _resume(task.path), task.path, seed=task.seed, report=told)


def _fit(
    network: nn.Module,
    data: Stimuli,
    recipe: Recipe,
    state: _State,
    path: Path,
    *,
    seed: int,
    order: int = 0,
    report: Callable[[int, float, bool], None],
) -> None:
    """Train `network` in its place from `state` on; every epoch is written to `path`."""
    from rarefire._engine import pooling  # compiles; where all is trained already, nobody waits for it

    if state.optimizer is not None and len(state.optimizer["param_groups"][0]["params"]) > 1:
        state = _fresh()  # interrupted before all weights were one vector: the same again from the start
    images, labels, check_images, check_labels = _divide(data, recipe)
    _check_batches(network, len(images), recipe.batch_size)
    in_epoch = -(-len(images) // recipe.batch_size)
    if recipe.check_every > in_epoch:
        raise InputError(
            f"check_every={recipe.check_every}, but an epoch has {in_epoch} steps: check in each."
        )
    fast = pooling.fused(network)
    if fast is not network:  # it gets images that are normalised, once and in their place
        for part in (*images.split(1000), *check_images.split(1000)):
            part.copy_(networks.normalised(network, part))
    whole = _as_vector(network)
    optimizer = _optimizer([whole], recipe)
    if state.model is not None and state.optimizer is not None:
        network.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
    kept = None if state.masks is None else _mask_vector(network, state.masks)
    if kept is not None:
        whole.data.mul_(kept)
    steps = state.epoch * in_epoch
    while not state.done:
        fast.train()
        passed = sum(state.epoch >= milestone for milestone in recipe.milestones)
        optimizer.param_groups[0]["lr"] = recipe.learning_rate / 10**passed
        losses = []
        for batch in _epoch_order(len(images), seed, state.epoch, order).split(recipe.batch_size):
            optimizer.zero_grad(set_to_none=False)
            loss = F.cross_entropy(fast(images.index_select(0, batch)), labels[batch])
            loss.backward()
            optimizer.step()
            if kept is not None:  # momentum moves weights that have no gradient
                whole.data.mul_(kept)
            losses.append(loss.detach())
            steps += 1
            if recipe.check_every and steps % recipe.check_every == 0:
                state.check(recipe, network.state_dict(), _loss(fast, check_images, check_labels))
                fast.train()
        if kept is not None and torch.count_nonzero(whole.data[kept == 0]):
            raise AssertionError("weights that are masked came back")
        state.close_epoch(
            recipe,
            {name: value.clone() for name, value in network.state_dict().items()},
            copy.deepcopy(optimizer.state_dict()),
            float(torch.stack(losses).mean()),
            _accuracy(fast, check_images, check_labels),
        )
        _save(path, state)
        report(state.epoch, state.accuracies[-1], state.done)


def _mask_vector(network: nn.Module, masks: Mapping[str, Tensor]) -> Tensor:
    """1 for what stays and 0 for what is masked, of all parameters in their order."""
    parts = [
        masks[name].to(p.dtype).flatten() if name in masks else p.new_ones(p.numel())
        for name, p in network.named_parameters()
    ]
    return torch.cat([part.detach() for part in parts])


def _as_vector(network: nn.Module) -> nn.Parameter:
    """All parameters as one vector, which they are views of from now on, their gradients too.

    The optimiser's step is then a few operations instead of a few for each layer: on small networks
    the overhead of these is most of its time.
    """
    parameters = list(network.parameters())
    whole = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    whole.grad = torch.zeros_like(whole)
    sizes = [p.numel() for p in parameters]
    parts = zip(parameters, whole.data.split(sizes), whole.grad.split(sizes), strict=True)
    for p, values, gradient in parts:
        p.data, p.grad = values.view_as(p), gradient.view_as(p)
    return whole


def _check_batches(network: nn.Module, n_images: int, batch_size: int) -> None:
    """Batch norm needs two images or more in every batch, the last one too."""
    normalised = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())
    if normalised and (n_images % batch_size == 1 or batch_size == 1):
        raise InputError(
            f"batch norm needs at least two images in each batch; {n_images} images to train on, in batches "
            f"of {batch_size}, leave one alone. Choose another batch_size."
        )


def _optimizer(parameters: Any, recipe: Recipe) -> torch.optim.Optimizer:
    make = _OPTIMIZERS[recipe.optimizer]
    return make(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 1000) -> float:
    network.eval()
    with torch.inference_mode():
        right = sum(
            int((network(x).argmax(1) == y).sum())
            for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
        )
    return right / len(images)


def _loss(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 1000) -> float:
    network.eval()
    with torch.inference_mode():
        total = sum(
            float(F.cross_entropy(network(x), y, reduction="sum"))
            for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
        )
    return total / len(images)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Have torch use one thread: repeatable, and the fastest for many small networks at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# --- many instances ------------------------------------------------------------------------------


def _train_apart(tasks: list[_Task], *, jobs: int, bar: _Bar) -> None:
    """Every instance on its own, spread over processes."""
    jobs = min(jobs, len(tasks))
    if jobs == 1:
        for task in tasks:
            _train_one(task, bar.epoch)
        return
    key = os.urandom(16)
    with connection.Listener(authkey=key) as listener:
        hearing = threading.Thread(target=_hear, args=(listener, bar), daemon=True)
        hearing.start()
        try:
            with blocks.processes(jobs, here=True):  # which its checkpoints and its progress are
                joblib.Parallel(max_nbytes="1M", mmap_mode="r", batch_size=1)(
                    joblib.delayed(_train_in_worker)(task, listener.address, key) for task in tasks
                )
        finally:
            _tell(listener.address, key, None)
            hearing.join()


def _train_in_worker(task: _Task, address: Any, key: bytes) -> None:
    def report(*news: Any) -> None:
        try:
            _tell(address, key, news)
        except OSError:  # whoever asked was killed, and a new run may be training this instance
            os._exit(1)

    _train_one(task, report)


def _tell(address: Any, key: bytes, news: Any) -> None:
    with connection.Client(address, authkey=key) as line:
        line.send(news)


def _hear(listener: connection.Listener, bar: _Bar) -> None:
    """Pass what workers report on to the bar, until None comes."""
    while True:
        try:
            with listener.accept() as line:
                news = line.recv()
        except (OSError, EOFError, AuthenticationError):  # a worker died while it spoke; joblib reports
            continue
        if news is None:
            return
        bar.epoch(*news)


def _train_stacked(tasks: list[_Task], *, device: str, bar: _Bar) -> None:
    """All instances at once: their weights stacked along a first axis (``torch.func``)."""
    states = [_resume(task.path) for task in tasks]
    # A killed run can leave instances one epoch apart; those at the same epoch go together.
    for epoch in sorted({state.epoch for state in states if not state.done}):
        group = [i for i, state in enumerate(states) if state.epoch == epoch and not state.done]
        _train_group([tasks[i] for i in group], [states[i] for i in group], device=device, bar=bar)


def _train_group(tasks: list[_Task], states: list[_State], *, device: str, bar: _Bar) -> None:
    models = [task.build() for task in tasks]
    for model, state in zip(models, states, strict=True):
        if state.model is not None:
            model.load_state_dict(state.model)
    parameters, buffers = torch.func.stack_module_state(models)
    if buffers:
        raise InputError("networks with buffers (batch norm) are not stacked: use device='cpu'.")
    parameters = {k: v.detach().to(device).requires_grad_() for k, v in parameters.items()}
    skeleton = models[0].to(device)
    recipe = tasks[0].recipe
    if recipe.milestones or recipe.check_every:
        raise InputError("networks are not stacked for recipes with milestones or checks: use device='cpu'.")
    optimizer = _optimizer(parameters.values(), recipe)
    if states[0].optimizer is not None:
        optimizer.load_state_dict(_stack_optimizers([s.optimizer for s in states]))
    images, labels, check_images, check_labels = _divide(tasks[0].data, recipe, device)

    def outputs(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(skeleton, weights, (x,))
        return found

    def loss_of(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(outputs(weights, x), y)

    def right(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (outputs(weights, x).argmax(1) == y).sum()

    while not all(state.done for state in states):
        epoch = max(state.epoch for state in states)
        orders = torch.stack([t.epoch_order(epoch, len(images)) for t in tasks]).to(device)
        losses = []
        for batch in orders.split(recipe.batch_size, dim=1):
            optimizer.zero_grad()
            each = torch.func.vmap(loss_of)(parameters, images[batch], labels[batch])
            each.sum().backward()
            optimizer.step()
            losses.append(each.detach())
        mean_losses = torch.stack(losses).mean(0).tolist()
        with torch.no_grad():
            blocks = zip(check_images.split(1000), check_labels.split(1000), strict=True)
            each_block = [
                torch.func.vmap(right, in_dims=(0, None, None))(parameters, x, y) for x, y in blocks
            ]
            hits = torch.stack(each_block).sum(0)
        accuracies = (hits / len(check_images)).tolist()
        for i, (task, state) in enumerate(zip(tasks, states, strict=True)):
            if state.done:
                continue
            weights = {k: v[i].detach().clone().cpu() for k, v in parameters.items()}
            optimum = _slice_optimizer(optimizer.state_dict(), i)
            state.close_epoch(recipe, weights, optimum, mean_losses[i], accuracies[i])
            _save(task.path, state)
            bar.epoch(task.seed, state.epoch, accuracies[i], state.done)


def _slice_optimizer(state: dict[str, Any], i: int) -> dict[str, Any]:
    """Adam's state of one instance out of that of a stack (`step` is a scalar, shared)."""
    slots = {
        p: {k: (v[i].clone().cpu() if v.ndim else v.clone().cpu()) for k, v in slot.items()}
        for p, slot in state["state"].items()
    }
    return {"state": slots, "param_groups": state["param_groups"]}


def _stack_optimizers(states: list[Any]) -> dict[str, Any]:
    first = states[0]
    slots = {
        p: {k: v if k == "step" else torch.stack([s["state"][p][k] for s in states]) for k, v in slot.items()}
        for p, slot in first["state"].items()
    }
    return {"state": slots, "param_groups": first["param_groups"]}


# --- progress ------------------------------------------------------------------------------------


class _Bar:
    """Epochs of all instances in one bar. Its total is an upper bound that shrinks as they stop."""

    def __init__(self, bar: Any, max_epochs: int, n: int) -> None:
        self.bar, self.max_epochs, self.n = bar, max_epochs, n
        self.best: dict[int, float] = {}
        self.finished = 0

    def epoch(self, seed: int, epoch: int, acc: float, done: bool) -> None:
        self.best[seed] = max(acc, self.best.get(seed, 0.0))
        if done:
            self.finished += 1
            self.bar.total -= self.max_epochs - epoch
        self.bar.set_postfix_str(
            f"{self.finished}/{self.n} done, accuracy {np.mean(list(self.best.values())):.1%}",
            refresh=False,
        )
        self.bar.update()


@contextlib.contextmanager
def _progress(tasks: list[_Task], *, enabled: bool) -> Iterator[_Bar]:
    recipe = tasks[0].recipe
    past = sum(_resume(task.path).epoch for task in tasks)
    with tqdm(
        total=recipe.max_epochs * len(tasks),
        initial=past,
        unit="epoch",
        desc=f"{tasks[0].data.name}, {tasks[0].network}",
        disable=not enabled,
        smoothing=0.1,
        mininterval=1,
    ) as bar:
        yield _Bar(bar, recipe.max_epochs, len(tasks))
