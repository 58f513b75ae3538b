"""People's similarity judgments by name: their images, mean RDM, single subjects or halves, ceiling.

``mur``
    92 photographs of objects (Kriegeskorte et al. 2008), arranged by 16 people (Mur et al. 2013).
``letters``
    36 letters of six unfamiliar scripts, arranged by 8 people (Kubilius, Bracci & Op de Beeck 2016).
``peterson-animals``, ``-automobiles``, ``-fruits``, ``-furniture``, ``-various``, ``-vegetables``
    Six sets of 120 photographs, every pair rated from 0 to 10 (Peterson, Abbott & Griffiths 2018).
    The archive comes from its authors; the animals' ratings alone are public, without the images.
``cifar10h``
    How easily people confuse CIFAR-10's ten classes (Peterson et al. 2019, CIFAR-10H).
``cifar10h-images``
    The images of CIFAR-10's test set that people agree about least; the images themselves, or their
    JPEG re-encoding put back into the original order.

Your own judgments are read by :func:`rarefire.ratings.read`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire import rdm, stimuli, store
from rarefire._engine.arguments import checked
from rarefire.columns import Columns
from rarefire.errors import DataError, InputError, unknown
from rarefire.reliability import NoiseCeiling, check_subjects, mean_of_subjects, noise_ceiling, of_parts
from rarefire.rounding import levels
from rarefire.stimuli import Stimuli

__all__ = [
    "NAMES",
    "PETERSON",
    "Judgments",
    "PetersonSet",
    "arrays",
    "available",
    "check_content",
    "check_size",
    "cifar10h_images",
    "label_distributions",
    "load",
]


class PetersonSet(NamedTuple):
    """Where one of the six sets lies in the archive of Peterson et al. (2018).

    In its `folder`, its `images` are a folder, and its `matrix` of similarities is the variable `key` of
    a MATLAB file. `reliability`, of the mean ratings, is as quoted for this set.
    """

    folder: str
    images: str
    matrix: str
    key: str
    reliability: float


PETERSON = {
    "animals": PetersonSet("animals", "images", "turkSimMatrix2016.mat", "simMatrixturk2016", 0.90),
    "automobiles": PetersonSet(
        "automobiles", "alt_auto_v2b_edited", "simMatrix_mturkvehicles.mat", "simMatrix_mturkvehicles", 0.83
    ),
    "fruits": PetersonSet(
        "fruits", "joshs_3per_cat_picks/fruit_sim_set", "fruits_mturk_sim.mat", "simmat", 0.57
    ),
    "furniture": PetersonSet(
        "furniture", "furn-120-sim", "simMatrix_mturkfurniture.mat", "simMatrix_mturkfurniture", 0.65
    ),
    "various": PetersonSet(
        "mur_120_replication",
        "various_objects_v4b_edited",
        "simMatrix_mturkmurreplication.mat",
        "simMatrix_mturkmurreplication",
        0.70,
    ),
    "vegetables": PetersonSet(
        "vegetables",
        "josh-veggies-picks-120-similarity-set",
        "simMatrix_mturkveggies.mat",
        "simMatrix_mturkveggies",
        0.62,
    ),
}

NAMES = ["mur", "letters", *(f"peterson-{name}" for name in PETERSON), "cifar10h", "cifar10h-images"]

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# What each set needs, in the mirror or the cache, with its MD5; and where each folder comes from.
_ANIMALS = "peterson/turkResults_CogSci2016.mat"
_FILES = {
    "mur": {
        "mur92/Kriegeskorte_Neuron2008_supplementalData.mat": "d680895b747044338f32fdbd3e96074b",
        "mur92/92_behavRDMs.mat": "79813942c9fe965707ef1ce33aafcac4",
    },
    "peterson-animals": {_ANIMALS: "8b283347fbaebdfe1d2e06465985b2fb"},
    "cifar10h": {"cifar10h/cifar10h-probs.npy": "7b41f73eee90fdefc73bfc820ab29ba8"},
    "cifar10h-images": {"cifar10h/cifar10h-counts.npy": "f1284b6fba48a67d3db69bbafb5685ad"},  # and cifar10h's
}
_HOMES = {
    "mur92": "https://raw.githubusercontent.com/rsagroup/rsatoolbox/main/demos/92imageData/",
    "cifar10h": "https://raw.githubusercontent.com/jcpeterson/cifar-10h/master/data/",
    "peterson": "https://raw.githubusercontent.com/jcpeterson/percept2vec/master/",
}

# Two sets lie in the mirror or the cache in a form of ours: what is compared is their content.
_LETTERS = ("fonts36/subjects.npy", "fonts36/images.txt", "fonts36/images")
_LETTERS_CONTENT = "b156f85aa27b5fee3834d1816539fa6dc8472bd3461baf63f3965817c86e6163"
_ORDER = "cifar10-order/test.npz"
_ORDER_CONTENT = "238e76ffcd5e58b46412dfc761ea353f5495767329b3752f4f188f94e3ffb91b"

_ASK = (
    "The archive is not public: ask its authors for it (Peterson, Abbott & Griffiths 2018, Cognitive "
    "Science 42, 2648–2669), unpack it, and name its folder, the one that holds animals/, automobiles/, "
    "fruits/, furniture/, mur_120_replication/ and vegetables/."
)

_MUR_CITATION = (
    "Mur, Meys, Bodurka, Goebel, Bandettini & Kriegeskorte (2013). Human object-similarity judgments "
    "reflect and transcend the primate-IT object representation. Frontiers in Psychology 4:128. Images: "
    "Kriegeskorte et al. (2008), Neuron 60, 1126–1141."
)
_LETTERS_CITATION = (
    "Kubilius, Bracci & Op de Beeck (2016). Deep neural networks as a computational model for human shape "
    "sensitivity. PLOS Computational Biology 12(4):e1004896."
)
_PETERSON_CITATION = (
    "Peterson, Abbott & Griffiths (2018). Evaluating (and improving) the correspondence between deep "
    "neural networks and human representations. Cognitive Science 42, 2648–2669."
)
_CIFAR10H_CITATION = (
    "Peterson, Battleday, Griffiths & Russakovsky (2019). Human uncertainty makes classification more "
    "robust. ICCV 2019, 9617–9626."
)


# --- the result ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Judgments:
    """How dissimilar people find the images of a set.

    Attributes
    ----------
    name
        The name it was loaded by.
    human
        ``(n(n-1)/2,)``, condensed: mean dissimilarity, NaN where nobody judged. The scale is the
        study's; where there are `subjects`, each of them is brought to mean 0 and standard deviation 1
        before they are averaged.
    subjects
        ``(n_subjects, n_pairs)``, each on the subject's own scale, or None.
    halves
        ``(2, n_pairs)``, means over two disjoint halves of the data, or None.
    reliability
        Of `human`: the expected correlation with a replication of the whole study, at most 1. From
        the halves (Spearman–Brown) or the subjects (mean correlation of two, stepped up to all), else
        as quoted by the paper, else None.
    images
        The n images in the order of the RDM, or None. Labels are categories, where there are any.
    names
        ``(n,)``, of the images, or of the classes.
    citation, licence
        Of the data.
    source
        What it is, for captions.
    columns
        What a table's columns were taken for, and which were not used; None where it was no table.
    """

    name: str
    human: NDArray[np.float64]
    subjects: NDArray[np.float64] | None
    halves: NDArray[np.float64] | None
    reliability: float | None
    images: Stimuli | None
    names: tuple[str, ...]
    citation: str
    licence: str
    source: str
    columns: Columns | None = None

    def __post_init__(self) -> None:
        n, pairs = self.n, self.n * (self.n - 1) // 2
        if n < 3:
            raise InputError(f"judgments of at least three images are needed; got {n}.")
        if self.human.shape != (pairs,):
            raise InputError(f"{n} names need human of shape ({pairs},), condensed; got {self.human.shape}.")
        rdm.check_rdm(self.human, n)  # judged at all, and not all the same
        if self.reliability is not None and not self.reliability <= 1:
            raise InputError(f"a reliability is at most 1; got {self.reliability}.")
        for what in ("subjects", "halves"):
            values = getattr(self, what)
            if values is not None and (values.ndim != 2 or values.shape[1] != pairs):
                raise InputError(f"{what} of {n} images are (…, {pairs}); got {values.shape}.")
        if self.images is not None and len(self.images) != n:
            raise InputError(f"there are {len(self.images)} images and {n} names.")

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        people = f", {len(self.subjects)} subjects" if self.subjects is not None else ""
        trust = f", reliability {self.reliability:.2f}" if self.reliability is not None else ""
        what = "" if self.images is not None else " (not at hand)"
        return f"<{self.name}: {self.n} images{what}, {len(self.human):,} pairs{people}{trust}>"

    @property
    def n(self) -> int:
        """Number of images (or classes)."""
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all numbers, images and categories, in single precision."""
        given = [self.human, self.subjects, self.halves, np.array([self.reliability or np.nan])]
        if self.images is not None:
            given += [self.images.images, self.images.labels]
        return store.array_digest(*(a.astype(np.float32) for a in given if a is not None))

    @cached_property
    def subject_ceiling(self) -> NoiseCeiling:
        """How well people predict people (Nili et al. 2014), as r averaged over single subjects.

        Raises
        ------
        InputError
            Where there are no single subjects, a subject has fewer than three pairs in common with the
            others, or they contradict one another.
        """
        if self.subjects is None:
            raise InputError(f"{self.name!r} has no single subjects: its ceiling is .ceiling.")
        known = np.isfinite(self.subjects)
        shared = (known & (known.sum(axis=0) > 1)).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = noise_ceiling(self.subjects) if shared.min() >= 3 else None
        if found is None or not np.isfinite([found.low, found.high]).all():
            raise InputError(
                f"no ceiling: the subjects of {self.name!r} have too little in common (subject "
                f"{shared.argmin() + 1} has {shared.min()} pairs with the others), or contradict one another."
            )
        return found

    @cached_property
    def ceiling(self) -> NoiseCeiling | None:
        """The best r with `human` that a model can have; None where nothing is known about it.

        With subjects: `high` is 1 and `low` is ``subject_ceiling.low / subject_ceiling.high``, since
        the mean over subjects of r(model, subject) is r(model, human) × ``subject_ceiling.high``
        (exactly, where every subject judged every pair). Otherwise both are √reliability: the
        correlation of `human` with what it would be without noise. None without a reliability above 0.
        """
        if self.subjects is not None:
            try:
                people = self.subject_ceiling
            except InputError:  # subjects with too little in common
                return None
            if people.high <= 0:
                return None
            return NoiseCeiling(people.low / people.high, 1.0, people.by_subject / people.high)
        if self.reliability is None or self.reliability <= 0:
            return None
        best = float(np.sqrt(self.reliability))
        return NoiseCeiling(best, best, np.empty(0))

    def subset(self, rows: ArrayLike) -> Judgments:
        """The judgments among some of the images.

        Parameters
        ----------
        rows
            At least three images: their numbers, in the order wanted, or a mask ``(n,)``.

        Returns
        -------
        Judgments
            With `human` and `reliability` computed again for these images. A reliability that was
            quoted holds for the whole set only: it becomes None where images are left out.
        """
        index = np.asarray(rows)
        if index.dtype == bool and index.shape == (self.n,):
            index = np.flatnonzero(index)
        valid = index.ndim == 1 and index.dtype.kind in "iu"
        if not valid or len(set(index.tolist()) & set(range(self.n))) < max(3, len(index)):
            raise InputError(
                f"rows are three or more different numbers from 0 to {self.n - 1}, or a mask ({self.n},); "
                f"got {rows!r}."
            )
        pairs = rdm.square(np.arange(len(self.human)))[np.ix_(index, index)].astype(np.intp)
        kept = pairs[np.triu_indices(len(index), k=1)]
        human, reliability = self.human[kept], self.reliability if len(index) == self.n else None
        subjects = None if self.subjects is None else self.subjects[:, kept]
        halves = None if self.halves is None else self.halves[:, kept]
        if subjects is not None:
            human, reliability = mean_of_subjects(subjects)
        elif halves is not None:
            reliability = of_parts(halves)
        return replace(
            self,
            human=human,
            subjects=subjects,
            halves=halves,
            reliability=reliability,
            images=None if self.images is None else self.images.subset(index),
            names=tuple(self.names[i] for i in index),
            source=self.source if len(index) == self.n else f"{self.source} ({len(index)} of {self.n})",
        )


