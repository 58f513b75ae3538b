"""Networks: the paper's forms, torchvision's by name, real ImageNet weights where a mirror is, errors."""

import argparse
import copy
import json
import math
import re
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rarefire import embeddings, networks, stimuli, store, training
from rarefire.errors import CheckpointError, DataError, InputError, RarefireWarning, UnknownNameError

GREY = {"mean": (0.5,), "std": (0.5,)}


def test_classic_lenet_counted_by_hand():
    network = networks.lenet5((1, 32, 32), 10)
    # LeCun et al. 1998, with max-pooling and full connections: 156 + 2,416 + 48,120 + 10,164 + 850.
    assert sum(p.numel() for p in network.parameters()) == 61_706
    assert [n for n, _ in network.named_children()][-4:] == ["relu3", "fc2", "relu4", "fc3"]
    padded = networks.lenet5((1, 28, 28), 10)
    assert padded.conv1.padding == (2, 2)
    assert sum(p.numel() for p in padded.parameters()) == 61_706


def test_lenet_300_100_counted_by_hand():
    """As Frankle & Carbin (2019): 266,200 weights on 28 × 28, Glorot-normal, and biases of 0."""
    network = networks.build("lenet300-100", input_shape=(1, 28, 28), n_classes=10, seed=4, **GREY)
    assert [n for n, _ in network.named_children()] == ["flatten", "fc1", "relu1", "fc2", "relu2", "fc3"]
    linear = [network.fc1, network.fc2, network.fc3]
    assert [tuple(layer.weight.shape) for layer in linear] == [(300, 784), (100, 300), (10, 100)]
    assert sum(layer.weight.numel() for layer in linear) == 266_200
    assert sum(p.numel() for p in network.parameters()) == 266_610
    for layer in linear:
        assert not layer.bias.any()
        n = layer.weight.numel()
        sd = math.sqrt(2 / (layer.in_features + layer.out_features))
        assert layer.weight.std().item() == pytest.approx(sd, rel=4 / math.sqrt(2 * n))
        assert layer.weight.mean().item() == pytest.approx(0, abs=4 * sd / math.sqrt(n))
        share = float((layer.weight.abs() < sd).float().mean())  # of a normal distribution 68 %
        assert share == pytest.approx(0.6827, abs=4 * 0.4655 / math.sqrt(n))
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = (x.flatten(1) - 0.5) / 0.5
    for layer in linear[:2]:
        y = torch.clamp(y @ layer.weight.T, min=0)
    torch.testing.assert_close(network(x), y @ network.fc3.weight.T, rtol=1e-4, atol=1e-5)
    assert "lenet300-100" in networks.names()
    networks.check_name("lenet300-100", own=False)
    again, other = (
        networks.build("lenet300-100", input_shape=(1, 28, 28), n_classes=10, seed=seed, **GREY)
        for seed in (4, 5)
    )
    assert torch.equal(again.fc1.weight, network.fc1.weight)
    assert not torch.equal(other.fc1.weight, network.fc1.weight)
    assert networks.lenet300((3, 8, 8), 4).fc1.in_features == 192
    assert embeddings.last_weighted(network, x) == "fc3"


def test_wide_lenet_has_the_authors_widths():
    network = networks.lenet5((1, 28, 28), 10, wide=True)
    assert (network.conv1.out_channels, network.conv2.out_channels) == (64, 64)
    assert (network.fc1.in_features, network.fc1.out_features, network.fc2.out_features) == (9216, 256, 256)


CLASSIC = "conv1 relu1 pool1 conv2 relu2 pool2 flatten fc1 relu3 fc2 relu4 fc3"
NORMED = "conv1 norm1 relu1 pool1 conv2 norm2 relu2 pool2 flatten fc1 norm3 relu3 fc2 norm4 relu4 fc3"


@pytest.mark.parametrize(
    ("name", "layers", "features", "parameters"),
    [
        ("lenet5", CLASSIC, (6, 16, 400, 120, 84), 61_706),
        # Two convolutions of 3 × 3 leave 28 of 32 pixels, pooling half of them.
        (
            "lenet5-wide",
            "conv1 relu1 conv2 relu2 pool flatten fc1 relu3 fc2 relu4 fc3",
            (64, 64, 64 * 14 * 14, 256, 256),
            640 + 36_928 + 3_211_520 + 65_792 + 2_570,
        ),
        ("lenet5-half", CLASSIC, (3, 8, 200, 60, 42), 78 + 608 + 12_060 + 2_562 + 430),
        ("lenet5-double", CLASSIC, (12, 32, 800, 240, 168), 312 + 9_632 + 192_240 + 40_488 + 1_690),
        # Two numbers more for each of the 226 normalised features.
        ("lenet5-batchnorm", NORMED, (6, 16, 400, 120, 84), 61_706 + 2 * (6 + 16 + 120 + 84)),
    ],
)
def test_forms_of_lenet_counted_by_hand(name, layers, features, parameters):
    """Layers in their order, features of each, and numbers learnt, for grey images of 32 × 32."""
    network = networks.build(name, input_shape=(1, 32, 32), n_classes=10, **GREY)
    assert [n for n, _ in network.named_children()] == layers.split()
    assert sum(p.numel() for p in network.parameters()) == parameters
    conv1, conv2, flat, fc1, fc2 = features
    assert (network.conv1.in_channels, network.conv1.out_channels) == (1, conv1)
    assert (network.conv2.in_channels, network.conv2.out_channels) == (conv1, conv2)
    assert (network.fc1.in_features, network.fc1.out_features) == (flat, fc1)
    assert (network.fc2.in_features, network.fc2.out_features) == (fc1, fc2)
    assert (network.fc3.in_features, network.fc3.out_features) == (fc2, 10)
    if "batchnorm" in name:
        norms = (network.norm1, network.norm2, network.norm3, network.norm4)
        assert [type(n) for n in norms] == [nn.BatchNorm2d] * 2 + [nn.BatchNorm1d] * 2
        assert [n.num_features for n in norms] == [conv1, conv2, fc1, fc2]


