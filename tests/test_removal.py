"""Removal of units: what can be sliced, removed like silenced, costs by hand, importance by naive loops."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import multilabel_confusion_matrix
from torch import nn

from rarefire import embeddings, networks, poz, removal, stimuli, training
from rarefire.errors import InputError, UnknownNameError


@pytest.fixture(autouse=True)
def one_thread():
    """Faster for small networks."""
    with training.one_thread():
        yield


LENETS = {
    "lenet5": (1, 28, 28),
    "lenet5-wide": (1, 14, 14),
    "lenet5-half": (3, 32, 32),
    "lenet5-double": (1, 28, 28),
    "lenet5-batchnorm": (3, 32, 32),
    "lenet300-100": (1, 28, 28),
}


def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return alive(make()).eval()


def alive(network):
    """Batch norms and biases as training leaves them: none is 0 or 1."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0, 0.2)
        elif isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            module.bias.data.uniform_(-0.05, 0.1)
    return network


def lenet(name, n_classes=10):
    shape = LENETS[name]
    grey = {"mean": (0.4,) * shape[0], "std": (0.3,) * shape[0]}
    return networks.build(name, input_shape=shape, n_classes=n_classes, **grey)


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def outputs(network, x):
    with torch.inference_mode():
        return network(x).numpy()


def assert_removed_like_silenced(network, units, x, rtol=1e-4):
    smaller, quiet = removal.removed(network, units), removal.silenced(network, units)
    found, expected, whole = (outputs(n, x) for n in (smaller, quiet, network))
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= rtol * scale
    assert np.abs(whole - expected).max() > 10 * rtol * scale  # it does something
    assert n_parameters(smaller) < n_parameters(quiet) == n_parameters(network)
    return smaller


def n_parameters(network):
    return sum(p.numel() for p in network.parameters())


def some_units(where, share=0.4):
    rng = np.random.default_rng(len(where.layer) + where.n_units)
    return rng.permutation(where.n_units)[: max(1, int(share * where.n_units))]


# --- which layers' units can go -------------------------------------------------------------------


@pytest.mark.parametrize("name", LENETS)
def test_sites_of_lenets(name):
    network = lenet(name)
    found = removal.sites(network)
    if name == "lenet300-100":
        expected = [("fc1", "relu1", "fc2"), ("fc2", "relu2", "fc3")]
    else:
        readers = ("conv1", "conv2", "fc1", "fc2", "fc3")
        expected = [(readers[i], f"relu{i + 1}", readers[i + 1]) for i in range(4)]
    assert [(s.layer, s.activation, s.reader) for s in found] == expected
    modules = dict(network.named_modules())
    assert [s.n_units for s in found] == [len(modules[s.layer].weight) for s in found]
    assert [s.positions for s in found] == [
        modules[s.reader].weight.shape[1] // len(modules[s.layer].weight) for s in found
    ]
    norms = [(f"norm{i + 1}",) if name == "lenet5-batchnorm" else () for i in range(len(found))]
    assert [s.norms for s in found] == norms


@pytest.mark.parametrize("name", LENETS)
def test_removed_is_silenced_in_lenets(name):
    network = alive(lenet(name).double())
    x = noise(5, *LENETS[name]).double()
    there = removal.sites(network)
    for where in there:
        assert_removed_like_silenced(network, {where.layer: some_units(where)}, x, rtol=1e-10)
    smaller = assert_removed_like_silenced(network, {s.layer: some_units(s) for s in there}, x, rtol=1e-10)
    for before, after in zip(there, removal.sites(smaller), strict=True):
        left = before.n_units - len(some_units(before))
        assert after == dataclasses.replace(before, n_units=left)
        module = dict(smaller.named_modules())[after.layer]
        assert f"{'channels' if isinstance(module, nn.Conv2d) else 'features'}={left}" in str(module) or (
            f", {left}, kernel_size" in str(module)
        )
        for norm in after.norms:
            assert dict(smaller.named_modules())[norm].num_features == left


