"""Human judgments: real ones where a mirror is, the archive's layout with made images, errors."""

import dataclasses
import functools
import http.server
import itertools
import shutil
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat
from scipy.spatial.distance import squareform

from rarefire import judgments, rdm, reliability, stimuli, store
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.judgments import PETERSON, Judgments


@pytest.fixture
def real(mirror, own_cache, monkeypatch):
    """The mirror, and an empty cache."""
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    return mirror


def picture(path, colour, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def made_similarities(rng, n=12):
    values = rng.uniform(0, 10, size=(n, n))
    values = (values + values.T) / 2
    np.fill_diagonal(values, 10)
    return values


def archive(root, which, matrix, names=None):
    """A folder as Peterson et al. give it: image i is of red i."""
    facts = PETERSON[which]
    names = names or [f"{'abcdef'[i % 6]}{i:03d}.png" for i in range(len(matrix))]
    for i, name in enumerate(sorted(names)):
        picture(root / facts.folder / facts.images / name, (i, 0, 255))
    savemat(root / facts.folder / facts.matrix, {facts.key: matrix})
    return root


def reds(loaded):
    return np.round(loaded.images.images[:, 0, 0, 0] * 255).astype(int).tolist()


def made(rng, n=6, **given):
    """Judgments without files."""
    images = stimuli.Stimuli(
        "made",
        "test",
        rng.uniform(size=(n, 3, 4, 4)).astype(np.float32),
        np.arange(n) % 2,
        ("a", "b"),
        "made",
    )
    fields = {"human": rng.uniform(size=n * (n - 1) // 2), "subjects": None, "halves": None}
    fields |= {"reliability": None, "images": images, "names": tuple(f"i{i}" for i in range(n))}
    fields |= {"citation": "c", "licence": "l", "source": "s"}
    if "subjects" in given:
        fields["human"], fields["reliability"] = reliability.mean_of_subjects(given["subjects"])
    return Judgments("made", **(fields | given))


# --- the class -----------------------------------------------------------------------------------


def test_mean_over_subjects_and_reliability(rng):
    shared = rng.normal(size=15)
    subjects = shared + rng.normal(size=(5, 15)) * 0.7
    loaded = made(rng, subjects=subjects * [[1], [2], [10], [1], [0.1]] + 3)
    z = [(s - s.mean()) / s.std() for s in subjects]
    np.testing.assert_allclose(loaded.human, np.mean(z, axis=0), atol=1e-12)
    r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in itertools.combinations(subjects, 2)])
    assert loaded.reliability == pytest.approx(5 * r / (1 + 4 * r))


def test_the_ceiling_of_single_subjects_is_on_the_scale_of_their_mean(rng):
    subjects = rng.normal(size=15) + rng.normal(size=(5, 15))
    loaded = made(rng, subjects=subjects)
    people = reliability.noise_ceiling(subjects)
    assert loaded.subject_ceiling.high == pytest.approx(people.high, rel=1e-12)
    assert loaded.ceiling.high == 1
    assert loaded.ceiling.low == pytest.approx(people.low / people.high)
    # Averaged over subjects, a model's r is its r with `human` times the constant that was divided by.
    model = rng.normal(size=15)
    single = np.mean([np.corrcoef(model, s)[0, 1] for s in subjects])
    assert single == pytest.approx(np.corrcoef(model, loaded.human)[0, 1] * people.high, abs=1e-12)


def test_the_ceiling_without_subjects_is_the_root_of_the_reliability(rng):
    loaded = made(rng, reliability=0.81)
    assert (loaded.ceiling.low, loaded.ceiling.high) == pytest.approx((0.9, 0.9))
    assert len(loaded.ceiling.by_subject) == 0
    assert made(rng).ceiling is None
    assert made(rng, reliability=-0.2).ceiling is None
    with pytest.raises(InputError, match=r"'made' has no single subjects: its ceiling is \.ceiling"):
        _ = loaded.subject_ceiling


def test_the_root_of_the_reliability_is_what_a_perfect_model_reaches(rng):
    """Simulated: the true dissimilarities against two noisy halves' mean."""
    true = rng.normal(size=40 * 39 // 2)
    halves = true + rng.normal(size=(2, len(true)))
    r = np.corrcoef(*halves)[0, 1]
    loaded = made(rng, 40, human=halves.mean(axis=0), halves=halves).subset(np.arange(40))
    assert loaded.reliability == pytest.approx(2 * r / (1 + r))
    assert np.corrcoef(true, loaded.human)[0, 1] == pytest.approx(loaded.ceiling.high, abs=0.03)


def test_subjects_without_common_pairs_have_no_ceiling(rng):
    subjects = np.full((2, 15), np.nan)
    subjects[0, :7], subjects[1, 6:] = rng.normal(size=7), rng.normal(size=9)
    loaded = made(rng, subjects=subjects)
    assert loaded.reliability is None
    assert loaded.ceiling is None
    assert np.isfinite(loaded.human).all()
    with pytest.raises(InputError, match=r"have too little in common \(subject 1 has 1 pairs"):
        _ = loaded.subject_ceiling
    # People who contradict one another give no reliability either.
    line = np.arange(15.0)
    against = made(rng, subjects=np.stack([line, -line, rng.normal(size=15)]))
    assert reliability.mean_of_subjects(np.stack([line, -line]))[1] is None
    assert against.ceiling is None
    with pytest.raises(InputError, match="contradict one another"):
        _ = against.subject_ceiling
    with pytest.raises(InputError, match="all values of the RDM are equal"):  # on average
        made(rng, subjects=np.stack([line, -line]))


def test_a_subset_is_restricted_everywhere(rng):
    subjects = rng.normal(size=(4, 15))
    loaded = made(rng, subjects=subjects, halves=rng.normal(size=(2, 15)))
    rows = [5, 0, 3]
    part = loaded.subset(rows)
    upper = np.triu_indices(3, 1)
    squares = [squareform(s)[np.ix_(rows, rows)][upper] for s in subjects]
    np.testing.assert_array_equal(part.subjects, squares)
    np.testing.assert_array_equal(part.halves[1], squareform(loaded.halves[1])[np.ix_(rows, rows)][upper])
    # Three pairs only, but on the scale that the ceiling relies on.
    np.testing.assert_allclose(part.human, np.mean([(s - s.mean()) / s.std() for s in squares], axis=0))
    np.testing.assert_array_equal(part.images.images, loaded.images.images[rows])
    assert part.names == ("i5", "i0", "i3")
    assert part.source == "s (3 of 6)"
    mask = np.array([True, False, True, True, False, True])
    assert loaded.subset(mask).names == ("i0", "i2", "i3", "i5")


def test_a_subset_of_a_mean_is_cut_out_and_loses_the_quoted_reliability(rng):
    human = rng.uniform(size=15)
    human[3] = np.nan
    loaded = made(rng, human=human, reliability=0.7, images=None)
    part = loaded.subset([1, 2, 5, 4])
    expected = squareform(human, checks=False)[np.ix_([1, 2, 5, 4], [1, 2, 5, 4])][np.triu_indices(4, 1)]
    np.testing.assert_array_equal(part.human, expected)
    assert part.images is None
    assert part.reliability is None
    assert loaded.subset(np.arange(6)[::-1]).reliability == 0.7


@pytest.mark.parametrize(
    "rows", [[0, 1], [0, 1, 6], [0, 1, -1], [0, 1, 1], [[0, 1, 2]], [0.0, 1, 2], [True] * 5]
)
def test_a_subset_of_rows_that_are_none(rng, rows):
    message = r"rows are three or more different numbers from 0 to 5, or a mask \(6,\); got"
    with pytest.raises(InputError, match=message):
        made(rng).subset(rows)


def test_a_subset_in_which_a_subject_says_nothing_names_the_subject(rng):
    subjects = rng.normal(size=(3, 15))
    subjects[1, [0, 1, 5]] = 2.0  # the pairs of images 0, 1, 2
    loaded = made(rng, subjects=subjects)
    with pytest.raises(InputError, match="subject '2' has the same rating for every pair"):
        loaded.subset([0, 1, 2])


def test_the_digest_is_of_every_number(rng):
    loaded = made(rng, reliability=0.5)
    human, images = loaded.human.astype(np.float32), loaded.images
    rest = (np.float32([0.5]), images.images, images.labels.astype(np.float32))
    assert loaded.digest == store.array_digest(human, *rest)
    bare = dataclasses.replace(loaded, images=None, reliability=None)
    assert bare.digest == store.array_digest(human, np.float32([np.nan]))
    # Another machine's last digits are none, nor is what nothing is computed from.
    assert dataclasses.replace(loaded, human=human.astype(np.float64)).digest == loaded.digest
    assert dataclasses.replace(loaded, citation="other").digest == loaded.digest
    subjects, halves = rng.normal(size=(3, 15)), rng.normal(size=(2, 15))
    several = dataclasses.replace(loaded, subjects=subjects, halves=halves)
    parts = (subjects.astype(np.float32), halves.astype(np.float32))
    assert several.digest == store.array_digest(human, *parts, *rest)
    relabelled = dataclasses.replace(images, labels=1 - images.labels)
    darker = dataclasses.replace(images, images=images.images / 2)
    changes = [
        {"human": loaded.human + 1},
        {"subjects": subjects},
        {"subjects": 2 * subjects},  # even where the mean is the same
        {"halves": halves},
        {"reliability": 0.6},
        {"images": relabelled},
        {"images": darker},
        {"images": None},
    ]
    digests = {dataclasses.replace(loaded, **changed).digest for changed in changes}
    assert len(digests | {loaded.digest}) == len(changes) + 1


def test_images_are_scaled_in_whole_numbers_as_torchvision_does(rng):
    from torchvision.transforms.functional import resize

    images = np.round(rng.random((2, 3, 9, 13)) * 255).astype(np.float32) / 255
    for size in (4, 9, 20):
        scaled = judgments._resized(images, size)
        assert (scaled.shape, scaled.dtype) == ((2, 3, size, size), np.float32)
        np.testing.assert_array_equal(scaled, np.round(scaled * 255) / np.float32(255))
        smooth = resize(torch.from_numpy(images), [size, size], antialias=True).numpy()
        np.testing.assert_allclose(scaled, smooth, atol=1.01 / 255)
    assert judgments._resized(images, None) is images
    square = images[:, :, :, :9]
    assert judgments._resized(square, 9) is square


def test_sizes_that_do_not_fit_are_refused(rng):
    loaded = made(rng)
    assert (loaded.n, len(loaded)) == (6, 6)
    assert repr(made(rng, reliability=0.5)) == "<made: 6 images, 15 pairs, reliability 0.50>"
    with pytest.raises(InputError, match=r"6 names need human of shape \(15,\), condensed; got \(14,\)"):
        dataclasses.replace(loaded, human=loaded.human[1:])
    with pytest.raises(InputError, match=r"subjects of 6 images are \(…, 15\); got \(2, 14\)"):
        dataclasses.replace(loaded, subjects=np.zeros((2, 14)))
    with pytest.raises(InputError, match="6 images and 4 names"):
        dataclasses.replace(loaded, names=tuple("abcd"), human=np.arange(6.0))
    for wrong in (1.2, np.nan):
        with pytest.raises(InputError, match="a reliability is at most 1; got"):
            dataclasses.replace(loaded, reliability=wrong)
    with pytest.raises(InputError, match="all values of the RDM are equal"):
        dataclasses.replace(loaded, human=np.ones(15))
    with pytest.raises(InputError, match="at least three images are needed; got 2"):
        dataclasses.replace(loaded, names=("a", "b"), human=np.arange(1.0))


# --- Mur et al. ----------------------------------------------------------------------------------


def test_mur(real):
    loaded = judgments.load("mur")
    assert loaded.n == 92
    assert loaded.subjects.shape == (16, 4186)
    assert loaded.images.images.shape == (92, 3, 175, 175)
    assert loaded.images.images.dtype == np.float32
    assert 0 <= loaded.images.images.min() < loaded.images.images.max() == 1
    assert loaded.images.class_names == (
        "human bodypart",
        "human face",
        "nonhuman bodypart",
        "nonhuman face",
        "natural inanimate",
        "artificial inanimate",
    )
    assert np.bincount(loaded.images.labels).tolist() == [12, 12, 12, 12, 23, 21]
    assert loaded.names[12] == "human face 1"
    people = loaded.subject_ceiling
    assert (people.low, people.high) == pytest.approx((0.572, 0.635), abs=5e-4)
    assert loaded.ceiling.low == pytest.approx(0.901, abs=5e-4)
    # Random halves of the people, corrected, agree with all pairs of people.
    split = reliability.split_half(loaded.subjects, n_splits=20, rng=np.random.default_rng(0))
    assert loaded.reliability == pytest.approx(split.corrected, abs=0.02)
    assert loaded.reliability == pytest.approx(0.901, abs=1e-3)
    raw = loadmat(real / "mur92" / "92_behavRDMs.mat")["rdms_behav_92"][0]
    np.testing.assert_array_equal(loaded.subjects[3], raw[3]["RDM"][np.triu_indices(92, 1)])
    assert "4:128" in loaded.citation
    assert judgments.available("mur")


def test_mur_in_another_size(real):
    loaded = judgments.load("mur", size=32)
    assert loaded.images.images.shape == (92, 3, 32, 32)
    whole = judgments.load("mur").images.images
    np.testing.assert_allclose(
        loaded.images.images.mean(axis=(2, 3)), whole.mean(axis=(2, 3)), atol=0.02
    )  # shrunk, not cropped
    assert loaded.digest != judgments.load("mur").digest


def test_murs_judgments_and_categories_are_in_one_order(real):
    """People arrange the images of each category closer to one another than to the others."""
    loaded = judgments.load("mur", size=8)
    square, labels = squareform(loaded.human), loaded.images.labels
    for c in range(6):
        own = labels == c
        within = square[np.ix_(own, own)][np.triu_indices(own.sum(), 1)].mean()
        assert within < square[np.ix_(own, ~own)].mean()


# --- letters -------------------------------------------------------------------------------------


def test_letters(real):
    loaded = judgments.load("letters")
    assert loaded.n == 36
    assert loaded.subjects.shape == (8, 630)
    assert loaded.images.images.shape == (36, 3, 72, 72)
    assert (loaded.images.images.min(), loaded.images.images.max()) == (0, 1)
    assert loaded.images.class_names == ("arc", "atl", "dragon", "fr", "hymmnos", "ulog")
    assert np.bincount(loaded.images.labels).tolist() == [6] * 6
    assert (loaded.names[0], loaded.names[-1]) == ("arc a", "ulog f")
    raw = np.load(real / "fonts36" / "subjects.npy")
    np.testing.assert_array_equal(loaded.subjects[5], raw[5][np.triu_indices(36, 1)])
    black = stimuli.pictures([real / "fonts36" / "images" / "dragon_c.png"], real, size=None)
    np.testing.assert_array_equal(loaded.images.images[14], black[0])
    people = loaded.subject_ceiling
    assert (people.low, people.high) == pytest.approx((0.499, 0.638), abs=5e-4)
    # Random halves of the people, corrected: .795 as published with the data.
    split = reliability.split_half(loaded.subjects, n_splits=50, rng=np.random.default_rng(0))
    assert split.corrected == pytest.approx(0.795, abs=0.01)
    assert loaded.reliability == pytest.approx(split.corrected, abs=0.02)
    assert judgments.load("letters", size=24).images.images.shape == (36, 3, 24, 24)
    assert "e1004896" in loaded.citation
    assert judgments.available("letters")
    # Letters of one script are arranged closer to one another than to the others.
    square, labels = squareform(loaded.human), loaded.images.labels
    same = labels[:, None] == labels
    assert square[same & ~np.eye(36, dtype=bool)].mean() < square[~same].mean()


def test_letters_that_are_missing_or_others(mirror, own_cache):
    with pytest.raises(
        DataError,
        match=r"'letters' is not on this machine \(fonts36/subjects.npy, fonts36/images.txt, "
        r"fonts36/images is missing .* github.com/qbilius/conv-exp .* fonts36/images.txt, .*\(8, 36, 36\)",
    ):
        judgments.load("letters")
    assert not judgments.available("letters")
    own = own_cache / "fonts36"
    shutil.copytree(mirror / "fonts36", own)
    assert judgments.load("letters").n == 36
    squares = np.load(own / "subjects.npy")
    np.save(own / "subjects.npy", squares[::-1])
    with pytest.raises(
        DataError, match=r"fonts36 does not hold 'letters' as this package knows it \(content di"
    ):
        judgments.load("letters")
    np.save(own / "subjects.npy", squares[:, :35, :35])
    with pytest.raises(InputError, match="the RDM is of 35 images; the embedding has 36"):
        judgments.load("letters")
    (own / "subjects.npy").write_bytes(b"\x93NUMPY torn")
    with pytest.raises(DataError, match=r"subjects\.npy is damaged: .*Replace it by a whole copy"):
        judgments.load("letters")
    (own / "images" / "arc_a.png").unlink()
    with pytest.raises(DataError, match=r"arc_a\.png cannot be read as an image"):
        judgments.load("letters")


# --- Peterson et al. -----------------------------------------------------------------------------


def test_the_public_animals_without_their_images(real):
    loaded = judgments.load("peterson-animals")
    assert loaded.images is None
    assert (loaded.n, loaded.names[0], loaded.names[-1]) == (120, "7", "1727")
    public = loadmat(real / "peterson" / "turkResults_CogSci2016.mat")
    np.testing.assert_array_equal(loaded.human, squareform(10 - public["simMatrix"]))
    np.testing.assert_allclose(loaded.halves.mean(axis=0), loaded.human, atol=1e-12)
    r = np.corrcoef(*loaded.halves)[0, 1]
    assert r == pytest.approx(0.913, abs=1e-3)
    assert loaded.reliability == pytest.approx(0.955, abs=1e-3)
    assert loaded.ceiling.high == pytest.approx(np.sqrt(loaded.reliability))
    assert judgments.available("peterson-animals")
    assert judgments.load("peterson-animals", size=32).digest == loaded.digest


def test_the_archives_animals_with_real_judgments(real, tmp_path):
    public = loadmat(real / "peterson" / "turkResults_CogSci2016.mat")
    archive(tmp_path, "animals", public["simMatrix"])
    loaded = judgments.load("peterson-animals", folder=tmp_path, size=4)
    np.testing.assert_array_equal(squareform(loaded.human), 10 - public["simMatrix"])
    assert loaded.images.images.shape == (120, 3, 4, 4)
    assert reds(loaded) == list(range(120))
    assert loaded.reliability == pytest.approx(0.955, abs=1e-3)  # the halves are in the mirror
    np.testing.assert_array_equal(loaded.halves, judgments.load("peterson-animals").halves)
    assert judgments.available("peterson-animals", folder=tmp_path)


def test_other_judgments_than_the_public_ones_keep_the_quoted_reliability(real, tmp_path, rng):
    archive(tmp_path, "animals", made_similarities(rng, 120))
    loaded = judgments.load("peterson-animals", folder=tmp_path)
    assert loaded.halves is None
    assert loaded.reliability == 0.90


def test_animals_without_the_archives_matrix_take_the_public_one(real, own_cache, monkeypatch, tmp_path):
    archive(tmp_path, "animals", np.zeros((120, 120)))
    (tmp_path / "animals" / "turkSimMatrix2016.mat").unlink()
    monkeypatch.setenv("RAREFIRE_MIRROR", str(real))
    assert judgments.available("peterson-animals", folder=tmp_path)
    loaded = judgments.load("peterson-animals", folder=tmp_path)
    np.testing.assert_array_equal(loaded.human, judgments.load("peterson-animals").human)
    assert loaded.reliability == pytest.approx(0.955, abs=1e-3)
    monkeypatch.setenv("RAREFIRE_MIRROR", "")
    with pytest.raises(DataError, match=r"matrix of 'peterson-animals' is missing: .*turkSimMatrix2016\.mat"):
        judgments.load("peterson-animals", folder=tmp_path)
    assert not judgments.available("peterson-animals", folder=tmp_path)


@pytest.mark.parametrize("which", PETERSON)
def test_all_six_sets(own_cache, tmp_path, rng, which):
    matrix = made_similarities(rng, 120)
    archive(tmp_path, which, matrix)
    name = f"peterson-{which}"
    assert judgments.available(name, folder=tmp_path)
    loaded = judgments.load(name, folder=tmp_path)
    assert loaded.images.images.shape == (120, 3, 6, 6)
    assert reds(loaded) == list(range(120))
    np.testing.assert_allclose(squareform(loaded.human), 10 - matrix, atol=1e-12)
    assert loaded.reliability == PETERSON[which].reliability
    assert loaded.ceiling.low == pytest.approx(np.sqrt(PETERSON[which].reliability))
    assert loaded.images.class_names == tuple("abcdef")  # file names without their numbers
    assert "2648–2669" in loaded.citation
    # The same, unpacked in the cache as the archive does it.
    assert not judgments.available(name)
    shutil.copytree(
        tmp_path / PETERSON[which].folder, own_cache / "peterson/datasets" / PETERSON[which].folder
    )
    assert judgments.available(name)
    assert judgments.load(name).digest == loaded.digest


def test_files_are_ordered_as_text_and_the_animals_numbers_as_numbers(own_cache, tmp_path, rng):
    matrix = made_similarities(rng)
    names = ["bear10.png", "bear2.png", "Zebra1.png", *(f"cat{i}.jpg" for i in range(9))]
    archive(tmp_path, "furniture", matrix, names)
    loaded = judgments.load("peterson-furniture", folder=tmp_path)
    assert loaded.names[:3] == ("Zebra1", "bear10", "bear2")
    assert reds(loaded)[:3] == [0, 1, 2]
    archive(tmp_path, "animals", matrix, [f"{i}.png" for i in (7, 19, 1727, *range(100, 109))])
    loaded = judgments.load("peterson-animals", folder=tmp_path)
    assert loaded.names == ("7", "19", *(str(i) for i in range(100, 109)), "1727")
    assert loaded.images.class_names == ("animals",)


def test_hidden_and_other_files_do_not_count(own_cache, tmp_path, rng):
    archive(tmp_path, "fruits", made_similarities(rng))
    inside = tmp_path / PETERSON["fruits"].folder / PETERSON["fruits"].images
    for name in (".DS_Store", "._a000.png", "Thumbs.db", "readme.txt"):
        (inside / name).write_bytes(b"x")
    assert judgments.load("peterson-fruits", folder=tmp_path).n == 12


def test_pairs_that_nobody_judged_stay_undefined(own_cache, tmp_path, rng):
    matrix = made_similarities(rng)
    matrix[2, 5] = matrix[5, 2] = np.nan
    archive(tmp_path, "fruits", matrix)
    loaded = judgments.load("peterson-fruits", folder=tmp_path)
    assert np.flatnonzero(np.isnan(squareform(loaded.human, checks=False)[2])).tolist() == [5]


def broken(root, how):
    """An archive of vegetables with one thing wrong; returns the folder to give."""
    facts = PETERSON["vegetables"]
    place, matrix = root / facts.folder, root / facts.folder / facts.matrix
    picture_file = next(iter(sorted((place / facts.images).iterdir())))
    values = loadmat(matrix)[facts.key]
    if how == "no folder":
        return root / "nowhere"
    if how == "no set":
        place.rename(root / "veggies")
    elif how == "no images":
        shutil.rmtree(place / facts.images)
    elif how == "empty images":
        shutil.rmtree(place / facts.images)
        (place / facts.images).mkdir()
    elif how == "no matrix":
        matrix.unlink()
    elif how == "damaged matrix":
        matrix.write_bytes(matrix.read_bytes()[:300])
    elif how == "one image less":
        picture_file.unlink()
    elif how == "damaged image":
        picture_file.write_bytes(b"no image")
    elif how == "another size":
        picture(picture_file, (0, 0, 0), size=(7, 6))
    elif how == "no key":
        savemat(matrix, {"simmat": values, "names": np.arange(3)})
    elif how == "not square":
        savemat(matrix, {facts.key: values[:-1]})
    elif how == "not symmetric":
        values[1, 2] = values[2, 1] + 1
        savemat(matrix, {facts.key: values % 10})
    elif how == "out of range":
        savemat(matrix, {facts.key: values * 10})
    elif how == "negative":
        savemat(matrix, {facts.key: values - 9})
    return root


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        (
            "no folder",
            DataError,
            r"no folder .*nowhere, which does not exist.*ask its authors .*2648–2669",
        ),
        (
            "no set",
            DataError,
            r"no folder vegetables \(of 'peterson-vegetables'\) .*, which holds veggies\.",
        ),
        ("no images", DataError, r"folder of the images of 'peterson-vegetables' is missing: .*josh-veggies"),
        ("empty images", DataError, r"there are no images in .*josh-veggies-picks-120-similarity-set"),
        (
            "no matrix",
            DataError,
            r"matrix of 'peterson-vegetables' is missing: .*simMatrix_mturkveggies\.mat",
        ),
        ("damaged matrix", DataError, r"simMatrix_mturkveggies\.mat cannot be read as a MATLAB file"),
        ("one image less", InputError, r"holds 11 images, but the matrix in vegetables is of 12"),
        ("damaged image", DataError, r"a000\.png cannot be read as an image"),
        ("another size", InputError, r"differ in size \(from \(6, 6\) to \(6, 7\) pixels\)\. Pass size="),
        ("no key", DataError, r"has no matrix 'simMatrix_mturkveggies'; it holds simmat, names"),
        ("not square", InputError, r"simMatrix_mturkveggies in .*: an RDM is square, .*got \(11, 12\)"),
        ("not symmetric", InputError, r"simMatrix_mturkveggies in .* not symmetric"),
        ("out of range", InputError, r"must be similarities from 0 to 10; got .* to \d\d\."),
        ("negative", InputError, r"must be similarities from 0 to 10; got -.* to -?[\d.]+\."),
    ],
)
def test_an_incomplete_archive_is_told_what_is_missing(own_cache, tmp_path, rng, how, kind, message):
    archive(tmp_path, "vegetables", made_similarities(rng))
    folder = broken(tmp_path, how)
    with pytest.raises(kind, match=message):
        judgments.load("peterson-vegetables", folder=folder)
    if how.startswith("no ") and how != "no key":
        assert judgments.available("peterson-vegetables", folder=folder) is False