def earlier_lenet(input_shape, *, wide, seed):
    """The weights that the first recorded runs started from: layers made one after the other."""
    channels, height, width = input_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if wide:
            convolutions = [
                ("conv1", nn.Conv2d(channels, 64, 3)),
                ("relu1", nn.ReLU()),
                ("conv2", nn.Conv2d(64, 64, 3)),
                ("relu2", nn.ReLU()),
                ("pool", nn.MaxPool2d(2)),
            ]
            flat, first, second = 64 * ((height - 4) // 2) * ((width - 4) // 2), 256, 256
        else:
            convolutions = [
                ("conv1", nn.Conv2d(channels, 6, 5, padding=2 if min(height, width) < 32 else 0)),
                ("relu1", nn.ReLU()),
                ("pool1", nn.MaxPool2d(2)),
                ("conv2", nn.Conv2d(6, 16, 5)),
                ("relu2", nn.ReLU()),
                ("pool2", nn.MaxPool2d(2)),
            ]
            flat, first, second = 16 * 5 * 5, 120, 84
        head = [
            ("flatten", nn.Flatten()),
            ("fc1", nn.Linear(flat, first)),
            ("relu3", nn.ReLU()),
            ("fc2", nn.Linear(first, second)),
            ("relu4", nn.ReLU()),
            ("fc3", nn.Linear(second, 10)),
        ]
        return nn.Sequential(OrderedDict([*convolutions, *head])).eval()


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("input_shape", [(1, 28, 28), (1, 32, 32), (3, 32, 32)])
@pytest.mark.parametrize("name", ["lenet5", "lenet5-wide"])
def test_a_seed_gives_the_weights_that_the_recorded_runs_started_from(name, input_shape, seed):
    channels = input_shape[0]
    built = networks.build(
        name, input_shape=input_shape, n_classes=10, mean=(0.0,) * channels, std=(1.0,) * channels, seed=seed
    )
    earlier = earlier_lenet(input_shape, wide=name == "lenet5-wide", seed=seed)
    assert [n for n, _ in built.named_children()] == [n for n, _ in earlier.named_children()]
    assert list(built.state_dict()) == list(earlier.state_dict())
    for layer, weights in earlier.state_dict().items():
        assert torch.equal(built.state_dict()[layer], weights), layer
    images = torch.rand(3, *input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(built(images), earlier(images))


def test_batch_norm_stands_before_every_relu():
    """A pass spelt out, with averages that are not those of a fresh network; in training too."""
    network = networks.lenet5((1, 28, 28), 10, batch_norm=True)
    assert network.training
    children = list(network.named_children())
    before = {n: children[i - 1][0] for i, (n, _) in enumerate(children) if n.startswith("relu")}
    assert before == {f"relu{i}": f"norm{i}" for i in (1, 2, 3, 4)}
    generator = torch.Generator().manual_seed(0)
    for i in (1, 2, 3, 4):
        norm = network.get_submodule(f"norm{i}")
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.copy_(torch.rand(values.shape, generator=generator) + 0.1)
    images = torch.rand(5, 1, 28, 28, generator=generator)

    def spelt_out(x, *, training):
        def norm(x, i):
            n = network.get_submodule(f"norm{i}")
            if training:
                axes = [0, *range(2, x.ndim)]
                mean, var = x.mean(axes), x.var(axes, unbiased=False)
            else:
                mean, var = n.running_mean, n.running_var
            shape = (1, -1, *[1] * (x.ndim - 2))
            scaled = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
            return scaled * n.weight.view(shape) + n.bias.view(shape)

        x = F.conv2d(x, network.conv1.weight, network.conv1.bias, padding=2)
        x = F.max_pool2d(norm(x, 1).clamp(min=0), 2)
        x = F.conv2d(x, network.conv2.weight, network.conv2.bias)
        x = F.max_pool2d(norm(x, 2).clamp(min=0), 2).flatten(1)
        x = norm(x @ network.fc1.weight.T + network.fc1.bias, 3).clamp(min=0)
        x = norm(x @ network.fc2.weight.T + network.fc2.bias, 4).clamp(min=0)
        return x @ network.fc3.weight.T + network.fc3.bias

    with torch.no_grad():
        network.eval()
        torch.testing.assert_close(network(images), spelt_out(images, training=False))
        network.train()
        torch.testing.assert_close(network(images), spelt_out(images, training=True))


def test_batch_norm_changes_no_other_weight():
    """So that a variation with it starts where the usual network of the same seed starts."""
    shape = {"input_shape": (1, 32, 32), "n_classes": 10, "seed": 4, **GREY}
    usual = networks.build("lenet5", **shape).state_dict()
    normed = networks.build("lenet5-batchnorm", **shape).state_dict()
    assert {n for n in normed if not n.startswith("norm")} == set(usual)
    assert all(torch.equal(normed[n], usual[n]) for n in usual)
    assert torch.equal(normed["norm4.running_var"], torch.ones(84))  # sizing it has not run it in training
    assert normed["norm1.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("lenet5", 84),
        ("lenet5-wide", 256),
        ("lenet5-half", 42),
        ("lenet5-double", 168),
        ("lenet5-batchnorm", 84),
    ],
)
def test_relu4_is_the_penultimate_layer_of_every_form(name, width):
    network = networks.build(name, input_shape=(1, 28, 28), n_classes=10, **GREY)
    images = np.random.default_rng(0).random((6, 1, 28, 28), dtype=np.float32)
    found = embeddings.extract(network, images)
    assert found.shape == (6, width)
    np.testing.assert_array_equal(found, embeddings.extract(network, images, layer="relu4"))
    assert found.min() == 0
    assert found.max() > 0


@pytest.mark.parametrize("wide", [False, True])
def test_a_width_that_leaves_no_feature_is_refused(wide):
    least = 64 if wide else 6
    for width in (math.nan, math.inf):
        with pytest.raises(InputError, match=f"width is a finite number; got {width!r}"):
            networks.lenet5((1, 28, 28), 10, wide=wide, width=width)
    for width in (0, -1, 0.49 / least):
        with pytest.raises(InputError, match=rf"width multiplies the .* features; {width!r} leaves none"):
            networks.lenet5((1, 28, 28), 10, wide=wide, width=width)
    narrow = networks.lenet5((1, 28, 28), 10, wide=wide, width=0.51 / least)
    assert narrow.conv1.out_channels == 1


def test_a_network_normalises_its_input():
    network = networks.build("lenet5", input_shape=(1, 32, 32), n_classes=10, mean=(0.3,), std=(2.0,))
    plain = networks.lenet5((1, 32, 32), 10)
    plain.load_state_dict(network.state_dict())
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(images), plain((images - 0.3) / 2.0))
        torch.testing.assert_close(plain(networks.normalised(network, images)), network(images))
    assert networks.normalised(plain, images) is images