#: By torchvision's name, the layers that are sites.
CLASSIFIERS = {
    "alexnet": [*(f"features.{i}" for i in (0, 3, 6, 8, 10)), "classifier.1", "classifier.4"],
    "vgg11_bn": [
        *(f"features.{i}" for i in (0, 4, 8, 11, 15, 18, 22, 25)),
        *("classifier.0", "classifier.3"),
    ],
    "resnet18": [f"layer{i}.{j}.conv1" for i in (1, 2, 3, 4) for j in (0, 1)],
    "squeezenet1_1": ["features.0"],
    "mobilenet_v2": ["features.1.conv.1", "features.17.conv.2", "features.18.0"],
    "googlenet": [
        *("conv1.conv", "conv2.conv"),
        *(
            f"inception{block}.branch{branch}.0.conv"
            for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
            for branch in (2, 3)
        ),
    ],
}


@functools.cache
def classifier(name):
    import torchvision

    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return seeded(lambda: torchvision.models.get_model(name, num_classes=10, **options))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_removed_is_silenced_in_torchvisions_classifiers(name):
    """Several units of all sites at once: were one of them no site, the outputs would differ."""
    network, x = classifier(name), noise(2, 3, 64, 64)
    there = removal.sites(network)
    assert [where.layer for where in there] == CLASSIFIERS[name]
    smaller = assert_removed_like_silenced(network, {w.layer: some_units(w, 0.2) for w in there}, x)
    assert [w.layer for w in removal.sites(smaller)] == CLASSIFIERS[name]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_removed_is_silenced_at_each_site(name):
    network, x = copy.deepcopy(classifier(name)).double(), noise(1, 3, 64, 64).double()
    for where in removal.sites(network):
        assert_removed_like_silenced(network, {where.layer: some_units(where)}, x, rtol=1e-9)


def test_a_vgg_without_batch_norm():
    """Torchvision's module with its flattened 7 × 7 positions, and a classifier of few units."""
    from torchvision.models import vgg

    network = seeded(lambda: vgg.VGG(vgg.make_layers(vgg.cfgs["A"]), num_classes=10, init_weights=False), 2)
    network.classifier[0], network.classifier[3] = nn.Linear(512 * 49, 20), nn.Linear(20, 30)
    network.classifier[6] = nn.Linear(30, 10)
    there = removal.sites(network)
    assert len(there) == 10
    assert (there[7].positions, there[7].reader) == (49, "classifier.0")
    x = noise(2, 3, 64, 64)
    assert_removed_like_silenced(network.double(), {w.layer: some_units(w) for w in there}, x.double(), 1e-9)


class Own(nn.Module):
    """Two convolutions and two linear layers, functions in between; `flatten` is given."""

    def __init__(self, flatten, relu=F.relu):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3)
        self.fc1, self.fc2 = nn.Linear(5 * 4, 6), nn.Linear(6, 3)
        self.flatten, self.relu = flatten, relu

    def forward(self, x):
        x = F.max_pool2d(self.relu(self.conv1(x)), 2)
        x = F.adaptive_avg_pool2d(self.relu(self.conv2(x)).contiguous(), 2)
        return self.fc2(F.dropout(self.relu(self.fc1(self.flatten(x))), 0.5, self.training))


FLATTENINGS = {
    "view": lambda x: x.view(x.size(0), -1),
    "view-of-sizes": lambda x: x.view(x.size()[0], -1),
    "reshape": lambda x: x.reshape(x.shape[0], -1),
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "torch.flatten-named": lambda x: torch.flatten(x, start_dim=1),
    "flatten": lambda x: x.flatten(1),
    "flatten-named": lambda x: x.flatten(start_dim=1),
}


