"""Pruning: masks as torch's and by hand, masks that hold, rounds and their controls, kill -9 and resume."""

import copy
import dataclasses
import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import wait_until
from torch import nn
from torch.nn.utils import prune

from rarefire import embeddings, networks, pruning, removal, stimuli, training
from rarefire.errors import InputError, RarefireWarning, UnknownNameError

SHORT = training.Recipe(batch_size=32, max_epochs=1, patience=9, keep="last")
METHODS = tuple(pruning.METHODS)


@pytest.fixture(autouse=True)
def one_thread():
    with training.one_thread():
        yield


@pytest.fixture(scope="module")
def few():
    return stimuli.load("digits", "train").subset(np.arange(200))


def build(few, name="lenet5", seed=0):
    return networks.build(
        name, input_shape=few.input_shape, n_classes=10, mean=few.mean, std=few.std, seed=seed
    )


def toy(*sizes, seed=0):
    """State dict and full masks of linear layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(*[nn.Linear(a, b) for a, b in itertools.pairwise(sizes)])
    return network, network.state_dict(), pruning.full_masks(network)


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


# --- masks ----------------------------------------------------------------------------------------


def test_full_masks_are_those_of_weights(few):
    network = build(few, "lenet5-batchnorm")
    masks = pruning.full_masks(network)
    assert list(masks) == [f"{layer}.weight" for layer in ("conv1", "conv2", "fc1", "fc2", "fc3")]
    assert pruning.left(masks) == {
        "conv1.weight": 150,
        "conv2.weight": 2400,
        "fc1.weight": 48000,
        "fc2.weight": 10080,
        "fc3.weight": 840,
    }
    assert pruning.share_left(masks) == 1
    assert list(pruning.full_masks(nn.Linear(2, 3))) == ["weight"]
    with pytest.raises(InputError, match="no linear or convolutional layer"):
        pruning.full_masks(nn.Sequential(nn.ReLU()))


def test_biases_are_no_weights_that_are_left():
    masks = {"a.weight": torch.tensor([[True, False]]), "a.bias": torch.tensor([True, True, True])}
    assert pruning.left(masks) == {"a.weight": 1}
    assert pruning.share_left(masks) == 0.5


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.8])
def test_masks_of_layers_are_torchs(few, rate):
    """Over three rounds, each among the weights that are left."""
    network = build(few, seed=3)
    weights, masks = network.state_dict(), pruning.full_masks(network)
    theirs = copy.deepcopy(network)
    for _ in range(3):
        before = pruning.left(masks)
        masks = pruning.magnitude_masks(weights, masks, rate=rate)
        for name, mask in masks.items():
            module = theirs.get_submodule(name.removesuffix(".weight"))
            share = rate / 2 if name == "fc3.weight" else rate
            prune.l1_unstructured(module, "weight", amount=round(share * before[name]))
            assert torch.equal(module.weight_mask.bool(), mask)


@pytest.mark.parametrize(("last_rate", "kept"), [(0, True), (None, False), (0.4, False)])
def test_global_masks_are_torchs(few, last_rate, kept):
    network = build(few, seed=4)
    weights, masks = network.state_dict(), pruning.full_masks(network)
    theirs = copy.deepcopy(network)
    layers = [theirs.get_submodule(name.removesuffix(".weight")) for name in masks]
    pruned = [(layer, "weight") for layer in (layers[:-1] if kept else layers)]
    for _ in range(3):
        n = sum(pruning.left(masks)[name] for name in list(masks)[: len(pruned)])
        masks = pruning.magnitude_masks(weights, masks, rate=0.3, last_rate=last_rate, scope="global")
        prune.global_unstructured(pruned, pruning_method=prune.L1Unstructured, amount=round(0.3 * n))
        for layer, mask in zip(layers, masks.values(), strict=True):
            assert torch.equal(getattr(layer, "weight_mask", torch.ones_like(layer.weight)).bool(), mask)
    assert list(masks) == list(pruning.full_masks(network))
    assert bool(masks["fc3.weight"].all()) == kept


@pytest.mark.parametrize(
    ("n", "rate", "gone"), [(7, 0.2, 1), (8, 0.2, 2), (13, 0.2, 3), (12, 0.2, 2), (10, 0.2, 2), (2, 0.2, 0)]
)
def test_counts_are_exact_with_ties_too(n, rate, gone):
    """1.4 and 2.4 are rounded down, 1.6 and 2.6 up; equal weights go one by one."""
    masks = {"a": torch.ones(1, n, dtype=torch.bool), "b": torch.ones(1, 2, dtype=torch.bool)}
    for values in (torch.ones(1, n), torch.arange(n)[None] % 2 * 1.0, torch.zeros(1, n)):
        found = pruning.magnitude_masks({"a": values, "b": torch.ones(1, 2)}, masks, rate=rate)
        assert int((~found["a"]).sum()) == gone
        assert found["b"].all()
        lost, stays = values[~found["a"]], values[found["a"]]
        assert gone == 0 or lost.max() <= stays.min()


def test_the_sign_does_not_count():
    masks = {"a": torch.ones(1, 4, dtype=torch.bool), "b": torch.ones(1, 1, dtype=torch.bool)}
    weights = {"a": torch.tensor([[-3.0, 0.5, -0.1, 2.0]]), "b": torch.ones(1, 1)}
    found = pruning.magnitude_masks(weights, masks, rate=0.5)
    assert found["a"].tolist() == [[True, False, False, True]]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_rate_0_changes_nothing_and_nothing_is_revived(scope):
    _, weights, masks = toy(30, 20, 10)
    first = pruning.magnitude_masks(weights, masks, rate=0.5, scope=scope)
    assert same(pruning.magnitude_masks(weights, first, rate=0, scope=scope), first)
    turned = {name: 1 / value for name, value in weights.items()}  # what was small is large
    second = pruning.magnitude_masks(turned, first, rate=0.5, scope=scope)
    for name, mask in second.items():
        assert not (mask & ~first[name]).any()
        assert int(mask.sum()) < int(first[name].sum())
    assert all(mask.all() for mask in masks.values())  # what is given is left as it is


def test_the_last_layer_goes_at_half_the_rate():
    _, weights, masks = toy(50, 40, 20)
    left = pruning.left(pruning.magnitude_masks(weights, masks, rate=0.2))
    assert left == {"0.weight": 1600, "1.weight": 720}
    left = pruning.left(pruning.magnitude_masks(weights, masks, rate=0.2, last_rate=0.5))
    assert left == {"0.weight": 1600, "1.weight": 400}


def test_no_layer_is_emptied():
    _, weights, masks = toy(6, 4, 2)
    weights["1.weight"] *= 1e-6
    with pytest.raises(InputError, match=r"nothing would be left of 1\.weight, .* Prune less, or per layer"):
        pruning.magnitude_masks(weights, masks, rate=0.6, scope="global")
    one = {"a": torch.tensor([[True, False]]), "b": torch.ones(1, 2, dtype=torch.bool)}
    with pytest.raises(InputError, match=r"nothing would be left of a,"):
        pruning.magnitude_masks({"a": torch.ones(1, 2), "b": torch.ones(1, 2)}, one, rate=0.9)


@pytest.mark.parametrize("value", [1, 1.5, -0.1])
@pytest.mark.parametrize("name", ["rate", "last_rate"])
def test_rates_outside_their_range(few, name, value):
    _, weights, masks = toy(6, 4, 2)
    with pytest.raises(InputError, match=rf"{name} is a share in \[0, 1\) of the weights .* got {value}"):
        pruning.magnitude_masks(weights, masks, **({"rate": 0.1} | {name: value}))
    with pytest.raises(InputError, match=rf"{name} is a share in \[0, 1\)"):  # before anything is trained
        pruning.rounds(few, seeds=[0], **{name: value})


def test_an_unknown_scope():
    _, weights, masks = toy(6, 4, 2)
    with pytest.raises(UnknownNameError, match="no scope 'all'. There are: layer, global"):
        pruning.magnitude_masks(weights, masks, rate=0.1, scope="all")


def test_the_ladder_of_frankle_and_carbin():
    """LeNet-300-100 on 28 × 28, 20 % of the weights that are left in each round, of the last layer 10 %."""
    network = networks.build("lenet300-100", input_shape=(1, 28, 28), n_classes=10, mean=(0,), std=(1,))
    weights, masks = network.state_dict(), pruning.full_masks(network)
    assert sum(pruning.left(masks).values()) == 266_200
    shares = {}
    for number in range(1, 21):
        masks = pruning.magnitude_masks(weights, masks, rate=0.2)
        expected = (265_200 * 0.8**number + 1000 * 0.9**number) / 266_200
        shares[number] = pruning.share_left(masks)
        assert shares[number] == pytest.approx(expected, abs=8 / 266_200)  # three layers, each rounded
    percent = {number: round(100 * shares[number], 1) for number in (3, 7, 9, 15, 18, 20)}
    assert percent == {3: 51.3, 7: 21.1, 9: 13.5, 15: 3.6, 18: 1.9, 20: 1.2}


def test_random_masks_leave_as_many():
    _, weights, masks = toy(30, 20, 10)
    given = pruning.magnitude_masks(weights, masks, rate=0.7)
    drawn, again, other = (pruning.random_masks(given, rng=np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert pruning.left(drawn) == pruning.left(other) == pruning.left(given)
    assert same(drawn, again)
    assert not same(drawn, other)
    assert not same(drawn, given)
    assert all(mask.shape == given[name].shape and mask.dtype == torch.bool for name, mask in drawn.items())
    # Half of 600 places on average where the other mask is: 30 % of 180.
    both = int((drawn["0.weight"] & given["0.weight"]).sum())
    assert 30 <= both <= 80


# --- units that rarely fire -----------------------------------------------------------------------


def rates_of(network, images, layer):
    """APoZ of each unit, counted."""
    values = embeddings.extract(network, images, layer=layer, spatial="keep")
    return [float(np.mean([(image[u] == 0).mean() for image in values])) for u in range(values.shape[1])]


def rule_of_hu(network, masks, images):
    """The places of the units that go, by layer: above mean + 1 SD of those that are there."""
    found = {}
    for layer, activation in (("conv1", "relu1"), ("conv2", "relu2"), ("fc1", "relu3"), ("fc2", "relu4")):
        rates = rates_of(network, images, activation)
        there = [u for u in range(len(rates)) if bool(masks[f"{layer}.weight"][u].any())]
        mean = sum(rates[u] for u in there) / len(there)
        sd = (sum((rates[u] - mean) ** 2 for u in there) / len(there)) ** 0.5
        gone = [u for u in there if rates[u] > mean + sd]
        if gone and len(there) - len(gone) > 1:
            found[layer] = (mean, gone)
    return found


def all_masks(network):
    return {name: torch.ones_like(p, dtype=torch.bool) for name, p in network.named_parameters()}


def masked(network, masks):
    found = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            parameter.mul_(masks[name])
    return found


def gone_units(masks):
    return {
        layer: [u for u in range(len(masks[f"{layer}.bias"])) if not masks[f"{layer}.bias"][u]]
        for layer in ("conv1", "conv2", "fc1", "fc2")
    }


def test_trimming_follows_hus_rule_round_after_round(trained):
    network, images = trained
    network = copy.deepcopy(network)
    masks, gone, widths = all_masks(network), {}, []
    for _ in range(3):
        expected = rule_of_hu(network, masks, images)
        assert expected
        masks = pruning.trimmed_masks(network, masks, images)
        for layer, (_, units) in expected.items():
            gone[layer] = sorted([*gone.get(layer, []), *units])
        assert {layer: units for layer, units in gone_units(masks).items() if units} == gone
        network = masked(network, masks)
        widths.append(pruning.share_left(masks))
    assert widths == sorted(widths, reverse=True)
    assert not masks["fc2.weight"][gone["fc2"]].any()
    assert not masks["fc3.weight"][:, gone["fc2"]].any()
    assert masks["fc3.bias"].all()
    # What is masked is what would be sliced out: the same outputs from fewer weights.
    smaller = removal.removed(network, gone)
    x = torch.from_numpy(images.images)
    with torch.inference_mode():
        torch.testing.assert_close(smaller(x), network(x), rtol=1e-5, atol=1e-5)
    left = sum(int(mask.sum()) for mask in masks.values())
    assert sum(p.numel() for p in smaller.parameters()) == left < sum(m.numel() for m in masks.values())


def test_trimming_begins_with_the_layer_that_fires_least(trained):
    network, images = trained
    masks = all_masks(network)
    expected = rule_of_hu(network, masks, images)
    ranked = sorted(expected, key=lambda layer: -expected[layer][0])
    assert len(ranked) > 2
    for most in (0, 1, 2):
        found = gone_units(pruning.trimmed_masks(network, masks, images, most=most))
        assert {layer: units for layer, units in found.items() if units} == {
            layer: expected[layer][1] for layer in ranked[:most]
        }


def test_trimming_takes_norms_along(few):
    network = build(few, "lenet5-batchnorm")
    with torch.no_grad():
        for i in (1, 2, 3, 4):
            network.get_submodule(f"norm{i}").bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(i))
    masks = pruning.trimmed_masks(network, all_masks(network), few)
    gone = {layer: units for layer, units in gone_units(masks).items() if units}
    assert gone
    for layer in gone:
        norm = {"conv1": "norm1", "conv2": "norm2", "fc1": "norm3", "fc2": "norm4"}[layer]
        for kind in ("weight", "bias"):
            assert torch.equal(masks[f"{norm}.{kind}"], masks[f"{layer}.bias"])
    x = torch.from_numpy(few.images[:20])
    with torch.inference_mode():
        found, expected = removal.removed(network, gone)(x), masked(network, masks)(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_trimmed_where_units_are_alike_or_two(few):
    """Without spread no unit exceeds the border; of two units one would, and one alone would stay."""
    layers = (nn.Flatten(), nn.Linear(1024, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 10))
    network = nn.Sequential(*layers).eval()
    with torch.no_grad():
        for layer in (network[1], network[3]):
            layer.weight.zero_()
            layer.bias.fill_(1.0)
        network[3].bias[0] = -1.0
    masks = all_masks(network)
    assert same(pruning.trimmed_masks(network, masks, few), masks)


# --- rounds ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rounds")


SETTING = {"seeds": [1, 2], "n_rounds": 2, "rate": 0.4, "recipe": SHORT, "jobs": 1, "progress": False}


@pytest.fixture(scope="module")
def found(few, folder):
    with training.one_thread():
        return pruning.rounds(few, methods=METHODS, folder=folder, **SETTING)


def test_the_shape_of_what_is_found(found, folder):
    assert list(found) == ["dense", *METHODS]
    for method, by_seed in found.items():
        assert list(by_seed) == [1, 2]
        for seed, by_number in by_seed.items():
            assert list(by_number) == ([0] if method == "dense" else [0, 1, 2])
            for number, each in by_number.items():
                assert (each.seed, each.number) == (seed, number)
                assert each.method == (method if number else "dense")
                assert each.path.parent == folder
                assert each.path.exists()
    assert {by[1][0].path for by in found.values()} == {found["dense"][1][0].path}


def test_a_rounds_network_is_as_it_was_trained(few, found):
    each = found["imp"][1][2]
    network = each.network()
    assert not network.training
    assert same(network.state_dict(), each.fitted.weights)
    assert training.accuracy(network, few) > 0.05


def test_round_0_is_plain_training(few, found, tmp_path):
    instances = training.train(few, seeds=[1, 2], recipe=SHORT, jobs=1, folder=tmp_path, progress=False)
    for instance in instances:
        dense = found["dense"][instance.seed][0]
        assert same(dense.network().state_dict(), instance.network().state_dict())
        assert dense.fitted.history["loss"] == instance.history["loss"]
        assert dense.fitted.masks is None
        assert pruning.share_left(dense.masks) == 1


def test_masks_of_the_rounds(few, found):
    """Each method's, from the networks that it is said to build on."""
    for seed in (1, 2):
        dense = found["dense"][seed][0]
        for method in ("imp", "lrr"):
            masks = dense.masks
            for number in (1, 2):
                before = found[method][seed][number - 1].fitted.weights
                masks = pruning.magnitude_masks(before, masks, rate=0.4)
                assert same(found[method][seed][number].masks, masks)
        masks = dense.masks
        for number in (1, 2):
            masks = pruning.magnitude_masks(dense.fitted.weights, masks, rate=0.4)
            assert same(found["one-shot"][seed][number].masks, masks)
            tickets = found["imp"][seed][number].masks
            assert same(found["reinitialised"][seed][number].masks, tickets)
            drawn = found["random"][seed][number].masks
            assert pruning.left(drawn) == pruning.left(tickets)
            assert not same(drawn, tickets)
            for method in ("again", "on", "seed"):
                assert found[method][seed][number].fitted.masks is None
        masks = all_masks(dense.network())
        aside = training.validation_images(few, recipe=SHORT)
        for number in (1, 2):
            masks = pruning.trimmed_masks(found["trim"][seed][number - 1].network(), masks, aside)
            assert same(found["trim"][seed][number].masks, masks)
        assert pruning.share_left(masks) < 1
    assert not same(found["random"][1][1].masks, found["random"][1][2].masks)
    assert not same(found["random"][1][1].masks, found["random"][2][1].masks)