def test_weights_come_from_the_seed_alone():
    def first(seed):
        network = networks.build("lenet5", input_shape=(1, 32, 32), n_classes=10, seed=seed, **GREY)
        return next(network.parameters())

    before = torch.get_rng_state()
    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.long
@pytest.mark.parametrize("name", ["vgg11", "alexnet", "squeezenet1_0", "resnet18"])
def test_penultimate_layer_of_torchvision_classifiers(name):
    network = networks.build(name, n_classes=7)
    images = np.random.default_rng(0).random((2, 3, 224, 224), dtype=np.float32)
    found = embeddings.extract(network, images)
    own = {
        "vgg11": "classifier.4",
        "alexnet": "classifier.5",
        "squeezenet1_0": "features",
        "resnet18": "avgpool",
    }
    np.testing.assert_array_equal(found, embeddings.extract(network, images, layer=own[name]))
    assert found.min() >= 0
    width = {"vgg11": 4096, "alexnet": 4096, "squeezenet1_0": 512 * 13 * 13, "resnet18": 512}
    assert found.shape == (2, width[name])


def test_real_squeezenet_recognises_real_images(mirror, tmp_path):
    """A hundred of the thousand ImageNet sample images, resized to 256 and cropped to 227 pixels."""
    weights = mirror / "weights" / "squeezenet1_0.pth"
    network = networks.build("squeezenet1_0", input_shape=(3, 227, 227), weights=weights)
    for folder in sorted((mirror / "imagenet-sample").iterdir()):
        (tmp_path / "test" / folder.name).parent.mkdir(exist_ok=True)
        (tmp_path / "test" / folder.name).symlink_to(folder)
    (tmp_path / "train").symlink_to(tmp_path / "test")
    sample = stimuli.load(f"folder:{tmp_path}", "test", size=227, resize=256)
    every_tenth = sample.subset(np.arange(0, 1000, 10))
    assert 0.50 <= training.accuracy(network, every_tenth) <= 0.75


def test_weights_on_this_machine(own_cache, tmp_path, monkeypatch):
    assert networks.local_weights("squeezenet1_0") is None
    (own_cache / "weights").mkdir(parents=True)
    (own_cache / "weights" / "squeezenet1_0.pth").write_bytes(b"")
    assert networks.local_weights("squeezenet1_0") == own_cache / "weights" / "squeezenet1_0.pth"
    (tmp_path / "mirror" / "weights").mkdir(parents=True)
    first = tmp_path / "mirror" / "weights" / "squeezenet1_0.pth"
    first.write_bytes(b"")
    monkeypatch.setenv("RAREFIRE_MIRROR", str(tmp_path / "mirror"))
    assert networks.local_weights("squeezenet1_0") == first
    assert networks.local_weights("vgg19") is None


def test_weights_of_another_architecture_are_refused_and_change_nothing(tmp_path):
    wide = networks.lenet5((1, 32, 32), 10, wide=True)
    torch.save(wide.state_dict(), tmp_path / "wide.pth")
    network = networks.lenet5((1, 32, 32), 10)
    before = network.conv1.weight.clone()
    said = r"wide.pth holds .* another architecture .* conv1.weight \(64, 1, 3, 3\) instead of \(6, 1, 5, 5\)"
    with pytest.raises(CheckpointError, match=said):
        networks.load_weights(network, tmp_path / "wide.pth")
    assert torch.equal(before, network.conv1.weight)
    with pytest.raises(CheckpointError, match=r"missing: .*unknown: "):
        networks.load_weights(network, networks.build("alexnet").state_dict())


