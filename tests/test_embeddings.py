"""Embeddings: hooks that in-place ReLUs cannot fool, streaming, files that grow, error messages."""

import functools
import io
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

from rarefire import embeddings, networks, poz, stimuli
from rarefire.errors import DataError, InputError, RarefireWarning, UnknownNameError


@pytest.fixture
def images(rng):
    return rng.normal(size=(11, 1, 4, 4)).astype(np.float32)


def network(*, inplace):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.ReLU(inplace=inplace),
            nn.Flatten(),
            nn.Linear(12, 6),
            nn.ReLU(inplace=inplace),
            nn.Dropout(),
            nn.Linear(6, 2),
        )


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4", embeddings.PENULTIMATE])
def test_in_place_relu_changes_nothing_that_was_recorded(images, layer):
    safe = embeddings.extract(network(inplace=False), images, layer=layer)
    risky = embeddings.extract(network(inplace=True), images, layer=layer)
    np.testing.assert_allclose(safe, risky, atol=1e-6)
    if layer in ("0", "3"):
        assert safe.min() < 0  # before the ReLU


def test_an_unprotected_hook_would_be_fooled(images):
    """The trap is real: without the copy, the in-place ReLU overwrites the convolution's output."""
    kept = []
    model = network(inplace=True).eval()
    model[0].register_forward_hook(lambda _, __, output: kept.append(output))
    with torch.no_grad():
        model(torch.from_numpy(images))
    assert kept[0].min() == 0


def test_embedding_equals_the_arithmetic_spelt_out(images):
    model = network(inplace=True).eval()
    with torch.no_grad():
        hidden = torch.relu(model[0](torch.from_numpy(images))).flatten(1)
        expected = torch.relu(model[3](hidden)).numpy()
    np.testing.assert_allclose(embeddings.extract(model, images), expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_batches_do_not_matter(images, batch_size):
    model = network(inplace=True)
    whole = embeddings.extract(model, images)
    np.testing.assert_allclose(embeddings.extract(model, images, batch_size=batch_size), whole, atol=1e-6)


def test_any_iterable_of_batches_streams(images):
    model = network(inplace=True)
    pulled = []

    def batches():
        for start in range(0, 11, 4):
            pulled.append(start)
            yield torch.from_numpy(images[start : start + 4])

    stream = embeddings.stream(model, batches(), layer="1", spatial="keep")
    assert next(stream).shape == (4, 3, 2, 2)
    assert pulled == [0]
    counter = poz.PozCounter()
    for batch in embeddings.stream(model, batches(), layer="1", spatial="keep"):
        counter.update(batch)
    whole = embeddings.extract(model, images, layer="1", spatial="keep")
    np.testing.assert_allclose(counter.result(), (whole == 0).mean(axis=(0, 2, 3)))


def test_positions_flattened_averaged_or_kept(images):
    model = network(inplace=True)
    kept = embeddings.extract(model, images, layer="1", spatial="keep")
    assert kept.shape == (11, 3, 2, 2)
    flat = embeddings.extract(model, images, layer="1")
    np.testing.assert_allclose(flat, kept.reshape(11, 12), atol=1e-6)
    mean = embeddings.extract(model, images, layer="1", spatial="mean")
    np.testing.assert_allclose(mean, kept.mean(axis=(2, 3)), atol=1e-6)


def test_the_network_is_left_as_it_was(images):
    model = network(inplace=True).train()
    model[5].eval()
    modes = [m.training for m in model.modules()]
    embeddings.extract(model, images)
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_dropout_is_off(images):
    model = network(inplace=True).train()
    first, second = (embeddings.extract(model, images) for _ in range(2))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_read_only_images_and_stimuli(images):
    images.flags.writeable = False
    assert embeddings.extract(network(inplace=True), images).shape == (11, 6)
    digits = stimuli.load("digits").subset(np.arange(5))
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 3), nn.ReLU(), nn.Linear(3, 2))
    assert embeddings.extract(model, digits).shape == (5, 3)


@pytest.mark.parametrize("most", [1, 4 * 11 * 15, 2**31])
def test_several_layers_are_each_as_by_itself(images, most):
    model, calls = network(inplace=True), []
    model[6].register_forward_hook(lambda *_: calls.append(1))
    wanted = ["1", "penultimate", "0", "6"]  # 27, 6, 27 and 2 features
    found = list(embeddings.each(model, images, layers=wanted, most=most, batch_size=4))
    assert [layer for layer, _ in found] == wanted
    for layer, features in found:
        np.testing.assert_array_equal(features, embeddings.extract(model, images, layer=layer, batch_size=4))
    kept = dict(embeddings.each(model, images, layers=["0"], spatial="keep"))["0"]
    assert kept.shape == (11, 3, 2, 2)


def test_layers_are_gone_through_together_where_memory_allows(images):
    model, calls = network(inplace=False), []
    model[6].register_forward_hook(lambda *_: calls.append(1))
    for most, passes in ((2**31, 1), (4 * 11 * 12, 3), (1, 4)):  # layers of 12, 6, 2 and 12 features
        calls.clear()
        list(embeddings.each(model, images, layers=["1", "3", "6", "0"], most=most))
        assert len(calls) == 1 + passes  # the first one sees what shapes there are


def test_errors_of_several_layers(images):
    unused = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)})
    unused.forward = lambda x: unused["a"](x[:, 0, 0])
    with pytest.raises(UnknownNameError, match="no layer '9'. There are: penultimate, 0"):
        next(embeddings.each(network(inplace=False), images, layers=["0", "9"]))
    with pytest.raises(InputError, match="'b' exists but is not used"):
        next(embeddings.each(unused, images, layers=["a", "b"]))
    with pytest.raises(InputError, match="there are no images"):
        next(embeddings.each(network(inplace=False), images[:0], layers=["0"]))


def test_layers_lists_names_in_order():
    assert embeddings.layers(network(inplace=True)) == list("0123456")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "relu4"}, UnknownNameError, "no layer 'relu4'. There are: penultimate, 0, 1, 2"),
        ({"spatial": "max"}, InputError, "'flatten', 'mean' or 'keep'; got 'max'"),
    ],
)
def test_errors(images, options, error, message):
    with pytest.raises(error, match=message):
        embeddings.extract(network(inplace=True), images, **options)


def test_nan_activations_are_counted_and_located(images):
    images[6] = np.nan
    with pytest.raises(
        InputError, match=r"NaN or infinite for 1 of 4 images .* starts at image 4 \(first: image 6\)"
    ):
        embeddings.extract(network(inplace=True), images, batch_size=4)