def test_masked_weights_are_0_in_every_round(found):
    for by_seed in found.values():
        for each in (each for by in by_seed.values() for each in by.values()):
            weights = each.fitted.weights
            for name, mask in each.masks.items():
                assert not weights[name][~mask].any()
                assert weights[name][mask].ne(0).float().mean() > 0.9


@pytest.fixture(scope="module")
def starts(few, tmp_path_factory):
    """What each fit begins with: its network's weights, order and recipe; and whether momentum is 0."""
    seen = {}
    fit, again = training.fit, dataclasses.replace(SHORT, learning_rate=1e-4)

    def spy(network, images, *, path, recipe, seed, order=0, masks=None, **options):
        weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        method, number = path.stem.split("-", 2)[2].rsplit("-", 1)
        seen[method, int(number)] = (weights, order, recipe, seed, masks)
        return fit(network, images, path=path, recipe=recipe, seed=seed, order=order, masks=masks, **options)

    with pytest.MonkeyPatch.context() as patch, training.one_thread():
        patch.setattr(training, "fit", spy)
        options = {**SETTING, "seeds": [1], "retrain": again, "folder": tmp_path_factory.mktemp("starts")}
        done = pruning.rounds(few, methods=METHODS, **options)
    return seen, done, again


def test_what_a_round_begins_with(few, starts):
    seen, done, again = starts
    first = build(few, seed=1).state_dict()
    assert same(seen["dense", 0][0], first)
    new = {}
    for method in METHODS:
        for number in (1, 2):
            weights, order, recipe, seed, masks = seen[method, number]
            assert (order, seed) == (number, 1)
            start = pruning.METHODS[method].start
            assert recipe == (again if start == "trained" else SHORT)
            assert (masks is None) == (pruning.METHODS[method].masks == "none")
            before = number - 1 if pruning.METHODS[method].every else 0
            if start == "first":
                assert same(weights, first)
            elif start == "trained":
                assert same(weights, done[method][1][before].fitted.weights)
            else:
                assert not any(torch.equal(weights[name], first[name]) for name in first)
                new[method, number] = weights
    assert same(new["reinitialised", 1], new["seed", 1])
    assert not same(new["reinitialised", 1], new["reinitialised", 2])