def test_a_weights_file_cannot_run_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"x": Bomb()}, tmp_path / "bomb.pth")
    network = networks.lenet5((1, 32, 32), 10)
    with pytest.raises(DataError, match="cannot be read as a state dict of tensors"):
        networks.load_weights(network, tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


def small(classes=3, seed=0):
    """A core with a batch norm, and a last layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = {"conv": nn.Conv2d(3, 4, 3), "bn": nn.BatchNorm2d(4), "relu": nn.ReLU(), "pool": nn.Flatten()}
        return nn.Sequential(OrderedDict(**parts, fc=nn.Linear(4 * 36, classes))).eval()


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def safetensors(path, state):
    """As the library writes it: a length, a header, the numbers."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    for name, value in state.items():
        raw = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        place = [len(numbers), len(numbers) + len(raw)]
        header[name] = {"dtype": kinds[value.dtype], "shape": list(value.shape), "data_offsets": place}
        numbers += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s: prefixed("module.", s), "module. taken off the names"),
        (lambda s: prefixed("_orig_mod.", s), "_orig_mod. taken off the names"),
        (lambda s: prefixed("module._orig_mod.", s), "_orig_mod. and module. taken off the names"),
        (lambda s: {n.replace("conv.", "conv.module."): v for n, v in s.items()}, "module. taken off"),
        (
            lambda s: {"state_dict": prefixed("model.", s), "epoch": 3},
            "'state_dict'; model. taken off the names",
        ),
        (lambda s: prefixed("net.", s), "net. taken off the names"),
        (lambda s: prefixed("encoder.body.", s), "encoder.body. taken off the names"),
        (
            lambda s: {**prefixed("backbone.", s), "loss.weight": torch.ones(2)},
            r"backbone. taken off the names \(loss.weight left out\)",
        ),
        (lambda s: {"model": s, "optimizer": {"state": {0: {"m": torch.ones(1)}}}}, "taken from 'model'"),
        (lambda s: {"model": s, "args": argparse.Namespace(lr=0.1)}, "taken from 'model'"),
        (lambda s: {"model_state_dict": s, "best": np.float64(0.5)}, "taken from 'model_state_dict'"),
        (lambda s: {"model": s, "model_ema": dict(s)}, "taken from 'model', not from model_ema"),
        (lambda s: {n: v for n, v in s.items() if "tracked" not in n}, "1 batch counters set to 0"),
    ],
)
def test_weights_as_tools_keep_them(tmp_path, wrap, said):
    whole = small(seed=1)
    torch.save(wrap(dict(whole.state_dict())), tmp_path / "w.pth")
    with pytest.warns(RarefireWarning, match=rf"w\.pth: .*{said}"):
        network = networks.load_weights(small(), tmp_path / "w.pth")
    assert networks.digest(network) == networks.digest(whole)


def test_safetensors(tmp_path, recwarn):
    whole = small(seed=1)
    safetensors(tmp_path / "w.safetensors", whole.state_dict())
    network = networks.load_weights(small(), tmp_path / "w.safetensors")
    assert networks.digest(network) == networks.digest(whole)
    (tmp_path / "w.safetensors").rename(tmp_path / "w.bin")  # by its first bytes
    assert networks.digest(networks.load_weights(small(), tmp_path / "w.bin")) == networks.digest(whole)
    for kind in (torch.float16, torch.bfloat16):
        safetensors(tmp_path / "h.safetensors", copy.deepcopy(whole).to(kind).state_dict())
        half = networks.load_weights(small(), tmp_path / "h.safetensors")
        assert torch.equal(half.conv.weight, whole.conv.weight.to(kind).float())
    assert not recwarn.list


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda b: b[:-5], "is not where the header says"),
        (lambda b: b[:40], "Unterminated string|Expecting"),
        (lambda b: b.replace(b'"F32"', b'"F99"'), "unknown 'F99'"),
        (lambda b: b.replace(b'"data_offsets"', b'"data_offzets"', 1), "unknown 'data_offsets'"),
        (lambda b: (2**40).to_bytes(8, "little") + b[8:], "Extra data|decode"),
        (lambda b: (4).to_bytes(8, "little") + b"[1,2", "Expecting"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path, spoil, said):
    safetensors(tmp_path / "w.safetensors", small().state_dict())
    (tmp_path / "w.safetensors").write_bytes(spoil((tmp_path / "w.safetensors").read_bytes()))
    with pytest.raises(DataError, match=rf"cannot be read as safetensors \(.*({said})"):
        networks.load_weights(small(), tmp_path / "w.safetensors")


def test_a_last_layer_of_another_size(tmp_path):
    whole, network = small(7, seed=1), small()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    with pytest.warns(
        RarefireWarning, match=r"its last layer \(fc\) has 7 outputs, and so has the network now"
    ):
        networks.load_weights(network, tmp_path / "w.pth")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(network(images), whole(images))
    assert network.fc.out_features == 7
    with pytest.raises(CheckpointError, match=r"fc.weight \(7, 144\) instead of \(3, 144\)"):
        networks.load_weights(small(), tmp_path / "w.pth", resize=False)


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "mobilenet_v3_small"])
def test_the_number_of_classes_is_read_from_the_file(tmp_path, name):
    """Of a convolution, and of linear layers."""
    ten = networks.build(name, n_classes=10, seed=1)
    torch.save(ten.state_dict(), tmp_path / "w.pth")
    with pytest.warns(RarefireWarning, match="has 10 outputs"):
        network = networks.build(name, weights=tmp_path / "w.pth")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), ten(images))
    with pytest.raises(CheckpointError, match="another architecture .* instead of"):
        networks.build(name, n_classes=7, weights=tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("headed", "left"),
    [
        ({"fc.1.weight": torch.ones(2, 144), "fc.1.bias": torch.ones(2)}, r"\(fc.1.weight, fc.1.bias\)"),
        ({"head.weight": torch.ones(2, 144)}, r"\(head.weight\)"),
        ({}, r"\(none there\)"),
        ({"fc.weight": torch.ones(2, 9), "fc.bias": torch.ones(2)}, r"\(fc.weight, fc.bias\)"),
    ],
)
def test_a_head_of_another_make_is_not_needed_for_features(headed, left):
    whole = small(seed=1)
    core = {name: value for name, value in whole.state_dict().items() if not name.startswith("fc.")}
    said = rf"its head {left} left out: outputs are random, the features before fc are right"
    with pytest.warns(RarefireWarning, match=said):
        network = networks.load_weights(small(), {**core, **headed})
    images = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)
    np.testing.assert_array_equal(embeddings.extract(network, images), embeddings.extract(whole, images))


