"""Image sets by name, as arrays with labels.

``digits``
    scikit-learn's 1,797 real handwritten digits (UCI), embedded: no download. Enlarged from 8 × 8
    to 32 × 32 by bilinear interpolation, the input size of LeNet-5.
``mnist``
    70,000 handwritten digits, through torchvision with its checksums.
``cifar10``
    60,000 colour photographs in ten classes, through torchvision with its checksums. Where a local
    mirror holds only ``cifar10-jpg.tar``, that re-encoding is loaded instead and says so.
``cifar10-jpg``
    That re-encoding by name.
``folder:<path>``
    Any image folder: ``train/<class>/*`` and ``test/<class>/*``, or ``<class>/*`` split by seed.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from rarefire import files, store
from rarefire._engine import sight
from rarefire._engine.arguments import checked
from rarefire._engine.chunks import Growing
from rarefire.errors import DataError, InputError, RarefireWarning, UnknownNameError, unknown
from rarefire.names import PICTURES, check_writable, listed, natural

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "NAMES",
    "SAMPLE",
    "SPLITS",
    "TITLES",
    "WORDNET",
    "Gallery",
    "Stimuli",
    "available",
    "check_file",
    "cifar10_variant",
    "content_digest",
    "gallery",
    "gallery_root",
    "half_mask",
    "how_to_get",
    "identifiable",
    "image_files",
    "in_categories",
    "is_left_over",
    "load",
    "normalisation",
    "pictures",
    "save_gallery",
    "splits",
    "stratified_mask",
    "with_luminance",
]

NAMES = ["digits", "mnist", "cifar10", "cifar10-jpg", "folder:<path>"]
SPLITS = ("train", "test")
#: Names for captions.
TITLES = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar10-jpg": "CIFAR-10 in a JPEG re-encoding",
    "mur": "the photographs of Mur et al. (2013)",
    "letters": "36 letters of six unfamiliar scripts",
    "imagenet-sample": "one picture of each ImageNet class",
}

_SPLIT = re.compile(r"(train|test|val)(ing|id|idation)?|dev", re.IGNORECASE)  # folders that are no classes
_UNREAD = (".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw", ".exr")
_LONG = 32  # times as long as wide: more of an image is cut off before it is scaled
_TOGETHER = 64  # pictures of a store that are read or written together
_MNIST, _CIFAR = "MNIST/raw", "cifar-10-batches-py"  # where each lies in the mirror or the cache
_MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

# Content digests of what `load` gives, so that a shipped result can be found without the data.
# `load` compares. The digits' digest is computed: they are always at hand.
_CONTENT = {
    ("mnist", "train"): "b0d7725b7d6048b53111c5af80b469f3f926f7aeff57b05be84416f40c2ff592",
    ("mnist", "test"): "1fedc85c2ade70dcaab651f8db6f640f5c6c26d4b9f95fc564beb6ca148f8801",
    ("cifar10-jpg", "train"): "bb8575073f39aa093f6a13fc7dfe2edd5af15eb6a8a25b5492ec0071c4c10024",
    ("cifar10-jpg", "test"): "fa525279a18337172d3090a6384cb5715d3b7180c09a5c9ab068d7ec2ce8cbfa",
}

# Per channel, mean and standard deviation. MNIST's and CIFAR-10's are those of the authors' code.
_NORMALISATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "digits": ((0.3053,), (0.3235,)),
    "mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "cifar10-jpg": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, eq=False)
class Stimuli:
    """Images with labels.

    Attributes
    ----------
    name
        The name it was loaded by.
    split
        ``"train"``, ``"test"``, or either with a suffix after :meth:`subset`.
    images
        ``(n, c, h, w)`` float32 in [0, 1].
    labels
        ``(n,)`` int64, an index into `class_names`.
    class_names
        One name per class.
    source
        What the images are and where they come from, for captions.
    """

    name: str
    split: str
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or len(self.images) != len(self.labels):
            raise InputError(
                "images must be (n, c, h, w) with one label each; got images "
                f"{self.images.shape} and labels {self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        n, c, h, w = self.images.shape
        return (
            f"<{self.name}, {self.split}: {n:,} images of {c} × {h} × {w}, {len(self.class_names)} classes>"
        )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel; what networks subtract from the images."""
        return normalisation(self.name)[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel; what networks then divide them by."""
        return normalisation(self.name)[1]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of images and labels."""
        return store.array_digest(self.images, self.labels)

    def subset(self, index: ArrayLike, *, split: str | None = None) -> Stimuli:
        """The images at `index` (integers or a mask of length n), with a name for this split."""
        index = np.asarray(index)
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            split=split or f"{self.split}, subset",
        )

    def spread(self, n: int) -> NDArray[np.intp]:
        """Indices of `n` images evenly over the set, all where there are fewer.

        Not the first ones: sets from folders come class by class.
        """
        if n < 1:
            raise InputError(f"n is how many images, at least 1; got {n}.")
        return np.linspace(0, len(self) - 1, min(int(n), len(self))).astype(np.intp)

    def halves(self, *, seed: int = 0) -> tuple[Stimuli, Stimuli]:
        """Two disjoint halves with (nearly) equal numbers of every class, drawn by `seed`."""
        first = half_mask(self.labels, seed=seed)
        return (
            self.subset(first, split=f"{self.split}, first half"),
            self.subset(~first, split=f"{self.split}, second half"),
        )


