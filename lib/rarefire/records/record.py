"""One record: the answers to a question, what they are about, and where they came from.

Every expensive question of the book is asked in one way. The facts that determine an answer name it;
:func:`answer_each` finds the answers that are shipped or cached, and has those computed that are not.
Each module of this room has two verbs for its question: ``measure`` computes what is missing, ``known``
finds what is there, and needs neither data nor a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, overload

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from rarefire import stimuli, store
from rarefire._engine import blocks
from rarefire.curves import ENOUGH, enough
from rarefire.errors import InputError, unknown

__all__ = [
    "PROFILES",
    "VERSIONS",
    "Array",
    "Record",
    "Stack",
    "answer_each",
    "answer_one",
    "by_images",
    "by_seed",
    "each_apart",
    "known_lenets",
    "measured_lenets",
    "shipped",
    "source",
]

#: By question, the version of its answers, under the name that it has in their keys: to be raised when the
#: same facts would give other numbers.
VERSIONS: dict[str, dict[str, int]] = {
    "instance": {"measure_version": 2},
    "sample": {"sample_version": 1},
    "variation": {"variation_version": 1},
    "prediction": {"version": 3},
    "class-level": {"class_version": 2},
    "ghosts": {"ghosts_version": 1},
    "reading": {"reading_version": 1},
    "error-rate": {"version": 2},
    "across": {"version": 1},
    "across-gaps": {"version": 1},
    "capped": {"version": 1},
    "poz-elsewhere": {"version": 1},
    "pruned": {"version": 1},
    "pruned-sample": {"version": 2},
    "units": {"version": 1},
    "importances": {"version": 1},
    "people-orders": {"version": 1},
    "dimension": {"version": 1},
    "gradient": {"version": 1},
    "rank": {"version": 1},
    "information": {"version": 1},
    "information-units": {"version": 1},
    "subnetworks": {"version": 1},
    "subnetworks-shown": {"version": 1},
    "layer-choice": {"version": 1},
    "sequences": {"version": 1},
    "sequences-shown": {"version": 1},
    "blocks": {"version": 1},
    "block-studies": {"version": 1},
    "report": {"version": 1},
}

#: What a chapter computes from the images: digits only, or everything.
PROFILES = ("default", "full")

_Key = TypeVar("_Key", bound=Hashable)
_Found = TypeVar("_Found")


class Array:
    """A field of a record: one of its arrays, under the name by which it is kept.

    Parameters
    ----------
    shape
        In words, such as ``"I, F"``.
    what
        What it holds, its unit and range.
    """

    def __init__(self, shape: str, what: str) -> None:
        self.shape, self.what = shape, what
        self.__doc__ = f"``({shape})``, {what}"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, record: None, owner: type) -> Self: ...
    @overload
    def __get__(self, record: Record, owner: type) -> NDArray[Any]: ...
    def __get__(self, record: Record | None, owner: type) -> Any:
        return self if record is None else record[self.name]


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """The answer to one question.

    Attributes
    ----------
    answers
        What the store gave: one answer, and one for each instance in a :class:`Stack`.
    """

    answers: tuple[store.Answer, ...]

    @cached_property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The numbers, by name."""
        return self.answers[0].arrays

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def r(self, curve: str, *, least: float = ENOUGH) -> NDArray[np.float64]:
        """One of the curves that it keeps, ``(…, n_steps)``.

        NaN where fewer than `least` of the images (or classes) have a defined similarity
        (:func:`rarefire.curves.enough`).
        """
        r, counted = np.asarray(self[curve], dtype=np.float64), self.arrays.get(f"n_images_{curve}")
        return r if counted is None else np.where(enough(counted, counted[..., -1:], least=least), r, np.nan)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {source(self)}>"

    @property
    def facts(self) -> Mapping[str, Any]:
        """What determines the answer, or the first of several."""
        facts: Mapping[str, Any] = self.answers[0].provenance["facts"]
        return facts

    @property
    def network(self) -> str:
        """Name of the network."""
        return str(self.facts["network"])

    @property
    def about(self) -> str:
        """Name of the images, or of the judgments, that were put to the network."""
        return str(self.facts.get("stimuli") or self.facts["judgments"])

    @property
    def recorded(self) -> bool:
        """Whether all of it is shipped with the book."""
        return all(answer.source == "shipped" for answer in self.answers)

    @property
    def made(self) -> str:
        """Versions and date of the computation."""
        stamp = self.answers[0].provenance
        return (
            f"rarefire {stamp['versions']['rarefire']}, torch {stamp['versions']['torch']}, {stamp['date']}"
        )

    def _origin(self) -> str:
        return "recorded run" if self.recorded else "computed on this machine"

    def ship(self, path: str | Path) -> Path:
        """Write the answers as a file of shipped results."""
        return store.pack(path, self.answers)