# --- by name -------------------------------------------------------------------------------------


@checked
def load(name: str, *, size: int | None = None, folder: str | Path | None = None) -> Judgments:
    """Load judgments by name; downloaded where that is possible and they are not at hand.

    Parameters
    ----------
    name
        One of :data:`NAMES`.
    size
        Height and width of the images, in pixels; by default their own (``mur``: 175, ``letters``: 72,
        ``cifar10h-images``: 32). ``peterson-…``: the shorter side is scaled to it and the central
        square kept. Not for ``cifar10h``, whose rows are classes.
    folder
        ``peterson-…`` only: the archive's folder, as its authors give it, with its images. By default
        ``peterson/`` in the local mirror or in the cache; where that does not hold the animals,
        ``peterson-animals`` is the public matrix, without images.

    Returns
    -------
    Judgments
        Images are float32 ``(n, 3, h, w)`` in [0, 1].

    Raises
    ------
    UnknownNameError
        For a name that does not exist.
    DataError
        Where data are missing, damaged or not to be downloaded; the message names the missing piece.
    InputError
        Where a matrix is not square, not symmetric, leaves 0–10, or does not have as many rows as
        there are images.

    Notes
    -----
    The Peterson archive does not say which image a row of a matrix belongs to. The public loaders
    that we found sort the file names as text, capitals first, and so do we. The one check there is:
    the animals' public matrix lists its rows' names, which are numbers, rising; animals whose file
    names are plain numbers are therefore ordered as numbers.
    """
    if name not in NAMES:
        raise unknown("set of judgments", name, NAMES, hint="Your own are read by ratings.read(path).")
    check_size(size)
    if name.startswith("peterson-"):
        return _peterson(name.removeprefix("peterson-"), size, folder)
    if folder is not None:
        raise InputError(f"folder is for the sets of Peterson et al. (peterson-…); {name!r} takes none.")
    if name == "mur":
        return _mur(size)
    if name == "letters":
        return _letters(size)
    if name == "cifar10h-images":
        return cifar10h_images(size=size)
    if size is not None:
        raise InputError(f"size is for sets with images; the rows of {name!r} are classes. Leave it out.")
    return _cifar10h()