@pytest.mark.parametrize("flatten", FLATTENINGS.values(), ids=FLATTENINGS)
@pytest.mark.parametrize("relu", [F.relu, torch.relu, lambda x: x.relu()], ids=["F", "torch", "method"])
def test_own_modules_may_use_functions(flatten, relu):
    network = seeded(lambda: Own(flatten, relu)).double()
    there = removal.sites(network)
    assert [(w.layer, w.activation, w.positions) for w in there] == [
        ("conv1", "conv1", 1),
        ("conv2", "conv2", 4),
        ("fc1", "fc1", 1),
    ]
    units = {"conv1": [1, 3], "conv2": [0, 4], "fc1": [2]}
    assert_removed_like_silenced(network, units, noise(3, 1, 14, 14).double(), rtol=1e-10)


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: x.flatten(1, 3),
        lambda x: x.permute(0, 2, 3, 1).flatten(1),
        lambda x: x.view(-1, 20),
        lambda x: x.reshape(3, -1),
        lambda x: torch.flatten(x, 1, end_dim=-1),
        lambda x: x.flatten(1) + 1,
        lambda x: x.flatten(1).softmax(1),
    ],
)
def test_what_is_not_understood_is_no_site(flatten):
    network = seeded(lambda: Own(flatten))
    assert [w.layer for w in removal.sites(network)] == ["conv1", "fc1"]


class Tokens(nn.Module):
    """Images as tokens of their rows; `behind` follows the first two layers."""

    def __init__(self, *behind):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 6), nn.GELU(), *behind)

    def forward(self, x):
        return self.layers(x.flatten(1, 2))


def test_a_perceptron_on_tokens():
    network = seeded(lambda: Tokens(nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, 4))).double()
    assert [w.layer for w in removal.sites(network)] == ["layers.0", "layers.2"]
    units = {"layers.0": [0, 5], "layers.2": [1]}
    smaller = assert_removed_like_silenced(network, units, noise(3, 1, 7, 8).double(), rtol=1e-10)
    assert outputs(smaller, noise(3, 1, 7, 8).double()).shape == (3, 7, 4)


@pytest.mark.parametrize(
    "behind",
    [
        (nn.Flatten(), nn.Linear(6 * 6, 4)),  # tokens first: a unit's inputs are not side by side
        (nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 3, 4)),  # mixes units
        (nn.BatchNorm1d(12), nn.Linear(6, 4)),  # of tokens
        (nn.Conv2d(6, 4, 1),),
    ],
    ids=["flattened", "pooled", "normalised", "convolved"],
)
def test_units_on_tokens_that_are_mixed_are_no_site(behind):
    assert removal.sites(seeded(lambda: Tokens(*behind))) == []


def test_several_readers_and_calls_are_no_sites():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.fc4, self.fc5, self.relu = nn.Linear(4, 4), nn.Linear(4, 2), nn.ReLU()

        def forward(self, x):
            x = self.relu(self.fc1(x.flatten(1)))
            x = x + self.fc2(x)  # several read it
            x = self.relu(self.fc3(x))
            y = self.fc4(self.fc4(x))  # several calls
            return self.fc5(self.relu(y) + y.T.sum())

    assert removal.sites(seeded(Several)) == []


def test_a_norm_of_flattened_positions_is_no_sites_norm():
    layers = (nn.Conv2d(1, 3, 3), nn.Flatten(), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4), nn.ReLU())
    network = seeded(lambda: nn.Sequential(*layers, nn.Linear(4, 2)))
    assert [w.layer for w in removal.sites(network)] == ["4"]
    bare = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, affine=False), nn.ReLU(), nn.Conv2d(3, 2, 1))
    assert removal.sites(bare) == []  # what is 0 before it is not 0 behind it


def test_a_relu_with_several_calls_is_nobodys_activation():
    """The last of its calls is what would be recorded: another layer's."""
    relu = nn.ReLU()
    network = seeded(lambda: nn.Sequential(nn.Linear(4, 3), relu, nn.Linear(3, 3), relu, nn.Linear(3, 2)))
    there = removal.sites(network)
    assert [(w.layer, w.activation) for w in there] == [("0", "0"), ("2", "2")]
    shown = noise(6, 1, 1, 4).numpy() - 0.5
    flat = nn.Sequential(nn.Flatten(), *network)
    with pytest.raises(InputError, match="negative"):
        removal.apoz(flat, shown, removal.sites(flat))


def test_site_by_name():
    network = lenet("lenet5")
    there = removal.sites(network)
    assert removal.site(network) == there[-1]
    assert removal.site(network, "conv2") == removal.site(network, "relu2") == there[1]
    with pytest.raises(UnknownNameError, match=r"no layer whose units can be removed 'fc3'.*conv1, conv2"):
        removal.site(network, "fc3")


