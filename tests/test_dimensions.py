"""Figures of dimensions: what they draw is what was measured."""

import numpy as np
import pytest

from rarefire.page import dimensions
from rarefire.records.dimension import SHARES, Dimensions

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
    _, numbers = dimensions.training_panels({"mnist": found}, {"relu1": "low"})
    own = numbers[numbers["layer"] == "relu1"]
    assert own["epoch"].tolist() == list(EPOCHS)
    np.testing.assert_allclose(own["high"], found.two_nn[:, :, 1, 0].max(axis=0))
    right = numbers[numbers["layer"] == "accuracy"]
    np.testing.assert_allclose(right["middle"], np.median(found.accuracy, axis=0))


def test_random_orders_are_drawn_as_their_mean(found):
    _, numbers = dimensions.kept_panels({"mnist": found}, column=1, ylabel="participation ratio")
    by = dict(tuple(numbers.groupby("order")))
    assert list(by) == sorted(dimensions.KEPT)
    np.testing.assert_allclose(by["high PoZ first"]["middle"], np.median(found.kept[:, -1, 1, :, 1], axis=0))
    mean = found.kept[:, -1, 2:, :, 1].mean(axis=1)
    np.testing.assert_allclose(by["random"]["low"], mean.min(axis=0))
    assert by["random"]["share"].tolist() == list(SHARES)


def test_the_shape_of_a_curve_by_hand(found):
    arrays = dict(found.arrays)
    line = np.array([[10, 30, 4]] * 3, dtype=float)
    arrays["two_nn"] = np.stack([line * 0 + 8, line, line], axis=1)[..., None].repeat(2, axis=-1)
    table = dimensions.shapes({"mnist": Dimensions.of(arrays, stimuli="mnist", network="lenet5")})
    row = table[table["trained"]].iloc[0]
    assert (row["input"], row["hidden"], row["outputs"], row["peak"]) == (10, 30, 4, 30)
    assert (row["layer"], row["depth"], row["hump"], row["flat"]) == ("relu1", 0.5, 1, 3)
    assert table[~table["trained"]].iloc[0]["flat"] == 1
