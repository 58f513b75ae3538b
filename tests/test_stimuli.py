"""Image sets: real digits, real MNIST and CIFAR-10 where a mirror is, folders made here, error messages."""

import concurrent.futures
import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import shutil
import subprocess
import sys
import tarfile
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image, ImageCms
from sklearn.datasets import load_digits

from rarefire import stimuli, store
from rarefire.errors import DataError, InputError, RarefireWarning, UnknownNameError

MNIST_FILES = list(stimuli._MNIST_MD5)


@pytest.fixture
def offline(own_cache, monkeypatch):
    """No mirror, an empty cache, and homes that refuse the connection."""
    from torchvision.datasets import CIFAR10, MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar")


def picture(path, colour, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    for c, name in enumerate(("cat", "dog")):
        for i in range(10):
            picture(tmp_path / "set" / name / f"{i}.png", (100 * c, 10 * i, 7))
    return tmp_path / "set"


def test_digits_are_scikit_learns(rng):
    train, test = stimuli.load("digits", "train"), stimuli.load("digits", "test")
    assert (len(train), len(test)) == (1297, 500)
    assert test.images.dtype == np.float32
    assert test.images.shape == (500, 1, 32, 32)
    assert test.images.min() >= 0
    assert test.images.max() <= 1
    assert test.class_names == tuple("0123456789")
    # Bilinear enlargement by four leaves the mean of every image (almost) as it was: find them all.
    original = load_digits().images.mean(axis=(1, 2)) / 16
    both = np.concatenate([train.images, test.images]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(np.sort(both), np.sort(original), atol=1e-6)


def test_digits_splits_are_disjoint_stratified_and_fixed():
    train, test = stimuli.load("digits", "train"), stimuli.load("digits", "test")
    assert not {i.tobytes() for i in train.images} & {i.tobytes() for i in test.images}
    counts = np.bincount(load_digits().target)
    assert np.abs(np.bincount(test.labels) - 500 * counts / 1797).max() < 1
    assert stimuli.load("digits", "test").digest == test.digest
    assert train.digest != test.digest


def test_mean_and_std_of_digits_are_those_it_says():
    train = stimuli.load("digits", "train")
    assert train.images.mean() == pytest.approx(train.mean[0], abs=0.01)
    assert train.images.std() == pytest.approx(train.std[0], abs=0.01)


def test_images_evenly_over_a_set_that_comes_class_by_class():
    labels = np.repeat(np.arange(5), 20)
    images = np.zeros((100, 1, 2, 2), dtype=np.float32)
    ordered = stimuli.Stimuli("made", "test", images, labels, tuple("abcde"), "here")
    rows = ordered.spread(10)
    assert (rows[0], rows[-1], len(set(rows))) == (0, 99, 10)
    assert np.bincount(labels[rows]).tolist() == [2] * 5
    np.testing.assert_array_equal(ordered.spread(1000), np.arange(100))
    with pytest.raises(InputError, match="n is how many images, at least 1; got 0"):
        ordered.spread(0)


def test_subsets_and_halves():
    test = stimuli.load("digits", "test")
    first, second = test.halves()
    assert len(first) + len(second) == 500
    assert np.abs(np.bincount(first.labels) - np.bincount(second.labels)).max() <= 1
    assert not {i.tobytes() for i in first.images} & {i.tobytes() for i in second.images}
    np.testing.assert_array_equal(test.subset([3, 1]).labels, test.labels[[3, 1]])
    assert "500 images of 1 × 32 × 32, 10 classes" in repr(test)


def test_folder_split_by_seed(folder):
    train, test = (stimuli.load(f"folder:{folder}", split, test_fraction=0.3) for split in stimuli.SPLITS)
    assert (len(train), len(test)) == (14, 6)
    assert np.bincount(test.labels).tolist() == [3, 3]
    assert test.class_names == ("cat", "dog")
    greens = {
        (label, g) for s in (train, test) for label, g in zip(s.labels, s.images[:, 1, 0, 0], strict=True)
    }
    assert len(greens) == 20
    assert stimuli.load(f"folder:{folder}", "test", test_fraction=0.3).digest == test.digest
    assert stimuli.load(f"folder:{folder}", "test", test_fraction=0.3, seed=1).digest != test.digest


def test_a_folder_that_is_not_divided_is_one_set(folder):
    whole = stimuli.load(f"folder:{folder}", "test")
    assert (len(whole), whole.split) == (20, "all")
    assert np.bincount(whole.labels).tolist() == [10, 10]
    assert whole.source == f"images in {folder.name}"
    with pytest.raises(InputError) as refused:
        stimuli.load(f"folder:{folder}", "train")
    assert str(refused.value) == (
        f"{folder} has no train/ and test/. Say test_fraction=0.2 to divide it, or load all of it as 'test'."
    )


def test_what_is_divided_says_so(folder, tmp_path):
    said = (
        f"{folder} has no train/ and test/: 4 of 20 images in {folder.name}, drawn with seed 0, are to test, "
    )
    with pytest.warns(RarefireWarning) as warned:
        train, test = stimuli.splits(f"folder:{folder}")
    assert [str(one.message) for one in warned] == [said + "the other 16 to train."]
    assert (len(train), len(test)) == (16, 4)
    assert test.digest == stimuli.load(f"folder:{folder}", "test", test_fraction=0.2).digest
    assert [stimuli.content_digest(f"folder:{folder}", split) for split in stimuli.SPLITS] == [
        train.digest,
        test.digest,
    ]
    # What has splits of its own is not divided.
    assert [len(part) for part in stimuli.splits("digits")] == [1297, 500]
    for split in stimuli.SPLITS:
        picture(tmp_path / "own" / split / "cat" / "0.png", (255, 0, 0))
    assert [len(part) for part in stimuli.splits(f"folder:{tmp_path / 'own'}")] == [1, 1]
    with pytest.raises(UnknownNameError, match="no image set 'minst'"):
        stimuli.splits("minst")


@pytest.mark.parametrize("names", [("train", "val"), ("Training", "Testing"), ("train",), ("dev", "train")])
def test_splits_are_no_classes(tmp_path, names):
    for name in names:
        picture(tmp_path / name / "cat" / "0.png", (255, 0, 0))
    inside = sorted(names)
    with pytest.raises(InputError) as refused:
        stimuli.load(f"folder:{tmp_path}", "test")
    assert str(refused.value) == (
        f"{tmp_path} is divided into {' and '.join(f'{name}/' for name in inside)}, not into train/ and "
        f"test/. Rename them, or load one of them: folder:{tmp_path / inside[-1]}."
    )
    assert len(stimuli.load(f"folder:{tmp_path / names[0]}", "test")) == 1


def test_folder_with_train_and_test(tmp_path):
    for split, n in (("train", 3), ("test", 2)):
        for i in range(n):
            picture(tmp_path / split / "cat" / f"{i}.png", (255, 0, i))
    loaded = stimuli.load(f"folder:{tmp_path}", "test")
    assert loaded.images.shape == (2, 3, 8, 8)
    assert loaded.images[1, :, 0, 0].tolist() == pytest.approx([1, 0, 1 / 255])


def test_folder_images_of_other_sizes_are_scaled_and_cropped(folder):
    picture(folder / "cat" / "wide.png", (9, 9, 9), size=(60, 20))
    with pytest.raises(InputError, match="differ in size .* Pass size="):
        stimuli.load(f"folder:{folder}", "train", test_fraction=0.1)
    loaded = stimuli.load(f"folder:{folder}", "train", size=14, test_fraction=0.1)
    assert loaded.images.shape[1:] == (3, 14, 14)
    with pytest.raises(InputError, match="resize=10, size=14"):
        stimuli.load(f"folder:{folder}", "train", size=14, resize=10)


def test_scaling_and_cropping_are_torchvisions(tmp_path, rng):
    from torchvision import transforms

    noise = Image.fromarray(rng.integers(0, 256, size=(40, 61, 3), dtype=np.uint8))
    (tmp_path / "test" / "x").mkdir(parents=True)
    (tmp_path / "train" / "x").mkdir(parents=True)
    noise.save(tmp_path / "test" / "x" / "a.png")
    steps = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28), transforms.ToTensor()])
    ours = stimuli.load(f"folder:{tmp_path}", "test", size=28, resize=32).images[0]
    np.testing.assert_allclose(ours, steps(noise).numpy(), atol=1e-6)


