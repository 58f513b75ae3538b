"""Findings on dimension and on single units, from made records whose answers are known."""

import math
from pathlib import Path

import numpy as np
import pytest

from rarefire import records
from rarefire.errors import InputError, UnknownNameError
from rarefire.page import claims, scorecard
from rarefire.page import dimensions as figures
from rarefire.page.dimension_findings import dimensions
from rarefire.records.dimension import EPOCHS, LAYERS, Dimensions
from rarefire.records.gradient import CONDITIONS, Gradients
from rarefire.records.information import Information
from rarefire.records.rank import Ranks

N = 6  # instances, as many as an interval takes
CLAIMS = {claim.id: claim for claim in claims.of_others().values() if claim.group == "dimension"}
NETWORK = ("input", "a", "b", "c", "pooled", "outputs")
ASKED = ("luminance", "contrast", "spectral_slope", "category")


def at(layers, rest, **there):
    """A number for each layer; `rest` for those that are not named."""
    return np.array([float(there.get(layer, rest)) for layer in layers])


def lenets(images="mnist", *, epochs=EPOCHS, n=N, layers=LAYERS):
    """20 of the images, 40 at relu2 at last, 12 in the last hidden layer, 5 of the outputs."""
    before = at(layers, 20, fc3=8)
    first = at(layers, 1, input=20, relu4=8)
    last = at(layers, 1, input=20, pool1=25, relu2=40, relu4=12, fc3=5)
    line = np.stack([before, *[first] * (len(epochs) - 2), last])
    straight = np.stack(
        [at(layers, 1, input=50, conv1=80)] * (len(epochs) - 1) + [at(layers, 1, input=50, fc1=90)]
    )
    return Dimensions.of(
        {
            "layer": [layers] * n,
            "epoch": [epochs] * n,
            "two_nn": np.tile(line[..., None], (n, 1, 1, 2)) * [1, 0.5],  # of all images, and of half
            "linear": np.tile(straight[..., None], (n, 1, 1, 2)) * [1, 0.1],
        },
        stimuli=images,
        network="lenet5",
    )


def network(trained, *twins, straight=None):
    """An ImageNet network and untrained twins; the rows are TwoNN and, if not the same, PC."""
    rows = np.array([trained, *twins], dtype=float)
    linear = rows if straight is None else np.array(straight, dtype=float)
    return Dimensions.of(
        {
            "layer": [NETWORK] * len(rows),
            "epoch": [[-1]] + [[0]] * len(twins),
            "two_nn": rows[:, None, :, None],
            "linear": linear[:, None, :, None],
        },
        stimuli="imagenet-sample",
        network="any",
    )


def lit(n=N):
    """By condition, state and layer, with other numbers wherever none should be read."""
    size = (n, len(CONDITIONS), 2, len(LAYERS))
    arrays = {name: np.full(size, 99.0) for name in ("two_nn", "wide", "told")}

    def put(name, condition, state, **values):
        for layer, value in values.items():
            arrays[name][:, CONDITIONS.index(condition), state, LAYERS.index(layer)] = value

    put("wide", "gradient", 1, input=3, pool1=4, conv2=10, relu2=12, fc3=6)
    put("wide", "original", 1, input=12, fc3=5)
    put("two_nn", "shuffled", 1, relu4=21, fc3=9)
    put("two_nn", "original", 1, relu4=7, fc3=6)
    put("told", "gradient", 0, relu4=0.5)
    put("told", "gradient", 1, relu4=0.2)
    facts = {"stimuli": "mnist", "network": "lenet5"}
    return Gradients.of({**arrays, "layer": [LAYERS] * n, "condition": [CONDITIONS] * n}, **facts)


def informed(n=N, *, asked=ASKED, images="mnist", light=0.4):
    """Units of three layers; the slope of the spectrum is not measured in the last."""
    relative, gini = (np.full((n, 2, 3, len(asked)), 99.0) for _ in range(2))
    beyond = np.full((n, 2, 3, 2), 99.0)
    relative[:, 1, 0, :2] = light, 0.6
    relative[:, 0, 2], gini[:, 0, 2] = [0.3, 0.5, np.nan, 0], [0.1, 0.2, np.nan, 0.9]
    relative[:, 1, 2], gini[:, 1, 2] = [0.1, 0.2, np.nan, 0.9], [0.5, 0.4, np.nan, 0]
    beyond[:, 1, 0, 0], beyond[:, 1, 2, 0] = 0.25, 0.6
    arrays = {"layer": [("relu1", "relu2", "relu4")] * n, "asked": [asked] * n}
    arrays |= {"relative": relative, "gini": gini, "independent": beyond}
    return Information.of(arrays, stimuli=images, network="lenet5")