def test_the_penultimate_site_is_what_the_last_layer_reads():
    """In a ResNet that is the residual stream."""
    with pytest.raises(UnknownNameError, match=r"units can be removed 'penultimate'.*layer4\.1\.conv1"):
        removal.site(classifier("resnet18"))
    assert removal.site(classifier("mobilenet_v2")).layer == "features.18.0"


def test_a_network_that_cannot_be_traced():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(x) if x.sum() > 0 else x

    with pytest.raises(InputError, match=r"Branches cannot be traced .*TraceError.* depend on data"):
        removal.sites(Branches())


# --- networks without some units ------------------------------------------------------------------


def test_the_network_itself_is_left_as_it_is():
    network = lenet("lenet5-batchnorm")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    for change in (removal.removed, removal.silenced):
        changed = change(network, {"conv1": [0], "fc2": np.arange(80)})
        assert changed is not network
        assert list(changed.state_dict()) == list(before)
        assert all(p.requires_grad for p in changed.parameters())
        assert not changed.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_what_is_left_keeps_its_weights():
    network = lenet("lenet5")
    smaller = removal.removed(network, {"conv2": [0, 2]})
    left = [i for i in range(16) if i not in (0, 2)]
    assert torch.equal(smaller.conv2.weight, network.conv2.weight[left])
    assert torch.equal(smaller.conv2.bias, network.conv2.bias[left])
    blocks = network.fc1.weight.reshape(120, 16, 25)[:, left]
    assert torch.equal(smaller.fc1.weight, blocks.reshape(120, -1))
    assert torch.equal(smaller.fc1.bias, network.fc1.bias)


def test_nothing_removed_is_the_same_network():
    network, x = lenet("lenet5"), noise(2, 1, 28, 28)
    for units in ({}, {"fc1": []}, {"fc1": np.array([], dtype=int)}):
        np.testing.assert_array_equal(outputs(removal.removed(network, units), x), outputs(network, x))