@checked
def available(name: str, *, folder: str | Path | None = None) -> bool:
    """Whether `name` can be loaded from this machine, without any download.

    Parameters
    ----------
    name, folder
        As for :func:`load`. ``peterson-animals`` is available where the public matrix is, even
        without its images, unless a folder is given.
    """
    if name not in NAMES:
        raise unknown("set of judgments", name, NAMES)
    if name.startswith("peterson-"):
        which = name.removeprefix("peterson-")
        public = which == "animals" and store.at_hand(_ANIMALS) is not None
        place = _peterson_set(which, folder)
        if place is None:
            return public and folder is None
        facts = PETERSON[which]
        return (place / facts.images).is_dir() and (public or (place / facts.matrix).is_file())
    if name == "letters":
        return all(store.at_hand(file) is not None for file in _LETTERS)
    if name == "cifar10h-images":
        ordered = stimuli.cifar10_variant() == "cifar10" or store.at_hand(_ORDER) is not None
        if not (ordered and stimuli.available("cifar10") and available("cifar10h")):
            return False
    return all(store.at_hand(file) is not None for file in _FILES[name])


def check_size(size: int | None) -> None:
    """Whether images can be scaled to `size` pixels, or are to be left as they are."""
    if size is not None and (not isinstance(size, (int, np.integer)) or size < 1):
        raise InputError(f"size must be a whole number of pixels, at least 1; got {size!r}.")