def ranks(*rows, images="mnist"):
    arrays = {"rank": np.array(rows)[:, None, None, :].repeat(2, axis=1)}
    return Ranks.of(arrays, stimuli=images, network="lenet5")


def read(sets=None, networks=None, *, gradients=None, ranks=None, information=None):
    """Findings by claim, images and convention."""
    of_light, of_units = (
        {"gradients": gradients or {}, "ranks": ranks or {}},
        {"information": information or {}},
    )
    listed = list(dimensions(sets or {}, networks or {}, **of_light, **of_units))
    keys = [(f.claim, f.images, f.convention) for f in listed]
    assert len(set(keys)) == len(keys)
    return {key: np.atleast_1d(f.values) for key, f in zip(keys, listed, strict=True)}


def test_lenets_through_training():
    found = read({"mnist": lenets(), "cifar10-jpg": lenets("cifar10-jpg")})
    for (claim, images, way), expected in {
        ("mnist-images", "mnist", ""): 20,
        ("mnist-no-hump", "mnist", ""): 2,
        ("mnist-outputs", "mnist", ""): 0.25,
        ("training-untrained", "cifar10-jpg", "without the outputs"): 1,
        ("training-untrained", "cifar10-jpg", "with the outputs"): 2.5,
        ("training-first", "cifar10-jpg", ""): 0.4,
        ("training-back", "cifar10-jpg", ""): 1.5,
        ("training-rise", "cifar10-jpg", ""): 2,
    }.items():
        np.testing.assert_allclose(found[claim, images, way], expected, err_msg=claim)
    assert len(found["mnist-images", "mnist", ""]) == 1  # the same images for all networks
    assert len(found["mnist-outputs", "mnist", ""]) == N
    assert ("mnist-images", "cifar10-jpg", "") not in found
    np.testing.assert_allclose(found["training-first", "mnist", ""], 0.4)  # beyond what it is about


def test_what_is_said_of_larger_networks_is_read_from_lenets_too():
    found = read({"mnist": lenets()})
    for (claim, way), expected in {
        ("id-hump", ""): math.log(40 / 20),
        ("id-peak", ""): 2,
        ("id-place", ""): LAYERS.index("relu2") / 11,
        ("id-last", ""): 0.6,
        ("id-untrained", "without the outputs"): 1,
        ("id-untrained", "with the outputs"): 2.5,
        ("id-learned", ""): math.log(40 / 20),
        ("pc-untrained", ""): 30 / 40,
    }.items():
        np.testing.assert_allclose(found[claim, "mnist", way], expected, err_msg=claim)
        assert len(found[claim, "mnist", way]) == N
        np.testing.assert_equal(found[claim, "imagenet-sample", ""], [np.nan])


def test_each_imagenet_network_counts_once():
    one = network([30, 60, 90, 45, 15, 18], [30, 32, 40, 36, 30, 20])
    two = network(  # of which there are three twins, and their medians count
        [30, 20, 15, 12, 10, 40],
        *([30, 30, 30 * k, 30, 15, 10] for k in (1, 2, 9)),
        straight=[[100, 120, 200, 150, 90, 80]] + [[100, 110, 140, 130, 100, 80]] * 3,
    )
    found = read(networks={"one": one, "two": two})
    for (claim, way), expected in {
        ("id-hump", "2 networks"): np.log([90 / 30, 20 / 30]),
        ("id-peak", "2 networks"): [3, 4 / 3],
        ("id-place", "2 networks"): [0.4, 1],  # the images are 0, the outputs 1
        ("id-last", "2 networks"): [1 / 2, 1 / 3],
        ("id-untrained", "2 networks, without the outputs"): [40 / 30, 60 / 15],
        ("id-untrained", "2 networks, with the outputs"): [40 / 20, 60 / 10],
        ("id-learned", "2 networks"): np.log([90 / 40, 20 / 60]),
        ("pc-untrained", "2 networks"): [10 / 60, 40 / 100],
    }.items():
        np.testing.assert_allclose(found[claim, "imagenet-sample", way], expected, err_msg=claim)