def test_densenets_of_2017_and_auxiliary_heads(tmp_path):
    dense = networks.build("densenet121", seed=1)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value
        for name, value in dense.state_dict().items()
        if "num_batches" not in name
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "w.pth")
    with pytest.warns(RarefireWarning, match=r"names of 2017 .*; 121 batch counters set to 0"):
        found = networks.build("densenet121", weights=tmp_path / "w.pth")
    assert networks.digest(found) == networks.digest(dense)
    google = networks.build("googlenet", seed=1)
    bare = {name: value for name, value in google.state_dict().items() if not name.startswith("aux")}
    with pytest.warns(RarefireWarning, match="auxiliary heads left out"):
        found = networks.load_weights(networks.build("googlenet"), bare)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(found(images), google(images))


def test_names_of_torchvisions_weights(monkeypatch):
    asked = []

    def made(name, **options):
        asked.append((name, options["weights"]))
        return small()

    monkeypatch.setattr("torchvision.models.get_model", made)
    for weights in ("DEFAULT", "IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V2"):
        networks.build("resnet50", weights=weights)
    assert asked == [("resnet50", w) for w in ("DEFAULT", "IMAGENET1K_V1", "IMAGENET1K_V2")]
    with pytest.raises(
        UnknownNameError, match="no set of weights 'IMAGENET1K_V3'. There are: IMAGENET1K_V[12]"
    ):
        networks.build("resnet50", weights="IMAGENET1K_V3")


def test_what_fits_no_network_says_why(tmp_path):
    network, state = small(), dict(small(seed=1).state_dict())
    before = networks.digest(network)
    for held, error, said in (
        (
            {**state, "conv.weight": torch.ones(4, 3, 5, 5)},
            CheckpointError,
            "another architecture than Sequential",
        ),
        (
            {**state, "se.weight": torch.ones(3)},
            CheckpointError,
            r"not hold all and only .* unknown: se.weight \(1\)",
        ),
        ({n: v for n, v in state.items() if n != "bn.bias"}, CheckpointError, r"missing: bn.bias \(1\)"),
        (
            {f"layer{i}": v for i, v in enumerate(state.values())},
            CheckpointError,
            "has the shapes of Sequential under other names: rename them. missing: conv.weight, conv.bias",
        ),
        (
            {**prefixed("student.", state), **prefixed("teacher.", state)},
            CheckpointError,
            r"holds 2 networks that fit, student\. and teacher\.",
        ),
        (
            {"generator": state, "discriminator": state},
            DataError,
            "it holds several: generator, discriminator",
        ),
        ({"epoch": 3}, DataError, "it holds none: epoch"),
        (torch.ones(3), DataError, "holds one Tensor, not a state dict"),
        ([state], DataError, "holds one list, not a state dict"),
    ):
        torch.save(held, tmp_path / "w.pth")
        with pytest.raises(error, match=said):
            networks.load_weights(network, tmp_path / "w.pth")
    assert networks.digest(network) == before


def test_other_errors(tmp_path, monkeypatch):
    network = networks.lenet5((1, 32, 32), 10)
    with pytest.raises(DataError, match="there is no weights file"):
        networks.load_weights(network, tmp_path / "none.pth")
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(DataError, match="torn.pth cannot be read"):
        networks.load_weights(network, tmp_path / "torn.pth")
    with pytest.raises(UnknownNameError, match=r"no network 'vgg91'. There are: vgg19, .*lenet5"):
        networks.build("vgg91")
    with pytest.raises(InputError, match="one value for each of the 1 channels; got 3 and 3"):
        networks.build("lenet5", input_shape=(1, 32, 32))
    with pytest.raises(InputError, match="images of 8 × 8 are too small"):
        networks.lenet5((1, 8, 8), 10)
    with pytest.raises(DataError, match="there is no weights file DEFAULT"):
        networks.build("lenet5", input_shape=(1, 32, 32), weights="DEFAULT", **GREY)


def test_torchvision_weights_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="weights for 'squeezenet1_1' could not be downloaded"):
        networks.build("squeezenet1_1", weights="DEFAULT")


