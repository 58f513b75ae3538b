"""How far apart the layers of small transformers are, on an algebraic and on a language task.

What Gao et al. (2024) ask of networks of both kinds. A layer is the residual stream at the last place of a
row, after each attention and each perceptron; what the last token alone says, before, is the same for all
rows of the algebraic task, and is no layer here. Of addition there are three states: the first weights; as
soon as the training rows are known by heart, *before* the rule is found; and after. Everything is measured as
in :mod:`rarefire.records.subnetworks`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from rarefire import sequences, store, training
from rarefire.errors import unknown
from rarefire.records import record
from rarefire.records.record import Array, Record, answer_each, each_apart
from rarefire.records.subnetworks import Maps, Shown, measure_samples, shown_of
from rarefire.sequences import Sequences, Transformer

__all__ = [
    "SETTINGS",
    "SHOWN",
    "STATES",
    "Setting",
    "Transformers",
    "known",
    "known_shown",
    "known_shown_record",
    "measure",
    "measure_shown",
    "shown_record",
    "stream",
    "trained",
]

#: Of a network, through training; the second of addition alone.
STATES = ("untrained", "before", "after")

_N = 200  # rows of each of two samples
_SHOWN = 60


@dataclass(frozen=True)
class Setting:
    """A network and what it learns.

    Attributes
    ----------
    title
        In a few words.
    task
        Of :data:`rarefire.sequences.TASKS`.
    depth
        Blocks.
    width, heads
        Of each.
    states
        Of :data:`STATES`.
    seeds
        How many networks are recorded.
    """

    title: str
    task: str
    depth: int
    width: int
    heads: int = 4
    states: tuple[str, ...] = STATES
    seeds: int = 6


#: By name.
SETTINGS = {
    "addition-2": Setting("addition, 2 blocks", "addition", 2, 128),
    "addition-4": Setting("addition, 4 blocks", "addition", 4, 128),
    "docstrings-4": Setting("docstrings, 4 blocks", "docstrings", 4, 96, states=("untrained", "after")),
}

#: Those that are shown on a page, and are recorded for it.
SHOWN = ("addition-4", "docstrings-4")


@dataclass(frozen=True, eq=False, repr=False)
class Transformers(Maps):
    """Maps of the layers of transformers; the first axis is the network.

    `accuracy` is that of the tokens to be told, on test rows.
    """

    step = Array("I,", "of training, in steps")
    bits = Array("I,", "per token to be told, on test rows")
    skipped = Array("I, D", "the same without each block: bits")
    passed = Array("I, D", "the same without each block: accuracy")

    def moved(self, measure: str = "gw") -> NDArray[np.float64]:
        """How far each block but the first moves the stream, ``(I, D − 1)``: from its input to its output.

        Parameters
        ----------
        measure
            Of :data:`rarefire.records.subnetworks.MEASURES`.
        """
        apart = self.apart(measure)
        ends = [self.layers.index(f"mlp {i}") for i in range(self.skipped.shape[1])]
        return np.stack([apart[:, a, b] for a, b in itertools.pairwise(ends)], axis=1)


def stream(network: Transformer, rows: NDArray[np.integer]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Layers of a transformer on rows of a task, in their order: names and ``(n_rows, n_features)``.

    Parameters
    ----------
    network
        In any state.
    rows
        ``(n_rows, length + 1)``, of a task, the last token of which is not shown.
    """
    for layer, values in sequences.states(network, rows[:, :-1]).items():
        if layer != "embedding":
            yield layer, values


def trained(name: str, seed: int) -> tuple[dict[str, Transformer], sequences.Fitted]:
    """A transformer in the states of its setting, and its training; taken up where it was left.

    Raises
    ------
    UnknownNameError
        For a name that is none of :data:`SETTINGS`.
    """
    setting, data = _setting(name), _data(_setting(name).task)
    folder = store.cache_dir() / "checkpoints" / f"{name}-{store.key(**_facts(name))}"
    first = _network(setting, data, seed)
    path = folder / f"seed-{seed:04d}.pt"
    with store.alone(path.with_suffix(""), wait_for=f"{setting.title}, seed {seed}"):
        fitted = sequences.fit(first, data, path=path, seed=seed)
    found = {}
    for state in setting.states:
        if state in fitted.weights:
            found[state] = _network(setting, data, seed)
            found[state].load_state_dict(fitted.weights[state])
    return found, fitted