@dataclass(frozen=True, eq=False, repr=False)
class Stack(Record):
    """Answers to one question about several instances, which are the first axis of every array."""

    one: ClassVar[str] = "instance"  # what each answer is about

    @classmethod
    def of(cls, arrays: Mapping[str, ArrayLike], **facts: Any) -> Self:
        """A record of numbers that are here already.

        Parameters
        ----------
        arrays
            By name, each with the instance as its first axis.
        **facts
            What they are about: ``stimuli``, ``network``; ``seed`` is counted from 0.
        """
        columns = {name: np.asarray(values) for name, values in arrays.items()}
        lengths = {name: column.shape[:1] for name, column in columns.items()}
        if len(set(lengths.values())) != 1 or () in lengths.values():
            raise InputError(f"arrays must have one first axis, the instances; got {lengths}.")
        return cls(
            tuple(
                store.Answer(
                    {name: column[i] for name, column in columns.items()},
                    store.provenance("given", {"seed": i, **facts}),
                    "computed",
                )
                for i in range(*next(iter(lengths.values())))
            )
        )

    @cached_property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The numbers, by name, each with the instance as its first axis."""
        return {name: np.stack([a.arrays[name] for a in self.answers]) for name in self.answers[0].arrays}

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def network(self) -> str:
        """Name of the network; of several, how many they are."""
        return self._one_or_many("network", "networks")

    @property
    def about(self) -> str:
        """Name of the images, or of the judgments; of several, how many they are."""
        if "stimuli" in self.facts:
            return self._one_or_many("stimuli", "image sets")
        return self._one_or_many("judgments", "sets of judgments")

    def _one_or_many(self, fact: str, what: str) -> str:
        names = {str(answer.provenance["facts"][fact]) for answer in self.answers}
        return names.pop() if len(names) == 1 else f"{len(names)} {what}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """One for each instance."""
        return tuple(int(answer.provenance["facts"]["seed"]) for answer in self.answers)

    def _origin(self) -> str:
        n, recorded = len(self), sum(answer.source == "shipped" for answer in self.answers)
        instances, runs = f"{n} {self.one}{'s' * (n != 1)}", f"recorded run{'s' * (recorded != 1)}"
        if recorded in (0, n):
            return f"{instances}, {runs if recorded else 'computed on this machine'}"
        return f"{instances}: {recorded} {runs}, {n - recorded} computed on this machine"


def source(*records: Record) -> str:
    """Where the numbers of a figure come from: a sentence for its caption."""
    said: dict[str, dict[str, None]] = {}  # network -> what it looked at, each once
    for each in records:
        what = f"{stimuli.TITLES.get(each.about, each.about)} ({each._origin()})"
        said.setdefault(each.network, {})[what] = None
    alike: dict[str, list[str]] = {}  # networks that looked at the same
    for network, whats in said.items():
        alike.setdefault(", ".join(whats), []).append(network)
    parts = [f"{', '.join(networks)} on {whats}" for whats, networks in alike.items()]
    return f"Source: {'; '.join([*parts, *sorted({each.made for each in records})])}."


def answer_each(
    question: str,
    shared: Mapping[str, Any],
    own: Mapping[_Key, Mapping[str, Any]],
    compute: Callable[[list[_Key]], Iterable[tuple[_Key, Mapping[str, NDArray[Any]]]]] | None,
    *,
    use_shipped: bool = True,
    what: str = "",
) -> dict[_Key, store.Answer]:
    """Answer a question about each of several things: shipped, else cached, else computed and cached.

    Parameters
    ----------
    question
        A short name, e.g. ``"instance"``.
    shared, own
        The facts that determine the answers: those of all of them, and by thing its own. JSON-able. The
        version (:data:`VERSIONS`) is added.
    compute
        Given the things without an answer, in order, gives them with the answers' arrays, one after the
        other and in any order; each is kept as soon as it is there. What all need is prepared once. With
        None, nothing is computed.
    use_shipped
        Whether the results shipped with the book count.
    what
        Is computed, in words, for others who wait for the same.

    Returns
    -------
    dict
        In the order of `own`; without those that are not known, where nothing is computed.
    """
    shared = {**shared, **VERSIONS.get(question, {})}
    facts = {thing: {**shared, **more} for thing, more in own.items()}

    def known(things: Iterable[_Key], *, warn: bool = True) -> dict[_Key, store.Answer]:
        found = {t: store.recall(question, facts[t], use_shipped=use_shipped, warn=warn) for t in things}
        return {t: answer for t, answer in found.items() if answer is not None}

    answers = known(facts)
    missing = [t for t in facts if t not in answers]
    if missing and compute is not None:
        place = store.cache_dir() / "results" / f"{question}-{store.key(**shared)}"
        with store.alone(place, wait_for=what or question):
            answers |= known(missing, warn=False)  # another process may have computed them in the meantime
            missing = [t for t in missing if t not in answers]
            for thing, arrays in compute(missing) if missing else ():
                answers[thing] = store.keep(question, facts[thing], arrays)
    return {t: answers[t] for t in facts if t in answers}


def shipped(question: str, **facts: Any) -> tuple[store.Answer, ...]:
    """The answers of the current version that are shipped and have these facts; needs nothing else."""
    return tuple(store.shipped(question, **facts, **VERSIONS.get(question, {})))


def each_apart(
    task: Callable[..., tuple[_Key, dict[str, NDArray[Any]]]],
    arguments: Collection[tuple[Any, ...]],
    *,
    jobs: int | None,
    what: str,
    progress: bool,
) -> Iterator[tuple[_Key, dict[str, NDArray[Any]]]]:
    """What a task gives for each of several arguments, in processes of one thread, as soon as it is there.

    Parameters
    ----------
    task
        A function of a module; gives a thing and its arrays, as :func:`answer_each` wants them.
    arguments
        Those of each call. Large arrays are mapped and not copied.
    jobs
        Processes; by default one for each processor core.
    what
        Title of the progress bar.
    progress
        Show it.
    """
    tasks = (joblib.delayed(task)(*own) for own in arguments)
    with blocks.processes(min(jobs or blocks.cores(), len(arguments))):
        done = joblib.Parallel(return_as="generator_unordered", max_nbytes="1M", batch_size=1)(tasks)
        yield from tqdm(done, total=len(arguments), desc=what, disable=not progress)


def measured_lenets(
    question: str,
    images: str,
    facts: Mapping[str, Any],
    task: Callable[..., tuple[int, dict[str, NDArray[Any]]]],
    *,
    seeds: Iterable[int],
    about: str,
    jobs: int | None,
    use_shipped: bool,
    progress: bool,
) -> tuple[store.Answer, ...]:
    """Answers about LeNets, one for each seed; only what is not known is computed.

    Parameters
    ----------
    question, facts, use_shipped
        As for :func:`answer_each`.
    images
        Name of the image set.
    task
        A function of a module; of a seed, training images, test images and `images` it makes the seed and
        the arrays.
    seeds
        One network each.
    about
        What is measured, for messages.
    jobs, progress
        As for :func:`each_apart`.
    """

    def compute(missing: list[int]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        train, test = stimuli.splits(images)
        arguments = [(seed, train, test, images) for seed in missing]
        yield from each_apart(task, arguments, jobs=jobs, what=f"{images}: {about}", progress=progress)

    own, what = by_seed(seeds), f"{images}, {about}"
    return tuple(answer_each(question, facts, own, compute, use_shipped=use_shipped, what=what).values())


def known_lenets(
    question: str, images: str, facts: Callable[[str], Mapping[str, Any]], *, seeds: Iterable[int]
) -> tuple[store.Answer, ...]:
    """What is shipped or cached of LeNets; none where the image set cannot even be identified."""
    if not stimuli.identifiable(images):
        return ()
    return tuple(answer_each(question, facts(images), by_seed(seeds), None).values())


def by_images(
    names: Iterable[str],
    measure: Callable[..., _Found],
    known: Callable[[str], _Found | None],
    profile: str,
    instances: int,
) -> dict[str, _Found]:
    """What a chapter shows of LeNets, by image set.

    Parameters
    ----------
    names
        Of the image sets.
    measure, known
        The verbs of a module of records.
    profile
        ``"default"``: digits are computed where they are not cached, the others are what is known of them;
        ``"full"``: all are computed from the images.
    instances
        Of digits.

    Raises
    ------
    UnknownNameError
        For a profile that does not exist.
    DataError
        Where images that are to be computed from are not on this machine.
    """
    if profile not in PROFILES:
        raise unknown("profile", profile, list(PROFILES))
    found = {}
    for name in names:
        if name == "digits":
            found[name] = measure(name, seeds=range(instances))
        else:
            there = measure(name, use_shipped=False) if profile == "full" else known(name)
            if there is not None:
                found[name] = there
    return found


def by_seed(seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The facts of each instance, for :func:`answer_each`."""
    return {int(seed): {"seed": int(seed)} for seed in seeds}


def answer_one(
    question: str,
    facts: Mapping[str, Any],
    compute: Callable[[], Mapping[str, NDArray[Any]]] | None,
    *,
    use_shipped: bool = True,
) -> Record | None:
    """As :func:`answer_each`, a single question; None where it is not known and nothing is computed."""
    each = None if compute is None else (lambda things: ((thing, compute()) for thing in things))
    answers = answer_each(question, facts, {"": {}}, each, use_shipped=use_shipped)
    return Record(tuple(answers.values())) if answers else None