def _known_files(name: str) -> list[Path]:
    """The files of a set: of the mirror, of the cache, or downloaded there; their content is checked."""
    mirror, found = store.mirror_dir(), []
    for relative, md5 in _FILES[name].items():
        if mirror is not None and (mirror / relative).is_file():
            stimuli.check_file(mirror / relative, md5)
            found.append(mirror / relative)
        else:
            folder, file = relative.split("/")
            with stimuli.how_to_get(name, relative):
                found.append(store.fetch([_HOMES[folder] + file], store.cache_dir() / relative, md5=md5))
    return found


@checked
def arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    """Arrays of a .npz file by name; DataError where one is missing or the file is damaged."""
    try:
        found = store.read_arrays(path, *names)
    except DataError:
        raise
    except Exception as error:  # a damaged file raises many kinds
        raise DataError(f"{path} is damaged: {store.reason(error)}. Replace it by a whole copy.") from error
    return [found[name] for name in names]


def check_content(name: str, place: Path, expected: str, *values: NDArray[Any]) -> None:
    """Raise DataError unless a set's numbers are those that this package knows, by their digest."""
    got = store.array_digest(*values)
    if got != expected:
        raise DataError(
            f"{place} does not hold {name!r} as this package knows it (content digest {got[:12]}…, expected "
            f"{expected[:12]}…). Replace it by a whole copy."
        )