def test_real_mnist(mirror, own_cache, monkeypatch):
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    test = stimuli.load("mnist", "test")
    assert test.images.shape == (10000, 1, 28, 28)
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]  # the first test images, as everyone knows them
    assert test.digest == stimuli.content_digest("mnist", "test")
    assert test.images.mean() == pytest.approx(0.1325, abs=1e-3)
    assert stimuli.available("mnist")


def test_real_cifar10_re_encoding(mirror, own_cache, monkeypatch):
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    assert stimuli.cifar10_variant() == "cifar10-jpg"
    test = stimuli.load("cifar10", "test")
    assert test.name == "cifar10-jpg"
    assert "JPEG re-encoding" in test.source
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.class_names[0] == "airplane"
    assert test.digest == stimuli.content_digest("cifar10-jpg", "test")


@pytest.mark.parametrize("name", MNIST_FILES)
def test_a_truncated_mirror_file_is_named(mirror, own_cache, monkeypatch, tmp_path, name):
    raw = tmp_path / "damaged" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for other in MNIST_FILES:
        (raw / other).symlink_to(mirror / "MNIST" / "raw" / other)
    (raw / name).unlink()
    with (mirror / "MNIST" / "raw" / name).open("rb") as whole:
        (raw / name).write_bytes(whole.read(5000))
    monkeypatch.setenv("RAREFIRE_MIRROR", str(tmp_path / "damaged"))
    with pytest.raises(DataError, match=rf"{name} is damaged or truncated \(5,000 bytes"):
        stimuli.load("mnist", "test")
    (raw / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        stimuli.load("mnist", "test")


def test_a_truncated_archive_is_named_and_leaves_nothing(mirror, own_cache, monkeypatch, tmp_path):
    with (mirror / "cifar10-jpg.tar").open("rb") as whole:
        (tmp_path / "cifar10-jpg.tar").write_bytes(whole.read(3_000_000) + b"\1" * 700)
    monkeypatch.setenv("RAREFIRE_MIRROR", str(tmp_path))
    with pytest.raises(DataError, match=r"cifar10-jpg.tar cannot be unpacked"):
        stimuli.load("cifar10-jpg", "test")
    assert not list(own_cache.glob("*"))


def test_many_ask_for_an_archive_at_the_same_time(own_cache, tmp_path):
    """As the book's notebooks do on a fresh machine: one of them unpacks it."""
    names = [f"{number}.txt" for number in range(200)]
    with tarfile.open(tmp_path / "texts.tar", "w") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            tar.addfile(entry, io.BytesIO(name.encode()))
    target, together = own_cache / "texts", threading.Barrier(8)

    def unpack(_: int) -> list[str]:
        together.wait()
        stimuli._extract(tmp_path / "texts.tar", target)
        return sorted((path.name for path in target.iterdir()), key=names.index)

    (own_cache / ".texts.new" / "left").mkdir(parents=True)  # by a killed run
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(unpack, range(8))) == [names] * 8
    assert list(own_cache.iterdir()) == [target]