def test_tickets_are_the_first_weights_bit_for_bit(few, tmp_path):
    """After a training in which nothing is learnt, at a rate of 0."""
    still = dataclasses.replace(SHORT, learning_rate=0.0)
    done = pruning.rounds(few, methods=["imp"], folder=tmp_path, **{**SETTING, "seeds": [3], "recipe": still})
    first = build(few, seed=3).state_dict()
    for each in done["imp"][3].values():
        for name, values in each.fitted.weights.items():
            mask = each.masks.get(name, torch.ones_like(values, dtype=torch.bool))
            assert torch.equal(values[mask], first[name][mask])
            assert not values[~mask].any()


def test_again_is_a_round_in_which_nothing_is_pruned(few, found, tmp_path):
    done = pruning.rounds(
        few, methods=["imp", "lrr"], folder=tmp_path, **{**SETTING, "rate": 0.0, "seeds": [1]}
    )
    for number in (1, 2):
        again = found["again"][1][number].fitted
        assert same(done["imp"][1][number].fitted.weights, again.weights)
        assert done["imp"][1][number].fitted.history == again.history
        assert same(done["lrr"][1][number].fitted.weights, found["on"][1][number].fitted.weights)
    assert not same(found["again"][1][1].fitted.weights, found["again"][1][2].fitted.weights)
    assert not same(found["again"][1][1].fitted.weights, found["dense"][1][0].fitted.weights)