def test_an_untrained_twin():
    """The same layers with weights of variance 2/inputs, no biases, norms that do nothing; by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(4, 64, 3, groups=2),
                norm=nn.BatchNorm2d(64),
                relu=nn.ReLU(),
                flatten=nn.Flatten(),
                fc=nn.Linear(64, 500),
            )
        )
        network(torch.rand(8, 4, 3, 3))  # moves the running mean
        nn.init.normal_(network.norm.weight)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    first, again, other = (networks.untrained(network, seed=seed) for seed in (1, 1, 2))
    for name, values in network.state_dict().items():
        assert torch.equal(values, before[name]), name
        assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    for layer, inputs in ((first.conv, 2 * 9), (first.fc, 64)):
        n = layer.weight.numel()
        variance = layer.weight.detach().square().mean().item()
        assert variance == pytest.approx(2 / inputs, rel=4 * math.sqrt(2 / n))
        assert layer.weight.mean().item() == pytest.approx(0, abs=4 * math.sqrt(2 / inputs / n))
        assert not layer.bias.any()
    assert not torch.equal(first.fc.weight, other.fc.weight)
    x = torch.randn(2, 64, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first.norm.eval()(x), x, rtol=1e-4, atol=1e-4)


def test_an_untrained_twin_on_the_scale_of_images(rng):
    """Every layer's outputs have an SD of 1, a branch without a ReLU too; else they are the same twin."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 1)
            self.relu, self.last = nn.ReLU6(), nn.Linear(16, 5)

        def forward(self, x):
            x = self.relu(self.first(x))
            return self.last((x + self.second(x)).mean(dim=(2, 3)))

    network = Branches()
    images = rng.uniform(size=(20, 3, 8, 8)).astype(np.float32)
    plain, twin = networks.untrained(network, seed=1), networks.untrained(network, seed=1, images=images)
    spread = {}
    for name in ("first", "second", "last"):
        there = getattr(twin, name)
        there.register_forward_hook(lambda _, __, out, name=name: spread.update({name: out.std().item()}))
        factor = getattr(plain, name).weight / there.weight
        torch.testing.assert_close(factor, factor.mean().expand_as(factor))
    twin(torch.as_tensor(images))
    assert spread == {name: pytest.approx(1, abs=1e-5) for name in spread}
    assert twin.training == network.training
    assert networks.capped(network)
    assert not networks.capped(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()))
    silent = networks.untrained(network, seed=1, images=np.zeros((2, 3, 8, 8), np.float32))
    assert torch.equal(silent.first.weight, plain.first.weight)  # nothing to divide by


def test_an_untrained_twin_normalises_its_input():
    network = networks.build("lenet5", input_shape=(1, 32, 32), n_classes=10, **GREY)
    twin, x = networks.untrained(network, seed=0), torch.rand(2, 1, 32, 32)
    caught = []
    twin.conv1.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    twin(x)
    torch.testing.assert_close(caught[0], (x - 0.5) / 0.5)


# --- networks of one's own -----------------------------------------------------------------------

OWN = """
import torch
from torch import nn
import layers


def small(width=4):
    \"\"\"Linear on the mean colour, post-ReLU, and an output.\"\"\"
    return layers.wrapped(nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2)))


def other():
    return small()


def needs(width, *, depth):
    return small()


def fails():
    raise ValueError("no\\nway")


def leaves():
    raise SystemExit("usage: nets.py")


def nothing():
    return None


SIZE = 224
"""
LAYERS = """
from pathlib import Path
import torch
from torch import nn


class Wrapped(nn.Module):
    def __init__(self, network, shift):
        super().__init__()
        self.network = network
        self.register_buffer("shift", torch.tensor(shift), persistent=False)

    def forward(self, x):
        return self.network(x.mean((2, 3)) - self.shift)


def wrapped(network):
    return Wrapped(network, float(Path(__file__).with_name("shift.txt").read_text()))
"""


@pytest.fixture
def own(tmp_path):
    """Two files of one name in two folders, each with a module and a file beside it."""
    for folder, shift in (("a", "0.25"), ("b", "0.5")):
        place = tmp_path / folder
        place.mkdir()
        (place / "nets.py").write_text(OWN)
        (place / "layers.py").write_text(LAYERS)
        (place / "shift.txt").write_text(shift)
    return tmp_path


def shapes(network):
    return {name: tuple(p.shape) for name, p in network.named_parameters()}