def measure(
    name: str,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> dict[str, Transformers]:
    """Train transformers and compare their layers; compute only what is not known.

    Parameters
    ----------
    name
        Of :data:`SETTINGS`.
    seeds
        One network each; by default as many as are recorded.
    jobs
        Processes, one thread each; by default one for each processor core.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        By state.

    Raises
    ------
    UnknownNameError
        For another name.
    """
    setting = _setting(name)

    def compute(missing: list[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
        options: dict[str, Any] = {"jobs": jobs, "progress": progress}
        alone = [(seed, name) for seed in sorted({seed for _, seed in missing})]
        for _ in each_apart(_train, alone, what=f"{name}: training", **options):
            pass  # its checkpoint is what counts
        arguments = [(state, seed, name) for state, seed in missing]
        yield from each_apart(_measured, arguments, what=f"{name}: layers", **options)

    own = _own(setting, range(setting.seeds) if seeds is None else seeds)
    what = f"{setting.title}, layers"
    return _by_state(answer_each("sequences", _facts(name), own, compute, use_shipped=use_shipped, what=what))


def known(name: str) -> dict[str, Transformers]:
    """What is shipped, by state; whatever Python this is."""
    there = {
        (str(a.provenance["facts"]["state"]), int(a.provenance["facts"]["seed"])): a
        for a in record.shipped("sequences", setting=name)
    }
    return _by_state({key: there[key] for key in _own(_setting(name), range(99)) if key in there})


def measure_shown(name: str, *, use_shipped: bool = True) -> Shown:
    """What a page shows of the first network, trained, on 60 rows.

    Raises
    ------
    UnknownNameError
        For another name.
    """
    return Shown.read(shown_record(name, use_shipped=use_shipped).arrays)


def shown_record(name: str, *, use_shipped: bool = True) -> Record:
    """The record that :func:`measure_shown` reads, to be shipped."""

    def compute() -> dict[str, NDArray[Any]]:
        networks, data = trained(name, 0)[0], _data(_setting(name).task)
        rows, group, groups = _sorted(data)
        return shown_of(stream(networks["after"], rows), group=group, groups=groups).arrays()

    facts = {**_facts(name), "n": _SHOWN}
    one = record.answer_one("sequences-shown", facts, compute, use_shipped=use_shipped)
    assert one is not None  # it is computed where it is not known
    return one


def known_shown(name: str) -> Shown | None:
    """What is shipped, as of :func:`measure_shown`."""
    one = known_shown_record(name)
    return Shown.read(one.arrays) if one else None


def known_shown_record(name: str) -> Record | None:
    """The record that :func:`known_shown` reads."""
    _setting(name)
    answers = record.shipped("sequences-shown", setting=name)
    return Record(answers[:1]) if answers else None


def _setting(name: str) -> Setting:
    if name not in SETTINGS:
        raise unknown("transformer", name, list(SETTINGS))
    return SETTINGS[name]


@functools.cache
def _data(task: str) -> Sequences:
    return sequences.addition() if task == "addition" else sequences.docstrings()


def _network(setting: Setting, data: Sequences, seed: int) -> Transformer:
    return Transformer(
        data.n_tokens,
        width=setting.width,
        depth=setting.depth,
        heads=setting.heads,
        length=data.length,
        seed=seed,
    )


def _facts(name: str) -> dict[str, Any]:
    setting = _setting(name)
    return {
        **{"setting": name, "stimuli": setting.task, "network": f"transformer, {setting.depth} blocks"},
        **_data(setting.task).facts(),
        **{"width": setting.width, "heads": setting.heads, "depth": setting.depth},
        "recipe": asdict(sequences.TASKS[setting.task]),
        "rows": _N,
    }


def _own(setting: Setting, seeds: Sequence[int]) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (state, int(seed)): {"state": state, "seed": int(seed)} for state in setting.states for seed in seeds
    }


def _by_state(answers: Mapping[tuple[str, int], store.Answer]) -> dict[str, Transformers]:
    found: dict[str, list[store.Answer]] = {}
    for (state, _), answer in answers.items():
        found.setdefault(state, []).append(answer)
    return {state: Transformers(tuple(each)) for state, each in found.items()}


def _samples(data: Sequences) -> list[NDArray[np.integer]]:
    """Two disjoint samples of test rows, evenly spread."""
    rows = np.linspace(0, len(data.test) - 1, min(2 * _N, len(data.test))).astype(np.intp)
    return [data.test[rows[s : len(rows) // 2 * 2 : 2]] for s in (0, 1)]


def _train(seed: int, name: str) -> tuple[int, dict[str, NDArray[Any]]]:
    with threadpool_limits(1), training.one_thread():
        trained(name, seed)
    return seed, {}


def _measured(state: str, seed: int, name: str) -> tuple[tuple[str, int], dict[str, NDArray[Any]]]:
    setting, data = SETTINGS[name], _data(SETTINGS[name].task)
    with threadpool_limits(1), training.one_thread():
        networks, fitted = trained(name, seed)
        # What was not learnt by heart first goes straight to the rule: its end stands for it.
        network = networks.get(state, networks["after"])
        samples = (stream(network, rows) for rows in _samples(data))
        found = measure_samples(*samples, seed=seed, controls=False)
        less = [sequences.skipped(network, block) for block in range(setting.depth)]
        numbers = {
            "accuracy": sequences.accuracy(network, data),
            "bits": sequences.bits(network, data),
            "skipped": [sequences.bits(each, data) for each in less],
            "passed": [sequences.accuracy(each, data) for each in less],
            "step": fitted.steps.get(state, fitted.steps["after"]),
        }
        return (state, seed), {**found, **{key: np.asarray(value) for key, value in numbers.items()}}


def _sorted(data: Sequences) -> tuple[NDArray[np.integer], NDArray[np.intp], tuple[str, ...]]:
    """Rows to show, by what is to be told: sums in six parts, or the kind of the next character."""
    if data.name == "addition":
        p, sums = data.n_tokens - 1, data.test[:, -1].astype(np.intp)
        told = sums * 6 // p
        kinds = tuple(f"{sums[told == part].min()}–{sums[told == part].max()}" for part in range(6))
    else:
        kinds = ("space", "small letter", "capital", "other")
        characters = np.array(list(sequences.ALPHABET))[data.test[:, -1]]
        told = np.array(
            [0 if c.isspace() else 1 if c.islower() else 2 if c.isupper() else 3 for c in characters]
        )
    each = -(-_SHOWN // len(kinds))
    of = [np.flatnonzero(told == kind) for kind in range(len(kinds))]
    rows = np.concatenate(
        [own[np.linspace(0, len(own) - 1, min(each, len(own))).astype(np.intp)] for own in of]
    )
    return data.test[rows], told[rows], kinds