def test_a_layer_must_have_the_images_first(images):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.turned, self.last = nn.Identity(), nn.Linear(1, 2)

        def forward(self, x):
            return self.last(self.turned(x.flatten(1).T[..., None]).mean(0))

    n, pixels = len(images), images[0].size
    with pytest.raises(InputError, match=rf"'turned' is \({pixels}, {n}, 1\) for {n} images: its first axis"):
        embeddings.extract(Tokens(), images, layer="turned")
    assert embeddings.extract(Tokens(), images, layer="last").shape == (n, 2)


def test_more_errors(images):
    with pytest.raises(InputError, match="got none to embed"):
        embeddings.extract(network(inplace=True), images[:0])
    with pytest.raises(InputError, match=r"\(n, c, h, w\); got \(11, 16\)"):
        embeddings.extract(network(inplace=True), images.reshape(11, 16))
    with pytest.raises(InputError, match="no linear or convolutional layer"):
        embeddings.extract(nn.Sequential(nn.ReLU()), images)
    with pytest.raises(InputError, match="returns a tuple, not one tensor"):
        embeddings.extract(Recurrent(), images, layer="rnn")
    with pytest.raises(InputError, match="'spare' exists but is not used"):
        embeddings.extract(Recurrent(), images, layer="spare")


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.spare = nn.RNN(4, 3, batch_first=True), nn.Linear(2, 2)

    def forward(self, x):
        return self.rnn(x[:, 0])[0]


# --- views ---------------------------------------------------------------------------------------