def _resized(images: NDArray[np.float32], size: int | None) -> NDArray[np.float32]:
    """Images as a square of `size` pixels: bilinear, antialiased."""
    if size is None or images.shape[2:] == (size, size):
        return images
    from PIL import Image

    # In whole numbers, so that every machine gets the same pixels, and finds the recorded results.
    bytes_ = np.rint(255 * images).astype(np.uint8).transpose(0, 2, 3, 1)
    scaled = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in bytes_]
    pixels = np.stack([np.asarray(image) for image in scaled]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255)


# --- Mur et al. ----------------------------------------------------------------------------------


def _mur(size: int | None) -> Judgments:
    from scipy.io import loadmat

    pictures, matrices = _known_files("mur")
    objects = loadmat(pictures)["stimuli_92objs"][0]
    subjects = np.stack([rdm.condensed(person["RDM"]) for person in loadmat(matrices)["rdms_behav_92"][0]])
    human, reliability = mean_of_subjects(subjects)
    categories = [str(o["category"].item()) for o in objects]
    pixels = np.stack([o["image"].transpose(2, 0, 1) for o in objects]).astype(np.float32) / 255
    return Judgments(
        name="mur",
        human=human,
        subjects=subjects,
        halves=None,
        reliability=reliability,
        images=stimuli.in_categories(
            _resized(np.ascontiguousarray(pixels), size),
            categories,
            name="mur",
            source="92 photographs of objects (Kriegeskorte et al. 2008)",
        ),
        names=tuple(f"{c} {categories[: i + 1].count(c)}" for i, c in enumerate(categories)),
        citation=_MUR_CITATION,
        licence="MIT (with rsatoolbox's demo data)",
        source="dissimilarity of 92 objects, arranged by 16 people (Mur et al. 2013)",
    )


# --- letters -------------------------------------------------------------------------------------


