"""Figures of dimensions: what they draw is what was measured."""

import numpy as np
import pytest

from rarefire.errors import InputError, UnknownNameError
from rarefire.page import dimensions
from rarefire.records.dimension import SHARES, Dimensions
from rarefire.records.gradient import Gradients
from rarefire.records.information import Information
from rarefire.records.rank import Ranks

EPOCHS, LAYERS, POINTS = (0, 1, 4), ("input", "relu1", "fc3"), (400, 200)


def made(rng, n=3, *, epochs=EPOCHS):
    size = (n, len(epochs), len(LAYERS))
    return Dimensions.of(
        {
            "layer": np.array([LAYERS] * n),
            "epoch": np.array([epochs] * n),
            "accuracy": rng.uniform(size=size[:2]),
            "width": np.array([[64, 32, 10]] * n),
            "points": np.array([POINTS] * n),
            "two_nn": rng.uniform(2, 30, size=(*size, 2)),
            "se": rng.uniform(size=(*size, 2)),
            "linear": rng.uniform(size=(*size, 2)),
            "silent": np.where(np.array(LAYERS)[:, None] == "fc3", np.nan, rng.uniform(size=(*size, 3))),
            "kept": rng.uniform(size=(*size[:2], 7, len(SHARES), 2)),
        },
        stimuli="mnist",
        network="lenet5",
    )


@pytest.fixture
def found(rng):
    return made(rng)


def test_trained_and_untrained_are_the_last_epoch_and_the_first(found):
    panels, numbers = dimensions.layer_panels(
        {"mnist": found}, values="linear", column=1, ylabel="participation ratio"
    )
    by = dict(tuple(numbers.groupby("state")))
    for state, epoch in (("trained", -1), ("untrained", 0)):
        values = found.linear[:, epoch, :, 1]
        np.testing.assert_allclose(by[state]["middle"], np.median(values, axis=0))
        np.testing.assert_allclose(by[state]["low"], values.min(axis=0))
        np.testing.assert_allclose(by[state]["high"], values.max(axis=0))
    assert by["trained"]["layer"].tolist() == list(LAYERS)
    assert by["trained"]["depth"].tolist() == [0, 0.5, 1]
    assert len(panels[0].axes[0].lines) == 2


def test_twins_of_a_network_are_its_untrained_instances(rng):
    arrays = dict(made(rng, epochs=(0,)).arrays)
    arrays["epoch"] = np.array([[-1], [0], [0]])
    twins = Dimensions.of(arrays, stimuli="imagenet-sample", network="googlenet")
    _, numbers = dimensions.layer_panels({"googlenet": twins}, ylabel="TwoNN")
    by = dict(tuple(numbers.groupby("state")))
    np.testing.assert_allclose(by["trained"]["middle"], twins.two_nn[0, 0, :, 0])
    np.testing.assert_allclose(by["untrained"]["high"], twins.two_nn[1:, 0, :, 0].max(axis=0))
    alone = Dimensions.of({k: v[:1] for k, v in arrays.items()}, stimuli="x", network="googlenet")
    _, numbers = dimensions.layer_panels({"googlenet": alone}, ylabel="TwoNN")
    assert set(numbers["state"]) == {"trained"}


def test_scales_are_those_of_trained_networks(found):
    panels, numbers = dimensions.scale_panels({"mnist": found}, {"mnist": ["input", "fc3"]})
    own = numbers[numbers["layer"] == "fc3"]
    assert own["points"].tolist() == list(POINTS)
    np.testing.assert_allclose(own["middle"], np.median(found.two_nn[:, -1, 2], axis=0))
    np.testing.assert_allclose(own["se"], np.median(found.se[:, -1, 2], axis=0))
    assert panels[0].axes[0].get_xscale() == "log"