def test_a_matrix_of_something_else_is_refused(own_cache, tmp_path, rng):
    matrix, key = made_similarities(rng), PETERSON["fruits"].key
    archive(tmp_path, "fruits", matrix)
    path = tmp_path / PETERSON["fruits"].folder / PETERSON["fruits"].matrix
    gap = matrix.copy()
    gap[2, 5] = gap[5, 2] = np.nan
    for content, message in (
        (10 - matrix, "looks like dissimilarities; similarities are expected"),
        (matrix.astype(str).astype(object), "it holds object, not numbers"),
        (np.full((12, 12), 10.0), "all values of the RDM are equal"),
        (matrix + 1j, "it holds complex128, not numbers"),
    ):
        savemat(path, {key: content})
        with pytest.raises(InputError, match=rf"{key} in .*{message}"):
            judgments.load("peterson-fruits", folder=tmp_path)
    savemat(path, {key: gap + 0j})  # a pair that nobody judged, in numbers that are only said to be complex
    expected = rdm.condensed(10 - gap)
    np.testing.assert_array_equal(judgments.load("peterson-fruits", folder=tmp_path).human, expected)


def test_without_the_archive_it_says_where_it_looked(own_cache):
    with pytest.raises(
        DataError,
        match=r"furniture .*cache/peterson, which does not exist\. Pass folder=.*authors",
    ):
        judgments.load("peterson-furniture")
    assert not judgments.available("peterson-furniture")
    assert not judgments.available("peterson-animals")