@checked
def load(
    name: str,
    split: str = "test",
    *,
    size: int | None = None,
    resize: int | None = None,
    background: str = "white",
    test_fraction: float | None = None,
    seed: int = 0,
) -> Stimuli:
    """Load an image set.

    Parameters
    ----------
    name
        One of :data:`NAMES`.
    split
        ``"train"`` or ``"test"``. A folder without ``train/`` and ``test/`` is one set, which ``"test"``
        gives whole, unless `test_fraction` divides it.
    size
        ``folder:`` only. The central square of that many pixels is kept, after scaling. Needed where
        the images differ in size.
    resize
        With `size`: what the shorter side is scaled to first, in pixels; by default
        ``size × 256 / 224``. Where the images have that size already, they are not resampled: a
        network's accuracy can depend on it by some per cent.
    background
        ``folder:`` only. The colour behind transparent pictures: a name, or ``"#808080"``.
    test_fraction, seed
        ``folder:`` without ``train/`` and ``test/``: the share of each class that becomes the test
        split, and the seed of that draw.

    Raises
    ------
    UnknownNameError
        For a name that does not exist.
    DataError
        Where the images are damaged, or neither here nor to be downloaded.
    InputError
        For a split of a folder that is not divided, without `test_fraction`.
    """
    if split not in SPLITS:
        raise UnknownNameError(f"there is no split {split!r}. There are: {', '.join(SPLITS)}.")
    sight.check_background(background)
    if name.startswith("folder:"):
        return _folder(
            Path(name.removeprefix("folder:")).expanduser(),
            split,
            size=size,
            resize=resize,
            background=background,
            test_fraction=test_fraction,
            seed=seed,
        )
    loader = _LOADERS.get(name)
    if loader is None:
        raise unknown("image set", name, NAMES)
    if size is not None or resize is not None:
        raise InputError(f"size is for image folders; {name!r} has its own. Leave it out.")
    loaded = loader(split)
    expected = _CONTENT.get((loaded.name, split))
    if expected is not None and loaded.digest != expected:
        text = (
            f"{loaded.name}, {split}: the images differ from those this package knows (content "
            f"digest {loaded.digest[:12]}…, expected {expected[:12]}…)."
        )
        if loaded.name != "cifar10-jpg":
            raise DataError(f"{text} Replace the copy on this machine by an undamaged one.")
        # Another JPEG decoder may round differently; the archive itself was read whole.
        warnings.warn(f"{text} Results will differ slightly.", RarefireWarning, stacklevel=2)
    return loaded


@checked
def splits(name: str, **options: Any) -> tuple[Stimuli, Stimuli]:
    """An image set's training and test images.

    Parameters
    ----------
    name, **options
        As for :func:`load`; a folder without ``train/`` and ``test/`` is divided, by default with a
        `test_fraction` of 0.2, and a warning says so.

    Raises
    ------
    UnknownNameError, DataError, InputError
        As for :func:`load`.
    """
    if name.startswith("folder:") and not _divided(Path(name.removeprefix("folder:")).expanduser()):
        options = {"test_fraction": 0.2, **options}
        train, test = (load(name, split, **options) for split in SPLITS)
        warnings.warn(
            f"{name.removeprefix('folder:')} has no train/ and test/: {test.source}, are to test, the other "
            f"{len(train)} to train.",
            RarefireWarning,
            stacklevel=2,
        )
        return train, test
    train, test = (load(name, split, **options) for split in SPLITS)
    return train, test


def available(name: str) -> bool:
    """Whether `name` can be loaded from this machine, without any download."""
    if name == "digits":
        return True
    if name == "mnist":
        return store.at_hand(_MNIST) is not None
    if name == "cifar10":
        return store.at_hand(_CIFAR) is not None or available("cifar10-jpg")
    if name == "cifar10-jpg":
        return _cifar_tar() is not None
    if name.startswith("folder:"):
        return Path(name.removeprefix("folder:")).expanduser().is_dir()
    raise unknown("image set", name, NAMES)