def test_training_has_every_epoch_and_the_accuracy(found):
    panels, numbers = dimensions.training_panels({"mnist": found}, {"relu1": "low", "fc3": "high"})
    own = numbers[(numbers["layer"] == "relu1") & (numbers["of"] == "TwoNN")]
    assert own["epoch"].tolist() == list(EPOCHS)
    np.testing.assert_allclose(own["high"], found.two_nn[:, :, 1, 0].max(axis=0))
    silent = numbers[numbers["of"] == "PoZ"]
    assert set(silent["layer"]) == {"relu1"}  # the outputs have none
    np.testing.assert_allclose(silent["low"], found.silent[:, :, 1, 0].min(axis=0))
    assert [len(each.axes[0].lines) for each in panels] == [2, 2]
    right = numbers[numbers["of"] == "accuracy"]
    np.testing.assert_allclose(right["middle"], np.median(found.accuracy, axis=0))


def test_random_orders_are_drawn_as_their_mean(found):
    _, numbers = dimensions.kept_panels({"mnist": found}, column=1, ylabel="participation ratio")
    by = dict(tuple(numbers.groupby("order")))
    assert list(by) == sorted(dimensions.KEPT)
    np.testing.assert_allclose(by["high→low PoZ"]["middle"], np.median(found.kept[:, -1, 1, :, 1], axis=0))
    mean = found.kept[:, -1, 2:, :, 1].mean(axis=1)
    np.testing.assert_allclose(by["random order"]["low"], mean.min(axis=0))
    assert by["random order"]["share"].tolist() == list(SHARES)


def test_what_remains_of_the_dimension(found):
    kept = found.kept[:, -1, :, :, 0]
    left = dimensions.remaining({"mnist": found}, "high→low PoZ", SHARES[1])
    assert left == {"mnist": pytest.approx(np.median(kept[:, 1, 1] / kept[:, 0, -1]))}
    drawn = dimensions.remaining({"mnist": found}, "random order", SHARES[1])["mnist"]
    assert drawn == pytest.approx(np.median(kept[:, 2:, 1].mean(axis=1) / kept[:, 0, -1]))
    with pytest.raises(InputError, match="share is one of 0.1, .* got 0.33"):
        dimensions.remaining({"mnist": found}, "random order", 0.33)
    with pytest.raises(UnknownNameError, match="no order 'low'"):
        dimensions.remaining({"mnist": found}, "low", 0.8)


def test_the_shape_of_a_curve_by_hand(found):
    arrays = dict(found.arrays)
    line = np.array([[10, 30, 4]] * 3, dtype=float)
    arrays["two_nn"] = np.stack([line * 0 + 8, line, line], axis=1)[..., None].repeat(2, axis=-1)
    table = dimensions.shapes({"mnist": Dimensions.of(arrays, stimuli="mnist", network="lenet5")})
    row = table[table["trained"]].iloc[0]
    assert (row["input"], row["hidden"], row["outputs"], row["peak"]) == (10, 30, 4, 30)
    assert (row["layer"], row["depth"], row["hump"], row["flat"]) == ("relu1", 0.5, 1, 3)
    assert table[~table["trained"]].iloc[0]["flat"] == 1


# --- light, units, rank ---------------------------------------------------------------------------


def test_light_is_drawn_after_training_with_an_untrained_line_beside(rng):
    layers = np.array([["input", "conv1", "relu1"]] * 4)
    told = np.where(layers[:, None, None] == "conv1", np.nan, rng.uniform(size=(4, 3, 2, 3)))
    lit = Gradients.of(
        {"layer": layers, "wide": rng.uniform(1, 9, size=(4, 3, 2, 3)), "told": told},
        stimuli="mnist",
        network="lenet5",
    )
    panels, numbers = dimensions.light_panels({"mnist": lit})
    assert [len(each.axes[0].lines) for each in panels] == [3, 4]
    by = dict(tuple(numbers.groupby(["of", "to"])))
    for c, condition in enumerate(dimensions.CONDITIONS):
        wide = by["dimension, wide scale", condition]
        np.testing.assert_allclose(wide["middle"], np.median(lit.wide[:, c, 1], axis=0))
        knows = by["I/H about luminance", condition]
        assert knows["layer"].tolist() == ["input", "relu1"]
        np.testing.assert_allclose(knows["high"], told[:, c, 1][:, [0, 2]].max(axis=0))
    before = by["I/H about luminance", "untrained"]
    np.testing.assert_allclose(before["middle"], np.median(told[:, 1, 0][:, [0, 2]], axis=0))


