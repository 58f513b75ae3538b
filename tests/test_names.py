"""Names of images: their order, their spellings, and which is which."""

import unicodedata

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from rarefire import files, names, ratings, rdm
from rarefire.errors import InputError


def align(own, other, **options):
    n = len(own or other)
    return names.align(own, other, n_images=n, own_file="in/E.npy", other_file="in/R.csv", **options)


def test_numbers_in_names_count_as_numbers():
    ordered = ["1", "2", "10", "a/2", "a/10", "a b/1", "b/1", "img01", "img1", "img2", "img10", "img10b"]
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert sorted(rng.permutation(ordered).tolist(), key=names.natural) == ordered
    assert names.natural("é")[:1] == names.natural("e\u0301")[:1]
    assert names.natural("a" + "9" * 10_000) > names.natural("a" + "8" * 10_000)  # no number is too long


SPELLINGS = {
    "as it is": (lambda name: name, "aligned by name"),
    "without extension": (lambda name: name.rsplit(".", 1)[0], "aligned by name, whatever the extension"),
    "another extension": (lambda name: name[:-3] + "JPG", "aligned by name, whatever the extension"),
    "capitals": (str.upper, "aligned by name, whatever the capitals"),
    "decomposed": (lambda name: unicodedata.normalize("NFD", name), "aligned by name"),
    "no folders": (lambda name: name.split("/")[-1], "aligned by name, whatever the folders"),
    "more folders": (lambda name: f"C:\\stimuli\\{name}", "aligned by name, whatever the folders"),
    "all": (
        lambda name: unicodedata.normalize("NFD", name.split("/")[-1][:-4].upper()),
        "aligned by name, whatever the extension and capitals and folders",
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_names_in_another_order_and_spelling_are_found(spelling, rng):
    """And from both sides."""
    spell, how = SPELLINGS[spelling]
    own = [f"set {i % 3}/café {i}.png" for i in range(30)]
    for _ in range(20):
        order = rng.permutation(30)
        other = [spell(own[i]) for i in order]
        found = align(own, other)
        assert found.how == how
        np.testing.assert_array_equal(order[found.rows], np.arange(30))
        np.testing.assert_array_equal(align(other, own).rows, order)


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [
        (
            None,
            ["a", "b"],
            r"R\.csv names its images, E\.npy does not: write .* into E\.names\.txt, .*by-position",
        ),
        (["a", "b"], None, r"E\.npy has names \(E\.names\.txt\), R\.csv has none: give it names, or match"),
        (["a", "b"], ["1", "2"], r"R\.csv has none"),
        (["a", "b"], ["V1", "V2"], r"R\.csv has none"),
        (["a", "b"], ["a", "c"], r"R\.csv lacks 1 of 2 \('b'\) and E\.npy lacks 1 of 2 \('c'\)"),
        (["a", "b"], ["a", "b", "c"], r"differ: E\.npy lacks 1 of 3 \('c'\)"),
        (["a", "b", "c"], ["a", "b"], r"differ: R\.csv lacks 1 of 3 \('c'\)"),
        (["cats/a", "cats/b"], ["dogs/a", "dogs/b"], r"lacks 2 of 2"),
        (["x/a", "y/a"], ["a", "b"], "the name 'a' fits several images"),
        (["a", "A"], ["a", "b"], "the name 'a' fits several images"),
        (["cat", "b"], ["Cat", "CAT"], "the name 'cat' fits several images"),
        (["a", "a"], ["a", "b"], r"E\.names\.txt has two images called 'a'"),
        (["a", "b"], ["a", "a"], r"R\.csv has two images called 'a'"),
    ],
)
def test_what_cannot_be_matched_is_refused_unless_asked_for(own, other, message):
    with pytest.raises(InputError, match=message):
        align(own, other)
    found = align(own, other, by_position=True)
    assert found.how == "by position, as asked for"
    np.testing.assert_array_equal(found.rows, np.arange(len(own or other)))


def test_without_names_it_is_by_position_and_said():
    for other in (None, ["0", "1", "2"]):
        found = names.align(None, other, n_images=3, own_file="E.npy", other_file="R.csv")
        assert found.how == "by position: neither has names"
        np.testing.assert_array_equal(found.rows, [0, 1, 2])
    # Numbers are names where they are those of images.
    np.testing.assert_array_equal(align(["2.png", "1.png"], ["1", "2"]).rows, [1, 0])


def test_random_names_are_never_matched_wrongly(rng):
    """Names from few letters, so that they clash: what is matched is the same name; the rest is refused."""
    letters, refused = ["a", "A", "b", "1", "/", ".png", ".jpg", "é", "e\u0301"], 0
    for _ in range(2000):
        own, other = (
            ["".join(rng.choice(letters, rng.integers(1, 4))) for _ in range(rng.integers(2, 5))]
            for _ in "ab"
        )
        if rng.random() < 0.7:
            other = rng.permutation(own).tolist()
        try:
            found = align(own, other)
        except InputError:
            refused += 1
            continue
        assert sorted(found.rows) == list(range(len(own)))
        for a, b in zip(own, [other[i] for i in found.rows], strict=True):
            plain = [unicodedata.normalize("NFC", name).casefold() for name in (a, b)]
            plain = [name.removesuffix(".png").removesuffix(".jpg").split("/")[-1] for name in plain]
            stems = [name.replace(".png", "").replace(".jpg", "") for name in plain]
            assert stems[0] == stems[1], (own, other)
    assert 100 < refused < 1900


def test_names_beside_an_embedding(tmp_path):
    path = tmp_path / "E.v2.npy"
    np.save(path, np.eye(2))
    assert names.beside(path) == tmp_path / "E.v2.names.txt"
    assert names.kept(path) is None
    assert files.read(path).names is None
    names.beside(path).write_text("\ufeffa b.png\r\nc\u2028d.png\r\n", encoding="utf-8")
    assert names.kept(path) == names.beside(path)
    assert files.read(path).names == ("a b.png", "c\u2028d.png")
    np.save(path, np.ones((4, 5)))
    with pytest.raises(
        InputError, match=r"E\.v2\.names\.txt names 2 images, E\.v2\.npy is 4 × 5\. Write it again"
    ):
        files.read(path)


def test_names_that_thingsvision_writes(tmp_path):
    np.save(tmp_path / "features.npy", np.eye(2))
    np.save(tmp_path / "other.npy", np.eye(2))
    (tmp_path / "file_names.txt").write_text("b/2.png\na/1.png\n")
    assert files.read(tmp_path / "features.npy").names == ("b/2.png", "a/1.png")
    assert files.read(tmp_path / "other.npy").names is None


@pytest.mark.parametrize("kind", ["npz", "csv", "mat", "h5", "pt"])
def test_names_beside_features_of_every_kind_that_thingsvision_writes(tmp_path, kind):
    values, path = np.arange(6.0).reshape(3, 2), tmp_path / f"features.{kind}"
    if kind == "npz":
        np.savez(path, features=values)
    elif kind == "csv":
        np.savetxt(path, values, delimiter=",")
    elif kind == "mat":
        scipy.io.savemat(path, {"features": values})
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["features"] = values
    else:
        torch.save(torch.from_numpy(values), path)
    (tmp_path / "file_names.txt").write_text("c.png\na.png\nb.png\n")
    found = files.read(path)
    np.testing.assert_array_equal(found.values, values)
    assert found.names == ("c.png", "a.png", "b.png")


def test_names_in_an_archive_and_beside_it_agree(tmp_path):
    path = tmp_path / "E.npz"
    np.savez(path, E=np.ones((3, 4)), names=np.array(["a", "b", "c"]))
    names.beside(path).write_text("a\nb\nc\n")
    assert files.read(path).names == ("a", "b", "c")
    names.beside(path).write_text("a\nc\nb\n")
    with pytest.raises(InputError, match=r"images in E\.npz and in E\.names\.txt differ: remove one of them"):
        files.read(path)


def test_names_that_no_line_holds():
    names.check_writable(["a b\v.png", "é"])
    with pytest.raises(InputError, match=r"the picture 'a\\nb.png' has a line break in its name. Rename it"):
        names.check_writable(["a\nb.png"])
    with pytest.raises(InputError, match=r"the name of the picture 'a\\udcff' is no UTF-8. Rename it"):
        names.check_writable(["a\udcff"])


def test_names_of_a_matrix():
    assert names.of_matrix(None, None, "m.csv") is None
    assert names.of_matrix(["a", "b"], None, "m.csv") == ["a", "b"]
    assert names.of_matrix(["0", "1"], ["a", "b"], "m.csv") == ["a", "b"]
    assert names.of_matrix(["V1", "V2"], ["1", "2"], "m.csv") == ["V1", "V2"]
    with pytest.raises(InputError, match="number 2 is 'b' and 'c'. Put both in one order"):
        names.of_matrix(["a", "b"], ["a", "c"], "m.csv")
    with pytest.raises(InputError, match=r"m\.csv has two images called 'a'"):
        names.of_matrix(["a", "a"], None, "m.csv")
    assert names.are_numbers(["1", "2"])
    assert names.are_numbers(["X1", "X2"])
    assert not names.are_numbers(["2", "1"])
    assert not names.are_numbers(None)
    assert names.listed(["a"] * 11).endswith("'a', …")


def test_a_name_is_looked_up_in_the_strictest_spelling_that_finds_any():
    index = names.Index(["a/cat.png", "b/cat.png", "dog.png", "Dog.png", "emu.jpg"])
    assert index.find("a/cat.png") == ({0}, "")
    assert index.find("b/cat") == ({1}, "extension")
    assert index.find("cat.png") == ({0, 1}, "folders")
    assert index.find("dog.png") == ({2}, "")
    assert index.find("DOG.png") == ({2, 3}, "capitals")
    assert index.find("x/EMU.gif") == ({4}, "extension and capitals and folders")
    assert index.find("cow") == (set(), "")


def test_addresses_and_numbers_of_other_lengths():
    """As experiments in browsers keep names; and as a spreadsheet loses zeros, which is not guessed."""
    own = ["set/cat 1.png", "set/dog.png"]
    theirs = ["https://lab.example/img/set/dog.png?v=2", "https://lab.example/img/set/cat%201.png"]
    matched = align(own, theirs)
    assert (matched.rows.tolist(), matched.how) == ([1, 0], "aligned by name, whatever the folders")
    with pytest.raises(InputError, match=r"lacks 2 of 3 \('001', '002'\)"):
        align(["001", "002", "100"], ["1", "2", "100"])


def test_too_many_images_are_refused_before_memory_is_taken(tmp_path):
    names.check_pairs(32_768, "x.csv")
    said = (
        "x.csv has 60,000 images: all their pairs would take 53.6 GiB, and 8 are the most. Keep some of the "
        "images."
    )
    with pytest.raises(InputError) as refused:
        names.check_pairs(60_000, "x.csv", copies=2)
    assert str(refused.value) == said
    lines = "".join(f"a{i},a{i + 1},1\n" for i in range(59_999))
    (tmp_path / "x.csv").write_text(f"image1,image2,rating\n{lines}")
    with pytest.raises(InputError) as refused:
        ratings.read(tmp_path / "x.csv")
    assert str(refused.value) == said
    # A matrix of as many, of which a file system keeps only where it has been written.
    matrix = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (60_000, 60_000))
    del matrix
    with pytest.raises(InputError, match=r"x\.npy has 60,000 images: all their pairs would take 80\.5 GiB"):
        rdm.read(tmp_path / "x.npy")