def cifar10_variant() -> str:
    """What ``load("cifar10")`` would load: ``"cifar10"``, or its re-encoding where only that is here."""
    return "cifar10-jpg" if store.at_hand(_CIFAR) is None and _cifar_tar() is not None else "cifar10"


def identifiable(name: str) -> bool:
    """Whether the content digests of an image set can be had without a download."""
    return all((name, split) in _CONTENT for split in SPLITS) or available(name)


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel that networks for this image set apply."""
    return _NORMALISATION.get(name, _IMAGENET)


def content_digest(name: str, split: str = "test") -> str:
    """Content digest of an image set, without loading it where it is known beforehand."""
    if name == "digits":
        return _digits_digest(split)
    known = _CONTENT.get((name, split))
    if known is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RarefireWarning)  # of what is said when the images are used
            known = splits(name)[SPLITS.index(split)].digest
    return known


@cache
def _digits_digest(split: str) -> str:
    return load("digits", split).digest


@checked
def with_luminance(images: Stimuli, *, strength: float, rng: np.random.Generator) -> Stimuli:
    """The images, each brightened all over by an amount of its own: what it shows is not what it differs in.

    An amount from U(0, λ) is added to all pixels of an image (Ansuini et al. 2019), and all images are
    divided by 1 + λ: they stay in [0, 1], and their distances keep their ratios, on which intrinsic dimension
    depends. What is lost is contrast, for networks normalise as for the images without.

    Parameters
    ----------
    images
        They are left as they are.
    strength
        λ ≥ 0, in units of white.
    rng
        Draws the amounts.

    Returns
    -------
    Stimuli
        Of the same name, so that networks are built and trained as for it; of another digest.

    Raises
    ------
    InputError
        If the strength is negative or not finite.

    References
    ----------
    Ansuini, A., Laio, A., Macke, J. H., & Zoccolan, D. (2019). Intrinsic dimension of data representations in
    deep neural networks. *NeurIPS*.
    """
    if not (np.isfinite(strength) and strength >= 0):
        raise InputError(f"strength is the largest amount of light to add, at least 0; got {strength}.")
    if not isinstance(rng, np.random.Generator):
        raise InputError(f"rng is a numpy.random.Generator; got {type(rng).__name__}.")
    light = rng.uniform(0, strength, (len(images), 1, 1, 1))
    lit = np.minimum((images.images + light) / (1 + strength), 1).astype(np.float32)
    return replace(
        images,
        images=lit,
        split=f"{images.split}, lit",
        source=f"{images.source}, each brightened by an amount of its own",
    )


# --- galleries -----------------------------------------------------------------------------------

#: Kinds of ImageNet classes, by first and last WordNet numbers.
WORDNET = {
    "dogs": (("n02085620", "n02113978"),),
    "birds": (("n01514668", "n01622779"), ("n01795545", "n01860187"), ("n02002556", "n02058221")),
}
#: The default gallery, in the mirror or the cache.
SAMPLE = "imagenet-sample"
_SAMPLE_HOME = "https://github.com/EliSchwartz/imagenet-sample-images"


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures in a folder that are read when they are asked for: as many as the disk holds.

    ``gallery[10:20]`` reads ten of them, ``(10, 3, size, size)`` float32 in [0, 1]; rows and masks do too.

    Attributes
    ----------
    root
        The folder.
    files
        All pictures in it and in folders in it, by name; numbers in names count as numbers.
    size
        The central square of that many pixels is kept, after scaling.
    resize
        What the shorter side is scaled to first; None: ``size × 256 / 224``.
    background
        The colour behind transparent pictures. Pictures are shown as people see them; a warning counts
        those that are changed by it.
    """

    root: Path
    files: tuple[Path, ...]
    size: int
    resize: int | None = None
    background: str = "white"

    def __len__(self) -> int:
        return len(self.files)

    @property
    def paths(self) -> tuple[str, ...]:
        """Of each picture: its name in the root, with its folders."""
        return tuple(file.relative_to(self.root).as_posix() for file in self.files)

    def part(self, rows: slice) -> Gallery:
        """Some of the pictures, consecutive ones, as a gallery of their own, wherever it is opened."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise InputError(f"a part of a gallery is consecutive pictures; got every {step}.")
        root = self.root.absolute() if files.address(self.root) is None else self.root
        there = tuple(root / file.relative_to(self.root) for file in self.files[start:stop])
        some = self._from(start, root=root, files=there)
        some.__dict__["_said"] = None  # it is said of the whole
        return some

    def _from(self, start: int, **changes: Any) -> Gallery:  # noqa: ARG002
        return replace(self, **changes)

    def __getitem__(self, rows: slice | NDArray[np.integer] | Sequence[int]) -> NDArray[np.float32]:
        if not isinstance(rows, slice):
            rows = np.arange(len(self))[np.asarray(rows, dtype=None if len(rows) else np.intp)]
        chosen = self.files[rows] if isinstance(rows, slice) else [self.files[i] for i in rows]
        if not chosen:
            return np.empty((0, 3, self.size, self.size), dtype=np.float32)
        _ = self._said
        return _pixels(chosen, self.root, size=self.size, resize=self.resize, background=self.background)

    @cached_property
    def _changes(self) -> tuple[tuple[str, ...], ...]:
        """What is done to each picture before it is shown; to most, nothing."""
        return tuple(_changes(file) for file in self.files)

    @cached_property
    def _said(self) -> None:
        """That some are changed is said once, of all of them, when the first are read."""
        _say_changes(self._changes, self.root, self.background)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of each picture: its folder, or its own name where it lies in the root; the classes of ImageNet."""
        return tuple(
            (file.stem if file.parent == self.root else file.parent.relative_to(self.root).as_posix())
            for file in self.files
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files' names and contents, and of how they are cut."""
        total = hashlib.sha256(f"{self.size} {self.resize}".encode())
        for file, changed in zip(self.files, self._changes, strict=True):
            name = file.relative_to(self.root).as_posix()
            total.update(os.fsencode(name) + f" {store.file_digest(file)}".encode())
            if changed:  # as others saw it before, or on another ground
                total.update(f" {' '.join(changed)} {sight.check_background(self.background)}".encode())
        return total.hexdigest()

    def within(self, kind: str) -> NDArray[np.bool_]:
        """``(n,)``: which pictures are of a kind of :data:`WORDNET`, by the number in their class's name."""
        if kind not in WORDNET:
            raise unknown("kind", kind, list(WORDNET))
        numbers = [match[0] if (match := re.search(r"n\d{8}", name)) else "" for name in self.names]
        return np.array([any(low <= n <= high for low, high in WORDNET[kind]) for n in numbers], dtype=bool)


@dataclass(frozen=True, eq=False)
class _Stored(Gallery):
    """Pictures in a zarr store, which are as they are: neither scaled nor cut."""

    first: int = 0  # of the store's rows

    def _from(self, start: int, **changes: Any) -> Gallery:
        return replace(self, first=self.first + start, **changes)

    @cached_property
    def _array(self) -> Any:
        return files.read(self.root).values

    def __getitem__(self, rows: slice | NDArray[np.integer] | Sequence[int]) -> NDArray[np.float32]:
        if not isinstance(rows, slice):
            rows = np.asarray(rows, dtype=None if len(rows) else np.intp)
        chosen = np.arange(len(self))[rows]
        if not len(chosen):
            return np.empty((0, 3, self.size, self.size), dtype=np.float32)
        low, high = int(chosen.min()), int(chosen.max()) + 1
        if high - low == len(chosen):
            read = np.asarray(self._array[self.first + low : self.first + high])[chosen - low]
        else:
            read = np.asarray(self._array.oindex[self.first + chosen])
        return np.asarray(np.divide(read.transpose(0, 3, 1, 2), 255, dtype=np.float32))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the names and of all pixels."""
        total = hashlib.sha256("\n".join(self.paths).encode())
        for start in range(self.first, self.first + len(self), _TOGETHER):
            total.update(np.asarray(self._array[start : min(start + _TOGETHER, self.first + len(self))]).data)
        return total.hexdigest()


def _stored(path: Path, size: int | None, resize: int | None) -> _Stored:
    """A gallery that :func:`save_gallery` wrote, or that is kept as it does."""
    found = files.read(path)
    shape, dtype = tuple(found.values.shape), found.values.dtype
    if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8 or shape[1] != shape[2] or not shape[0]:
        turned = " Its channels are second: images.transpose(0, 2, 3, 1)." * (shape[1:2] == (3,))
        raise InputError(
            f"{path.name} is no gallery: expected pictures (n, size, size, 3), uint8; got {shape}, {dtype}."
            f"{turned}"
        )
    if resize is not None or size not in (None, shape[1]):
        raise InputError(
            f"the pictures in {path.name} are {shape[1]} × {shape[1]}, and are taken as they are: leave size "
            f"and resize out; got size={size}, resize={resize}. Write it again for another size."
        )
    named = found.names
    if named is None:
        if found.values.attrs.get("names") is not None:
            raise InputError(
                f"{path.name}: its attribute names is to be a list of {shape[0]:,} different names, one for "
                "each picture. Correct it, or leave it out."
            )
        named = tuple(map(str, range(shape[0])))
    outside = next((name for name in named if name.startswith("/")), None)
    if outside is not None:
        raise InputError(f"{path.name}: the name of a picture is a path in its gallery; got {outside!r}.")
    return _Stored(path, tuple(path / name for name in named), shape[1])


@checked
def save_gallery(path: str | Path, images: Gallery, *, progress: bool = False) -> Gallery:
    """Keep a gallery in a zarr store, where all the machines of a cluster can read it.

    One array, ``(n, size, size, 3)`` uint8, scaled and cut, with the pictures' names in its attribute
    ``names``; any zarr array of this form is a gallery. Stopped, it goes on when it is called again.

    Parameters
    ----------
    path
        A folder, such as ``pictures.zarr``, or an address (:func:`rarefire.files.address`).
    images
        From :func:`gallery`.
    progress
        Show a progress bar.

    Returns
    -------
    Gallery
        The pictures in the store, the same to the bit.

    Raises
    ------
    DataError
        If something else is there, or zarr is not installed.
    """
    check_writable(images.paths)
    key = store.key(gallery=images.digest, background=images.background)
    shape = (len(images), images.size, images.size, 3)
    growing = Growing(path, key, shape=shape, dtype="u1", rows=_TOGETHER, attributes={"names": images.paths})
    for rows in tqdm(growing.missing(), desc=f"{Path(path).stem}: pictures", disable=not progress):
        growing.write(rows, np.rint(images[rows] * 255).astype(np.uint8).transpose(0, 2, 3, 1))
    growing.finish()
    return gallery(path)


@checked
def gallery(
    folder: str | Path | None = None,
    *,
    size: int | None = None,
    resize: int | None = None,
    background: str = "white",
) -> Gallery:
    """Pictures to look through for those that a feature fires for.

    Parameters
    ----------
    folder
        Searched with its folders; such as ImageNet's validation set. Or a zarr store of pictures
        (:func:`save_gallery`), also at an address. By default one picture of each ImageNet class:
        ``imagenet-sample`` in the mirror or the cache.
    size, resize
        As for :class:`Gallery`; by default 224, of a store that of its pictures. For a size of 227, `resize`
        is 256, as networks of that size were trained.
    background
        The colour behind transparent pictures: a name, or ``"#808080"``.

    Raises
    ------
    DataError
        Where there is no such folder, or no picture in it.
    """
    sight.check_background(background)
    root = gallery_root() if folder is None else Path(folder).expanduser()
    if root is None:
        raise DataError(
            "there is no gallery on this machine. Name a folder of pictures, or get one picture of each "
            f"ImageNet class: git clone {_SAMPLE_HOME} '{store.cache_dir() / SAMPLE}'"
        )
    if files.is_zarr(root):
        return _stored(root, size, resize)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}.")
    size = size or 224
    if resize is None and size == 227:
        resize = 256
    if resize is not None and resize < size:
        raise InputError(f"resize must be at least size; got {resize} and {size}.")
    folders = [root, *(f for f in root.rglob("*") if f.is_dir())]
    shown = [f for f in folders if not any(map(is_left_over, f.relative_to(root).parts))]
    found = [file for f in shown for file in image_files(f)]
    found.sort(key=lambda file: natural(file.relative_to(root).as_posix()))
    if not found:
        raise DataError(f"{root} and its folders hold no pictures ({', '.join(PICTURES)}).")
    return Gallery(root, tuple(found), size, resize, background)


def gallery_root() -> Path | None:
    """The gallery on this machine, one picture of each ImageNet class; None where there is none."""
    return store.at_hand(SAMPLE)


# --- the loaders ---------------------------------------------------------------------------------


def _digits(split: str) -> Stimuli:
    import torch
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32) / 16)[:, None]
    # Fixed for good: every result on digits refers to these 500 test images.
    test = stratified_mask(bunch.target, 500 / len(small), seed=0)
    chosen = test if split == "test" else ~test
    large = torch.nn.functional.interpolate(
        small[torch.from_numpy(chosen)], size=(32, 32), mode="bilinear", align_corners=False
    )
    return Stimuli(
        name="digits",
        split=split,
        images=large.numpy(),
        labels=bunch.target[chosen].astype(np.int64),
        class_names=tuple(str(d) for d in range(10)),
        source="handwritten digits (UCI, embedded in scikit-learn), enlarged from 8 × 8 pixels",
    )


def _mnist(split: str) -> Stimuli:
    from torchvision.datasets import MNIST

    folder = store.at_hand(_MNIST) or _download_mnist()
    for name, md5 in _MNIST_MD5.items():
        check_file(folder / name, md5)
    data = MNIST(str(folder.parents[1]), train=split == "train", download=False)
    return Stimuli(
        name="mnist",
        split=split,
        images=data.data.numpy()[:, None].astype(np.float32) / 255,
        labels=data.targets.numpy().astype(np.int64),
        class_names=tuple(str(d) for d in range(10)),
        source="MNIST handwritten digits",
    )


def _download_mnist() -> Path:
    from torchvision.datasets import MNIST

    raw = store.cache_dir() / _MNIST
    folder = raw.parent
    with store.alone(raw, wait_for="the files of MNIST"):
        if raw.is_dir():
            return raw
        archives = []
        for name, md5 in MNIST.resources:
            with how_to_get("mnist", _MNIST):
                urls = [home + name for home in MNIST.mirrors]
                archives.append(store.fetch(urls, folder / "downloads" / name, md5=md5))
        # Unpacked beside, so that the folder `raw` appears with all of its files.
        for archive in archives:
            with gzip.open(archive) as packed, store.atomic_write(folder / "unpacked" / archive.stem) as file:
                shutil.copyfileobj(packed, file)
        os.replace(folder / "unpacked", raw)
        shutil.rmtree(folder / "downloads")
    return raw


def _cifar_tar() -> Path | None:
    mirror = store.mirror_dir()
    tar = mirror / "cifar10-jpg.tar" if mirror else None
    return tar if tar is not None and tar.is_file() else None


def _cifar10(split: str) -> Stimuli:
    from torchvision.datasets import CIFAR10

    folder = store.at_hand(_CIFAR)
    if folder is None and _cifar_tar() is not None:
        return _cifar10_jpg(split)
    if folder is None:
        folder = store.cache_dir() / _CIFAR
        archive = folder.with_name(CIFAR10.filename)
        with how_to_get("cifar10", f"{_CIFAR} or cifar10-jpg.tar"):
            store.fetch([CIFAR10.url], archive, md5=CIFAR10.tgz_md5)
        _extract(archive, folder, inside=_CIFAR)
    try:
        # Its files are pickles: torchvision opens them only after checking their MD5.
        data = CIFAR10(str(folder.parent), train=split == "train", download=False)
    except RuntimeError as error:
        raise DataError(
            f"cifar10 in {folder} is damaged or incomplete ({error}). "
            "Remove that folder to have it downloaded again."
        ) from error
    return Stimuli(
        name="cifar10",
        split=split,
        images=data.data.transpose(0, 3, 1, 2).astype(np.float32) / 255,
        labels=np.asarray(data.targets, dtype=np.int64),
        class_names=tuple(data.classes),
        source="CIFAR-10 photographs",
    )


def _cifar10_jpg(split: str) -> Stimuli:
    tar = _cifar_tar()
    if tar is None:
        raise DataError(
            "cifar10-jpg is only read from a local mirror: set RAREFIRE_MIRROR to a folder that "
            "holds cifar10-jpg.tar, or load 'cifar10'."
        )
    # Named by size and time so that another archive is unpacked anew.
    stat = tar.stat()
    root = store.cache_dir() / f"cifar10-jpg-{store.key(size=stat.st_size, time=stat.st_mtime_ns)}"
    if not root.is_dir():
        _extract(tar, root)
    folder = _folder(root, split, name="cifar10-jpg")
    return replace(folder, source="CIFAR-10 photographs in a JPEG re-encoding")


_LOADERS: dict[str, Callable[[str], Stimuli]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "cifar10-jpg": _cifar10_jpg,
}


def _divided(root: Path) -> bool:
    """Whether a folder is divided into training and test images."""
    if (root / "train").is_dir() and (root / "test").is_dir():
        return True
    inside = [] if not root.is_dir() else sorted(one.name for one in root.iterdir() if one.is_dir())
    inside = [name for name in inside if not is_left_over(name)]
    if inside and all(_SPLIT.fullmatch(name) for name in inside):
        raise InputError(
            f"{root} is divided into {' and '.join(f'{name}/' for name in inside)}, not into train/ and "
            f"test/. Rename them, or load one of them: folder:{root / inside[-1]}."
        )
    return False


def _folder(
    root: Path,
    split: str,
    *,
    name: str | None = None,
    size: int | None = None,
    resize: int | None = None,
    background: str = "white",
    test_fraction: float | None = None,
    seed: int = 0,
) -> Stimuli:
    from torchvision.datasets import ImageFolder

    class Listing(ImageFolder):  # type: ignore[misc]
        """Without what systems leave in folders."""

        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            classes = [name for name in super().find_classes(directory)[0] if not is_left_over(name)]
            if not classes:
                raise FileNotFoundError(f"Couldn't find any class folder in {directory}.")
            return classes, {name: i for i, name in enumerate(classes)}

    if resize is not None and (size is None or resize < size):
        raise InputError(f"resize goes with a size that is not larger; got resize={resize}, size={size}.")

    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Expected train/ and test/ there, or one folder per class.")
    divided = _divided(root)
    try:
        listing = Listing(
            str(root / split if divided else root),
            is_valid_file=lambda file: Path(file).suffix.lower() in PICTURES,
        )
    except FileNotFoundError as error:
        raise DataError(f"{root}: {error} Expected one folder per class with images in it.") from error
    for place in sorted({Path(file).parent for file, _ in listing.samples}):
        _say_unread(place.iterdir(), place)
    shown = [
        (file, label)
        for file, label in listing.samples
        if not any(map(is_left_over, Path(file).relative_to(listing.root).parts))
    ]
    if lost := sorted(set(range(len(listing.classes))) - {label for _, label in shown}):
        raise DataError(f"{root}: the folder {listing.classes[lost[0]]} holds no images, only hidden files.")
    # Classes are numbered as torchvision does, for which networks are trained; files in one order everywhere.
    shown.sort(key=lambda one: (one[1], natural(Path(one[0]).as_posix())))
    files, labels = (list(column) for column in zip(*shown, strict=True))
    chosen = np.ones(len(files), dtype=bool)
    targets = np.asarray(labels, dtype=np.int64)
    source = f"images in {root.name}"
    if not divided and test_fraction is not None:
        test = stratified_mask(targets, test_fraction, seed=seed)
        chosen = test if split == "test" else ~test
        source = f"{chosen.sum()} of {len(files)} images in {root.name}, drawn with seed {seed}"
    elif not divided and split == "train":
        raise InputError(
            f"{root} has no train/ and test/. Say test_fraction=0.2 to divide it, or load all of it as "
            "'test'."
        )
    if not chosen.any():
        raise InputError(f"the {split} split of {root} is empty: raise test_fraction={test_fraction}.")
    return Stimuli(
        name=name or f"folder:{root}",
        split=split if divided or test_fraction is not None else "all",
        images=pictures(
            [files[i] for i in np.flatnonzero(chosen)], root, size=size, resize=resize, background=background
        ),
        labels=targets[chosen],
        class_names=tuple(listing.classes),
        source=source,
    )


@checked
def pictures(
    files: Sequence[str | Path],
    root: Path,
    *,
    size: int | None,
    resize: int | None = None,
    background: str = "white",
) -> NDArray[np.float32]:
    """Images in `root` as (n, 3, h, w) in [0, 1]: of one size, or scaled and cropped to one.

    They are as people see them: upright, on a `background` where they are transparent, and scaled by
    their depth; a warning counts those that are changed by it.
    """
    _say_changes([_changes(file) for file in files], root, background)
    return _pixels(files, root, size=size, resize=resize, background=background)


def _say_changes(kinds: Sequence[tuple[str, ...]], root: Path, background: str) -> None:
    said = sight.described(kinds, background=background)
    if said:
        warnings.warn(
            f"of {len(kinds)} pictures in {root}, shown as people see them: {said}.",
            RarefireWarning,
            stacklevel=4,
        )


def _pixels(
    files: Sequence[str | Path], root: Path, *, size: int | None, resize: int | None, background: str
) -> NDArray[np.float32]:
    read = [_picture(file, size=size, resize=resize, background=background) for file in files]
    shapes = sorted({p.shape for p in read})
    if len(shapes) > 1:
        raise InputError(
            f"the images in {root} differ in size (from {shapes[0][:2]} to {shapes[-1][:2]} "
            "pixels). Pass size=, e.g. size=224, to scale and crop them to one."
        )
    images = np.empty((len(read), 3, *shapes[0][:2]), dtype=np.float32)
    for i, picture in enumerate(read):
        np.divide(picture.transpose(2, 0, 1), 255, out=images[i], dtype=np.float32)
    return images


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """An image file; whatever is wrong with it is a DataError."""
    from PIL import Image, UnidentifiedImageError

    try:
        if Path(path).exists() and not Path(path).is_file():
            raise OSError("it is no file")  # to open a pipe would be to wait for who writes into it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it names no file
            opened = Image.open(path)
    except Image.DecompressionBombError as error:
        number = re.search(r"\d+", str(error))
        pixels = f"{int(number[0]):,} pixels" if number else "too many pixels"
        raise DataError(
            f"{path} has {pixels}, more than is safe to open: scale it down or remove it."
        ) from error
    except (OSError, UnidentifiedImageError) as error:
        raise _unreadable(path, error) from error
    try:
        with opened:
            yield opened
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as an image: {error}. Replace or remove it.")


def _changes(path: str | Path) -> tuple[str, ...]:
    """What is done to a picture before it is shown; of one that cannot be read nothing: it is said then."""
    try:
        with _opened(path) as image:
            return sight.changes(image)
    except DataError:
        return ()


def _picture(
    path: str | Path, *, size: int | None, resize: int | None = None, background: str = "white"
) -> NDArray[np.uint8]:
    """One image as (h, w, 3) bytes; scaled and centrally cropped where `size` is given."""
    from PIL import Image

    with _opened(path) as opened:
        image = sight.as_seen(opened, background=background)
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        warnings.warn(f"{path} has {image.width:,} × {image.height:,} pixels.", RarefireWarning, stacklevel=2)
    if size is not None:
        scale = (resize or round(size * 256 / 224)) / min(image.size)
        if max(image.size) > _LONG * min(image.size):  # scaled whole, a line of pixels would fill the memory
            image = _middle(image)
        w, h = (max(size, int(side * scale)) for side in image.size)
        image = image.resize((w, h), Image.Resampling.BILINEAR)  # a copy where the size is the same
        left, top = (w - size) // 2, (h - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def _middle(image: Image.Image) -> Image.Image:
    """The central part of an image, `_LONG` times as long as it is wide."""
    (w, h), most = image.size, _LONG * min(image.size)
    left, top = max(0, w - most) // 2, max(0, h - most) // 2
    return image.crop((left, top, left + min(w, most), top + min(h, most)))


def is_left_over(name: str) -> bool:
    """Whether a name is hidden or a system's own, as ``._x.jpg`` and ``.ipynb_checkpoints`` are."""
    return name.startswith(".") or name in {"__MACOSX", "@eaDir"}


@checked
def image_files(folder: Path) -> list[Path]:
    """The files in a folder that are images by their extension, but for hidden ones; by name, as text."""
    files = [file for file in folder.iterdir() if file.is_file() and not is_left_over(file.name)]
    _say_unread(files, folder)
    return sorted((file for file in files if file.suffix.lower() in PICTURES), key=lambda file: file.name)


def _say_unread(files: Iterable[Path], folder: Path) -> None:
    """That there are pictures which are left out."""
    unread = sorted(file.name for file in files if file.suffix.lower() in _UNREAD)
    if unread:
        warnings.warn(
            f"in {folder}, {len(unread)} pictures are of kinds that are not read ({listed(unread[:3])}) and "
            "left out. Save them as PNG or JPEG.",
            RarefireWarning,
            stacklevel=4,
        )


@checked
def in_categories(
    images: NDArray[np.float32], categories: Sequence[str], *, name: str, source: str
) -> Stimuli:
    """Images of one category each; these become classes, in the order of their first image."""
    classes = tuple(dict.fromkeys(categories))
    labels = np.array([classes.index(c) for c in categories], dtype=np.int64)
    return Stimuli(name, "test", images, labels, classes, source)


# --- shared steps --------------------------------------------------------------------------------


@checked
def half_mask(labels: NDArray[Any], *, seed: int = 0) -> NDArray[np.bool_]:
    """A mask ``(n,)`` of half of the images, (nearly) half of every class."""
    return stratified_mask(labels, 0.5, seed=seed)


@checked
def stratified_mask(labels: NDArray[Any], fraction: float, *, seed: int) -> NDArray[np.bool_]:
    """A mask that is true for `fraction` of the images, the same share of every class (rounded)."""
    from sklearn.model_selection import train_test_split

    try:
        _, chosen = train_test_split(
            np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise InputError(
            f"cannot divide {len(labels)} images of {len(np.unique(labels))} classes with a share "
            f"of {fraction}: {error}"
        ) from error
    mask = np.zeros(len(labels), dtype=bool)
    mask[chosen] = True
    return mask


@checked
def check_file(path: Path, md5: str) -> None:
    """Raise DataError unless a file of a data set is there, and is what it should be."""
    if not path.is_file():
        raise DataError(f"{path} is missing. Put it there, or remove its folder for a new download.")
    got = store.file_digest(path, algorithm="md5")
    if got != md5:
        raise DataError(
            f"{path} is damaged or truncated ({path.stat().st_size:,} bytes, MD5 {got}; expected "
            f"{md5}). Replace it, or unset RAREFIRE_MIRROR to have it downloaded."
        )


@contextlib.contextmanager
def how_to_get(name: str, content: str) -> Iterator[None]:
    """Add to a failed download what the user can do about it."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{name!r} is not on this machine and could not be downloaded. Connect to the network, "
            f"or set RAREFIRE_MIRROR to a folder that holds {content}.\n{error}"
        ) from error


def _extract(archive: Path, target: Path, *, inside: str = ".") -> None:
    """Unpack `archive`, or its folder `inside`, so that `target` appears whole or not at all.

    Notebooks of the book ask for the same archive at the same time: one unpacks it, the others wait.
    """
    with store.alone(target, wait_for=f"what {archive.name} holds"):
        if target.is_dir():
            return
        unpacked = target.with_name(f".{target.name}.new")
        shutil.rmtree(unpacked, ignore_errors=True)  # of a killed run
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
            os.replace(unpacked / inside, target)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{archive} cannot be unpacked: {error}. Replace it by a whole copy.") from error
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