def test_units_that_are_silent_change_nothing_where_they_are():
    """Ghosts of some images, dead ones among them: 0 for all of them."""
    network = lenet("lenet5")
    x = noise(4, 1, 28, 28)
    fires = embeddings.extract(network, x, layer="relu4") > 0
    silent = np.flatnonzero(~fires.any(axis=0))
    assert 0 < len(silent) < 84
    with torch.inference_mode():
        for change in (removal.removed, removal.silenced):
            found = outputs(change(network, {"fc2": silent}), x)
            np.testing.assert_allclose(found, outputs(network, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lenet5-batchnorm", "lenet300-100"])
def test_weights_of_a_smaller_network_find_their_place(name):
    network = alive(lenet(name))
    smaller = removal.removed(network, {w.layer: some_units(w) for w in removal.sites(network)})
    widths = {w.layer: w.n_units for w in removal.sites(smaller)}
    fresh = removal.resized(
        networks.build(name, input_shape=LENETS[name], n_classes=10, **grey(name)), widths
    )
    fresh.load_state_dict(smaller.state_dict())
    x = noise(3, *LENETS[name])
    np.testing.assert_array_equal(outputs(fresh, x), outputs(smaller, x))


def grey(name):
    channels = LENETS[name][0]
    return {"mean": (0.4,) * channels, "std": (0.3,) * channels, "seed": 9}


@pytest.mark.parametrize("change", [removal.removed, removal.silenced])
@pytest.mark.parametrize(
    ("units", "error", "message"),
    [
        ({"fc2": range(84)}, InputError, "all 84 units of fc2 would be removed; at least one must stay"),
        ({"fc2": [84]}, InputError, r"units of fc2 are places from 0 to 83; got \[84\]"),
        ({"fc2": 84}, InputError, r"units of fc2 are places from 0 to 83; got \[84\]"),
        ({"fc2": [-1]}, InputError, r"places from 0 to 83; got \[-1\]"),
        ({"fc2": [0.5]}, InputError, r"places from 0 to 83; got \[0.5\]"),
        ({"fc2": np.ones(84, bool)}, InputError, r"places from 0 to 83; got \[True, "),
        ({"fc3": [0]}, UnknownNameError, r"units can be removed 'fc3'. There are: .*conv1.*"),
        ({"relu4": [0]}, UnknownNameError, "'relu4'"),
    ],
)
def test_units_that_cannot_go(change, units, error, message):
    with pytest.raises(error, match=message):
        change(lenet("lenet5"), units)


@pytest.mark.parametrize("width", [0, -1, 85])
def test_widths_that_cannot_be(width):
    with pytest.raises(InputError, match=f"fc2 can have 1 to 84 units; got {width}"):
        removal.resized(lenet("lenet5"), {"fc2": width})


def test_a_width_of_no_layer():
    with pytest.raises(UnknownNameError, match="'fc3'"):
        removal.resized(lenet("lenet5"), {"fc3": 3})


def test_costs_by_hand():
    """Of LeNet-5 on 28 × 28: outputs × inputs of each layer, a product and a sum each."""
    whole = removal.cost(lenet("lenet5"), noise(3, 1, 28, 28))
    products = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    assert whole.flops == 2 * products
    assert whole.parameters == 6 * 26 + 16 * (6 * 25 + 1) + 120 * 401 + 84 * 121 + 10 * 85
    assert np.isnan(whole.seconds)
    part = removal.removed(lenet("lenet5"), {"conv1": [0], "conv2": [1, 2], "fc2": range(4)})
    found = removal.cost(part, noise(1, 1, 28, 28).double(), repeats=3)
    assert found.flops == 2 * (28 * 28 * 5 * 25 + 100 * 14 * 5 * 25 + 350 * 120 + 120 * 80 + 80 * 10)
    assert found.parameters == 5 * 26 + 14 * (5 * 25 + 1) + 120 * 351 + 80 * 121 + 10 * 81
    assert found.seconds > 0


def test_cost_leaves_the_mode_and_wants_a_batch():
    network = lenet("lenet5-batchnorm").train()
    network.relu1.eval()
    removal.cost(network, noise(1, 3, 32, 32))
    assert network.training
    assert network.norm1.training
    assert not network.relu1.training
    for wrong in (np.ones(28, dtype=np.float32), noise(0, 1, 28, 28)):
        with pytest.raises(InputError, match=r"a batch, \(n, c, h, w\), of at least one; got"):
            removal.cost(network, wrong)


# --- importance -----------------------------------------------------------------------------------


class Wrapped(nn.Module):
    """Not a sequence, and its last layer is not its output."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * 2


class Head(nn.Module):
    """Not a sequence; its last layer is its output."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


@pytest.fixture(scope="module")
def small(trained):
    network, test = trained
    return network, test.subset(np.arange(60))


def activations(network, images, layer):
    """By a hook, ``(n, units, positions)``."""
    seen = []
    handle = dict(network.named_modules())[layer].register_forward_hook(
        lambda _, __, y: seen.append(y.clone())
    )
    outputs(network, torch.from_numpy(images.images.copy()))
    handle.remove()
    return seen[0].double().numpy().reshape(len(images), seen[0].shape[1], -1)


@pytest.mark.parametrize(("layer", "same"), [("penultimate", "relu4"), ("relu2", "relu2")])
def test_measures_of_firing(small, layer, same):
    network, images = small
    values = activations(network, images, same)
    n_units = values.shape[1]
    rates = [np.mean([[v == 0 for v in image] for image in values[:, u]]) for u in range(n_units)]
    np.testing.assert_allclose(
        removal.importance(network, images, "poz", layer=layer, batch_size=7), 1 - np.array(rates), rtol=1e-12
    )
    where = removal.site(network, layer)
    found = removal.apoz(network, images, [where], batch_size=7)
    np.testing.assert_allclose(found[where.layer], rates, rtol=1e-12)
    for by in ("mean", "sd", "entropy"):
        np.testing.assert_allclose(
            removal.importance(network, images, by, layer=layer),
            poz.statistic(values.mean(axis=2), by),
            rtol=1e-4,
            atol=1e-6,
        )
    means = [np.mean(values[:, u].mean(axis=1)) for u in range(n_units)]
    np.testing.assert_allclose(removal.importance(network, images, "mean", layer=layer), means, rtol=1e-4)


def test_poz_is_that_of_the_package(small):
    network, images = small
    rates = poz.poz(embeddings.extract(network, images))
    np.testing.assert_allclose(removal.importance(network, images, "poz"), 1 - rates, rtol=1e-12)


@pytest.mark.parametrize("layer", ["conv1", "relu2", "fc1", "penultimate"])
def test_norms_of_what_reads_a_unit(small, layer):
    network, images = small
    found = removal.importance(network, images, "norm", layer=layer)
    if layer == "conv1":
        read = network.conv2.weight.tolist()  # (16, 6, 5, 5)
        expected = [
            np.sqrt(sum(w**2 for kernels in read for row in kernels[u] for w in row)) for u in range(6)
        ]
    elif layer == "relu2":  # conv -> flatten -> linear: 25 positions of each
        width = network.fc1.weight.shape[1] // 16
        assert width == 25
        rows = network.fc1.weight.tolist()
        expected = [np.sqrt(sum(w**2 for row in rows for w in row[25 * u : 25 * (u + 1)])) for u in range(16)]
    else:
        reader = network.fc2 if layer == "fc1" else network.fc3
        expected = [np.linalg.norm(reader.weight[:, u].detach().double()) for u in range(reader.in_features)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("layer", ["relu1", "pool1", "relu4", "penultimate"])
def test_taylor_image_by_image(small, layer):
    """The gradient with respect to each activation, from a network that is run from there on."""
    network, images = small
    images = images.subset(np.arange(9))
    children = list(network.named_children())
    place = [name for name, _ in children].index("relu4" if layer == "penultimate" else layer)
    behind = [module for _, module in children[place + 1 :]]
    values = embeddings.extract(network, images, layer=children[place][0], spatial="keep")
    total = np.zeros(values.shape[1])
    for value, label in zip(values, images.labels, strict=True):
        z = torch.tensor(value[None], requires_grad=True)
        y = z
        for module in behind:
            y = module(y)
        (gradient,) = torch.autograd.grad(-torch.log_softmax(y, 1)[0, label], [z])
        product = (z * gradient)[0].detach().double().numpy()
        for u in range(len(total)):
            total[u] += abs(product[u].mean())
    found = removal.importance(network, images, "taylor", layer=layer, batch_size=4)
    np.testing.assert_allclose(found, total / 9, rtol=1e-4, atol=1e-9)
    assert (found >= 0).all()
    assert found.max() > 0
    assert all(p.grad is None for p in network.parameters())


def balanced(named, labels, n_classes=10):
    """By scikit-learn: each class against the rest, recall of the one and of the other."""
    counts = multilabel_confusion_matrix(labels, named, labels=np.arange(n_classes))
    (tn, fp), (fn, tp) = counts.transpose(1, 2, 0)
    return (tp / (tp + fn) + tn / (tn + fp)) / 2


def named(network, images):
    return outputs(network, torch.from_numpy(images.images.copy())).argmax(1)


@pytest.mark.parametrize(
    ("layer", "site_layer"), [("penultimate", "fc2"), ("relu4", "fc2"), ("relu2", "conv2")]
)
def test_ablation_really_silences(small, layer, site_layer):
    network, images = small
    whole = balanced(named(network, images), images.labels)
    np.testing.assert_allclose(removal.balanced_accuracy(network, images, layer=layer), whole, rtol=1e-12)
    n_units = removal.site(network, site_layer).n_units
    lost = [
        whole - balanced(named(removal.silenced(network, {site_layer: [u]}), images), images.labels)
        for u in range(n_units)
    ]
    found = removal.ablation(network, images, layer=layer, batch_size=25)
    np.testing.assert_allclose(found, lost, rtol=1e-12, atol=1e-12)
    assert np.abs(found).max() > 0
    importance = removal.importance(network, images, "ablation", layer=layer)
    np.testing.assert_allclose(importance, np.mean(lost, axis=1), atol=1e-12)


@pytest.mark.parametrize("wrap", [Wrapped, Head])
@pytest.mark.parametrize("layer", ["penultimate", "relu2"])
def test_networks_that_are_no_sequence_give_the_same(small, wrap, layer):
    network, images = small
    kept = np.random.default_rng(0).random((5, 84 if layer == "penultimate" else 16)) < 0.7
    other = layer if layer == "penultimate" else f"inner.{layer}"
    slow = removal.balanced_accuracy(wrap(network), images, layer=other, kept=kept)
    fast = removal.balanced_accuracy(network, images, layer=layer, kept=kept)
    np.testing.assert_array_equal(slow, fast)
    assert len({row.tobytes() for row in fast}) > 1
    if layer == "relu2":
        np.testing.assert_array_equal(
            removal.ablation(wrap(network), images, layer=other),
            removal.ablation(network, images, layer=layer),
        )
    for by in ("taylor", "norm") if wrap is Head else ("norm",):
        np.testing.assert_allclose(
            removal.importance(wrap(network), images, by, layer=other),
            removal.importance(network, images, by, layer=layer),
            rtol=1e-5,
        )


def test_a_sequence_in_which_a_module_comes_twice(small):
    """What lies behind a layer is all of it."""
    network, images = small
    layers = [network.relu1 if isinstance(m, nn.ReLU) else m for m in network]
    twice = nn.Sequential(*layers)
    mean, std = (torch.tensor(v) for v in (images.mean, images.std))
    twice.register_forward_pre_hook(lambda _, inputs: ((inputs[0] - mean) / std,))
    pool = layers.index(network.pool2)
    kept = np.arange(16) > 5
    np.testing.assert_array_equal(
        removal.balanced_accuracy(twice, images, layer=str(pool), kept=kept),
        removal.balanced_accuracy(network, images, layer="pool2", kept=kept),
    )


def test_a_sequence_with_a_forward_of_its_own(small):
    class Reversed(nn.Sequential):
        def forward(self, x):
            return -super().forward(x)

    network, images = small
    odd = Reversed(*network)
    mean, std = (torch.tensor(v) for v in (images.mean, images.std))
    odd.register_forward_pre_hook(lambda _, inputs: ((inputs[0] - mean) / std,))
    np.testing.assert_allclose(
        removal.balanced_accuracy(odd, images), balanced(named(odd, images), images.labels), rtol=1e-12
    )


def test_balanced_accuracy_of_sets(small):
    network, images = small
    kept = np.random.default_rng(1).random((4, 84)) < 0.5
    kept[2], kept[3] = True, False
    found = removal.balanced_accuracy(network, images, kept=kept)
    assert found.shape == (4, 10)
    for row, one in zip(kept[:3], found, strict=False):
        gone = removal.silenced(network, {"fc2": np.flatnonzero(~row)})
        np.testing.assert_allclose(one, balanced(named(gone, images), images.labels), rtol=1e-12)
        np.testing.assert_array_equal(removal.balanced_accuracy(network, images, kept=row), one)
    np.testing.assert_array_equal(found[2], removal.balanced_accuracy(network, images))
    always = int(network.fc3.bias.argmax())  # with no unit, one class is named
    assert (found[3] == 0.5).all()
    assert named(network, images).tolist() != [always] * 60


def test_classes_without_images(small):
    network, images = small
    part = images.subset(np.flatnonzero(images.labels != 3))
    found = removal.balanced_accuracy(network, part)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]
    lost = removal.ablation(network, part)
    assert np.isnan(lost[:, 3]).all()
    importance = removal.importance(network, part, "ablation")
    np.testing.assert_allclose(importance, np.delete(lost, 3, axis=1).mean(axis=1), atol=1e-12)
    only = images.subset(np.flatnonzero(images.labels == 3))
    assert np.isnan(removal.balanced_accuracy(network, only)).all()


def test_random_orders_are_repeatable(small):
    network, images = small
    first, again, other = (
        removal.importance(network, images, "random", rng=np.random.default_rng(s)) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert sorted(first) == sorted(other) == list(range(84))
    assert first.tolist() != other.tolist()
    conv = removal.importance(network, images, "random", layer="conv2", rng=np.random.default_rng(0))
    assert sorted(conv) == list(range(16))


def test_networks_are_left_as_they_were(small):
    network, images = small
    network.train()
    network.relu1.eval()
    try:
        for by in removal.ORDERS:
            removal.importance(network, images.subset(np.arange(20)), by, rng=np.random.default_rng(0))
        removal.apoz(network, images, removal.sites(network))
        assert network.training
        assert not network.relu1.training
    finally:
        network.eval()
    assert all(not m._forward_hooks for m in network.modules())
    assert sum(len(m._forward_pre_hooks) for m in network.modules()) == 1  # what normalises


def test_only_measures_with_labels_look_at_them(small):
    network, images = small
    other = dataclasses.replace(
        images, labels=images.labels + 90, class_names=tuple(str(c) for c in range(100))
    )
    for by in removal.ORDERS:
        if by in removal.LABELLED:
            with pytest.raises(InputError, match=r"labels go up to 99, but the network's output is \(10,\)"):
                removal.importance(network, other, by)
        else:
            found, expected = (
                removal.importance(network, given, by, rng=np.random.default_rng(0))
                for given in (other, images)
            )
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match="labels go up to 99"):
        removal.balanced_accuracy(network, other)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"by": "size"}, UnknownNameError, "no order of units 'size'. There are: poz, mean, .*random"),
        ({"by": "random"}, InputError, "a random order needs rng="),
        ({"by": "poz", "layer": "fc9"}, UnknownNameError, "no layer 'fc9'. There are: .*penultimate"),
        ({"by": "taylor", "layer": "fc9"}, UnknownNameError, "no layer 'fc9'"),
        ({"by": "norm", "layer": "fc3"}, UnknownNameError, "units can be removed 'fc3'"),
        ({"by": "mean", "layer": "fc2"}, InputError, "negative"),
    ],
)
def test_errors_of_importance(small, options, error, message):
    network, images = small
    with pytest.raises(error, match=message):
        removal.importance(network, images, **options)