def test_a_round_starts_with_a_fresh_optimiser(few, found, tmp_path):
    """The same weights, masks and order, trained by a call of its own."""
    each, before = found["lrr"][1][2], found["lrr"][1][1]
    network = networks.load_weights(build(few, seed=1), before.fitted.weights)
    options = {"recipe": SHORT, "seed": 1, "order": 2, "masks": each.masks}
    alone = training.fit(network, few, path=tmp_path / "alone.pt", **options)
    assert same(alone.weights, each.fitted.weights)


def test_a_second_call_computes_nothing(few, found, folder, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("it trains")

    monkeypatch.setattr(training, "_fit", refuse)
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.pt")}
    again = pruning.rounds(few, methods=METHODS, folder=folder, **SETTING)
    assert same(again["trim"][2][2].fitted.weights, found["trim"][2][2].fitted.weights)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.pt")} == written


def test_only_what_is_asked_for_is_trained_and_what_it_needs(few, tmp_path):
    done = pruning.rounds(
        few, methods=["random", "one-shot"], at=[2], folder=tmp_path, **{**SETTING, "seeds": [1]}
    )
    assert {method: list(by[1]) for method, by in done.items()} == {
        "dense": [0],
        "random": [0, 2],
        "one-shot": [0, 2],
    }
    names = {path.name for path in tmp_path.glob("*.pt")}
    expected = ("dense-00", "imp-01", "imp-02", "random-02", "one-shot-02")
    assert names == {f"seed-0001-{name}.pt" for name in expected}


def test_dense_networks_alone(few, tmp_path):
    options = {**SETTING, "seeds": [1], "folder": tmp_path}
    assert list(pruning.rounds(few, methods=(), **options)) == ["dense"]
    none = pruning.rounds(few, methods=["random"], at=(), **options)
    assert {method: list(by[1]) for method, by in none.items()} == {"dense": [0], "random": [0]}
    assert len(list(tmp_path.glob("*.pt"))) == 1


def test_facts_have_a_folder_each(few, own_cache):
    still = dataclasses.replace(SHORT, learning_rate=0.0)
    options = {**SETTING, "seeds": [0], "methods": (), "recipe": still}
    other = {"rate": 0.3, "last_rate": 0.1, "scope": "global", "retrain": SHORT, "network": "lenet300-100"}
    for more in ({}, *({name: value} for name, value in other.items())):
        pruning.rounds(few, **{**options, **more})
    places = {path.parent for path in own_cache.rglob("*.pt")}
    assert len(places) == 6
    assert all(path.parent == own_cache / "checkpoints" for path in places)


def test_a_damaged_checkpoint_is_trained_again(few, found, folder):
    each = found["imp"][1][1]
    good = each.fitted.weights
    each.path.write_bytes(each.path.read_bytes()[:1000])
    with pytest.warns(RarefireWarning, match="is damaged .* trained again from the start"):
        pruning.rounds(few, methods=["imp"], folder=folder, **SETTING)
    assert same(each.fitted.weights, good)


RUN = """
import os, pathlib, sys, time, numpy as np
from rarefire import pruning, stimuli, training
if __name__ == "__main__":
    few = stimuli.load("digits", "train").subset(np.arange(200))
    folder, (jobs, writes) = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:])
    changes = {"optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 1e-3}
    recipe = training.Recipe(batch_size=16, max_epochs=3, patience=3, keep="last", **changes)
    replace = os.replace
    def hold(*names):  # stops for good where a checkpoint is written, but not yet in its place
        global writes
        writes -= 1
        while not writes:
            (folder / "held").touch()
            time.sleep(1)
        replace(*names)
    os.replace = hold
    options = {"seeds": [0], "n_rounds": 2, "at": [2], "recipe": recipe, "jobs": jobs, "folder": folder}
    pruning.rounds(few, methods=["imp", "trim", "random"], progress=False, **options)
"""


def start(folder, *, jobs=1, writes=-1):
    numbers = [str(jobs), str(writes)]
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder), *numbers], start_new_session=True)


