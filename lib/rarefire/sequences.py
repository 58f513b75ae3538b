"""Sequences: a small transformer, an algebraic task and a language task, and training on them.

A task is rows of tokens of which the last ones are to be told from those before. Addition modulo p
(Power et al. 2022; Nanda et al. 2023) has rows ``a b = c``: a network first learns its training pairs by
heart, and much later finds the rule. The language task is the docstrings of Python's standard library,
character by character, which every machine has.

A training has one checkpoint, written whole. A killed one goes on from there and ends with the same weights,
bit for bit on the same machine: the rows of a step are a function of seed and step.
"""

from __future__ import annotations

import ast
import copy
import functools
import math
import platform
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefire import networks, store, training
from rarefire._engine.arguments import checked
from rarefire.errors import DataError, InputError, unknown

__all__ = [
    "ALPHABET",
    "TASKS",
    "Attention",
    "Block",
    "Embedding",
    "Fitted",
    "Perceptron",
    "Recipe",
    "Sequences",
    "Transformer",
    "accuracy",
    "addition",
    "baselines",
    "bits",
    "docstrings",
    "fit",
    "skipped",
    "states",
]

_VERSION = 1  # of training: raise it when the same recipe would give other weights

#: The characters of :func:`docstrings`, a token each: newline and printable ASCII.
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))


# --- the network ---------------------------------------------------------------------------------