def conv():
    """Two channels of a 1 × 1 convolution, the pixel less .5 and .25 less the pixel, and a classifier."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        net[0].bias.copy_(torch.tensor([-0.5, 0.25]))
    return net.eval()


PIXELS = np.array(
    [[[0.0, 0.25], [0.75, 1.0]], [[0.5, 0.5], [0.25, 0.5]], [[1.0, 1.0], [1.0, 0.0]]], dtype=np.float32
)[:, None]


@pytest.mark.parametrize("layer", ["penultimate", "1"])
def test_views_of_a_convolution_by_hand(layer):
    pooled, channels, positions = embeddings.views(conv(), PIXELS, layer=layer, batch_size=2)
    assert [v.name for v in (pooled, channels, positions)] == ["pooled", "channels", "positions"]
    expected = [[0.75 / 4, 0.25 / 4], [0, 0], [1.5 / 4, 0.25 / 4]]
    for found in (pooled, channels):
        np.testing.assert_allclose(found.embedding, expected, atol=1e-7)
    np.testing.assert_allclose(pooled.poz, [1 / 3, 1 / 3])
    assert pooled.silent.tolist() == [[False, False], [True, True], [False, False]]
    # Of four positions of each of three images.
    assert channels.silent.tolist() == [[2, 3], [4, 4], [1, 3]]
    assert channels.positions == 4
    np.testing.assert_allclose(channels.poz, [7 / 12, 10 / 12])
    flat = [
        [0, 0, 0.25, 0.5, 0.25, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0.5, 0.5, 0.5, 0, 0, 0, 0, 0.25],
    ]
    np.testing.assert_allclose(positions.embedding, flat, atol=1e-7)
    np.testing.assert_allclose(positions.poz, np.mean(np.array(flat) == 0, axis=0))
    assert (positions.positions, pooled.positions) == (1, 1)


def test_apoz_of_a_view_is_that_of_the_maps():
    network = networks.build("lenet5", input_shape=(1, 28, 28), n_classes=10, mean=(0.1,), std=(0.3,))
    pixels = np.random.default_rng(0).random((6, 1, 28, 28)).astype(np.float32)
    pooled, channels, positions = embeddings.views(network, pixels, layer="relu2")
    maps = embeddings.extract(network, pixels, layer="relu2", spatial="keep")
    np.testing.assert_allclose(channels.poz, poz.poz(maps))
    np.testing.assert_allclose(pooled.poz, poz.poz(maps.mean(axis=(2, 3))))
    np.testing.assert_allclose(positions.poz, poz.poz(maps.reshape(6, -1)))
    (features,) = embeddings.views(network, pixels)
    assert features.name == "features"
    expected = embeddings.extract(network, pixels, layer="relu4")
    np.testing.assert_allclose(features.embedding, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(features.silent, features.embedding == 0)
    np.testing.assert_array_equal(features.poz, poz.poz(features.embedding))


def test_a_layer_before_the_relu_is_refused():
    with pytest.raises(InputError, match="of the activations are negative .* Name the ReLU's layer"):
        embeddings.views(conv(), PIXELS, layer="0")
    with pytest.raises(LookupError, match="no layer 'relu'"):
        embeddings.views(conv(), PIXELS, layer="relu")


# --- into a file ---------------------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path, rng):
    """Eleven pictures in a folder."""
    for i in range(11):
        pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        (tmp_path / "pictures" / f"class {i % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"class {i % 3}" / f"{i}.png")
    return stimuli.gallery(tmp_path / "pictures", size=4)


def colour_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))


def calls(model):
    """A list that grows with each forward pass, by how many images it is for."""
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    return seen


def interrupt(model, at):
    """Have the network interrupted as by Ctrl-C, at so many-th of its next forward passes."""
    left = [at]

    def stop(*_):
        left[0] -= 1
        if not left[0]:
            handle.remove()
            raise KeyboardInterrupt

    handle = model.register_forward_pre_hook(stop)


@pytest.mark.parametrize("options", [{}, {"layer": "1"}, {"layer": "0", "spatial": "mean"}])
@pytest.mark.parametrize("kind", ["array", "stimuli", "gallery"])
def test_a_saved_embedding_is_what_extract_gives(images, gallery, tmp_path, kind, options):
    model, source = network(inplace=True), images
    if kind == "stimuli":
        source = stimuli.Stimuli("made", "test", images, np.zeros(11, dtype=np.int64), ("x",), "made")
    if kind == "gallery":
        model, source = colour_network(), gallery
    path = tmp_path / "new" / "e.npy"
    saved = embeddings.save(path, model, source, batch_size=4, **options)
    whole = source[:] if kind == "gallery" else images
    expected = embeddings.extract(model, whole, batch_size=4, **options)
    assert saved.dtype == np.float32
    np.testing.assert_allclose(saved, expected, atol=1e-6)
    beside = ["e.names.txt"] if kind == "gallery" else []
    assert sorted(p.name for p in path.parent.iterdir()) == [*beside, "e.npy"]


def test_a_saved_embedding_is_a_plain_npy_file(images, tmp_path):
    saved = embeddings.save(tmp_path / "e.npy", network(inplace=True), images)
    assert isinstance(saved, np.memmap)
    assert not saved.flags.writeable
    read = np.load(tmp_path / "e.npy", allow_pickle=False)
    assert (read.shape, read.dtype, read.flags.c_contiguous) == ((11, 6), np.float32, True)
    opened = embeddings.open_embedding(tmp_path / "e.npy")
    for again in (saved, opened, embeddings.Rows(opened, range(11))[:]):
        np.testing.assert_array_equal(again, read)
    content = (tmp_path / "e.npy").read_bytes()
    assert content[:8] == b"\x93NUMPY\x01\x00"
    assert saved.offset % 64 == 0
    assert content[saved.offset :] == read.tobytes()


def test_an_interrupted_save_goes_on_where_it_was(images, tmp_path):
    model = network(inplace=True)
    embeddings.save(tmp_path / "whole.npy", model, images, layer="4", batch_size=4)
    interrupt(model, 3)
    with pytest.raises(KeyboardInterrupt):
        embeddings.save(tmp_path / "e.npy", model, images, layer="4", batch_size=4)
    assert not (tmp_path / "e.npy").exists()
    seen = calls(model)
    embeddings.save(tmp_path / "e.npy", model, images, layer="4", batch_size=4)
    assert seen == [3]  # eight of eleven were there
    assert (tmp_path / "e.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.npy", "whole.npy"]


def test_a_picture_that_is_away_is_waited_for(gallery, tmp_path):
    model = colour_network()
    expected = embeddings.extract(model, gallery[:], layer="1", batch_size=4)
    gallery.digest  # noqa: B018  (read before the picture goes away)
    gallery.files[9].rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"\.png cannot be read as an image"):
        embeddings.save(tmp_path / "e.npy", model, gallery, layer="1", batch_size=4)
    (tmp_path / "away").rename(gallery.files[9])
    seen = calls(model)
    again = stimuli.gallery(gallery.root, size=4)
    saved = embeddings.save(tmp_path / "e.npy", model, again, layer="1", batch_size=4)
    assert seen == [3]
    np.testing.assert_allclose(saved, expected, atol=1e-6)


def stopped(path, model, images):
    """The file of a save of eleven images that was interrupted after eight."""
    before = set(path.parent.glob(".*"))
    interrupt(model, 3)
    with pytest.raises(KeyboardInterrupt):
        embeddings.save(path, model, images, layer="4", batch_size=4)
    (part,) = set(path.parent.glob(".*")) - before
    return part


@pytest.mark.parametrize(
    ("left", "again"),
    [
        (0, [4, 4, 3]),  # nothing
        (60, [4, 4, 3]),  # half a header
        (128, [4, 4, 3]),  # the header alone
        (128 + 5 * 24, [4, 2]),
        (128 + 5 * 24 + 1, [4, 2]),  # five rows of six numbers, and the start of another
        (128 + 6 * 24 - 1, [4, 2]),
    ],
)
def test_half_a_row_is_cut_off(images, tmp_path, left, again):
    model = network(inplace=True)
    part = stopped(tmp_path / "e.npy", model, images)
    assert part.stat().st_size == 128 + 8 * 24
    written = part.read_bytes()
    os.truncate(part, left)
    seen = calls(model)
    saved = embeddings.save(tmp_path / "e.npy", model, images, layer="4", batch_size=4)
    assert seen == again
    np.testing.assert_allclose(saved, embeddings.extract(model, images, layer="4"), atol=1e-6)
    assert (tmp_path / "e.npy").read_bytes()[:left] == written[:left]


def test_a_whole_part_is_only_renamed(images, tmp_path):
    """Stopped between the last row and the new name."""
    model = network(inplace=True)
    part = stopped(tmp_path / "e.npy", model, images)
    embeddings.save(tmp_path / "whole.npy", model, images, layer="4", batch_size=4)
    part.write_bytes((tmp_path / "whole.npy").read_bytes())
    seen = calls(model)
    saved = embeddings.save(tmp_path / "e.npy", model, images, layer="4", batch_size=4)
    assert seen == []
    np.testing.assert_array_equal(saved, np.load(tmp_path / "whole.npy"))
    assert not part.exists()


@pytest.mark.parametrize("changed", ["network", "images", "layer", "spatial"])
def test_only_the_same_question_goes_on(images, tmp_path, changed):
    model = network(inplace=True)
    options = {"layer": "1", "spatial": "flatten", "batch_size": 4}
    expected = embeddings.extract(model, images, **options)
    interrupt(model, 3)
    with pytest.raises(KeyboardInterrupt):
        embeddings.save(tmp_path / "e.npy", model, images, **options)
    other, others = network(inplace=True), images
    if changed == "network":
        with torch.no_grad():
            other[0].bias += 0.1
    elif changed == "images":
        others = images + np.float32(0.1)
    other_options = {**options, **{"layer": {"layer": "4"}, "spatial": {"spatial": "mean"}}.get(changed, {})}
    saved = embeddings.save(tmp_path / "e.npy", other, others, **other_options)
    np.testing.assert_allclose(saved, embeddings.extract(other, others, **other_options), atol=1e-6)
    seen = calls(model)
    again = embeddings.save(tmp_path / "e.npy", model, images, **options)  # still goes on
    assert seen == [3]
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_what_is_there_stays_until_all_is_done(images, tmp_path):
    model = network(inplace=True)
    (tmp_path / "e.npy").write_bytes(b"old")
    model.register_forward_hook(lambda *_: there.append((tmp_path / "e.npy").read_bytes()))
    there = []
    interrupt(model, 3)
    with pytest.raises(KeyboardInterrupt):
        embeddings.save(tmp_path / "e.npy", model, images, layer="4", batch_size=4)
    embeddings.save(tmp_path / "e.npy", model, images, layer="4", batch_size=4)
    assert there == [b"old"] * 3
    assert np.load(tmp_path / "e.npy").shape == (11, 6)


def test_progress_counts_the_images_that_are_there(images, tmp_path, capsys):
    model = network(inplace=True)
    stopped(tmp_path / "e.npy", model, images)
    assert capsys.readouterr().err == ""
    embeddings.save(tmp_path / "e.npy", model, images, layer="4", batch_size=4, progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"e: 4: +73%.* 8/11", shown)
    assert re.search(r"e: 4: 100%.* 11/11", shown)


# Of 200 images, a convolution's 4,704 numbers each, four at a time. It copies pixels, whatever the kernel.
MADE = """
import sys
import time
import numpy as np
import torch
from rarefire import embeddings
from rarefire.errors import DataError
network = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5, bias=False), torch.nn.ReLU())
torch.nn.init.zeros_(network[0].weight)
with torch.no_grad():
    for i in range(6):
        network[0].weight[i, 0, i % 5, i // 5] = 1
images = np.random.default_rng(0).random((200, 1, 32, 32), dtype=np.float32)
def save(path):
    return embeddings.save(path, network, images, layer="1", batch_size=4)
"""
RUN = """
batches = 0
def count(*_):
    global batches
    batches += 1
    print(batches, flush=True)
    if batches == 40:  # it does not come to its end
        sys.stdin.readline()
network.register_forward_hook(count)
try:
    save(sys.argv[1])
except DataError as error:
    print(error)
"""
ROW = 6 * 28 * 28 * 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The network, how it saves, and what it writes in one go."""
    names = {}
    exec(MADE, names)
    path = tmp_path_factory.mktemp("undisturbed") / "e.npy"
    names["save"](path)
    assert path.stat().st_size == 128 + 200 * ROW
    return names["network"], names["save"], path.read_bytes()


def goes_on(path, made):
    """Save once more, after another process: the same file, and only what was not there is computed."""
    model, save, content = made
    (part,) = path.parent.glob(".*.part")
    done = (part.stat().st_size - 128) // ROW
    assert 0 < done < 200
    assert not path.exists()
    sizes = []
    handle = model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    save(path)
    handle.remove()
    assert sum(sizes) == 200 - done
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return done


def test_killed_and_resumed_to_the_same_bytes(made, tmp_path):
    """At whatever it does after the fifth batch."""
    path = tmp_path / "e.npy"
    command, pipe = [sys.executable, "-c", MADE + RUN, str(path)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as run:
        for batch in range(1, 6):
            assert run.stdout.readline() == f"{batch}\n"
        run.kill()
    assert run.returncode == -signal.SIGKILL
    assert goes_on(path, made) >= 10


def test_a_full_disk_is_one_clear_message_and_what_is_there_goes_on(made, tmp_path):
    """A real limit on file size stands for the full disk; the process that has it is its own."""
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    path = tmp_path / "e.npy"
    done = subprocess.run(
        [sys.executable, "-c", MADE + RUN, str(path)],
        preexec_fn=limit,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    message = r"could not write .*e\.npy: File too large\. What is there goes on from where it is when there"
    assert re.match(message, done.stdout.splitlines()[-1]), done
    assert goes_on(path, made) == (1_000_000 - 128) // ROW


def test_errors_of_saving(images, tmp_path):
    model = network(inplace=True)
    (tmp_path / "folder.npy").mkdir()
    for name in ("e.npz", "e", "folder.npy"):
        with pytest.raises(InputError, match=f"saved as a .npy file or a .zarr store; got '{name}'"):
            embeddings.save(tmp_path / name, model, images)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match=r"could not write .*e\.npy: File exists"):
        embeddings.save(tmp_path / "file" / "e.npy", model, images)
    with pytest.raises(UnknownNameError, match="no layer 'relu4'"):
        embeddings.save(tmp_path / "e.npy", model, images, layer="relu4")
    assert list(tmp_path.glob(".*")) == []
    images[6] = np.nan
    with pytest.raises(InputError, match="NaN or infinite for 1 of 4 images"):
        embeddings.save(tmp_path / "e.npy", model, images, batch_size=4)
    assert not (tmp_path / "e.npy").exists()


def test_a_part_of_a_network_that_sees_images_otherwise_is_not_continued(rng, tmp_path):
    wider = rng.normal(size=(6, 1, 16, 16)).astype(np.float32)
    plain, other = (
        networks.build("lenet5", input_shape=(1, 16, 16), n_classes=3, mean=(m,), std=(1.0,)) for m in (0, 1)
    )
    path = tmp_path / "e.npy"
    interrupt(plain, 2)
    with pytest.raises(KeyboardInterrupt):
        embeddings.save(path, plain, wider, batch_size=2)
    saved = embeddings.save(path, other, wider, batch_size=2)
    np.testing.assert_allclose(saved, embeddings.extract(other, wider), atol=1e-6)


# --- two runs ------------------------------------------------------------------------------------

# A run that says where it is and waits to be let on: before each batch, and around each new name.
GATED = """
import sys
import time
import torch
from rarefire import embeddings, stimuli, store
def reach(stage):
    print(stage, flush=True)
    sys.stdin.readline()
network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), torch.nn.ReLU())
torch.nn.init.dirac_(network[0].weight)
torch.nn.init.constant_(network[0].bias, -0.5)
network.register_forward_hook(lambda _, args, __: reach(f"{len(args[0])} images"))
replace = store.replace
def gated(fresh, place):
    reach(f"before {place.name}")
    replace(fresh, place)
    reach(f"after {place.name}")
store.replace = gated
images = stimuli.gallery(sys.argv[1], size=40)
embeddings.save("e.npy", network, images, layer="1", batch_size=4, names="names.txt")
"""
STAGES = ["4 images", "4 images", "3 images", "before e.npy", "after e.npy", "before names.txt"]
STAGES += ["after names.txt", "before e.names.txt", "after e.names.txt"]


def large_network():
    """That of the gated run: pixels that are brighter than half, the same to the bit everywhere."""
    made = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU())
    nn.init.dirac_(made[0].weight)
    nn.init.constant_(made[0].bias, -0.5)
    return made


@pytest.fixture
def both(gallery, tmp_path, monkeypatch):
    """What a run writes; and a folder with the files of an earlier one, of other pictures."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    larger = stimuli.gallery(gallery.root, size=40)
    embeddings.save("../e.npy", large_network(), larger, layer="1", batch_size=4, names="../names.txt")
    new = {name: (tmp_path / name).read_bytes() for name in ("e.npy", "names.txt", "e.names.txt")}
    old = {"e.npy": b"earlier rows", "names.txt": b"earlier names", "e.names.txt": b"earlier names"}
    for name, content in old.items():
        (folder / name).write_bytes(content)
    return larger, old, new


def gated_run(images):
    return subprocess.Popen(
        [sys.executable, "-c", GATED, str(images.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def contents():
    return {path.name: path.read_bytes() for path in Path().iterdir()}


def visible():
    return {name: content for name, content in contents().items() if not name.startswith(".")}


def test_while_one_run_writes_another_says_so_and_changes_nothing(both):
    """At every stage of a real run; with the same question, and with another one, to the same file."""
    images, old, new = both
    model = large_network()
    seen = calls(model)
    with gated_run(images) as run:
        for stage in STAGES:
            assert run.stdout.readline() == f"{stage}\n"
            before = contents()
            for options in ({"layer": "1"}, {"layer": "0"}, {"layer": "1", "spatial": "mean"}):
                with pytest.raises(
                    DataError, match=r"another run is writing .*e\.npy\. Wait for it, or stop"
                ):
                    embeddings.save("e.npy", model, images, names="names.txt", **options)
            assert contents() == before
            named = {name: new[name] for name in ("e.npy", "names.txt")}
            assert visible() in (old, {"e.npy": old["e.npy"]}, {"e.npy": new["e.npy"]}, named, new)
            run.stdin.write("\n")
        run.stdin.close()
        assert run.wait() == 0
    assert seen == []
    assert contents() == new


@pytest.mark.parametrize(
    ("killed_at", "again"),
    [
        (0, [4, 4, 3]),  # it has the lock, and has written nothing
        (2, [3]),
        (3, []),  # whole, but for its name
        (5, [4, 4, 3]),  # the rows are in place, and no names are there yet
        (6, [4, 4, 3]),  # one of the two lists of names is
        (8, [4, 4, 3]),  # all are
    ],
)
def test_after_a_killed_run_another_one_ends_well(both, killed_at, again):
    """And at no time do rows lie beside the names of other pictures."""
    images, old, new = both
    with gated_run(images) as run:
        for stage in STAGES[:killed_at]:
            assert run.stdout.readline() == f"{stage}\n"
            run.stdin.write("\n")
        assert run.stdout.readline() == f"{STAGES[killed_at]}\n"
        run.kill()
    assert run.returncode == -signal.SIGKILL
    rows = {"e.npy": new["e.npy"]}
    named = rows | {"names.txt": new["names.txt"]}
    left = [old, old, old, {"e.npy": old["e.npy"]}, rows, rows, named, named, new]
    assert visible() == left[killed_at]
    model = large_network()
    seen = calls(model)
    embeddings.save("e.npy", model, images, layer="1", batch_size=4, names="names.txt")
    assert seen == again
    assert visible() == new
    assert not list(Path().glob(".*.lock")) + list(Path().glob(".*.part"))


def test_of_two_runs_that_start_together_one_writes(both):
    """Step by step in turn: whichever is first, the other one ends."""
    images, _, new = both
    with gated_run(images) as first, gated_run(images) as second:
        said = {first: [], second: []}
        for _ in STAGES:
            for run in (first, second):
                if stage := run.stdout.readline().strip():
                    said[run].append(stage)
                    run.stdin.write("\n")
    assert sorted((run.returncode, stages) for run, stages in said.items()) == [(0, STAGES), (1, [])]
    assert contents() == new


def test_another_question_takes_the_file_over_when_it_is_free(both):
    """Its rows come with its names, and the first question goes on where it was."""
    images, _, new = both
    with gated_run(images) as run:
        for _ in range(2):
            run.stdout.readline()
            run.stdin.write("\n")
        assert run.stdout.readline() == "3 images\n"
        run.kill()
    (images.root / "class 0" / "0.png").rename(images.root / "class 0" / "00.png")
    others = stimuli.gallery(images.root, size=40)
    embeddings.save("e.npy", large_network(), others, layer="0", names="names.txt")
    assert np.load("e.npy").min() < 0  # before the ReLU
    assert Path("names.txt").read_text().splitlines()[0] == "class 0/00.png"
    (images.root / "class 0" / "00.png").rename(images.root / "class 0" / "0.png")
    model = large_network()
    seen = calls(model)
    again = stimuli.gallery(images.root, size=40)
    embeddings.save("e.npy", model, again, layer="1", batch_size=4, names="names.txt")
    assert seen == [3]
    assert visible() == new


def test_names_that_cannot_be_written_leave_the_rows_waiting(both):
    images, old, new = both
    Path("folder").mkdir()
    model = large_network()
    with pytest.raises(DataError, match="could not write folder: it is a folder; name a file"):
        embeddings.save("e.npy", model, images, layer="1", batch_size=4, names="folder")
    Path("folder").rmdir()
    assert visible() == old
    seen = calls(model)
    embeddings.save("e.npy", model, images, layer="1", batch_size=4, names="names.txt")
    assert seen == []
    assert contents() == new


@pytest.mark.parametrize("size", [0, 200, 10**7])
def test_a_part_that_something_else_has_changed_does_not_get_the_name(both, size):
    """By something that knows of no lock: its rows are not trusted, now and later."""
    images, old, new = both
    model = large_network()

    def spoil(_, args, __):
        if len(args[0]) == 3:
            (part,) = Path().glob(".*.part")
            os.truncate(part, size)

    handle = model.register_forward_hook(spoil)
    with pytest.raises(DataError, match=r"\.part was changed meanwhile by something else, and is given up"):
        embeddings.save("e.npy", model, images, layer="1", batch_size=4, names="names.txt")
    assert contents() == old
    handle.remove()
    embeddings.save("e.npy", model, images, layer="1", batch_size=4, names="names.txt")
    assert contents() == new


def test_names_go_into_a_pipe_and_onto_what_a_link_leads_to(both, in_time):
    images, _, new = both
    os.mkfifo("pipe")
    reading = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    embeddings.save("e.npy", large_network(), images, layer="1", batch_size=4, names="pipe")
    assert os.read(reading, 10_000) == new["names.txt"]
    os.close(reading)
    Path("link").symlink_to("names.txt")
    embeddings.save("e.npy", large_network(), images, layer="1", batch_size=4, names="link")
    assert Path("link").is_symlink()
    assert Path("names.txt").read_bytes() == new["names.txt"]


def test_a_link_stays_and_a_file_keeps_its_permissions(images, tmp_path):
    model = network(inplace=True)
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real.npy", tmp_path / "e.npy"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    part = stopped(real, model, images)
    interrupt(model, 1)
    with pytest.raises(KeyboardInterrupt):
        embeddings.save(link, model, images, layer="4", batch_size=4)
    assert part.exists()  # the same file, and what was written of it
    saved = embeddings.save(link, model, images, layer="4", batch_size=4)
    np.testing.assert_allclose(saved, embeddings.extract(model, images, layer="4"), atol=1e-6)
    assert np.load(real).shape == saved.shape
    assert real.stat().st_mode & 0o777 == 0o640
    assert os.readlink(link) == str(real)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.npy", "elsewhere"]
    assert [p.name for p in real.parent.iterdir()] == ["real.npy"]


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_rows_are_saved_to_a_file_alone(images, tmp_path, in_time, no_file, kind):
    """They are mapped, and gone on with."""
    path = tmp_path / "e.npy"
    no_file(path, kind)
    before = path.lstat()
    with pytest.raises(DataError, match=rf"could not write .*e\.npy: it is a {kind}; name a file"):
        embeddings.save(path, network(inplace=True), images)
    assert os.path.samestat(path.lstat(), before)
    assert [p.name for p in tmp_path.iterdir()] == ["e.npy"]


def test_more_errors_of_saving(images, tmp_path):
    model = network(inplace=True)
    for given, options, message in (
        (images, {"spatial": "keep"}, "spatial is 'flatten' or 'mean'; got 'keep'"),
        (images[:0], {}, "there are no images: got none to embed"),
        (
            images,
            {"names": tmp_path / "n.txt"},
            "names are those of a gallery's pictures; got images as ndarray",
        ),
        (images[0], {}, r"images must be \(n, c, h, w\); got"),
    ):
        with pytest.raises(InputError, match=message):
            embeddings.save(tmp_path / "e.npy", model, given, **options)
    assert list(tmp_path.iterdir()) == []


# --- which axis is what --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vit():
    """17 tokens, the class token first, of 16 features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=7
        ).eval()