def test_a_given_folder_must_hold_the_animals_images(real, tmp_path):
    shutil.copy(real / "peterson" / "turkResults_CogSci2016.mat", tmp_path)
    with pytest.raises(DataError, match=r"no folder animals .*, which holds turkResults_CogSci2016\.mat"):
        judgments.load("peterson-animals", folder=tmp_path)
    assert not judgments.available("peterson-animals", folder=tmp_path)
    (tmp_path / "animals").mkdir()
    with pytest.raises(DataError, match=r"images of 'peterson-animals' is missing: .*animals/images"):
        judgments.load("peterson-animals", folder=tmp_path)


# --- names and downloads -------------------------------------------------------------------------


def test_wrong_names_and_arguments(own_cache):
    with pytest.raises(
        UnknownNameError, match="no set of judgments 'peterson-animal'. There are: peterson-an"
    ):
        judgments.load("peterson-animal")
    with pytest.raises(UnknownNameError, match="no set of judgments 'x'"):
        judgments.available("x")
    with pytest.raises(InputError, match="folder is for the sets of Peterson et al"):
        judgments.load("mur", folder="somewhere")
    with pytest.raises(InputError, match="size is for sets with images; the rows of 'cifar10h' are classes"):
        judgments.load("cifar10h", size=3)
    for size in (0, -1, 2.5):
        with pytest.raises(InputError, match=f"size is a whole number, at least 1; got {size}"):
            judgments.load("mur", size=size)


