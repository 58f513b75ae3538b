"""Figures of groups of layers: what they draw is what was measured."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from rarefire import store, subnetworks
from rarefire.errors import InputError
from rarefire.page import layer_groups
from rarefire.page.palette import COLOURS
from rarefire.records import block_tests
from rarefire.records.block_tests import Blocks
from rarefire.records.layer_choice import CHOSEN, NUMBERS, Choice
from rarefire.records.subnetworks import ORDERS, SHARES, Maps

AT = np.arange(6)
#: Three groups of two layers.
GROUPS = np.where(AT[:, None] // 2 == AT // 2, 1.0, 4.0) * (AT[:, None] != AT)


def outlines(figure):
    """First layer and number of layers of each outlined group, by colour."""
    found = {}
    for square in (p for p in figure.axes[0].patches if isinstance(p, Rectangle)):
        (x, y), width, height = square.get_xy(), square.get_width(), square.get_height()
        assert (x, width) == (y, height)  # on the diagonal
        found.setdefault(to_hex(square.get_edgecolor()), []).append((x + 0.5, width))
    return found


def drawn(figure, colour):
    """Places of the lines and points in a colour."""
    lines = [
        x for x in figure.axes[0].lines if to_hex(x.get_color()) == COLOURS[colour] and len(x.get_xdata())
    ]
    return [line.get_xydata() for line in lines]


def test_a_map_is_the_median_over_networks_with_its_groups_outlined(rng):
    single = GROUPS + np.triu(rng.uniform(0, 0.1, (6, 6)), 1)
    single = np.triu(single, 1) + np.triu(single, 1).T
    several = np.stack([GROUPS, 9 * GROUPS, 2 * GROUPS])
    panels, numbers = layer_groups.map_panels({"one": single, "three": several})
    assert len(panels) == 2
    for figure, title, expected in zip(panels, ("one", "three"), (single, 2 * GROUPS), strict=True):
        (axes,) = figure.axes
        assert axes.get_title("left") == title
        assert axes.get_xlabel() == "6 layers"
        assert axes.get_yticks().tolist() == []
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), expected)
        assert image.get_clim() == (0, expected.max())
        assert subnetworks.best_blocks(expected).cuts == (2, 4)
        groups = [(0, 2), (2, 2), (4, 2)]
        assert outlines(figure) == {"#000000": groups, "#ffffff": groups}
        own = numbers[numbers["map"] == title]
        assert len(own) == 15
        pairs = own[["first", "second"]].astype(int).to_numpy() - 1
        np.testing.assert_array_equal(own["distance"], expected[tuple(pairs.T)])
        assert (pairs[:, 0] < pairs[:, 1]).all()


def test_layers_are_named_where_there_are_few(rng):
    many = np.abs(np.subtract.outer(np.arange(13), np.arange(13))).astype(float)
    names = {"few": [f"features.{c}" for c in "abcdef"], "many": [f"network.features.{i}" for i in range(13)]}
    panels, numbers = layer_groups.map_panels({"few": GROUPS, "many": many}, layers=names)
    few, more = (figure.axes[0] for figure in panels)
    assert [tick.get_text() for tick in few.get_yticklabels()] == list("abcdef")
    assert few.get_xlabel() == ""
    assert [tick.get_text() for tick in more.get_yticklabels()] == []
    assert more.get_xlabel() == "13 layers"
    assert numbers[numbers["map"] == "many"]["second"].tolist()[-1] == "12"
    assert layer_groups.short("network.features.3.conv") == "3.conv"
    assert layer_groups.short("relu1") == "relu1"


def test_a_map_without_groups_is_refused():
    with pytest.raises(InputError, match="equal"):
        layer_groups.map_panels({"flat": 1.0 - np.eye(4)})


@pytest.fixture
def simulated(rng):
    answers = []
    for differ in subnetworks.DIFFERENCES:
        for noise in (0.3, 2.0):
            for kind in subnetworks.TOYS:
                facts = {
                    "kind": kind,
                    "differ": differ,
                    "noise": noise,
                    "measures": list(block_tests.MEASURES),
                }
                b = rng.normal(1.5 * (kind == "blocks"), 1, (20, 5))
                given = {"b": b, "b_uneven": b, "exact": b > 1}
                answers.append(store.Answer(given, {"facts": facts}, "computed"))
    return Blocks(tuple(answers))


@pytest.mark.parametrize("null", ["smooth", "either"])
def test_power_is_drawn_by_noise_with_its_interval(simulated, null):
    panels, numbers = layer_groups.power_panels(simulated, null=null)
    assert [figure.axes[0].get_title("left") for figure in panels] == [*layer_groups.DIFFER.values()]
    assert set(layer_groups.DIFFER) == set(subnetworks.DIFFERENCES)
    assert set(layer_groups.MEASURES) == set(block_tests.MEASURES)
    table = simulated.power()
    table = table[(table["statistic"] == "b") & (table["null"] == null)]
    assert len(numbers) == len(table) == 3 * 2 * 5
    np.testing.assert_array_equal(numbers["power"], table["power"])
    for figure, differ in zip(panels, layer_groups.DIFFER, strict=True):
        bars = figure.axes[0].collections
        assert len(bars) == len(layer_groups.MEASURES)
        for (measure, colour), bar in zip(layer_groups.MEASURES.items(), bars, strict=True):
            own = numbers[(numbers["differ"] == differ) & (numbers["measure"] == measure)]
            (points,) = drawn(figure, colour)
            np.testing.assert_allclose(points, own[["noise", "power"]])
            ends = np.array([segment[:, 1] for segment in bar.get_segments()])
            np.testing.assert_allclose(ends, own[["low", "high"]], atol=1e-12)


def test_what_is_left_out_is_drawn_where_it_was_measured(rng):
    without = rng.uniform(size=(3, 5, len(ORDERS), len(SHARES)))
    without[:, [0, 3]] = np.nan  # no ReLU
    names = ("features.conv", "features.relu", "features.b", "pooled", "outputs")
    found = Maps.of({"layer": [names] * 3, "without": without}, stimuli="mnist", network="lenet5")
    for share in range(len(SHARES)):
        panels, numbers = layer_groups.left_out_panels({"mnist": found, "other": found}, share=share)
        assert [figure.axes[0].get_title("left") for figure in panels] == ["MNIST", "other"]
        assert set(numbers["network"]) == {"MNIST", "other"}
        own = numbers[numbers["network"] == "MNIST"]
        for o, (order, colour) in enumerate(layer_groups.LEFT_OUT.items()):
            rows = own[own["left out"] == order]
            assert rows["layer"].tolist() == ["relu", "b", "outputs"]
            values = without[:, [1, 2, 4], o, share]
            np.testing.assert_array_equal(rows["middle"], np.median(values, axis=0))
            np.testing.assert_array_equal(rows["low"], values.min(axis=0))
            np.testing.assert_array_equal(rows["high"], values.max(axis=0))
            (points,) = drawn(panels[0], colour)
            np.testing.assert_allclose(points, np.transpose([[0.25, 0.5, 1], rows["middle"]]))
    assert list(layer_groups.LEFT_OUT) == list(ORDERS)


def test_features_are_beside_random_choices(rng):
    given = {"chosen": rng.uniform(size=(len(CHOSEN), len(NUMBERS)))}
    given["drawn"] = rng.uniform(size=(len(NUMBERS), 40))
    one = Choice((store.Answer(given, {"facts": {"network": "googlenet"}}, "computed"),))
    (figure,), numbers = layer_groups.features_panels({"googlenet": one})
    assert figure.axes[0].get_title("left") == "GoogLeNet"
    assert figure.axes[0].get_xticks().tolist() == list(NUMBERS)
    by = dict(tuple(numbers.groupby("chosen", sort=False)))
    assert list(by) == ["random", "gw", "cka", "even", "last"]
    colours = {"gw": "low", "cka": "high", "even": "mean", "last": "sd", "random": "random"}
    for way, rows in by.items():
        expected = (
            np.median(given["drawn"], axis=1) if way == "random" else given["chosen"][CHOSEN.index(way)]
        )
        np.testing.assert_allclose(rows["accuracy"], expected)
        assert rows["layers"].tolist() == list(NUMBERS)
        (points,) = drawn(figure, colours[way])
        np.testing.assert_allclose(points, rows[["layers", "accuracy"]])
    (band,) = figure.axes[0].collections
    (shade,) = band.get_paths()
    low, high = np.quantile(given["drawn"], (0.05, 0.95), axis=1)
    heights = shade.vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((low.min(), high.max()))


def test_redundant_steps_are_points_below_the_whole_network(rng):
    moved, without = rng.uniform(size=(2, 5))
    given = {"GoogLeNet": (moved, without, 0.9), "addition": (2 * moved, without / 2, 0.8)}
    panels, numbers = layer_groups.redundant_panels(given)
    for figure, (title, (x, y, whole)) in zip(panels, given.items(), strict=True):
        assert figure.axes[0].get_title("left") == title
        rows = numbers[numbers["network"] == title]
        np.testing.assert_array_equal(rows["moved"], x)
        np.testing.assert_array_equal(rows["accuracy"], y)
        assert set(rows["whole"]) == {whole}
        (points,) = drawn(figure, "low")
        np.testing.assert_array_equal(points, np.transpose([x, y]))
        assert set(drawn(figure, "random")[0][:, 1]) == {whole}
        assert figure.axes[0].get_xlim()[0] == 0