def test_an_archive_cannot_write_outside_its_folder(own_cache, monkeypatch, tmp_path):
    with tarfile.open(tmp_path / "cifar10-jpg.tar", "w") as tar:
        entry = tarfile.TarInfo("../../escaped.txt")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"bad"))
    monkeypatch.setenv("RAREFIRE_MIRROR", str(tmp_path))
    with pytest.raises(DataError, match="cannot be unpacked"):
        stimuli.load("cifar10-jpg")
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize(("name", "wanted"), [("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py")])
def test_no_network_and_no_mirror_says_what_to_do(offline, name, wanted):
    with pytest.raises(
        DataError, match=rf"(?s)not on this machine.*set RAREFIRE_MIRROR to .*{wanted}.*refused"
    ):
        stimuli.load(name)
    assert not stimuli.available(name)


def test_mnist_is_downloaded_whole_and_goes_on_after_a_failure(mirror, own_cache, monkeypatch, tmp_path):
    """From a real server on this machine, through torchvision's list of files and homes."""
    from torchvision.datasets import MNIST

    home = tmp_path / "home"
    home.mkdir()
    for name in MNIST_FILES:
        packed = gzip.compress((mirror / "MNIST" / "raw" / name).read_bytes(), 1)
        (home / f"{name}.gz").write_bytes(packed)
    listed = [(p.name, store.file_digest(p, algorithm="md5")) for p in sorted(home.iterdir())]
    monkeypatch.setattr(MNIST, "resources", listed)
    handler = functools.partial(QuietServer, directory=str(home))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        last = home / listed[-1][0]
        last.rename(tmp_path / "away")
        with pytest.raises(DataError, match=r"(?s)set RAREFIRE_MIRROR.*404"):
            stimuli.load("mnist")
        assert not stimuli.available("mnist")
        (tmp_path / "away").rename(last)
        assert stimuli.load("mnist").labels[:5].tolist() == [7, 2, 1, 0, 4]
        server.shutdown()
    assert stimuli.available("mnist")
    assert sorted(p.name for p in (own_cache / "MNIST").iterdir()) == ["raw"]