@pytest.mark.parametrize("kept", [np.ones(83, bool), np.ones(84), np.ones((2, 2, 84), bool), True])
def test_sets_of_another_shape(small, kept):
    network, images = small
    with pytest.raises(InputError, match="kept must say of each of the 84 units whether it stays"):
        removal.balanced_accuracy(network, images, kept=kept)


@pytest.mark.parametrize("by", ["poz", "taylor", "ablation"])
def test_units_of_layers_with_several_calls_or_none(by):
    digits = stimuli.load("digits", "test").subset(np.arange(6))
    relu = nn.ReLU()
    layers = (nn.Flatten(), nn.Linear(1024, 12), relu, nn.Linear(12, 12), relu, nn.Linear(12, 10))
    network = seeded(lambda: nn.Sequential(*layers))
    with pytest.raises(InputError, match=r"called once, .*; '2' gives \(1, 12\), \(1, 12\)"):
        removal.importance(network, digits, by, layer="2")
    unused = Head(network)
    unused.spare = nn.Linear(2, 2)
    with pytest.raises(InputError, match="'spare' gives nothing"):
        removal.importance(unused, digits, by, layer="spare")


@pytest.mark.parametrize("by", ["mean", "taylor", "ablation"])
def test_units_on_tokens_have_no_importance(by):
    class OfRows(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.relu, self.fc2 = nn.Linear(32, 7), nn.ReLU(), nn.Linear(7, 10)

        def forward(self, x):
            return self.fc2(self.relu(self.fc1(x[:, 0]))).mean(1)

    digits = stimuli.load("digits", "test").subset(np.arange(6))
    with pytest.raises(InputError, match=r"'relu' gives \(1, 32, 7\)"):
        removal.importance(seeded(OfRows), digits, by, layer="relu")
    with pytest.raises(InputError, match=r"'penultimate' gives \(1, 32, 7\)"):
        removal.importance(seeded(OfRows), digits, by)


def test_a_reader_in_groups_has_no_norm():
    layers = (
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 10, 3, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    digits = stimuli.load("digits", "test").subset(np.arange(6))
    with pytest.raises(InputError, match="in groups: their norm is not defined"):
        removal.importance(seeded(lambda: nn.Sequential(*layers)), digits, "norm")