def test_networks_that_lack_a_twin_or_a_layer_have_no_value():
    alone = network([30, 60, 90, 45, 15, 18])
    broken = network([30, np.nan, 90, 45, 15, 18], [30, 32, 40, 36, 30, 20])
    flat = network([30, 20, 20, 20, 20, 20], [30, 32, 40, 36, 30, 20])  # PC never rises
    found = read(networks={"alone": alone, "broken": broken, "flat": flat})
    for claim, defined in {
        "id-place": [True, False, True],
        "id-peak": [True, False, True],
        "id-last": [True, True, True],
        "id-learned": [False, False, True],
        "pc-untrained": [False, False, False],
    }.items():
        values = found[claim, "imagenet-sample", "3 networks"]
        assert np.isfinite(values).tolist() == defined, claim
    assert ("id-peak", "imagenet-sample", "1 network") in read(networks={"alone": alone})


def test_images_that_differ_in_light():
    found = read(gradients={"mnist": lit()})
    for (claim, way), expected in {
        ("light-images", ""): 3 / 12,
        ("light-jump", "before its ReLU"): 10 / 4,
        ("light-jump", "after its ReLU"): 12 / 4,
        ("light-ends", ""): 6 / 5,
        ("light-pruned", ""): 0.3,
        ("shuffled-hidden", ""): 3,
        ("shuffled-outputs", ""): 1.5,
    }.items():
        np.testing.assert_allclose(found[claim, "mnist", way], [expected] * N, err_msg=claim)


def test_ranks_that_grow_are_counted_over_networks_and_images():
    found = read(ranks={"mnist": ranks([9, 9, 3], [5, 2, 2]), "cifar10-jpg": ranks([3, 4, 5], [5, 2, 3])})
    np.testing.assert_array_equal(found["rank-grows", "mnist", ""], [0])
    np.testing.assert_array_equal(found["rank-grows", "cifar10-jpg", ""], [6])  # each before and after


UNITS = {
    "luminance-halves": 0.1 / 0.4,
    "beyond-luminance": 0.6 / 0.25,
    "contrast-falls": 0.6 - 0.2,
    "prunes": (0.2 + 0.3) / 2,
    "distils": (0.4 + 0.2) / 2,
}


def test_what_single_units_know_without_the_category_and_what_was_not_measured():
    found = read(information={"mnist": informed()})
    for claim, expected in UNITS.items():
        np.testing.assert_allclose(found[claim, "mnist", ""], [expected] * N, err_msg=claim)
    for claim in ("prunes", "distils"):
        np.testing.assert_equal(found[claim, "cifar10", ""], [np.nan])
    nothing = informed()
    nothing.arrays["relative"][1, 0, 2, :3] = np.nan  # no property is measured
    nothing.arrays["relative"][2, 1, 0, 0] = -0.001  # less than chance
    found = read(information={"mnist": nothing})
    assert np.flatnonzero(np.isnan(found["prunes", "mnist", ""])).tolist() == [1]
    assert np.flatnonzero(np.isnan(found["luminance-halves", "mnist", ""])).tolist() == [2]


def test_what_single_units_of_imagenet_networks_know():
    found = read(
        information={
            "squeezenet1_0": informed(1, images="imagenet-sample"),
            "digits": informed(2, images="digits"),
            "googlenet": informed(3, images="imagenet-sample", light=0.2),  # of twins; counts once
        }
    )
    for claim, expected in UNITS.items():
        values = found[claim, "imagenet-sample", "2 networks"]
        halved = [0.25, 0.5] if claim == "luminance-halves" else [expected] * 2
        np.testing.assert_allclose(values, halved, err_msg=claim)
        assert len(found[claim, "digits", ""]) == 2


def test_without_records_every_claim_is_untested_on_its_own_images():
    found = list(dimensions({}, {}, gradients={}, ranks={}, information={}))
    assert [(f.claim, f.images) for f in found] == [(c.id, s) for c in CLAIMS.values() for s in c.scope]
    card = scorecard.verdicts(found)
    assert set(card["verdict"]) == {claims.UNTESTED}
    assert not card["beyond"].any()