def on_disk(folder):
    """Epochs of each checkpoint."""
    return {
        path.stem.removeprefix("seed-0000-"): training._read(path)["epoch"] for path in folder.glob("*.pt")
    }


def test_killed_and_resumed_to_the_same_bits(tmp_path):
    """While the last checkpoint of the dense network, and one of a round, are written."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole, jobs=2).wait() == 0
    for writes, left in ((3, {"dense-00": 2}), (4, {"dense-00": 3, "imp-01": 2})):
        run = start(cut, writes=writes)
        wait_until((cut / "held").exists, alive=lambda run=run: run.poll() is None)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        (cut / "held").unlink()
        assert on_disk(cut) == left
    assert start(cut).wait() == 0
    assert on_disk(cut) == on_disk(whole)
    assert set(on_disk(cut)) == {"dense-00", "imp-01", "imp-02", "trim-01", "trim-02", "random-02"}
    for path in whole.glob("*.pt"):
        resumed, expected = training.fitted(cut / path.name), training.fitted(path)
        assert same(resumed.weights, expected.weights)
        assert resumed.history == expected.history
        assert (expected.masks is None) == ("dense" in path.name)
        assert expected.masks is None or same(resumed.masks, expected.masks)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seeds": []}, InputError, r"at least one; got \[\]"),
        ({"seeds": [1, 1]}, InputError, "distinct"),
        ({"n_rounds": 0}, InputError, "n_rounds and at are counted from 1; got 0"),
        ({"at": [0, 2]}, InputError, r"counted from 1; got 10 and \[0, 2\]"),
        ({"methods": ["imp", "omp"]}, UnknownNameError, "no method of pruning 'omp'. There are: .*imp"),
        ({"network": "lenet6"}, UnknownNameError, "no network 'lenet6'"),
        ({"scope": "all"}, UnknownNameError, "no scope 'all'"),
    ],
)
def test_errors(few, own_cache, options, error, message):
    with pytest.raises(error, match=message):
        pruning.rounds(few, **({"seeds": [0]} | options))
    assert not list(own_cache.rglob("*"))