@pytest.fixture
def known(rng):
    values = rng.uniform(size=(3, 2, 2, 3))
    values[..., 0, 1] = np.nan
    return Information.of(
        {
            "layer": np.array([["relu1", "relu4"]] * 3),
            "asked": np.array([["luminance", "spectral_slope", "category"]] * 3),
            "relative": values,
            "gini": values[::-1] ** 2,
            "independent": values[..., 1:] / 2,
        },
        stimuli="mnist",
        network="lenet5",
    )


def test_what_units_know_is_drawn_by_layer(known):
    _, numbers = dimensions.unit_panels({"mnist": known}, "category")
    by = dict(tuple(numbers.groupby("state")))
    np.testing.assert_allclose(by["trained"]["middle"], np.median(known.relative[:, 1, :, 2], axis=0))
    np.testing.assert_allclose(by["untrained"]["low"], known.relative[:, 0, :, 2].min(axis=0))
    assert by["trained"]["layer"].tolist() == ["relu1", "relu4"]
    _, numbers = dimensions.unit_panels({"mnist": known}, "beyond contrast")
    shares = numbers[numbers["state"] == "trained"]["high"]
    np.testing.assert_allclose(shares, known.independent[:, 1, :, 1].max(axis=0))


def test_changes_are_of_the_last_layer(known):
    table = dimensions.changes({"mnist": known})
    assert table["property"].tolist() == list(known.properties)
    told = known.relative[:, 1, 1] - known.relative[:, 0, 1]
    np.testing.assert_allclose(table["pruning"], told.mean(axis=0))
    unequal = known.gini[:, 1, 1] - known.gini[:, 0, 1]
    np.testing.assert_allclose(table["distillation"], unequal.mean(axis=0))
    assert table["agree"].tolist() == [len(set(np.sign(column))) == 1 for column in told.T]


def test_changes_are_written_in_a_square(known):
    table = dimensions.changes({"mnist": known, "googlenet": known})
    table.loc[table["property"] == "spectral_slope", "pruning"] = np.nan
    table.loc[0, "pruning"] = -0.254
    pruning, distillation = (each.axes[0] for each in dimensions.change_panels(table))
    assert [t.get_text() for t in pruning.get_yticklabels()] == [
        "luminance",
        "spectral slope",
        "category",
    ]
    assert [t.get_text() for t in pruning.get_xticklabels()] == ["MNIST", "GoogLeNet"]
    assert (len(pruning.texts), len(distillation.texts)) == (4, 6)
    assert pruning.texts[0].get_text() == "−.25"


def test_ranks_have_the_features_that_fire_beside_and_chance(rng):
    shape = (3, 2, 4, 2)
    ranks = Ranks.of(
        {
            "layer": np.array([["conv1", "relu1"]] * 3),
            "rank": rng.integers(1, 9, size=shape),
            "fires": rng.integers(9, 20, size=shape),
            "features": rng.uniform(size=(3, 2, 2)),
            "chance": np.full((3, 2, 2), 0.045),
        },
        stimuli="mnist",
        network="lenet5",
    )
    panels, numbers = dimensions.rank_panels({"mnist": ranks})
    by = dict(tuple(numbers.groupby("of")))
    np.testing.assert_allclose(by["rank"]["middle"], np.median(ranks.rank[:, 1].mean(axis=1), axis=0))
    fires = ranks.fires[:, 1].mean(axis=1)
    np.testing.assert_allclose(by["features that fire"]["high"], fires.max(axis=0))
    np.testing.assert_allclose(by["cosine, untrained"]["low"], ranks.features[:, 0].min(axis=0))
    assert (by["cosine by chance"]["middle"] == 0.045).all()
    assert panels[0].axes[0].get_yscale() == "log"