def test_every_claim_gets_a_finding_and_a_verdict():
    photographs = {str(k): network([30, 60, 90, 45, 15, 18], [30, 32, 40, 36, 30, 20]) for k in range(6)}
    found = dimensions(
        {"mnist": lenets(), "cifar10-jpg": lenets("cifar10-jpg"), "digits": lenets("digits")},
        photographs,
        gradients={"mnist": lit()},
        ranks={"mnist": ranks([3, 3]), "cifar10-jpg": ranks([3, 3])},
        information={"mnist": informed(), "cifar10-jpg": informed(), **{k: informed(1) for k in photographs}},
    )
    card = scorecard.verdicts(found)
    assert set(card["id"]) == set(CLAIMS)
    untested = card[card["verdict"] == claims.UNTESTED]["id"]
    assert sorted(untested) == ["id-error", "invariant-share", "orthogonality"]
    assert {name for name in CLAIMS if CLAIMS[name].missing} == set(untested)
    own = card[~card["beyond"]].set_index(["id", "images"])["verdict"]
    for name, images, verdict in (
        ("id-hump", "imagenet-sample", claims.REPRODUCED),  # six have an interval
        ("id-learned", "imagenet-sample", claims.REPRODUCED),
        ("id-peak", "imagenet-sample", claims.REPRODUCED),
        ("pc-untrained", "imagenet-sample", claims.NOT_REPRODUCED),
        ("mnist-images", "mnist", claims.NOT_REPRODUCED),
        ("mnist-outputs", "mnist", claims.DIRECTION),
        ("light-pruned", "mnist", claims.REPRODUCED),
        ("rank-grows", "cifar10-jpg", claims.REPRODUCED),
        ("prunes", "imagenet-sample", claims.REPRODUCED),
    ):
        assert own[name, images] == verdict, name
    # What larger networks are said to do is beyond LeNets, and digits beyond all claims.
    assert card[card["id"].str.startswith("id-") & (card["images"] == "mnist")]["beyond"].all()
    assert card[card["images"] == "digits"]["beyond"].all()
    shown = scorecard.of_groups(card, "dimension")
    assert list(dict.fromkeys(shown["id"])) == list(CLAIMS)  # in the order of the file
    assert "photographs" in set(shown["images"])


def test_five_networks_leave_open_whether_something_is_positive():
    card = scorecard.verdicts(dimensions({}, {}, gradients={"mnist": lit(5)}, ranks={}, information={}))
    card = card.set_index("id")
    assert card.loc["light-pruned", "verdict"] == claims.UNDECIDED
    assert card.loc["light-ends", ["verdict", "by"]].tolist() == [claims.REPRODUCED, "value"]


def test_records_that_lack_what_a_claim_is_about():
    with pytest.raises(InputError, match=r"mnist: dimensions before training .* measured after 0, 4, 16\."):
        read({"mnist": lenets(epochs=(0, 4, 16))})
    with pytest.raises(UnknownNameError, match="no layer 'relu4'. There are: .*input"):
        read({"mnist": lenets(layers=LAYERS[:9])})
    short = dict(lit().arrays)
    short["layer"] = [[name.replace("conv2", "other") for name in LAYERS]] * N
    with pytest.raises(UnknownNameError, match="no layer 'conv2'. There are: .*input"):
        read(gradients={"mnist": Gradients.of(short, stimuli="mnist", network="lenet5")})
    asked = ("luminance", "edges", "spectral_slope", "category")
    with pytest.raises(UnknownNameError, match="no property 'contrast'. There are: luminance"):
        read(information={"mnist": informed(asked=asked)})


def test_the_readme_says_what_was_recorded():
    text = " ".join((Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8").split())
    photographs = records.dimension.known_networks()
    names = ("mnist", "cifar10-jpg")
    every = {name: records.dimension.known(name) for name in names} | photographs
    without = [*figures.remaining(every, "low→high PoZ", 0.8).values()]
    shape = figures.shapes(photographs)
    seen, peak = (shape.loc[shape["trained"], column] for column in ("input", "peak"))
    for said in (
        f"In {len(photographs)} ImageNet networks the dimension of photographs grows from {seen.min():.0f}",
        f"to between {peak.min():.0f} and {peak.max():.0f} and shrinks again",
        f"of the last hidden layer {min(without):.0%} to {max(without):.0%} of its dimensions stay",
    ):
        assert said in text, said
    assert figures.shapes(every).set_index(["network", "trained"]).loc[("mnist", True), "hump"] < 1.2