def _letters(size: int | None) -> Judgments:
    places = [store.at_hand(file) for file in _LETTERS]
    if None in places:
        missing = ", ".join(file for file, place in zip(_LETTERS, places, strict=True) if place is None)
        raise DataError(
            f"'letters' is not on this machine ({missing} is missing from RAREFIRE_MIRROR and the cache) "
            "and is not downloaded: from github.com/qbilius/conv-exp (fonts/), put the 36 pictures into "
            "fonts36/images/, their file names into fonts36/images.txt, one a line in the order of the "
            "judgments, and the eight people's estimate_dissimMat_ltv, squared to (8, 36, 36), into "
            "fonts36/subjects.npy."
        )
    table, listed, root = (place for place in places if place is not None)
    files = [root / line for line in store.read_text(listed).splitlines()]
    pixels = stimuli.pictures(files, root, size=None)
    try:
        squares = np.load(store.check_file(table), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{table} is damaged: {error}. Replace it by a whole copy.") from error
    subjects = check_subjects(squares, len(files))
    check_content("letters", root.parent, _LETTERS_CONTENT, subjects.astype(np.float32), pixels)
    human, reliability = mean_of_subjects(subjects)
    names = [file.stem.replace("_", " ") for file in files]
    return Judgments(
        name="letters",
        human=human,
        subjects=subjects,
        halves=None,
        reliability=reliability,
        images=stimuli.in_categories(
            _resized(pixels, size),
            [name.split()[0] for name in names],
            name="letters",
            source="36 letters of six unfamiliar scripts (Kubilius et al. 2016)",
        ),
        names=tuple(names),
        citation=_LETTERS_CITATION,
        licence="GPL-3",
        source="dissimilarity of 36 letters of six unfamiliar scripts, arranged by 8 people (Kubilius et al. "
        "2016)",
    )


# --- Peterson et al. -----------------------------------------------------------------------------


def _peterson_roots(folder: str | Path | None) -> list[Path]:
    """Where the archive may be: in `folder`, else in the mirror or the cache."""
    if folder is not None:
        return [Path(folder).expanduser()]
    return [root / "peterson" for root in (store.mirror_dir(), store.cache_dir()) if root is not None]


def _peterson_set(which: str, folder: str | Path | None) -> Path | None:
    """The set's folder in the archive, where it is there."""
    for root in _peterson_roots(folder):
        for base in (root, root / "datasets"):  # the archive unpacks to datasets/
            if (base / PETERSON[which].folder).is_dir():
                return base / PETERSON[which].folder
    return None


def _peterson(which: str, size: int | None, folder: str | Path | None) -> Judgments:
    name, facts, place = f"peterson-{which}", PETERSON[which], _peterson_set(which, folder)
    if place is None:
        if which == "animals" and folder is None:
            return _public_animals()
        looked = " and ".join(map(_contents, _peterson_roots(folder)))
        raise DataError(f"there is no folder {facts.folder} (of {name!r}) in {looked}. Pass folder=. {_ASK}")
    root, matrix = place / facts.images, place / facts.matrix
    if not root.is_dir():
        raise DataError(f"the folder of the images of {name!r} is missing: {root}. {_ASK}")
    files = stimuli.image_files(root)
    if not files:
        raise DataError(f"there are no images in {root}. {_ASK}")
    if which == "animals" and all(re.fullmatch(r"[0-9]+", file.stem) for file in files):
        files.sort(key=lambda file: int(file.stem))
    public = store.at_hand(_ANIMALS) if which == "animals" else None
    if matrix.is_file():
        human = _dissimilarities(matrix, facts.key)
    elif public is not None:
        human = _dissimilarities(public, "simMatrix")
    else:
        raise DataError(f"the matrix of {name!r} is missing: {matrix}. {_ASK}")
    n = len(rdm.square(human))
    if len(files) != n:
        raise InputError(
            f"{root} holds {len(files)} images, but the matrix in {place.name} is of {n}. Both come from one "
            "archive: remove what does not belong there, or unpack it again."
        )
    pixels = stimuli.pictures(files, root, size=size, resize=size)
    objects = "various objects" if which == "various" else which
    loaded = Judgments(
        name=name,
        human=human,
        subjects=None,
        halves=None,
        reliability=facts.reliability,
        images=stimuli.in_categories(
            pixels, _categories(files, which), name=name, source=f"images of {name}"
        ),
        names=tuple(file.stem for file in files),
        citation=_PETERSON_CITATION,
        licence="not public: from its authors, for research",
        source=f"mean dissimilarity (0–10) of {n} images of {objects}, rated online by people "
        "(Peterson et al. 2018)",
    )
    return loaded if public is None else _with_halves(loaded, public)


def _contents(folder: Path) -> str:
    """A folder and what it holds, for messages."""
    if not folder.is_dir():
        return f"{folder}, which does not exist"
    held = sorted(child.name for child in folder.iterdir())
    return f"{folder}, which holds {', '.join(held[:10]) or 'nothing'}{', …' if len(held) > 10 else ''}"


def _public_animals() -> Judgments:
    """The animals' judgments without their images."""
    from scipy.io import loadmat

    (path,) = _known_files("peterson-animals")
    names = tuple(str(name).strip() for name in loadmat(path)["animals_big_names"])
    loaded = Judgments(
        name="peterson-animals",
        human=_dissimilarities(path, "simMatrix"),
        subjects=None,
        halves=None,
        reliability=None,
        images=None,
        names=names,
        citation=_PETERSON_CITATION,
        licence="published without a licence at github.com/jcpeterson/percept2vec",
        source=f"mean dissimilarity (0–10) of {len(names)} images of animals, rated online by people "
        "(Peterson et al. 2018), without the images",
    )
    return _with_halves(loaded, path)


def _with_halves(animals: Judgments, path: Path) -> Judgments:
    """With the public file's two batches of ratings, if these are what the judgments are the mean of."""
    whole = _dissimilarities(path, "simMatrix")
    if len(whole) != len(animals.human) or not np.allclose(whole, animals.human, equal_nan=True):
        return animals
    halves = np.stack([_dissimilarities(path, f"simMatrix{which}Batch") for which in ("First", "Second")])
    return replace(animals, halves=halves, reliability=of_parts(halves))


def _dissimilarities(path: Path, key: str) -> NDArray[np.float64]:
    """10 − similarity, condensed, from a MATLAB file; NaN where nobody judged. Nothing in it is executed."""
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except Exception as error:  # a damaged file makes scipy raise nearly anything
        raise DataError(
            f"{path} cannot be read as a MATLAB file: {error}. Replace it by a whole copy."
        ) from error
    if key not in content:
        held = ", ".join(k for k in content if not k.startswith("__"))
        raise DataError(f"{path} has no matrix {key!r}; it holds {held}. {_ASK}")
    try:
        square = np.real_if_close(content[key])
        if square.dtype.kind not in "iuf":
            raise InputError(f"it holds {square.dtype}, not numbers.")
        values = rdm.check_rdm(square, len(square))
    except InputError as error:
        raise InputError(f"{key} in {path}: {error}") from error
    if np.diag(square).max() < np.nanmax(values):
        raise InputError(f"{key} in {path} looks like dissimilarities; similarities are expected.")
    if np.nanmin(values) < 0 or np.nanmax(values) > 10:
        raise InputError(
            f"{key} in {path} must be similarities from 0 to 10; got {np.nanmin(values):g} to "
            f"{np.nanmax(values):g}."
        )
    return 10 - values


def _categories(files: Sequence[Path], which: str) -> list[str]:
    """File names without their numbers (bear1, bear2), where these name categories."""
    found = [re.sub(r"[\W_]*[0-9]+$", "", file.stem) for file in files]
    return found if 1 < len(set(found)) < len(files) and "" not in found else [which] * len(files)


# --- CIFAR-10H -----------------------------------------------------------------------------------


def label_distributions() -> NDArray[np.float64]:
    """What people called the 10,000 test images of CIFAR-10 (CIFAR-10H, Peterson et al. 2019).

    Returns
    -------
    ndarray
        ``(10000, 10)`` float64: of about 50 people, the share that gave each class; rows sum to 1. The
        rows are in CIFAR-10's original test order, the columns in the order of its classes.

    Raises
    ------
    DataError
        If the file is not on this machine and cannot be downloaded, or is damaged.
    """
    (path,) = _known_files("cifar10h")
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)