def test_a_network_of_ones_own_is_what_its_function_returns(own, monkeypatch):
    name = f"{own}/a/nets.py:small"
    networks.check_name(name)
    before, path, modules = torch.get_rng_state(), list(sys.path), dict(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    network = networks.build(name, seed=3)
    assert sys.path == path
    assert sys.modules == modules
    assert not sys.dont_write_bytecode
    assert not list(own.rglob("__pycache__"))
    assert torch.equal(before, torch.get_rng_state())
    assert not network.training
    assert networks.normalisation(network) is None
    assert shapes(network)["network.0.weight"] == (4, 3)
    images = torch.rand(5, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    first = network.network[0]
    with torch.no_grad():
        hidden = F.relu((images.mean((2, 3)) - 0.25) @ first.weight.T + first.bias)
    np.testing.assert_allclose(embeddings.extract(network, images), hidden, atol=1e-6)
    # The seed decides about what is random in it, as for the others.
    again, another = networks.build(name, seed=3), networks.build(name, seed=4)
    assert torch.equal(again.network[0].weight, first.weight)
    assert not torch.equal(another.network[0].weight, first.weight)
    # Named relative to where one is, and from one's home; it is told no size of images.
    monkeypatch.chdir(own / "b")
    monkeypatch.setenv("HOME", str(own))
    for other in ("nets.py:small", "../a/nets.py:small", "~/a/nets.py:small"):
        built = networks.build(other, seed=3, input_shape=(3, 64, 64))
        assert torch.equal(built.network[0].weight, first.weight)
        assert float(built.shift) == (0.5 if other.startswith("nets") else 0.25)
    assert networks.local_weights("nets.py:small") is None
    assert networks.short_name(name) == "small"
    assert networks.short_name("vgg19") == "vgg19"
    assert networks.own_file(name) == own / "a" / "nets.py"
    assert networks.own_file("package.module:small") is networks.own_file("vgg19") is None


def test_a_file_finds_what_lies_beside_it_and_nothing_else_of_that_name(own, monkeypatch):
    """A module ``layers`` that is loaded already is another one, and stays what it is."""
    (own / "elsewhere").mkdir()
    (own / "elsewhere" / "layers.py").write_text("wrapped = None")
    monkeypatch.syspath_prepend(own / "elsewhere")
    import layers

    try:
        assert layers.wrapped is None
        assert float(networks.build(f"{own}/a/nets.py:small").shift) == 0.25
        assert float(networks.build(f"{own}/b/nets.py:small").shift) == 0.5
        assert sys.modules["layers"] is layers
    finally:
        del sys.modules["layers"]
    # A folder with a colon, one file that is a link to another, and a network made with another of one's own.
    (own / "a").rename(own / "c:d")
    (own / "link.py").symlink_to(own / "c:d" / "nets.py")
    (own / "both.py").write_text(
        "import dataclasses, statistics\nfrom rarefire import networks\n"
        "@dataclasses.dataclass\nclass Options:\n    width: 'int' = 4\n"
        f"def small():\n    return networks.build({str(own / 'b' / 'nets.py')!r} + ':small')\n"
    )
    for name, shift in (("c:d/nets", 0.25), ("link", 0.25), ("both", 0.5)):
        assert float(networks.build(f"{own}/{name}.py:small").shift) == shift
    assert "rarefire_own_network" not in sys.modules


def test_a_module_of_a_package(own, monkeypatch):
    monkeypatch.chdir(own / "a")
    for name in ("nets:small", "torchvision.models:squeezenet1_1"):
        networks.check_name(name)
        assert not networks.build(name).training
        assert "" not in sys.path[:1]
    first = networks.build("nets:small")
    assert float(first.shift) == 0.25
    # Of its source is what lies beside it, where that is no installed library.
    (own / "a" / "layers.py").write_text(LAYERS + "# another one")
    again = networks.load_weights(networks.build("nets:small"), first.state_dict())
    assert networks.digest(again) != networks.digest(first)
    library = [networks.build("torchvision.models:squeezenet1_1") for _ in range(2)]
    assert networks.digest(library[0]) == networks.digest(library[1])
    for name in ("nets", "layers"):
        sys.modules.pop(name)
    with pytest.raises(
        UnknownNameError, match=r"no module 'netz'. A network of one's own is package.module:f"
    ):
        networks.build("netz:small")
    with pytest.raises(UnknownNameError, match=r"no module 'torchvision\.modelz'"):
        networks.build("torchvision.modelz:vgg19")
    (own / "a" / "lacks.py").write_text("import no_such_library")
    with pytest.raises(InputError, match=r"lacks failed with ModuleNotFoundError: .*no_such_library"):
        networks.build("lacks:small")


def test_weights_for_a_network_of_ones_own(own):
    name = f"{own}/a/nets.py:small"
    torch.save(networks.build(name, seed=9).state_dict(), own / "nine.pth")
    assert torch.equal(
        networks.build(name, weights=own / "nine.pth").network[0].weight,
        networks.build(name, seed=9).network[0].weight,
    )
    torch.save(networks.lenet5((1, 32, 32)).state_dict(), own / "lenet.pth")
    with pytest.raises(
        CheckpointError, match=r"lenet.pth holds the weights of another architecture than Wrapped"
    ):
        networks.build(name, weights=own / "lenet.pth")


def test_equal_weights_do_not_make_equal_networks(own):
    """Not to be told by weights: the source, its function, a module beside it, a buffer that is not saved."""
    name = f"{own}/a/nets.py:small"
    found = {"as it is": networks.digest(networks.build(name))}
    assert networks.digest(networks.build(name)) == found["as it is"]
    assert networks.digest(networks.build(name, seed=1)) != found["as it is"]
    weights = networks.build(name).state_dict()

    def changed(how, name=name):
        network = networks.load_weights(networks.build(name), weights)
        found[how] = networks.digest(network)

    changed("function", f"{own}/a/nets.py:other")
    changed("buffer", f"{own}/b/nets.py:small")
    (own / "a" / "layers.py").write_text(LAYERS.replace("- self.shift", "+ self.shift"))  # as many bytes
    changed("beside")
    (own / "a" / "nets.py").write_text(OWN.replace("nn.ReLU()", "nn.GELU()"))
    changed("source")
    assert len(set(found.values())) == len(found) == 5
    # So is what it is made of, where another one of one's own is in it.
    (own / "outer.py").write_text(
        "from rarefire import networks\n"
        f"def small(): return networks.build({str(own / 'b' / 'nets.py')!r} + ':small')\n"
    )
    changed("outer", f"{own}/outer.py:small")
    (own / "b" / "nets.py").write_text(OWN.replace("nn.ReLU()", "nn.GELU()"))
    changed("inner", f"{own}/outer.py:small")
    assert len(set(found.values())) == len(found) == 7
    # Wherever the folder lies, it is the same network.
    (own / "a").rename(own / "z")
    assert networks.digest(networks.build(f"{own}/z/nets.py:small")) == found["source"]


def test_digests_of_other_networks_are_of_their_weights_alone():
    """Recorded results are keyed by them."""
    network = networks.build("lenet5", input_shape=(1, 32, 32), n_classes=10, **GREY)
    network.register_buffer("unsaved", torch.ones(3), persistent=False)
    expected = store.array_digest(*(t.numpy() for t in network.state_dict().values()))
    assert networks.digest(network) == expected


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("none.py:small", DataError, r"there is no file .*none\.py"),
        ("a:small", UnknownNameError, r"no module 'a'|a defines no function"),
        ("a/:small", DataError, r"a is a folder, not a file"),
        ("a/shift.txt:small", InputError, r"function in a Python file \(\.py\); got shift\.txt"),
        (
            "a/nets.py:smal",
            UnknownNameError,
            r"no function 'smal'\. There are: small, .*needs.*\. That is what a/nets\.py defines",
        ),
        ("a/nets.py:", UnknownNameError, r"no function ''\. There are: .*small"),
        ("empty.py:small", UnknownNameError, r"empty\.py defines no function that could make a network"),
        ("a/nets.py:SIZE", InputError, r"nets\.py:SIZE must be a function .*; it is of type int"),
        ("a/nets.py:needs", InputError, r"called without arguments, but needs width, depth\."),
        ("torn.py:small", InputError, r"^torn\.py failed with SyntaxError: .*line 1"),
        ("a/nets.py:fails", InputError, r"^a/nets\.py:fails failed with ValueError: no way$"),
        ("a/nets.py:leaves", InputError, r"^a/nets\.py:leaves failed with SystemExit: usage: nets\.py$"),
        ("a/nets.py:nothing", InputError, r"must return a torch\.nn\.Module; it returned None"),
        ("a/nets.py", UnknownNameError, r"name the function too: a/nets\.py:function\.$"),
    ],
)
def test_a_network_of_ones_own_that_does_not_work(own, monkeypatch, name, kind, message):
    monkeypatch.chdir(own)
    (own / "torn.py").write_text("def small(:")
    (own / "empty.py").write_text("SIZE = 3")
    path = list(sys.path)
    with pytest.raises(kind, match=message) as raised:
        networks.build(name)
    assert sys.path == path
    assert not [m for m in sys.modules.values() if str(own) in (getattr(m, "__file__", None) or "")]
    sys.modules.pop("a", None)
    if "failed with" in str(raised.value):
        assert isinstance(raised.value.__cause__, (ValueError, SystemExit, SyntaxError))
    called = ("fails", "leaves", "nothing")
    if not name.endswith(called):  # what can be known without calling the function
        with pytest.raises(kind, match=message):
            networks.check_name(name)
        sys.modules.pop("a", None)