class QuietServer(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def home(own_cache, monkeypatch, tmp_path):
    """A real server on this machine instead of the files' homes; the folder that it serves."""
    folder = tmp_path / "home"
    folder.mkdir()
    handler = functools.partial(QuietServer, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(judgments, "_HOMES", dict.fromkeys(judgments._HOMES, url))
        yield folder
        server.shutdown()


@pytest.mark.parametrize("name", ["mur", "cifar10h", "peterson-animals"])
def test_judgments_are_downloaded_into_the_cache(mirror, home, own_cache, name):
    files = judgments._FILES[name]
    with pytest.raises(DataError, match=rf"(?s){name!r} is not on this machine.*RAREFIRE_MIRROR.*404"):
        judgments.load(name)
    assert not judgments.available(name)
    for file in files:
        shutil.copy(mirror / file, home)
    loaded = judgments.load(name)
    assert loaded.n in (10, 92, 120)
    assert judgments.available(name)
    assert sorted(p.relative_to(own_cache).as_posix() for p in own_cache.rglob("*.*")) == sorted(files)
    for file in home.iterdir():
        file.unlink()
    assert judgments.load(name).digest == loaded.digest


def test_a_download_with_another_content_is_refused(home, own_cache):
    (home / "cifar10h-probs.npy").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"(?s)'cifar10h' is not on this machine.*MD5 \w+ came, 7b41f73e"):
        judgments.load("cifar10h")
    assert not list(own_cache.rglob("*.npy*"))


def test_no_network_says_what_to_do(own_cache, monkeypatch):
    monkeypatch.setattr(judgments, "_HOMES", dict.fromkeys(judgments._HOMES, "http://127.0.0.1:9/"))
    with pytest.raises(DataError, match=r"(?s)Connect to the network, or set RAREFIRE_MIRROR .*refused"):
        judgments.label_distributions()


def test_a_damaged_file_of_the_mirror_is_named(own_cache, monkeypatch, tmp_path):
    (tmp_path / "mirror" / "cifar10h").mkdir(parents=True)
    (tmp_path / "mirror" / "cifar10h" / "cifar10h-probs.npy").write_bytes(b"x" * 70)
    monkeypatch.setenv("RAREFIRE_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(DataError, match=r"cifar10h-probs\.npy is damaged or truncated \(70 bytes"):
        judgments.load("cifar10h")


# --- CIFAR-10H -----------------------------------------------------------------------------------


def naive_confusability(given):
    """One image at a time."""
    n = given.shape[1]
    sums, counts = np.zeros((n, n)), np.zeros(n)
    for row in given:
        top = sorted(row)
        if top[-1] > top[-2]:
            own = list(row).index(top[-1])
            sums[own] += row
            counts[own] += 1
    p = sums / counts[:, None]
    found = []
    for i in range(n):
        for j in range(i + 1, n):
            likeness = (p[i, j] * p[j, i] / (p[i, i] * p[j, j])) ** 0.5
            found.append(-np.log(likeness) if likeness > 0 else np.nan)
    return np.array(found), p


def test_cifar10h_classes(real):
    given = judgments.label_distributions()
    assert given.shape == (10_000, 10)
    np.testing.assert_allclose(given.sum(axis=1), 1)
    loaded = judgments.load("cifar10h")
    human, share = naive_confusability(given)
    np.testing.assert_allclose(loaded.human, human, atol=1e-10)
    assert (share > 0).all()  # no pair is without confusion
    for half, rows in zip(loaded.halves, (given[::2], given[1::2]), strict=True):
        np.testing.assert_allclose(half, naive_confusability(rows)[0], atol=1e-10)
    assert loaded.reliability == pytest.approx(0.985, abs=1e-3)
    assert loaded.images is None
    near = np.argsort(squareform(loaded.human)[loaded.names.index("cat")])
    assert loaded.names[near[1]] == "dog"
    assert "NC-SA" in loaded.licence


def test_classes_that_were_never_confused_are_undefined(rng):
    given = np.array([[0.8, 0.2, 0], [0.1, 0.9, 0], [0, 0, 1], [0.5, 0.5, 0], [0, 0.1, 0.9]])
    found = judgments._confusability(given)
    np.testing.assert_allclose(found[0], -0.5 * np.log(0.2 * 0.1 / (0.8 * 0.9)))  # the tie belongs to none
    assert np.isnan(found[1:]).all()


@pytest.fixture
def original(real, monkeypatch):
    """Made images in the place of CIFAR-10's test set; labels are what most people say."""
    labels = judgments.label_distributions().argmax(axis=1)
    images = (np.arange(10_000) % 251)[:, None, None, None] / 255 * np.ones((1, 3, 2, 2))
    test = stimuli.Stimuli(
        "cifar10", "test", images.astype(np.float32), labels, judgments._CLASSES, "CIFAR-10 photographs"
    )
    at_hand = store.at_hand
    there = real / "cifar10h"  # anything that is there
    monkeypatch.setattr(
        store, "at_hand", lambda name: there if name.startswith("cifar-10") else at_hand(name)
    )
    monkeypatch.setattr(stimuli, "load", lambda name, split: test)
    return test


def test_cifar10h_images_are_those_people_disagree_about(original):
    assert judgments.available("cifar10h-images")
    loaded = judgments.load("cifar10h-images", size=3)
    given = judgments.label_distributions()
    rows = np.array([int(name.split()[1]) for name in loaded.names])
    assert loaded.n == 200
    assert np.bincount(loaded.images.labels).tolist() == [20] * 10
    assert [name.split()[0] for name in loaded.names] == [
        judgments._CLASSES[c] for c in original.labels[rows]
    ]
    entropy = np.array([-sum(p * np.log(p) for p in row if p > 0) for row in given]).round(12)  # with ties
    for c in range(10):
        mine, others = rows[original.labels[rows] == c], np.flatnonzero(original.labels == c)
        assert (
            entropy[mine].min()
            >= np.delete(entropy, mine)[original.labels[np.delete(np.arange(10_000), mine)] == c].max()
        )
        assert set(mine) <= set(others)
    i, j, pair = 3, 41, squareform(loaded.human)[3, 41]
    a, b = given[rows[i]], given[rows[j]]
    assert pair == pytest.approx(1 - a @ b / np.sqrt((a @ a) * (b @ b)))
    np.testing.assert_allclose(loaded.images.images[:, 0, 1, 1], (rows % 251) / 255, atol=1e-6)
    assert loaded.images.images.shape == (200, 3, 3, 3)
    assert 0.5 < loaded.reliability < 1
    assert judgments.load("cifar10h-images").reliability == loaded.reliability  # the seed is fixed
    assert judgments.cifar10h_images(per_class=2).n == 20


def test_halves_of_the_answers_are_disjoint_and_complete(original, monkeypatch):
    seen = []
    true = rdm.rdm
    monkeypatch.setattr(rdm, "rdm", lambda e, **kw: seen.append(np.array(e)) or true(e, **kw))
    judgments.cifar10h_images(per_class=3)
    counts = np.load(store.at_hand("cifar10h/cifar10h-counts.npy"))
    first, second, _ = seen
    assert (first >= 0).all()
    assert (second >= 0).all()
    assert {tuple(row) for row in first + second} <= {tuple(row) for row in counts}
    assert np.abs(first.sum(axis=1) - second.sum(axis=1)).max() <= 1


def test_cifar10h_images_need_the_original_order(original, real, monkeypatch):
    shuffled = dataclasses.replace(original, labels=np.sort(original.labels))
    monkeypatch.setattr(stimuli, "load", lambda name, split: shuffled)
    with pytest.raises(DataError, match=r"not CIFAR-10's test set in its original order: .* agree .* 1\d%"):
        judgments.load("cifar10h-images")
    at_hand = store.at_hand
    monkeypatch.setattr(store, "at_hand", lambda name: None if name.startswith("cifar") else at_hand(name))
    with pytest.raises(DataError, match=r"only a re-encoding of CIFAR-10 .* place in the original test set"):
        judgments.load("cifar10h-images")
    assert not judgments.available("cifar10h-images")
    with pytest.raises(InputError, match=r"per_class is a whole number; got 2\.0"):
        judgments.cifar10h_images(per_class=2.0)
    for wrong in (0, 1001):
        with pytest.raises(
            InputError, match=rf"per_class must be a whole number from 1 to 1,000; got {wrong}"
        ):
            judgments.cifar10h_images(per_class=wrong)


@pytest.fixture
def resorted(real, own_cache, monkeypatch):
    """A made re-encoding for CIFAR-10: sorted by class, each as grey as its number; the order's key."""
    with np.load(real / "cifar10-order" / "test.npz") as file:
        key = {name: file[name] for name in file.files}
    rank = np.argsort(key["label"], kind="stable")  # as the archive was sorted
    grey = (rank % 251)[:, None, None, None] / 255 * np.ones((1, 3, 2, 2))
    labels, names = key["label"][rank].astype(np.int64), judgments._CLASSES
    test = stimuli.Stimuli("cifar10-jpg", "test", grey.astype(np.float32), labels, names, "a re-encoding")
    monkeypatch.setattr(stimuli, "load", lambda name, split: test)
    monkeypatch.setattr(stimuli, "cifar10_variant", lambda: "cifar10-jpg")
    return test, key


def test_cifar10h_images_of_the_re_encoding_put_back_in_order(resorted):
    """Every image gets its own answers again: its grey is its number in the original order."""
    _, key = resorted
    assert judgments.available("cifar10h-images")
    loaded = judgments.load("cifar10h-images")
    rows = np.array([int(name.split()[1]) for name in loaded.names])
    np.testing.assert_allclose(loaded.images.images[:, 0, 1, 1], (rows % 251) / 255, atol=1e-6)
    np.testing.assert_array_equal(loaded.images.labels, key["label"][rows])
    assert [name.split()[0] for name in loaded.names] == [judgments._CLASSES[c] for c in key["label"][rows]]
    assert loaded.source.startswith(
        "1 − cosine of people's labels of 200 CIFAR-10 images in a JPEG re-encoding"
    )
    given = judgments.label_distributions()
    a, b = given[rows[7]], given[rows[150]]
    assert squareform(loaded.human)[7, 150] == pytest.approx(1 - a @ b / np.sqrt((a @ a) * (b @ b)))
    assert np.mean(given.argmax(axis=1) == key["label"]) == pytest.approx(0.992, abs=5e-4)


def test_a_wrong_key_to_the_order_is_refused(resorted, own_cache, monkeypatch):
    test, key = resorted
    at_hand, own = store.at_hand, own_cache / "order.npz"
    own.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(store, "at_hand", lambda name: own if "order" in name else at_hand(name))
    np.savez(own, **key | {"label": key["label"][::-1]})
    with pytest.raises(DataError, match=r"order\.npz does not hold 'cifar10-order' as this package knows it"):
        judgments.load("cifar10h-images")
    np.savez(own, label=key["label"])
    with pytest.raises(DataError, match=r"order\.npz is damaged: .*index_in_class"):
        judgments.load("cifar10h-images")
    own.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(DataError, match=r"order\.npz is damaged"):
        judgments.load("cifar10h-images")
    np.savez(own, **key)
    monkeypatch.setattr(stimuli, "load", lambda name, split: test.subset(np.arange(9_999)))
    with pytest.raises(DataError, match=r"cifar10-jpg has not 1,000 test images of each class"):
        judgments.load("cifar10h-images")


@pytest.mark.long
def test_the_real_re_encoding_is_in_the_original_order(real):
    """The picture of a name is that of the archive."""
    loaded = judgments.cifar10h_images(per_class=3)
    assert loaded.images.images.shape == (30, 3, 32, 32)
    assert loaded.images.name == "cifar10-jpg"
    with np.load(real / "cifar10-order" / "test.npz") as file:
        row = int(loaded.names[0].split()[1])
        place = real / "cifar10-jpg.tar"
        member = f"test/{judgments._CLASSES[file['label'][row]]}/{file['index_in_class'][row]:04d}.jpg"
    with tarfile.open(place) as tar, Image.open(tar.extractfile(member)) as picture:
        shown = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    np.testing.assert_array_equal(loaded.images.images[0], shown.transpose(2, 0, 1))


@pytest.mark.long
def test_the_module_loads_without_torch():
    code = "import sys, rarefire.judgments; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_published_types():
    assert judgments.NAMES[0] == "mur"
    assert len(judgments.NAMES) == len(set(judgments.NAMES)) == 10
    assert {f.name for f in dataclasses.fields(Judgments)} >= {"human", "subjects", "halves", "reliability"}