class QuietServer(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_a_damaged_image_is_named(folder):
    (folder / "cat" / "3.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match=r"3\.png cannot be read as an image"):
        stimuli.load(f"folder:{folder}", "train", test_fraction=0.1)


def test_other_errors(folder, tmp_path):
    with pytest.raises(UnknownNameError, match="no image set 'minst'. There are: mnist, "):
        stimuli.load("minst")
    with pytest.raises(UnknownNameError, match="no split 'validation'. There are: train, test"):
        stimuli.load("digits", "validation")
    with pytest.raises(UnknownNameError, match="no image set 'x'"):
        stimuli.available("x")
    with pytest.raises(InputError, match="size is for image folders"):
        stimuli.load("digits", size=64)
    with pytest.raises(DataError, match="is not a folder"):
        stimuli.load(f"folder:{tmp_path / 'none'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="one folder per class"):
        stimuli.load(f"folder:{tmp_path / 'empty'}")
    with pytest.raises(InputError, match="cannot divide 20 images of 2 classes"):
        stimuli.load(f"folder:{folder}", test_fraction=0.01)


def test_the_re_encoding_needs_a_mirror(own_cache):
    with pytest.raises(DataError, match="only read from a local mirror: set RAREFIRE_MIRROR"):
        stimuli.load("cifar10-jpg")


def test_images_and_labels_must_match():
    digits = stimuli.load("digits")
    with pytest.raises(InputError, match=r"images \(500, 1, 32, 32\) and labels \(3,\)"):
        dataclasses.replace(digits, labels=digits.labels[:3])


# --- as people see them --------------------------------------------------------------------------


@pytest.fixture
def colours(rng):
    """A picture (h, w, 3) that no turn or mirror leaves as it is."""
    return rng.integers(0, 256, size=(6, 9, 3), dtype=np.uint8)


def shown(path, **options):
    """One picture as (h, w, 3) bytes, and what is said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (image,) = stimuli.pictures([path], path.parent, size=None, **options)
    assert all(issubclass(warning.category, RarefireWarning) for warning in caught)
    return np.rint(255 * image).astype(np.uint8).transpose(1, 2, 0), [str(w.message) for w in caught]


def said(folder, text, n=1):
    return [f"of {n} pictures in {folder}, shown as people see them: {text}."]


# How a camera stored what is seen, for each value of the tag (EXIF 2.3, table 6).
STORED = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(9))
def test_pictures_are_upright(tmp_path, colours, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = STORED.get(orientation, lambda a: a)(colours)
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    image, warned = shown(tmp_path / "a.png")
    np.testing.assert_array_equal(image, colours)
    assert warned == (said(tmp_path, "1 turned upright (EXIF)") if orientation > 1 else [])


@pytest.mark.parametrize(
    ("background", "colour"), [("white", (255, 255, 255)), ("#102030", (16, 32, 48)), ("black", (0, 0, 0))]
)
def test_transparent_pictures_are_laid_on_a_ground(tmp_path, colours, background, colour):
    alpha = np.zeros(colours.shape[:2], np.uint8)
    alpha[1:4, 2:7] = 255
    hidden = np.where(alpha[..., None] > 0, colours, 0).astype(np.uint8)
    Image.fromarray(np.dstack([hidden, alpha])).save(tmp_path / "a.png")
    image, warned = shown(tmp_path / "a.png", background=background)
    np.testing.assert_array_equal(image, np.where(alpha[..., None] > 0, colours, np.uint8(colour)))
    assert warned == said(tmp_path, f"1 transparent, laid on {background}")
    alpha[:] = 51  # a fifth of the picture, four fifths of the ground
    Image.fromarray(np.dstack([colours, alpha])).save(tmp_path / "b.png")
    mixed = 0.2 * colours + 0.8 * np.array(colour)
    assert np.abs(shown(tmp_path / "b.png", background=background)[0] - mixed).max() <= 1
    with pytest.raises(InputError, match="a colour such as white, grey or #808080; got 'whitish'"):
        stimuli.gallery(tmp_path, size=16, background="whitish")


def linear_profile(kind):
    """An ICC profile with the primaries of sRGB, and values that are amounts of light."""

    def tag(name, content):
        return name + bytes(4) + content + bytes(-len(content) % 4)

    def xyz(*values):
        return tag(b"XYZ ", b"".join(round(v * 65536).to_bytes(4, "big", signed=True) for v in values))

    text = b"linear\0"
    curve = tag(b"curv", (0).to_bytes(4, "big"))  # no points: as it is
    tags = {
        b"desc": tag(b"desc", len(text).to_bytes(4, "big") + text + bytes(78)),
        b"cprt": tag(b"text", b"none\0"),
        b"wtpt": xyz(0.9642, 1, 0.8249),
    }
    if kind == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
        tags |= {b"bXYZ": xyz(0.1431, 0.0606, 0.7141), **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)}
    start, table, content = 132 + 12 * len(tags), len(tags).to_bytes(4, "big"), b""
    for name, held in tags.items():
        table += name + (start + len(content)).to_bytes(4, "big") + len(held).to_bytes(4, "big")
        content += held
    head = bytes(8) + b"\x02\x10\0\0" + b"mntr" + kind + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += xyz(0.9642, 1, 0.8249)[8:] + bytes(48)
    whole = head + table + content
    return len(whole).to_bytes(4, "big") + whole[4:]


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", b"RGB "), ("RGBA", b"RGB "), ("L", b"GRAY"), ("P", b"RGB ")]
)
def test_colours_are_those_of_the_profile(tmp_path, mode, kind):
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    if mode == "L":
        values = values[..., :1].repeat(3, axis=2)
    Image.fromarray(values).convert(mode).save(tmp_path / "a.png", icc_profile=linear_profile(kind))
    stored = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")) / 255
    light = np.where(stored <= 0.0031308, 12.92 * stored, 1.055 * stored ** (1 / 2.4) - 0.055)
    said = r"of 1 pictures in .*: 1 with a colour profile, turned into sRGB by it\."
    with pytest.warns(RarefireWarning, match=said):
        shown = stimuli.pictures([tmp_path / "a.png"], tmp_path, size=None)
    # In 8 bits, the darkest greys are coarse.
    atol = (8 if mode == "L" else 2.5) / 255
    np.testing.assert_allclose(shown[0].transpose(1, 2, 0), light, atol=atol)


def test_what_a_profile_does_not_change_keeps_its_digest(tmp_path):
    plain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    shown = []
    for name, profile in (("a", None), ("b", usual), ("c", b"no profile at all")):
        place = tmp_path / name
        place.mkdir()
        plain.save(place / "a.png", icc_profile=profile)
        shown.append(stimuli.pictures([place / "a.png"], place, size=None))
    np.testing.assert_array_equal(shown[1], shown[0])
    np.testing.assert_array_equal(shown[2], shown[0])


def test_pictures_of_other_kinds_are_read_or_counted(folder):
    plain = Image.new("RGB", (8, 8), (1, 2, 3))
    plain.save(folder / "cat" / "x.jfif", "jpeg")
    plain.save(folder / "cat" / "y.gif")
    assert len(stimuli.load(f"folder:{folder}", "test")) == 22  # as many as of a gallery
    assert len(stimuli.gallery(folder, size=8)) == 22
    (folder / "cat" / "z.HEIC").write_bytes(b"what a telephone writes")
    said = rf"in {folder / 'cat'}, 1 pictures are of kinds that are not read \('z.HEIC'\) and left out"
    with pytest.warns(RarefireWarning, match=said):
        assert len(stimuli.load(f"folder:{folder}", "test")) == 22
    with pytest.warns(RarefireWarning, match=said):
        assert len(stimuli.gallery(folder, size=8)) == 22


def test_other_ways_to_be_transparent(tmp_path):
    grey = np.arange(54, dtype=np.uint8).reshape(6, 9)
    white = np.where(grey == 7, 255, grey)
    Image.fromarray(grey).save(tmp_path / "grey.png", transparency=7)
    palette = Image.fromarray(grey).convert("P")
    palette.save(tmp_path / "palette.gif", transparency=7)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.png", transparency=7 * 257)
    for name in ("grey.png", "palette.gif", "deep.png"):
        image, warned = shown(tmp_path / name)
        np.testing.assert_array_equal(image, np.repeat(white[..., None], 3, axis=2), err_msg=name)
        assert "1 transparent, laid on white" in warned[0]


def test_deep_pictures_are_scaled_by_their_depth(tmp_path, rng):
    grey = rng.integers(0, 256, size=(6, 9), dtype=np.uint8)
    grey.flat[:2] = 0, 255
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.tif")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "unit.tif")
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "bytes.tif")
    (tmp_path / "16.pgm").write_bytes(b"P5 9 6 65535\n" + (grey.astype(">u2") * 257).tobytes())
    for name in ("16.png", "16.tif", "unit.tif", "bytes.tif", "16.pgm"):
        image, warned = shown(tmp_path / name)
        np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2), err_msg=name)
        assert warned == said(tmp_path, "1 of more than 8 bits, scaled to 8")
    Image.fromarray(np.full((3, 3), 1.5, np.float32)).save(tmp_path / "hdr.tif")
    Image.fromarray(np.full((3, 3), 70_000, np.int32)).save(tmp_path / "32.tif")
    with pytest.raises(
        DataError, match="values run from 1.5 to 1.5, so that white is not known; save it with"
    ):
        shown(tmp_path / "hdr.tif")
    with pytest.raises(DataError, match="integers of 32 bits, so that white is not known"):
        shown(tmp_path / "32.tif")


def test_what_is_said_is_counted_once(tmp_path, colours):
    exif = Image.Exif()
    exif[0x0112] = 3
    for i in range(3):
        Image.fromarray(colours).save(tmp_path / f"plain{i}.png")
        Image.fromarray(colours).save(tmp_path / f"turned{i}.png", exif=exif)
    opaque = np.full(colours.shape[:2], 255, np.uint8)
    Image.fromarray(np.dstack([colours, opaque])).save(tmp_path / "opaque.png")
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "print.jpg")
    frames = [Image.fromarray(np.roll(colours, i, axis=0)).quantize() for i in range(3)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    found = stimuli.gallery(tmp_path, size=6, resize=6)
    text = (
        "3 turned upright (EXIF); 1 in the colours of print (CMYK), turned into RGB without their profile; "
        "1 of several frames, of which the first is taken"
    )
    with pytest.warns(RarefireWarning) as caught:
        one_by_one = np.concatenate([found[i : i + 1] for i in range(len(found))])
    assert [str(warning.message) for warning in caught] == said(tmp_path, text, n=9)
    np.testing.assert_array_equal(one_by_one, found[:])  # and now nothing more is said


def test_plain_pictures_keep_their_digest_and_changed_ones_have_another(tmp_path, colours):
    """As it was before pictures were looked at; a turned one was seen otherwise then."""
    Image.fromarray(colours).save(tmp_path / "a.png")
    alone = hashlib.sha256(b"8 None" + f"a.png {store.file_digest(tmp_path / 'a.png')}".encode())
    assert stimuli.gallery(tmp_path, size=8).digest == alone.hexdigest()
    assert stimuli.gallery(tmp_path, size=8, background="black").digest == alone.hexdigest()
    Image.fromarray(np.dstack([colours, colours[..., 0]])).save(tmp_path / "b.png")
    on_white = stimuli.gallery(tmp_path, size=8)
    alone.update(f"b.png {store.file_digest(tmp_path / 'b.png')}".encode())
    assert on_white.digest != alone.hexdigest()
    assert stimuli.gallery(tmp_path, size=8, background="black").digest != on_white.digest


# --- galleries -----------------------------------------------------------------------------------


def noise(path, rng, size=(20, 24), mode="RGB"):
    """Save a picture of so many pixels across and down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode).save(path)


@pytest.fixture
def pictures(tmp_path, rng):
    """Six pictures of several sizes and kinds, in folders and folders in them, beside what is none."""
    root = tmp_path / "gallery"
    noise(root / "b.png", rng, (40, 30))
    noise(root / "a" / "z.PNG", rng, (20, 50))
    noise(root / "a" / "inner" / "k.jpeg", rng, (18, 18))
    noise(root / "c" / "1.bmp", rng, (33, 21), "L")
    noise(root / "c" / "10.png", rng, (64, 64), "RGBA")
    noise(root / "c" / "2.gif", rng, (25, 90), "P")
    noise(root / ".hidden.png", rng)
    noise(root / ".folder" / "x.png", rng)
    noise(root / "c" / ".x.png", rng)
    (root / "c" / "notes.txt").write_text("no picture")
    (root / "README").write_text("no picture")
    (root / "empty.png").mkdir()
    return root


def test_a_gallery_lists_all_pictures_by_name(pictures):
    found = stimuli.gallery(pictures, size=16)
    listed = [file.relative_to(pictures).as_posix() for file in found.files]
    assert listed == ["a/inner/k.jpeg", "a/z.PNG", "b.png", "c/1.bmp", "c/2.gif", "c/10.png"]
    assert found.names == ("a/inner", "a", "b", "c", "c", "c")
    assert len(found) == 6
    assert (found.root, found.size, found.resize) == (pictures, 16, None)
    assert stimuli.gallery(str(pictures), size=16).files == found.files


def by_hand(path, scaled, corner):
    """A picture of so many pixels across and down, and 16 × 16 of them from a corner."""
    left, top = corner
    with Image.open(path) as opened:
        image = opened.convert("RGB").resize(scaled, Image.Resampling.BILINEAR)
    return np.asarray(image.crop((left, top, left + 16, top + 16))).transpose(2, 0, 1) / np.float32(255)


@pytest.mark.parametrize(
    ("resize", "scaled", "corners"),
    [
        # The shorter side of 40 × 30, 33 × 21 and 25 × 90 becomes 16 · 256 / 224, rounded: 18.
        (None, [(24, 18), (28, 18), (18, 64)], [(4, 1), (6, 1), (1, 24)]),
        (16, [(21, 16), (25, 16), (16, 57)], [(2, 0), (4, 0), (0, 20)]),
        (30, [(40, 30), (47, 30), (30, 108)], [(12, 7), (15, 7), (7, 46)]),
    ],
)
def test_a_gallery_reads_what_is_asked_for(pictures, resize, scaled, corners):
    found = stimuli.gallery(pictures, size=16, resize=resize)
    three = [found.files[i] for i in (2, 3, 4)]
    expected = np.stack([by_hand(*each) for each in zip(three, scaled, corners, strict=True)])
    read = found[[4, 2, 3]]
    assert (read.shape, read.dtype) == ((3, 3, 16, 16), np.float32)
    assert read.min() >= 0
    assert read.max() <= 1
    np.testing.assert_array_equal(read, expected[[2, 0, 1]])
    np.testing.assert_array_equal(found[2:4], expected[:2])
    np.testing.assert_array_equal(found[np.array([2, 2])], expected[[0, 0]])
    assert found[1:100].shape == (5, 3, 16, 16)
    assert found[6:].shape == found[[]].shape == (0, 3, 16, 16)
    assert read[2].std(axis=0).max() < 1e-6  # a grey one


def test_pictures_are_read_when_they_are_asked_for(pictures):
    found = stimuli.gallery(pictures, size=16)
    (pictures / "c" / "10.png").write_bytes(b"\x89PNG broken")
    assert found[0:4].shape == (4, 3, 16, 16)
    with pytest.raises(DataError, match=r"10\.png cannot be read as an image"):
        found[4:]


def test_a_gallerys_digest_is_of_names_content_and_size(pictures, tmp_path, rng):
    digest = stimuli.gallery(pictures, size=16).digest
    moved = tmp_path / "elsewhere" / "pictures"
    shutil.copytree(pictures, moved)
    (moved / "c" / "notes.txt").write_text("changed")
    assert stimuli.gallery(moved, size=16).digest == digest
    others = [stimuli.gallery(moved, size=17), stimuli.gallery(moved, size=16, resize=18)]
    seen = {digest, *(other.digest for other in others)}
    (moved / "b.png").rename(moved / "bb.png")
    seen.add(stimuli.gallery(moved, size=16).digest)
    (moved / "bb.png").rename(moved / "c" / "b.png")
    seen.add(stimuli.gallery(moved, size=16).digest)
    (moved / "c" / "b.png").rename(moved / "b.png")
    (moved / "c").rename(moved / "d")  # the same files in the same order
    seen.add(stimuli.gallery(moved, size=16).digest)
    (moved / "d").rename(moved / "c")
    assert stimuli.gallery(moved, size=16).digest == digest
    noise(moved / "b.png", rng, (40, 30))
    seen.add(stimuli.gallery(moved, size=16).digest)
    (moved / "b.png").unlink()
    seen.add(stimuli.gallery(moved, size=16).digest)
    assert len(seen) == 8


KINDS = {
    "n02085620_Chihuahua": "dogs",  # the first
    "n02113978_Mexican_hairless": "dogs",  # the last
    "n02114367_timber_wolf": None,
    "n02085619_none": None,
    "n01514668_cock": "birds",  # the first and the last of three kinds
    "n01622779_great_grey_owl": "birds",
    "n01629819_European_fire_salamander": None,
    "n01795545_black_grouse": "birds",
    "n01860187_black_swan": "birds",
    "n01871265_tusker": None,
    "n02002556_white_stork": "birds",
    "n02058221_albatross": "birds",
    "n02066245_grey_whale": None,
    "n04557648_water_bottle": None,
    "dogs": None,
    "ILSVRC2012_val_02085620": None,
}


@pytest.mark.parametrize("form", ["{0}/{0}.jpg", "{0}/x.JPEG", "{0}.JPEG", "val/{0}/x.png", "number"])
def test_kinds_are_told_by_wordnet_numbers(tmp_path, form):
    for name in KINDS:
        short = name.split("_")[0] + "/x.JPEG"
        picture(tmp_path / (short if form == "number" else form.format(name)), (9, 9, 9))
    found = stimuli.gallery(tmp_path, size=8)
    listed = sorted(name.split("_")[0] for name in KINDS) if form == "number" else sorted(KINDS)
    assert [name.removeprefix("val/") for name in found.names] == listed
    kinds = {name.split("_")[0] if form == "number" else name: kind for name, kind in KINDS.items()}
    for kind in stimuli.WORDNET:
        inside = found.within(kind)
        assert inside.dtype == bool
        assert inside.tolist() == [kinds[name] == kind for name in listed]


def test_the_real_gallery(mirror, own_cache, monkeypatch):
    """One picture of each ImageNet class, in the order of the classes: there, dogs are 151 to 268."""
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    assert stimuli.gallery_root() == mirror / "imagenet-sample"
    found = stimuli.gallery(size=64)
    assert len(found) == len(set(found.names)) == 1000
    assert found.names[207].endswith("golden_retriever")
    assert np.flatnonzero(found.within("dogs")).tolist() == [*range(151, 269)]
    birds = [*range(7, 25), *range(80, 101), *range(127, 147)]
    assert np.flatnonzero(found.within("birds")).tolist() == birds
    assert (found.within("dogs").sum(), found.within("birds").sum()) == (118, 59)
    read = found[[207, 0, 999]]
    assert read.shape == (3, 3, 64, 64)
    assert (read.std(axis=(1, 2, 3)) > 0.05).all()


def test_a_gallery_in_the_cache_is_found(own_cache, monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"no gallery on this machine.*git clone https://\S+ '(.*)'") as error:
        stimuli.gallery(size=8)
    assert str(error.value).endswith(f"'{own_cache / 'imagenet-sample'}'")
    assert stimuli.gallery_root() is None
    picture(own_cache / "imagenet-sample" / "n01440764_tench.JPEG", (9, 9, 9))
    assert stimuli.gallery_root() == own_cache / "imagenet-sample"
    assert stimuli.gallery(size=8).names == ("n01440764_tench",)
    picture(tmp_path / "mirror" / "imagenet-sample" / "n02085620" / "x.png", (9, 9, 9))
    monkeypatch.setenv("RAREFIRE_MIRROR", str(tmp_path / "mirror"))
    assert stimuli.gallery(size=8).names == ("n02085620",)  # the mirror comes first


def test_errors_of_galleries(pictures, tmp_path):
    with pytest.raises(UnknownNameError, match="no kind 'cats'. There are: dogs, birds"):
        stimuli.gallery(pictures, size=16).within("cats")
    with pytest.raises(DataError, match="there is no folder .*none"):
        stimuli.gallery(tmp_path / "none", size=16)
    with pytest.raises(DataError, match=r"there is no folder .*b\.png"):
        stimuli.gallery(pictures / "b.png", size=16)
    (tmp_path / "bare" / "inner").mkdir(parents=True)
    (tmp_path / "bare" / "inner" / "x.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"bare and its folders hold no pictures \(\.png, \.jpg"):
        stimuli.gallery(tmp_path / "bare", size=16)


def test_a_gallery_takes_masks_and_leaves_hidden_folders_out(pictures):
    whole = stimuli.gallery(pictures, size=16)
    mask = np.arange(len(whole)) % 2 == 1
    np.testing.assert_array_equal(whole[mask], whole[np.flatnonzero(mask)])
    hidden = pictures / ".thumbnails" / "large"
    hidden.mkdir(parents=True)
    (hidden / "a.png").write_bytes(whole.files[0].read_bytes())
    assert stimuli.gallery(pictures, size=16).files == whole.files
    with pytest.raises(InputError, match="resize must be at least size; got 15 and 16"):
        stimuli.gallery(pictures, size=16, resize=15)


def test_pictures_for_networks_of_227_pixels_are_scaled_to_256(pictures):
    assert stimuli.gallery(pictures, size=227).resize == 256
    assert (
        stimuli.gallery(pictures, size=227).digest == stimuli.gallery(pictures, size=227, resize=256).digest
    )
    assert stimuli.gallery(pictures, size=224).resize is None  # size × 256 / 224


def test_light_is_added_to_whole_images(rng):
    digits = stimuli.load("digits", "test")
    lit = stimuli.with_luminance(digits, strength=3.0, rng=np.random.default_rng(7))
    light = np.random.default_rng(7).uniform(0, 3, 500)
    expected = [(image.astype(np.float64) + u) / 4 for image, u in zip(digits.images, light, strict=True)]
    np.testing.assert_allclose(lit.images, expected, rtol=1e-6)
    assert lit.images.dtype == np.float32
    assert 0 <= lit.images.min() < lit.images.max() <= 1
    assert lit.digest != digits.digest
    assert (lit.name, lit.mean, lit.std) == (digits.name, digits.mean, digits.std)
    assert (lit.split, len(lit)) == ("test, lit", 500)
    assert "brightened" in lit.source
    np.testing.assert_array_equal(lit.labels, digits.labels)
    # Without light there is nothing to divide by; white in full light is white.
    np.testing.assert_array_equal(stimuli.with_luminance(digits, strength=0, rng=rng).images, digits.images)
    white = dataclasses.replace(digits, images=np.ones_like(digits.images))
    assert stimuli.with_luminance(white, strength=0.3, rng=rng).images.max() <= 1


@pytest.mark.parametrize("strength", [-1, -0.1])
def test_light_that_is_none(strength, rng):
    digits = stimuli.load("digits", "test")
    with pytest.raises(InputError, match="strength is the largest amount of light to add, at least 0; got"):
        stimuli.with_luminance(digits, strength=strength, rng=rng)
    with pytest.raises(InputError, match=r"rng is a numpy\.random\.Generator; got int"):
        stimuli.with_luminance(digits, strength=1, rng=3)


def leave_behind(folder):
    """What systems leave in folders, at every level."""
    for place in [folder, *(f for f in folder.rglob("*") if f.is_dir())]:
        (place / ".DS_Store").write_bytes(bytes(20))
        (place / "._a.png").write_bytes(b"\x00\x05\x16\x07" + bytes(60))
        for name in (".ipynb_checkpoints", "__MACOSX"):
            (place / name).mkdir()
            (place / name / "a-checkpoint.png").write_bytes(b"no picture")


@pytest.mark.parametrize("deep", [False, True])
def test_what_systems_leave_in_folders_is_skipped_alike(folder, deep):
    def seen():
        whole = [
            stimuli.load(f"folder:{folder}", split, size=8, test_fraction=0.2) for split in ("train", "test")
        ]
        shown = stimuli.gallery(folder, size=8)
        named = [file.name for f in sorted(folder.iterdir()) if f.is_dir() for file in stimuli.image_files(f)]
        return [w.digest for w in whole], [w.class_names for w in whole], shown.files, shown.digest, named

    before = seen()
    leave_behind(next(f for f in folder.iterdir() if f.is_dir()) if deep else folder)
    after = seen()
    assert after[:4] == before[:4]
    assert [name for name in after[4] if name != "a-checkpoint.png"] == before[4]


def test_a_class_of_hidden_files_alone_is_named(folder):
    (folder / "zoo").mkdir()
    (folder / "zoo" / "._a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="the folder zoo holds no images, only hidden files"):
        stimuli.load(f"folder:{folder}", "test")


@pytest.mark.parametrize("shape", [(60_000, 1), (1, 60_000)])
def test_a_line_of_pixels_takes_no_more_memory_than_its_middle(tmp_path, shape):
    long = np.zeros((*shape[::-1], 3), np.uint8)
    long.reshape(-1, 3)[29_500:30_500] = 255  # its middle
    Image.fromarray(long).save(tmp_path / "line.png")
    code = (
        "import resource, sys; from rarefire import stimuli; from PIL import Image; import numpy as np\n"
        "taken = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, shown = taken(), stimuli.gallery(sys.argv[1], size=64)[:]\n"
        "print(shown.shape == (1, 3, 64, 64) and (shown == 1).all(), taken() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    white, kibibytes = done.stdout.split()
    assert white == "True"
    assert int(kibibytes) < 100_000  # scaled whole, it would be 1.3 million


def test_an_image_is_cut_before_it_is_scaled_only_where_it_is_very_long(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (6, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "long.png")
    cut = stimuli.gallery(tmp_path, size=16)[:]
    monkeypatch.setattr(stimuli, "_LONG", 60)
    np.testing.assert_allclose(stimuli.gallery(tmp_path, size=16)[:], cut, atol=0.02)


def test_pictures_of_too_many_pixels_are_named(tmp_path, monkeypatch):
    Image.new("1", (40, 30), 1).save(tmp_path / "scan.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    with pytest.raises(
        DataError, match=r"scan\.png has 1,200 pixels, more than is safe to open: scale it down"
    ):
        stimuli.gallery(tmp_path, size=8)[:]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with pytest.warns(RarefireWarning, match=r"scan\.png has 40 × 30 pixels"):
        assert stimuli.gallery(tmp_path, size=8)[:].shape == (1, 3, 8, 8)


@pytest.fixture
def stored(tmp_path):
    """A gallery of seventy pictures, and the same in a zarr store."""
    rng = np.random.default_rng(5)
    for i in range(70):
        place = tmp_path / "pictures" / ("cats" if i % 2 else "dogs") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(place)
    gallery = stimuli.gallery(tmp_path / "pictures", size=8)
    return gallery, stimuli.save_gallery(tmp_path / "pictures.zarr", gallery)


def test_a_gallery_in_a_zarr_store_is_the_same(stored, tmp_path):
    gallery, kept = stored
    assert (len(kept), kept.size, kept.paths, kept.names) == (70, 8, gallery.paths, gallery.names)
    np.testing.assert_array_equal(kept[:], gallery[:])
    for rows in (slice(60, 68), [69, 3, 3], np.arange(70) % 7 == 0, [], [-1]):
        np.testing.assert_array_equal(kept[rows], gallery[rows])
    for address in (f"file://{tmp_path}/pictures.zarr", Path(f"file://{tmp_path}/pictures.zarr")):
        np.testing.assert_array_equal(stimuli.gallery(address)[5:9], gallery[5:9])
    remote = stimuli.save_gallery(f"memory://{tmp_path}/pictures.zarr", gallery)
    np.testing.assert_array_equal(remote[5:9], gallery[5:9])
    assert kept.digest == remote.digest != gallery.digest


def test_parts_of_galleries(stored):
    for whole in stored:
        part = whole.part(slice(10, 20)).part(slice(2, None))
        assert part.paths == whole.paths[12:20]
        np.testing.assert_array_equal(part[:], whole[12:20])
        np.testing.assert_array_equal(part[3:5], whole[15:17])
        assert part.digest != whole.digest
        with pytest.raises(InputError, match="consecutive pictures; got every 2"):
            whole.part(slice(0, 10, 2))


def test_stores_that_are_no_galleries(stored, tmp_path):
    pixels = np.zeros((4, 8, 8, 3), np.uint8)

    def keep(data, **attributes):
        zarr.create_array(str(tmp_path / "G.zarr"), data=data, attributes=attributes, overwrite=True)
        return tmp_path / "G.zarr"

    assert stimuli.gallery(keep(pixels)).paths == ("0", "1", "2", "3")
    assert stimuli.gallery(keep(pixels), size=8).size == 8
    with pytest.raises(InputError, match=r"pictures in G.zarr are 8 × 8, and are taken as they are.* size=6"):
        stimuli.gallery(tmp_path / "G.zarr", size=6)
    with pytest.raises(InputError, match=r"no gallery: expected .*uint8; got \(4, 3, 8, 8\), uint8. Its ch"):
        stimuli.gallery(keep(pixels.transpose(0, 3, 1, 2)))
    for other in (pixels / 255, pixels[0], pixels[:, :6], pixels[:0]):
        with pytest.raises(InputError, match="G.zarr is no gallery: expected pictures"):
            stimuli.gallery(keep(other))
    for names in (["a", "b"], ["a", "a", "b", "c"], 7):
        with pytest.raises(InputError, match="its attribute names is to be a list of 4 different names"):
            stimuli.gallery(keep(pixels, names=names))
    with pytest.raises(InputError, match="a path in its gallery; got '/a'"):
        stimuli.gallery(keep(pixels, names=["/a", "b", "c", "d"]))
    with pytest.raises(DataError, match="another array is there"):
        stimuli.save_gallery(tmp_path / "G.zarr", stored[0])