def _cifar10h() -> Judgments:
    given = label_distributions()
    halves = np.stack([_confusability(given[half::2]) for half in (0, 1)])
    return Judgments(
        name="cifar10h",
        human=_confusability(given),
        subjects=None,
        halves=halves,
        reliability=of_parts(halves),
        images=None,
        names=_CLASSES,
        citation=_CIFAR10H_CITATION,
        licence="CC BY-NC-SA 4.0",
        source="how rarely people confuse CIFAR-10's classes (CIFAR-10H, Peterson et al. 2019), "
        "−ln of Shepard's similarity",
    )


def _confusability(given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dissimilarity of classes: −ln √(P_ij P_ji / (P_ii P_jj)) (Shepard 1957; Luce 1963), ≥ 0.

    P_ij is the mean share of answer j among the images that most people call i: the true classes are
    in an order of images that is not at hand. Images whose two first answers tie belong to no class.
    A pair that was never confused is NaN.
    """
    clear = (given == given.max(axis=1, keepdims=True)).sum(axis=1) == 1
    own = np.where(clear, given.argmax(axis=1), -1)
    share = np.stack([given[own == c].mean(axis=0) for c in range(given.shape[1])])
    i, j = np.triu_indices(len(share), k=1)
    both = share[i, j] * share[j, i]
    found = np.full(len(i), np.nan)
    use = both > 0
    found[use] = -0.5 * np.log(both[use] / (share[i, i] * share[j, j])[use])
    return found


@checked
def cifar10h_images(*, per_class: int = 20, size: int | None = None) -> Judgments:
    """The images of CIFAR-10's test set that people agree about least, from every class.

    Dissimilarity is 1 − cosine of two images' label distributions, in [0, 1]. The halves come from a
    random half of each image's answers (drawn once, with a fixed seed).

    Parameters
    ----------
    per_class
        Images of each class: those with the highest entropy of labels, the earlier of equals first.
    size
        Height and width of the images; 32 by default.

    Raises
    ------
    InputError
        For a `per_class` that is not from 1 to 1,000.
    DataError
        Where only a re-encoding of CIFAR-10 is at hand without the key to its order, or the images are
        not in the original order.
    """
    check_size(size)
    if not isinstance(per_class, (int, np.integer)) or not 1 <= per_class <= 1000:
        raise InputError(f"per_class must be a whole number from 1 to 1,000; got {per_class!r}.")
    order = None if stimuli.cifar10_variant() == "cifar10" else _original_order()
    given = label_distributions()
    (path,) = _known_files("cifar10h-images")
    counts = np.load(path, allow_pickle=False).astype(np.int64)
    test = stimuli.load("cifar10", "test")
    if order is not None:
        if not np.array_equal(test.labels, np.repeat(np.arange(10), 1000)):
            raise DataError(
                f"{test.name} has not 1,000 test images of each class: replace it by a whole copy."
            )
        test = test.subset(order @ [1000, 1], split="test")
    agree = np.mean(given.argmax(axis=1) == test.labels)
    if agree < 0.95:
        raise DataError(
            f"these images of {test.name} are not CIFAR-10's test set in its original order: "
            f"people's labels agree with theirs for {agree:.0%} of them, 99% in the original."
        )
    entropy = -(given * np.log(np.where(given > 0, given, 1))).sum(axis=1)
    by_entropy = np.argsort(levels(-entropy), kind="stable")
    rows = np.concatenate([by_entropy[test.labels[by_entropy] == c][:per_class] for c in range(10)])
    chosen = test.subset(rows, split=f"test, {per_class} least agreed-upon images of each class")
    answers = counts[rows]
    rng = np.random.default_rng(0)
    half = np.stack([rng.multivariate_hypergeometric(row, row.sum() // 2) for row in answers])
    halves = np.stack([rdm.rdm(part, metric="cosine") for part in (half, answers - half)])
    return Judgments(
        name="cifar10h-images",
        human=rdm.rdm(given[rows], metric="cosine"),
        subjects=None,
        halves=halves,
        reliability=of_parts(halves),
        images=replace(chosen, images=_resized(chosen.images, size)),
        names=tuple(f"{_CLASSES[c]} {row}" for c, row in zip(chosen.labels, rows, strict=True)),
        citation=_CIFAR10H_CITATION,
        licence="CC BY-NC-SA 4.0",
        source=f"1 − cosine of people's labels of {len(rows)} CIFAR-10 images"
        f"{'' if order is None else ' in a JPEG re-encoding'} (CIFAR-10H, Peterson et al. 2019)",
    )


def _original_order() -> NDArray[np.int64]:
    """``(10000, 2)``: of each image of CIFAR-10's test set its class, and its number in the re-encoding's."""
    path = store.at_hand(_ORDER)
    if path is None:
        raise DataError(
            "only a re-encoding of CIFAR-10 is on this machine (cifar10-jpg.tar), sorted by class. "
            "CIFAR-10H refers to the images by their place in the original test set, which the "
            "re-encoding has lost. Put the original there (cifar-10-batches-py in RAREFIRE_MIRROR or the "
            f"cache), or {_ORDER} with the arrays label (10000,), of the original order (from "
            "github.com/cleanlab/label-errors), and index_in_class (10000,), of the earlier images of that "
            "class; or unset RAREFIRE_MIRROR to have the original downloaded."
        )
    order = np.stack(arrays(path, "label", "index_in_class"), axis=1).astype(np.int64)
    check_content("cifar10-order", path, _ORDER_CONTENT, order)
    return order
