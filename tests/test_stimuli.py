"""Image sets: real digits, real MNIST and CIFAR-10 where a mirror is, folders made here, error messages."""

import dataclasses
import functools
import gzip
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from rarefire import stimuli, store
from rarefire.errors import DataError, InputError, UnknownNameError

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