@pytest.fixture(scope="module")
def swin():
    """8 × 8 positions of 8 features, then 4 × 4 of 16; channels last."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"patch_size": [4, 4], "embed_dim": 8, "window_size": [2, 2], "num_classes": 7}
        return SwinTransformer(depths=[2, 2], num_heads=[2, 2], **sizes).eval()


@pytest.fixture
def photographs(rng):
    return rng.random((5, 3, 32, 32), dtype=np.float32)


def hooked(model, layer, pixels):
    """The layer's own output."""
    seen = []
    handle = dict(model.named_modules())[layer].register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        model(torch.from_numpy(pixels))
    handle.remove()
    return seen[-1].numpy()


@pytest.mark.parametrize(
    "layer",
    [
        "encoder.ln",
        "encoder",
        "encoder.layers",
        "encoder.layers.encoder_layer_0",
        "encoder.layers.encoder_layer_1.mlp",
        "encoder.layers.encoder_layer_1.mlp.1",
        "encoder.dropout",
    ],
)
def test_tokens_of_a_vision_transformer(vit, photographs, layer):
    own = hooked(vit, layer, photographs)
    assert own.shape[:2] == (5, 17)
    options = {"layer": layer, "batch_size": 2}
    for spatial, expected in (
        ("mean", own.mean(axis=1)),
        ("class", own[:, 0]),
        ("keep", own.transpose(0, 2, 1)),
        ("flatten", own.reshape(5, -1)),
    ):
        found = embeddings.extract(vit, photographs, spatial=spatial, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer", ["features.0", "features.1", "features.1.1", "features.2", "features.3", "norm"]
)
def test_channels_last_of_a_swin_transformer(swin, photographs, layer):
    own = hooked(swin, layer, photographs)
    assert own.shape[1] == own.shape[2] in (8, 4)
    mean = embeddings.extract(swin, photographs, layer=layer, spatial="mean")
    np.testing.assert_allclose(mean, own.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    kept = embeddings.extract(swin, photographs, layer=layer, spatial="keep")
    np.testing.assert_allclose(kept, own.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(poz.poz(np.maximum(kept, 0)), (own <= 0).mean(axis=(0, 1, 2)), atol=1e-12)
    for first in ("permute", "avgpool"):  # turned back
        assert embeddings.extract(swin, photographs, layer=first, spatial="mean").shape == (5, 16)
    with pytest.raises(InputError, match=r"has no class token .* Say spatial='mean'"):
        embeddings.extract(swin, photographs, layer=layer, spatial="class")


class Turned(nn.Module):
    """A convolution of 6 channels at 3 × 4 positions, turned so that `order` is, and a ReLU by itself."""

    def __init__(self, order):
        super().__init__()
        self.order, self.conv, self.act, self.last = order, nn.Conv2d(3, 6, 8, 8), nn.ReLU(), nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv(x)
        self.act(self.order(x))
        return self.last(x.mean((2, 3)))


ORDERS = {
    "channels_last": (lambda x: x.permute(0, 2, 3, 1), (0, 3, 1, 2)),
    "tokens": (lambda x: x.flatten(2).transpose(1, 2), (0, 2, 1)),
    "channels_first": (lambda x: x.flatten(2), (0, 1, 2)),
}


@pytest.mark.parametrize("order", list(ORDERS))
def test_axes_that_are_not_certain_are_asked_for(photographs, order):
    turn, back = ORDERS[order]
    model, pixels = Turned(turn).eval(), photographs[:, :, :24]
    own = hooked(model, "act", pixels)
    with pytest.raises(
        InputError, match=r"not certain which axis holds the features. Say positions='tokens'"
    ):
        embeddings.extract(model, pixels, layer="act", spatial="mean")
    found = embeddings.extract(model, pixels, layer="act", spatial="mean", positions=order, batch_size=3)
    np.testing.assert_allclose(found, own.transpose(back).reshape(5, 6, -1).mean(axis=2), atol=1e-6)
    flat = embeddings.extract(model, pixels, layer="act")  # whichever it is
    np.testing.assert_allclose(flat, own.reshape(5, -1), atol=1e-6)
    (pooled, _, each) = embeddings.views(model, pixels, layer="act", positions=order)
    np.testing.assert_allclose(pooled.embedding, found, atol=1e-6)
    assert each.embedding.shape == (5, 72)


def test_channels_first_where_nothing_says_otherwise(photographs):
    model = Turned(lambda x: x + 1).eval()
    own = hooked(model, "act", photographs)
    found = embeddings.extract(model, photographs, layer="act", spatial="mean")
    np.testing.assert_allclose(found, own.mean(axis=(2, 3)), atol=1e-6)


class TokensFirst(nn.Module):
    """16 tokens, images, 32 features, as in OpenCLIP."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.block, self.head = nn.Sequential(nn.Linear(16, 32), nn.ReLU()), nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.block(self.patch(x).flatten(2).permute(2, 0, 1)).mean(0))


@pytest.mark.parametrize("n", [1, 5, 16, 17])
def test_tokens_before_images(rng, n, tmp_path):
    """Refused with as many images as tokens too, and read right when it is said."""
    model, pixels = TokensFirst().eval(), rng.random((n, 3, 32, 32), dtype=np.float32)
    own = hooked(model, "block", pixels)
    said = (
        r"'block' is \(16, \d+, 32\) for \d+ images?: its first axis is not .* say positions='tokens_first'"
    )
    for batch_size in (n, 16):
        with pytest.raises(InputError, match=said):
            embeddings.extract(model, pixels, layer="block", batch_size=batch_size)
    with pytest.raises(InputError, match=said):
        embeddings.save(tmp_path / "E.npy", model, pixels, layer="block")
    assert not list(tmp_path.glob("*.npy"))
    options = {"layer": "block", "positions": "tokens_first", "batch_size": 4}
    mean = embeddings.extract(model, pixels, spatial="mean", **options)
    np.testing.assert_allclose(mean, own.mean(axis=0), atol=1e-6)
    saved = embeddings.save(tmp_path / "E.npy", model, pixels, **options)
    np.testing.assert_allclose(saved, own.transpose(1, 0, 2).reshape(n, -1), atol=1e-6)


def test_arrangements_that_do_not_fit(vit, photographs):
    with pytest.raises(
        UnknownNameError, match="no arrangement of positions 'last'. There are: .*channels_last"
    ):
        embeddings.extract(vit, photographs, layer="encoder.ln", positions="last")
    with pytest.raises(InputError, match=r"\(5, 17, 16\) for 5 images: its second axis is not the images"):
        embeddings.extract(vit, photographs, layer="encoder.ln", positions="tokens_first")
    with pytest.raises(InputError, match="'tokens' is for three axes"):
        embeddings.extract(vit, photographs, layer="conv_proj", spatial="mean", positions="tokens")
    with pytest.raises(InputError, match="'heads' has no tokens: it is"):
        embeddings.extract(vit, photographs, layer="heads", spatial="class")


def test_rows_of_one_embedding_are_of_one_width(images, tmp_path):
    class Changing(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.act = 0, nn.ReLU()

        def forward(self, x):
            self.seen += 1
            return self.act(x.flatten(1)[:, : 16 - self.seen])

    with pytest.raises(
        InputError, match=r"'act' gives \(14,\) for each image .* image 4, and \(15,\) before"
    ):
        embeddings.save(tmp_path / "e.npy", Changing(), images, layer="act", batch_size=4)
    assert not (tmp_path / "e.npy").exists()
    (part,) = tmp_path.glob(".e-*.part")
    changed = Changing()
    changed.seen = 3
    with pytest.raises(DataError, match="was begun with 15 features an image; now there are 12. Remove it"):
        embeddings.save(tmp_path / "e.npy", changed, images, layer="act", batch_size=4)
    assert part.stat().st_size == 128 + 4 * 15 * 4


def test_a_layer_that_runs_several_times():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.relu = nn.Linear(4, 3), nn.Linear(3, 5), nn.ReLU()

        def forward(self, x):
            return self.relu(self.b(self.relu(self.a(x[:, 0, 0]))))

    model, pixels = Shared().eval(), np.random.default_rng(0).random((7, 1, 4, 4), dtype=np.float32)
    with torch.no_grad():
        first = torch.relu(model.a(torch.from_numpy(pixels[:, 0, 0])))
        second = torch.relu(model.b(first)).numpy()
    said = (
        r"'relu' runs 2 times in a forward pass and gives \(7, 3\), \(7, 5\). Say which with call=1 to call=2"
    )
    with pytest.raises(InputError, match=said):
        embeddings.extract(model, pixels, layer="relu")
    for call, expected in ((1, first.numpy()), (2, second), (-1, second), (-2, first.numpy())):
        found = embeddings.extract(model, pixels, layer="relu", call=call, batch_size=3)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    for call in (3, -3):
        with pytest.raises(InputError, match=f"runs 2 times in a forward pass; got call={call}"):
            embeddings.extract(model, pixels, layer="relu", call=call)
    with pytest.raises(InputError, match="call counts from 1, or from −1 for the last; got 0"):
        embeddings.extract(model, pixels, layer="relu", call=0)
    np.testing.assert_allclose(embeddings.extract(model, pixels), first, atol=1e-6)  # the penultimate


def test_what_a_layer_is_taken_for_in_words(vit, swin, photographs):
    said = embeddings.reading
    assert said(vit, photographs) == "16 features"
    assert said(vit, photographs, layer="encoder.ln") == "16 features at 17 tokens"
    mean = said(vit, photographs, layer="encoder.ln", spatial="mean")
    assert mean == "16 features, each the mean of 17 tokens"
    token = said(vit, photographs, layer="encoder.ln", spatial="class")
    assert token == "16 features of the class token, the first of 17 tokens"
    assert said(swin, photographs, layer="norm") == "16 features at 4 × 4 positions"
    unsure = said(Turned(ORDERS["tokens"][0]), photographs, layer="act")
    assert unsure == "96 features, every number of the layer one"


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        (nn.GELU, r"This network has no ReLU but GELU \('1', …\): its features are hardly ever exactly 0"),
        (nn.SiLU, r"This network has no ReLU but SiLU \('1', …\)"),
        (nn.Hardswish, r"This network has no ReLU but Hardswish \('1', …\)"),
        (nn.Conv2d, r"None of this network's modules is a ReLU or another activation function"),
        (nn.ReLU, r"Name the ReLU's layer, not the one before it; this network has 2: '1', '3'\."),
    ],
)
def test_negative_activations_name_what_the_network_has(images, activation, said):
    act = functools.partial(activation, 2, 2, 1) if activation is nn.Conv2d else activation
    model = nn.Sequential(nn.Conv2d(1, 2, 1), act(), nn.Conv2d(2, 2, 1), act(), nn.Conv2d(2, 2, 1))
    nn.init.constant_(model[2].bias, -9)
    with pytest.raises(
        InputError, match=rf"negative \(lowest .* PoZ is defined for post-ReLU features. {said}"
    ):
        embeddings.views(model, images, layer="2")


# --- other precisions, and what is around a network ----------------------------------------------


@pytest.mark.parametrize(
    ("kind", "atol"), [(torch.float64, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)]
)
def test_networks_in_another_precision(kind, atol):
    model = networks.build("lenet5", input_shape=(1, 32, 32), n_classes=10, mean=(0.3,), std=(0.5,))
    pixels = np.random.default_rng(0).random((6, 1, 32, 32), dtype=np.float32)
    whole = embeddings.extract(model, pixels)
    other = embeddings.extract(model.to(kind), pixels, batch_size=4)
    assert other.dtype == np.float32
    np.testing.assert_allclose(other, whole, atol=atol)
    assert len(networks.digest(model)) == 64


def test_autocast(images):
    model = network(inplace=True)
    whole = embeddings.extract(model, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = embeddings.extract(model, images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole, atol=2e-2)


def test_half_precision_that_overflows_says_so(images):
    model = network(inplace=True).half()
    with torch.no_grad():
        model[0].weight.mul_(60_000)
    with pytest.raises(
        InputError, match=r"In half precision numbers above 65,504 are infinite: network.float"
    ):
        embeddings.extract(model, images, layer="0")


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


@pytest.mark.parametrize("around", [nn.DataParallel, compiled, compiled_in_place])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_is_around_a_network_is_looked_through(images, tmp_path, around):
    plain = network(inplace=True).eval()
    wrapped = around(network(inplace=True).eval())
    with torch.no_grad():
        wrapped(torch.from_numpy(images))  # compiled before there is a hook
    assert embeddings.layers(wrapped) == embeddings.layers(plain)
    assert networks.digest(wrapped) == networks.digest(plain)
    for layer in ("penultimate", "4", "1"):
        expected = embeddings.extract(plain, images, layer=layer)
        np.testing.assert_allclose(embeddings.extract(wrapped, images, layer=layer), expected, atol=1e-6)
    prefix = {nn.DataParallel: "module.", compiled: "_orig_mod."}.get(around, "")
    named = embeddings.extract(wrapped, images, layer=f"{prefix}4")
    np.testing.assert_allclose(named, embeddings.extract(plain, images, layer="4"), atol=1e-6)
    saved = embeddings.save(tmp_path / "e.npy", wrapped, images)
    np.testing.assert_allclose(saved, embeddings.extract(plain, images), atol=1e-6)


def test_images_of_another_range_or_order_are_refused_or_said(rng):
    net, pixels = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)),
        rng.random((5, 3, 8, 8), np.float32),
    )
    whole = (255 * pixels).astype(np.uint8)
    for bytes_ in (whole, torch.from_numpy(whole)):
        with pytest.raises(InputError) as refused:
            embeddings.extract(net, bytes_, layer="1")
        assert str(refused.value) == (
            f"images are numbers in [0, 1]; got {bytes_.dtype}. Divide those from 0 to 255 by 255."
        )
    with pytest.warns(RarefireWarning, match=r"images go up to 25\d.*; networks take numbers in \[0, 1\]"):
        embeddings.extract(net, whole.astype(np.float32), layer="1")
    with pytest.raises(InputError) as refused:
        embeddings.extract(net, pixels.transpose(0, 2, 3, 1), layer="1")
    assert str(refused.value) == (
        "images must be (n, c, h, w); got (5, 8, 8, 3), with channels last: images.transpose(0, 3, 1, 2) "
        "puts them second."
    )


def test_what_is_cached_is_read_or_made_again(own_cache, tmp_path):
    """None where there is nothing; a warning and none where it is not what was saved."""
    path, rows = own_cache / "e.npy", np.ones((5, 3), np.float32)
    assert embeddings.cached(path, 5) is None
    path.parent.mkdir()
    np.save(path, rows)
    np.testing.assert_array_equal(embeddings.cached(path, 5), rows)
    spoilt = {
        "4 images": lambda: np.save(path, rows[:4]),
        "float64": lambda: np.save(path, rows.astype(float)),
        "cannot be read": lambda: path.write_bytes(path.read_bytes()[:-1]),
        "not a .npy file": lambda: path.write_bytes(b""),
        "huge": lambda: path.write_bytes(npy_header((10**12, 3))),
        "folder": lambda: (path.unlink(), path.mkdir()),
    }
    for spoil in spoilt.values():
        spoil()
        said = rf"the cached embedding {path} is damaged \(.+\); it is computed again\."
        with pytest.warns(RarefireWarning, match=said):
            assert embeddings.cached(path, 5) is None
    np.save(path, rows)  # a folder does not stand in the way
    np.testing.assert_array_equal(embeddings.cached(path, 5), rows)


def npy_header(shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_parts_that_nobody_goes_on_with_are_removed(tmp_path, monkeypatch):
    """Of other facts, a week old; newer ones, and those of other files, stay."""
    images = np.random.default_rng(0).random((4, 1, 28, 28), dtype=np.float32)
    parts = [tmp_path / f".{name}.part" for name in ("e-" + "a" * 20, "e-" + "b" * 20, "f-" + "a" * 20)]
    for part in parts:
        part.touch()
    for part in (parts[0], parts[2]):
        os.utime(part, (time.time() - 8 * 24 * 3600,) * 2)
    network = networks.build("lenet5", input_shape=(1, 28, 28), n_classes=10, mean=(0.1,), std=(0.3,))
    embeddings.save(tmp_path / "e.npy", network, images, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [parts[1].name, parts[2].name, "e.npy"]


class _Heads(nn.Module):
    def __init__(self, returns):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU())
        self.fc, self.aux = nn.Linear(5, 2), nn.Linear(5, 3)
        self.returns = returns

    def forward(self, images):
        features = self.body(images)
        return self.returns(self, features, self.fc(features))


def test_of_several_heads_the_last_is_not_guessed(rng):
    pixels = rng.random((4, 3, 2, 2), np.float32)
    several = (
        lambda net, f, x: (x, net.aux(f)),
        lambda net, f, x: {"out": x, "aux": net.aux(f)},
        lambda net, f, x: (x, net.aux(net.fc(f) @ net.fc.weight)),  # one of them runs twice
    )
    for returns in several:
        with pytest.raises(InputError) as refused:
            embeddings.extract(_Heads(returns).eval(), pixels)
        assert str(refused.value) == (
            "the network returns the outputs of several layers (fc, aux): it is not certain whose input the "
            "penultimate features are. Name a layer."
        )
        assert embeddings.extract(_Heads(returns).eval(), pixels, layer="body").shape == (4, 5)
    for returns in (lambda net, f, x: {"features": f, "logits": x}, lambda net, f, x: (x, f)):
        net = _Heads(returns).eval()
        found = embeddings.extract(net, pixels)
        np.testing.assert_array_equal(found, embeddings.extract(net, pixels, layer="body"))