class Embedding(nn.Module):
    """Tokens ``(n, length)`` -> ``(n, length, width)``: a vector for each token plus one for its place."""

    def __init__(self, n_tokens: int, width: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(n_tokens, width)
        self.places = nn.Embedding(length, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Each row's first token is at the first place."""
        embedded: Tensor = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        return embedded


class Attention(nn.Module):
    """The residual stream after causal attention, ``(n, length, width)`` both."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, 3 * width)  # queries, keys, values
        self.outputs = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """What a place takes from itself and those before it is added."""
        parts = self.inputs(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        added: Tensor = x + self.outputs(seen.transpose(1, 2).flatten(2))
        return added


class Perceptron(nn.Module):
    """The residual stream after a layer of ``4 width`` rectified units, ``(n, length, width)`` both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU())
        self.outputs = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """What the units make of each place is added."""
        added: Tensor = x + self.outputs(self.hidden(self.norm(x)))
        return added


class Block(nn.Sequential):
    """Attention, then a perceptron."""

    attention: Attention
    mlp: Perceptron

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.mlp = Perceptron(width)


class Transformer(nn.Module):
    """A decoder: each place sees itself and those before it. Pre-norm, ReLU, learned places.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    width
        Of the residual stream; the perceptrons have four times as many units.
    depth
        Blocks.
    heads
        Of attention, in each block; `width` is a multiple of it.
    length
        Most tokens in a row.
    seed
        Of the weights: normal, with half the standard deviation that keeps the size of what passes. Small
        weights find the rule of :func:`addition` sooner. Global generators stay as they are.

    Notes
    -----
    It has ``2 n_tokens width + length width + depth (12 width² + 13 width) + 2 width`` weights.
    """

    def __init__(
        self, n_tokens: int, *, width: int, depth: int, heads: int, length: int, seed: int = 0
    ) -> None:
        super().__init__()
        sizes = {"n_tokens": n_tokens, "width": width, "depth": depth, "heads": heads, "length": length}
        for name, value in sizes.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1; got {value}.")
        if width % heads:
            raise InputError(f"width must be a multiple of heads; got width={width}, heads={heads}.")
        self.length = length
        with torch.random.fork_rng(devices=[]):  # modules draw weights when they are made
            self.embedding = Embedding(n_tokens, width, length)
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
            self.norm = nn.LayerNorm(width)
            self.outputs = nn.Linear(width, n_tokens, bias=False)
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                std = 0.5 / math.sqrt(module.weight.shape[1])
                nn.init.normal_(module.weight, std=std, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(n, length)`` -> the logits of the token after each place, ``(n, length, n_tokens)``."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.outputs(self.norm(x))
        return logits


@checked
def skipped(network: Transformer, block: int) -> Transformer:
    """A copy without one block, which the residual stream passes by.

    Parameters
    ----------
    network
        It stays as it is.
    block
        From 0.

    Raises
    ------
    InputError
        If there is no such block.
    """
    depth = len(network.blocks)
    if not 0 <= block < depth:
        raise InputError(f"block must be in 0–{depth - 1}, of {depth} blocks; got {block}.")
    without = copy.deepcopy(network)
    del without.blocks[block]
    return without


@checked
def states(
    network: Transformer,
    tokens: NDArray[np.integer],
    *,
    position: int = -1,
    hidden: bool = False,
    batch_size: int = 256,
) -> dict[str, NDArray[np.float32]]:
    """What a network holds at one place of each row, from the first layer to the last.

    Parameters
    ----------
    network
        It is called without gradients.
    tokens
        ``(n, length)``, rows of a task without what is to be told: ``data.test[:, :-1]``.
    position
        The place; negative from the end.
    hidden
        Add the perceptrons' units, after their ReLU.
    batch_size
        Rows per step.

    Returns
    -------
    dict of ndarray
        In the order of computation, float32: ``"embedding"``; for each block i from 0 ``"attention i"``,
        with `hidden` ``"hidden i"`` ``(n, 4 width)``, and ``"mlp i"``; ``"norm"``, all others
        ``(n, width)``; ``"outputs"``, the logits, ``(n, n_tokens)``. Those of a block are the residual
        stream after its attention and after its perceptron.

    Raises
    ------
    InputError
        If the tokens are no rows that the network takes, or `position` is outside them.
    """
    tokens = _check_tokens(network, tokens)
    if not -tokens.shape[1] <= position < tokens.shape[1]:
        raise InputError(f"position must be within the {tokens.shape[1]} tokens of a row; got {position}.")
    batches: list[dict[str, NDArray[np.float32]]] = []
    with torch.inference_mode():
        for start in range(0, len(tokens), batch_size):
            shown = torch.from_numpy(tokens[start : start + batch_size].astype(np.int64))
            layers = _layers(network, shown, hidden=hidden)
            batches.append({name: x[:, position].numpy() for name, x in layers})
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _layers(network: Transformer, tokens: Tensor, *, hidden: bool) -> Iterator[tuple[str, Tensor]]:
    """The forward pass, layer by layer, at every place."""
    x = network.embedding(tokens)
    yield "embedding", x
    for i, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        x = block.attention(x)
        yield f"attention {i}", x
        if hidden:
            yield f"hidden {i}", block.mlp.hidden(block.mlp.norm(x))
        x = block.mlp(x)
        yield f"mlp {i}", x
    x = network.norm(x)
    yield "norm", x
    yield "outputs", network.outputs(x)


def _check_tokens(network: Transformer, tokens: NDArray[np.integer]) -> NDArray[np.integer]:
    tokens, n = np.asarray(tokens), network.outputs.out_features
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not 1 <= tokens.shape[1] <= network.length:
        raise InputError(
            f"tokens must be whole numbers, (n, at most {network.length}); got {tokens.dtype} {tokens.shape}."
        )
    if not tokens.size or tokens.min() < 0 or tokens.max() >= n:
        found = f"{tokens.min()} to {tokens.max()}" if tokens.size else "none"
        raise InputError(f"tokens must be at least one row of numbers in 0–{n - 1}; got {found}.")
    return tokens


# --- tasks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sequences:
    """A task: rows of tokens, the last of which are to be told from those before.

    Attributes
    ----------
    name
        Of the task, as in :data:`TASKS`.
    n_tokens
        Size of the vocabulary; tokens are in 0 … ``n_tokens - 1``.
    train, test
        ``(n, length + 1)``, whole numbers. A network is shown all but a row's last token.
    scored
        How many tokens at the end of a row are to be told, each from all before it.
    source
        What it was made of; JSON-able.
    """

    name: str
    n_tokens: int
    train: NDArray[np.integer]
    test: NDArray[np.integer]
    scored: int
    source: dict[str, Any]

    @property
    def length(self) -> int:
        """Tokens that a network is shown."""
        return int(self.train.shape[1]) - 1

    def facts(self) -> dict[str, Any]:
        """What determines the task; JSON-able, for keys and provenance."""
        return {"task": self.name, **self.source, "digest": store.array_digest(self.train, self.test)}


@checked
def addition(p: int = 59, *, share: float = 0.55, seed: int = 0) -> Sequences:
    """Addition modulo p: rows ``a b = c``, all p² of them, parted into training and test.

    ``a + b`` and ``b + a`` go together. Parted one by one, as in the papers, a network that has the training
    rows by heart and ignores the order of the two would tell that share of the test rows whose mirrored ones
    it has seen, without any rule of addition.

    Parameters
    ----------
    p
        Modulus, at least 2; the token ``=`` is p.
    share
        Of unordered pairs to train on, in (0, 1).
    seed
        Of the parting.

    Raises
    ------
    InputError
        If p or share is out of range, or leaves no rows to train on or to test.
    """
    if p < 2 or not 0 < share < 1:
        raise InputError(f"p must be at least 2 and share in (0, 1); got p={p}, share={share}.")
    low, high = np.triu_indices(p)
    order = np.random.default_rng(seed).permutation(len(low))
    n = round(share * len(low))
    if not 0 < n < len(low):
        raise InputError(f"share={share} of {len(low)} pairs leaves none to train on, or none to test.")

    def rows(chosen: NDArray[np.intp]) -> NDArray[np.int64]:
        pairs = np.column_stack([low[chosen], high[chosen]])
        pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
        return np.column_stack([pairs, np.full(len(pairs), p), pairs.sum(axis=1) % p]).astype(np.int64)

    source = {"p": p, "share": share, "seed": seed}
    return Sequences("addition", p + 1, rows(order[:n]), rows(order[n:]), 1, source)


#: Modules with long docstrings, in every Python since 3.11.
_MODULES = (
    *("argparse", "ast", "asyncio", "base64", "bdb", "bisect", "cmd", "codecs", "collections", "concurrent"),
    *("configparser", "contextlib", "ctypes", "difflib", "dis", "doctest", "email", "enum", "fractions"),
    *("ftplib", "functools", "heapq", "http", "imaplib", "importlib", "inspect", "ipaddress", "json"),
    *("logging", "mailbox", "multiprocessing", "optparse", "os", "pdb", "pickle", "pickletools", "pkgutil"),
    *("platform", "pydoc", "queue", "random", "shutil", "smtplib", "socket", "socketserver", "ssl"),
    *("statistics", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "timeit", "traceback"),
    *("turtle", "typing", "unittest", "urllib", "uuid", "wave", "weakref", "wsgiref", "xml", "xmlrpc"),
    "zipfile",
)


@checked
def docstrings(*, length: int = 64) -> Sequences:
    """The docstrings of Python's standard library, a token for each of the characters of :data:`ALPHABET`.

    Of a fixed list of modules, read and not imported; every tenth is held out, as `test`. They differ a
    little from one Python to another: :meth:`Sequences.facts` names it and has a digest of the text.

    Parameters
    ----------
    length
        Characters that a network is shown, at least 1. Training rows start at every character, those held
        out do not overlap.

    Raises
    ------
    InputError
        If `length` is below 1, or longer than the text.
    DataError
        If this Python came without the sources of its library.
    """
    texts = _texts()
    names = sorted(texts)
    held_out = names[::10]
    train = "\n\n".join(texts[name] for name in names if name not in held_out)
    test = "\n\n".join(texts[name] for name in held_out)
    if not 1 <= length < min(len(train), len(test)):
        raise InputError(f"length must be at least 1 and below that of the text; got {length}.")
    rows, held = (np.lib.stride_tricks.sliding_window_view(_tokens(t), length + 1) for t in (train, test))
    source = {"python": ".".join(platform.python_version_tuple()[:2]), "held_out": held_out}
    return Sequences("docstrings", len(ALPHABET), rows, held[::length], length, source)


@functools.cache
def _texts() -> dict[str, str]:
    """By module, its docstrings: those that are all of the alphabet."""
    root = Path(sysconfig.get_path("stdlib"))
    texts = {}
    for name in _MODULES:
        folder, file = root / name, root / f"{name}.py"
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [file] * file.is_file()
        files = [f for f in files if not {"test", "tests"} & {*f.relative_to(root).parts}]
        found = [text for f in files for text in _docstrings_of(f) if set(text) <= set(ALPHABET)]
        if found:
            texts[name] = "\n\n".join(found)
    if len(texts) < len(_MODULES) / 2:
        raise DataError(
            f"{root} has the sources of {len(texts)} of {len(_MODULES)} modules: use a Python that comes "
            "with those of its standard library."
        )
    return texts


def _docstrings_of(file: Path) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    with warnings.catch_warnings(action="ignore"):  # of escapes in another's source
        tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, kinds):
            yield ast.get_docstring(node) or ""


def _tokens(text: str) -> NDArray[np.uint8]:
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.where(codes == ord("\n"), 0, codes - 31).astype(np.uint8)


def baselines(data: Sequences) -> dict[str, float]:
    """Bits per token of the test rows by counts at the end of the training rows, one added to each.

    Returns
    -------
    dict
        ``"unigram"``: by how often a token comes; ``"bigram"``: how often it comes after the one before it.
    """
    pairs = np.ones((data.n_tokens, data.n_tokens))
    np.add.at(pairs, (data.train[:, -2], data.train[:, -1]), 1)
    given, told = (data.test[:, s][:, -data.scored :].ravel() for s in (slice(-1), slice(1, None)))
    single = pairs.sum(axis=0)
    return {
        "unigram": float(-np.log2(single / single.sum())[told].mean()),
        "bigram": float(-np.log2(pairs / pairs.sum(axis=1, keepdims=True))[given, told].mean()),
    }


# --- how well a network does ---------------------------------------------------------------------


@checked
def accuracy(
    network: Transformer,
    data: Sequences,
    *,
    part: Literal["train", "test"] = "test",
    batch_size: int = 256,
) -> float:
    """Share of tokens to be told, in [0, 1], that the network gives the highest output."""
    return _score(network, data, part, batch_size)[0]


@checked
def bits(
    network: Transformer,
    data: Sequences,
    *,
    part: Literal["train", "test"] = "test",
    batch_size: int = 256,
) -> float:
    """Mean cross-entropy of the tokens to be told, in bits per token."""
    return _score(network, data, part, batch_size)[1]


def _score(network: Transformer, data: Sequences, part: str, batch_size: int = 256) -> tuple[float, float]:
    if part not in ("train", "test"):
        raise unknown("part", part, ["train", "test"])
    rows: NDArray[np.integer] = getattr(data, part)
    _check_tokens(network, rows[:, :-1])
    right, nats = 0, 0.0
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            logits, told = _told(network, _long(rows[start : start + batch_size]), data.scored)
            right += int((logits.argmax(1) == told).sum())
            nats += float(F.cross_entropy(logits, told, reduction="sum"))
    n = len(rows) * data.scored
    return right / n, nats / n / math.log(2)


def _told(network: Transformer, rows: Tensor, scored: int) -> tuple[Tensor, Tensor]:
    """Logits ``(n, n_tokens)`` and tokens ``(n,)`` of all that is to be told in some rows."""
    logits = network(rows[:, :-1])[:, -scored:]
    return logits.flatten(0, 1), rows[:, -scored:].flatten()


def _long(rows: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(rows.astype(np.int64))


# --- training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW, with a gradient of the rows of one step.

    Attributes
    ----------
    learning_rate, weight_decay, betas
        Of AdamW. The learning rate rises from 0 over the first `warmup` steps; with `decay` it then falls
        linearly, to reach 0 after `steps`.
    steps
        Most steps.
    batch_size
        Rows per step, drawn at random; 0 for all training rows.
    check_every
        Steps between two checks of the test rows.
    goal, held
        Training ends when the test accuracy, in [0, 1], was at least `goal` in `held` checks one after the
        other; None for all steps.
    """

    learning_rate: float
    weight_decay: float
    steps: int
    betas: tuple[float, float] = (0.9, 0.98)
    batch_size: int = 0
    warmup: int = 10
    decay: bool = False
    check_every: int = 10
    goal: float | None = 0.99
    held: int = 5

    def __post_init__(self) -> None:
        for name in ("steps", "warmup", "check_every", "held"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}.")

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        falling = (self.steps - step) / max(1, self.steps - self.warmup) if self.decay else 1.0
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, falling)


#: By task, the recipe that networks of any depth here are trained with.
TASKS = {
    "addition": Recipe(learning_rate=3e-3, weight_decay=1.0, steps=3000, batch_size=512),
    "docstrings": Recipe(
        learning_rate=3e-3,
        weight_decay=0.1,
        steps=1500,
        batch_size=32,
        warmup=100,
        decay=True,
        check_every=250,
        goal=None,
    ),
}

_MEMORISED, _LOW = 0.99, 0.5


@dataclass(frozen=True)
class Fitted:
    """What :func:`fit` did.

    Attributes
    ----------
    weights
        State dicts: ``"untrained"``; ``"before"``, of the first check with an accuracy of .99 or more on all
        training rows and below .5 on the test rows, learnt by heart but not understood, where there was one;
        ``"after"``, of the last.
    steps
        Of each of these.
    history
        Per check: ``step``; ``train_accuracy`` and ``train_bits`` of that step's rows; ``test_accuracy`` and
        ``test_bits``.
    generalised
        Whether the recipe's goal was reached and held; False where it has none.
    """

    weights: dict[str, dict[str, Tensor]]
    steps: dict[str, int]
    history: dict[str, list[float]]
    generalised: bool


@dataclass
class _State:
    """What a checkpoint holds; `model` and `optimizer` are dropped once it is done."""

    key: str
    step: int = 0
    model: dict[str, Tensor] | None = None
    optimizer: dict[str, Any] | None = None
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    generalised: bool = False
    done: bool = False


@checked
def fit(
    network: Transformer,
    data: Sequences,
    *,
    path: str | Path,
    recipe: Recipe | None = None,
    seed: int,
    report: Callable[[int, float, bool], None] | None = None,
) -> Fitted:
    """Train a network in its place, on one thread, or take up what an earlier run left.

    Parameters
    ----------
    network
        It ends with the last weights.
    data
        The task.
    path
        The checkpoint. It belongs to these weights, task, seed and recipe; a finished one is read.
    recipe
        By default the task's own, from :data:`TASKS`.
    seed
        Of the rows of each step, where these are not all.
    report
        Called after each check with its step, the test accuracy, and whether it was the last.

    Raises
    ------
    InputError
        If the network has other tokens, or takes fewer, than the task has.
    DataError
        If the checkpoint is another training's, or another run is writing it.
    """
    recipe = recipe or TASKS.get(data.name)
    if recipe is None:
        raise unknown("recipe for the task", data.name, list(TASKS), hint="Give one as recipe=.")
    if network.outputs.out_features != data.n_tokens or network.length < data.length:
        raise InputError(
            f"{data.name} has {data.n_tokens} tokens, in rows of {data.length}; the network is for "
            f"{network.outputs.out_features}, in rows of at most {network.length}."
        )
    path, weights = Path(path), networks.digest(network)
    key = store.key(weights=weights, seed=seed, recipe=asdict(recipe), task=data.facts(), version=_VERSION)
    state = _resume(path, key)
    if not state.done:
        with store.alone(path), training.one_thread():
            state = _resume(path, key)  # another run may have written it meanwhile
            if not state.done:
                _fit(network, data, recipe, state, path, seed=seed, report=report or (lambda *_: None))
    networks.load_weights(network, state.weights["after"])
    network.zero_grad(set_to_none=True)
    return Fitted(state.weights, state.steps, state.history, state.generalised)


def _resume(path: Path, key: str) -> _State:
    """The state in the checkpoint, or that of a fresh training."""
    state = training.resumed(path, _State)
    if state is None:
        return _State(key)
    if state.key != key:
        raise DataError(
            f"{path} is the checkpoint of another training: of other weights, rows, seed or recipe. Name "
            "another file, or remove it."
        )
    return state


def _fit(
    network: Transformer,
    data: Sequences,
    recipe: Recipe,
    state: _State,
    path: Path,
    *,
    seed: int,
    report: Callable[[int, float, bool], None],
) -> None:
    """Train `network` in its place from `state` on; every tenth check is written to `path`, and the last."""
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=0.0, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )
    if state.model is not None and state.optimizer is not None:
        network.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
    every = None if recipe.batch_size else _long(data.train)
    while True:
        rows = _batch(data.train, recipe.batch_size, seed, state.step) if every is None else every
        logits, told = _told(network, rows, data.scored)
        loss = F.cross_entropy(logits, told)
        if state.step % recipe.check_every == 0 or state.step == recipe.steps:
            right = float((logits.argmax(1) == told).float().mean())
            _check(network, data, recipe, state, right, loss.item() / math.log(2))
            # After a step that was written, the next is the first of a run that goes on from there.
            if state.done or state.step % (10 * recipe.check_every) == 0:
                state.model = None if state.done else network.state_dict()
                state.optimizer = None if state.done else optimizer.state_dict()
                with store.atomic_write(path) as file:
                    torch.save(vars(state), file)
            report(state.step, state.history["test_accuracy"][-1], state.done)
            if state.done:
                return
        optimizer.param_groups[0]["lr"] = recipe.rate(state.step)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        state.step += 1


def _batch(train: NDArray[np.integer], size: int, seed: int, step: int) -> Tensor:
    """The rows of a step: a function of seed and step, so that a resumed run repeats them."""
    return _long(train[np.random.default_rng([seed, step]).integers(len(train), size=size)])


def _check(
    network: Transformer, data: Sequences, recipe: Recipe, state: _State, right: float, train_bits: float
) -> None:
    """Enter one check, keep weights, and apply the stopping rule."""
    if state.history.get("step", [-1])[-1] == state.step:
        return  # a run that goes on from a check has it already
    test, test_bits = _score(network, data, "test")
    for name, value in {
        "step": float(state.step),
        "train_accuracy": right,
        "train_bits": train_bits,
        "test_accuracy": test,
        "test_bits": test_bits,
    }.items():
        state.history.setdefault(name, []).append(value)
    latest = state.history["test_accuracy"][-recipe.held :]
    state.generalised = recipe.goal is not None and len(latest) == recipe.held and min(latest) >= recipe.goal
    state.done = state.generalised or state.step >= recipe.steps
    learnt = "before" not in state.weights and test < _LOW and right >= _MEMORISED
    found = {
        "untrained": state.step == 0,
        "before": learnt and accuracy(network, data, part="train") >= _MEMORISED,
        "after": state.done,
    }
    for name in (name for name, true in found.items() if true):
        state.weights[name] = {k: v.detach().clone() for k, v in network.state_dict().items()}
        state.steps[name] = state.step