def test_what_does_not_apply_to_a_network_of_ones_own_is_refused(own):
    name = f"{own}/a/nets.py:small"
    for given, said in (
        ({"n_classes": 10}, "n_classes"),
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, "mean, std"),
        ({"weights": "DEFAULT"}, "weights='DEFAULT'"),
    ):
        with pytest.raises(InputError, match=rf"its own outputs, normalisation .*: leave out {said}\.$"):
            networks.build(name, **given)
    with pytest.raises(InputError, match=r"small is a network of one's own, measured as it is"):
        networks.check_name(name, own=False)
    with pytest.raises(InputError, match=r"measured as it is; what is trained here"):
        training.train("digits", network=name, seeds=[0])


@pytest.mark.parametrize(
    ("function", "layer", "channels", "width"),
    [
        ("googlenet", "features", 1024, 1024),
        ("squeezenet1_1", "network.features", 512, 512 * 14 * 14),
        ("mobilenet_v2", "network.features", 1280, 1280),
        ("efficientnet_lite0", "features", 1280, 1280),
    ],
)
def test_four_real_networks_of_somebodys_own(mirror, function, layer, channels, width):
    network = networks.build(f"{mirror / 'networks' / 'nets.py'}:{function}")
    size = 227 if function == "squeezenet1_1" else 224
    images = stimuli.gallery(mirror / "imagenet-sample", size=size, resize=256)[::250]
    found = embeddings.extract(network, images)
    assert found.shape == (len(images), width)
    assert found.min() == 0
    assert found.max() > 0
    assert layer in embeddings.layers(network)
    pooled, channel, positions = embeddings.views(network, images, layer=layer)
    assert pooled.embedding.shape == channel.embedding.shape == (len(images), channels)
    assert positions.embedding.shape[1] % channels == 0
    if width == channels:  # the last layer takes the pooled features
        np.testing.assert_allclose(found, pooled.embedding, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(found, positions.embedding)


def test_what_began_with_torchvisions_weights_sees_images_as_they_want_them(tmp_path, rng):
    """Published weights of GoogLeNet are for images in [-1, 1], which no state dict says."""
    theirs = networks.build("googlenet", n_classes=7, seed=3)
    theirs.transform_input = True
    pixels = rng.random((2, 3, 64, 64), np.float32)
    wanted = embeddings.extract(theirs, pixels, layer="conv1")
    path = tmp_path / "googlenet-1378be20.pth"
    torch.save(theirs.state_dict(), path)
    ours = networks.build("googlenet", n_classes=7, weights=path)
    np.testing.assert_allclose(embeddings.extract(ours, pixels, layer="conv1"), wanted, rtol=1e-5)
    other = path.rename(tmp_path / "mine.pth")
    with pytest.warns(RarefireWarning) as said:
        ours = networks.build("googlenet", n_classes=7, weights=other)
    assert str(said[0].message) == (
        f"{other}: googlenet was trained on images in [−1, 1], and what begins with torchvision's weights "
        "sees them so: taken as such. If it was trained from scratch: network.transform_input = False."
    )
    np.testing.assert_allclose(embeddings.extract(ours, pixels, layer="conv1"), wanted, rtol=1e-5)
    ours.transform_input = False
    assert not np.allclose(embeddings.extract(ours, pixels, layer="conv1"), wanted, rtol=1e-2)
