"""Layers pair by pair: what Python says, and what a real Chromium shows of it."""

import base64
import io
import itertools
import re
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import traitlets

from rarefire import networks, rdm, stimuli, subnetworks, transport
from rarefire.errors import InputError, UnknownNameError
from rarefire.page import widgets
from rarefire.page.pairs import QUANTITIES, PairMap
from rarefire.records.subnetworks import Shown

LAYERS = ("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "relu3", "fc2", "relu4", "fc3")
GROUP, GROUPS = np.repeat(np.arange(10), 6), tuple("0123456789")
NUMBERS = ("slb", "lower", "upper", "identity", "chance")
TITLES = {"lenet": "LeNet-5", "toy": "a toy", "moved": "moved"}


def measured(spaces):
    """Spaces and what the solver found, without chance."""
    return spaces, dict(transport.each_pair(spaces, jobs=1, n_random=0))


@pytest.fixture(scope="module")
def lenet():
    """A LeNet-5 on sixty digits, six of each class."""
    digits = stimuli.load("digits", "test")
    few = digits.subset(np.concatenate([np.flatnonzero(digits.labels == c)[:6] for c in range(10)]))
    network = networks.build("lenet5", seed=0, input_shape=few.input_shape, mean=few.mean, std=few.std)
    return measured(transport.layer_distances(network, few, layers=LAYERS))


@pytest.fixture(scope="module")
def toy():
    """Three geometries that are alike in nothing, twice each, under long names: images do move."""
    layers = subnetworks.toy("blocks", rng=np.random.default_rng(1), n_images=60, n_layers=6)
    return measured({f"features.{i}.conv": transport.distances(layer) for i, layer in enumerate(layers)})


@pytest.fixture(scope="module")
def moved():
    """The same points in four layers; in the last two, each has the place of the next of its class."""
    points = transport.distances(np.random.default_rng(2).normal(size=(12, 3)))
    order = np.arange(12).reshape(4, 3)[:, [1, 2, 0]].ravel()
    turned = points[np.ix_(order, order)]
    return measured({"a": points, "b": points**1.2, "c": turned, "d": turned**1.2}), order


@pytest.fixture(scope="module")
def shown(lenet, toy, moved):
    return {
        "lenet": Shown.of(*lenet, group=GROUP, groups=GROUPS),
        "toy": Shown.of(*toy, group=GROUP, groups=GROUPS),
        "moved": Shown.of(*moved[0], group=np.repeat(np.arange(4), 3), groups=["cat", "dog", "<i>", "e"]),
    }


# --- Python --------------------------------------------------------------------------------------


def test_what_is_shown_is_what_was_found(lenet, shown):
    spaces, found = lenet
    one = shown["lenet"]
    assert one.layer == LAYERS
    pairs = [(a, b) for i, a in enumerate(LAYERS) for b in LAYERS[i + 1 :]]
    for place, pair in enumerate(pairs):
        assert [getattr(one, name)[place] for name in NUMBERS] == [getattr(found[pair], n) for n in NUMBERS]
        assert one.partner[place].tolist() == found[pair].partner.tolist()
    for layer, space, most in zip(LAYERS, one.space, one.most, strict=True):
        steps = rdm.condensed(spaces[layer]) / most * 255
        np.testing.assert_allclose(space, steps, atol=0.5 + 1e-9)
        assert space.max() == 255


def test_it_is_recorded_and_read(shown, tmp_path):
    one = shown["moved"]
    np.savez(tmp_path / "shown.npz", **one.arrays())
    with np.load(tmp_path / "shown.npz") as kept:
        again = Shown.read(kept)
    assert (again.layer, again.groups) == (one.layer, one.groups)
    for name, values in one.arrays().items():
        assert again.arrays()[name].dtype == values.dtype, name
        np.testing.assert_array_equal(again.arrays()[name], values)


def test_whichever_layer_a_pair_names_first(moved):
    (spaces, found), order = moved
    turned = dict(transport.each_pair(spaces, jobs=1, n_random=0, pairs=[("c", "a")]))
    others = {pair: one for pair, one in found.items() if pair != ("a", "c")}
    shown = Shown.of(spaces, others | turned, group=np.zeros(12), groups=["one"])
    assert shown.partner[1].tolist() == np.argsort(order).tolist()


def test_numbers_are_those_of_the_solver(lenet, shown):
    _, found = lenet
    widget = PairMap(shown)
    distances = transport.square_map(found, LAYERS)
    for i, j in [(0, 1), (3, 9), (10, 2)]:
        with widget.hold_trait_notifications():
            widget.first, widget.second = i, j
        one = found[LAYERS[min(i, j)], LAYERS[max(i, j)]]
        assert list(widget.bracket) == [*NUMBERS, *QUANTITIES]
        for name, value in widget.bracket.items():
            assert value == pytest.approx(getattr(one, name), rel=1e-5, abs=1e-8), name
        assert widget.stays == ((one.partner == np.arange(60)).mean(), (GROUP[one.partner] == GROUP).mean())
    for n_blocks in range(1, 12):
        widget.n_blocks = n_blocks
        expected = subnetworks.blocks(distances, n_blocks)
        assert widget.blocks.cuts == expected.cuts
        assert widget.blocks.r2 == pytest.approx(expected.r2, rel=1e-4)
    best = subnetworks.best_blocks(distances)
    assert PairMap(shown).n_blocks == best.n_blocks


def test_images_that_moved_within_their_class(moved, shown):
    """Known: the points are the same, and nobody is where it was."""
    widget = PairMap(shown, network="moved", first=0, second=2)
    assert widget.bracket["upper"] == pytest.approx(0, abs=1e-12)
    assert widget.bracket["gap"] == widget.bracket["identity"] > 0.05
    assert widget.stays == (0, 1)
    cost = widget.bracket["identity"] / widget.bracket["chance"]
    assert widget.words.startswith(
        "a and c: distance 0.000, at least 0.000; the best match that was found costs 0\xa0% of a random "
        "one. 0\xa0% of the images go to themselves, 100\xa0% to their class; leaving all in place would "
        f"cost {100 * cost:.0f}\xa0%. "
    )


def test_the_words(lenet, shown):
    _, found = lenet
    widget = PairMap(shown, first=8, second=3)
    one = found["conv2", "fc2"]
    assert one.gap == 0
    assert widget.words == (
        f"conv2 and fc2: distance {one.distance:.3f}, at least {np.sqrt(one.lower) / 2:.3f}; the best match "
        f"that was found costs {100 * one.relative:.0f}\xa0% of a random one. Every image goes to itself: no "
        f"cheaper match was found. 2 groups (conv1–relu3 | fc2–fc3): R² {widget.blocks.r2:.3f}, "
        f"{100 * widget.blocks.r2:.0f}\xa0% of how distances vary; no number of groups does better."
    )
    widget.n_blocks = 1
    assert widget.words.endswith(" 1 group (conv1–fc3): R² 0.000, 0\xa0% of how distances vary; 2 do best.")
    widget.n_blocks = 7
    assert re.search(r"\. 7 groups: R² 0\.\d{3}, \d+\xa0% of how distances vary; 2 do best\.$", widget.words)


def test_layers_without_any_difference_in_distance():
    """Chance is 0 where all distances of both are equal: nothing can be said in shares of it."""
    even = 1 - np.eye(4)
    layers = measured({"a": even, "b": even, "c": transport.distances(np.arange(4.0)[:, None])})
    one = Shown.of(*layers, group=np.arange(4), groups=list("wxyz"))
    widget = PairMap({"even": one}, second=1)
    assert np.isnan(widget.bracket["relative"])
    assert widget.words.startswith(
        "a and b: distance 0.000, at least 0.000; all images are equally far apart"
    )


def test_it_begins_with_the_ends_and_the_best_blocks(shown):
    widget = PairMap(shown)
    assert (widget.network, widget.first, widget.second, widget.quantity) == ("lenet", 0, 10, "relative")
    assert (PairMap(shown, second=0).first, PairMap(shown, first=10).second) == (10, 0)
    toy = PairMap(shown, network="toy", titles=TITLES)
    assert (toy.n_blocks, toy.blocks.cuts) == (3, (2, 4))
    assert [each["title"] for each in toy.networks] == [*TITLES.values()]
    assert [each["title"] for each in widget.networks] == ["lenet", "toy", "moved"]


def test_state_falls_back_where_a_network_has_less(shown):
    widget = PairMap(shown, first=10, second=9, n_blocks=11)
    widget.network = "moved"  # four layers
    assert widget.words.startswith("c and d: ")
    assert widget.words.endswith(
        " 4 groups (a | b | c | d): R² 0.000, 0\xa0% of how distances vary; 1 does best."
    )
    assert widget.blocks.n_blocks == 4


def test_traits_are_checked(shown):
    widget = PairMap(shown)
    for trait, value, message in [
        ("network", "digits", "network is one of lenet, toy, moved; got 'digits'"),
        ("quantity", "upper", "quantity is one of relative, distance, gap; got 'upper'"),
        ("first", 11, "first is an index from 0 to 10; got 11"),
        ("second", -1, "second is an index from 0 to 10; got -1"),
        ("n_blocks", 0, "n_blocks is a number from 1 to 11; got 0"),
        ("n_blocks", 12, "n_blocks is a number from 1 to 11; got 12"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(widget, trait, value)
        with pytest.raises(traitlets.TraitError, match=message):
            PairMap(shown, **{trait: value})
    with pytest.raises(traitlets.TraitError, match=r"two different layers; both are 10\. .*hold_trait_notif"):
        widget.first = 10
    with pytest.raises(traitlets.TraitError, match="first and second are two different layers; both are 3"):
        PairMap(shown, first=3, second=3)
    assert (widget.first, widget.second) == (0, 10)
    with pytest.raises(UnknownNameError, match="no trait 'frist'. There are: "):
        PairMap(shown, frist=1)
    with pytest.raises(InputError, match="at least one network"):
        PairMap({})


def test_what_does_not_fit_is_refused(moved, shown):
    arrays = shown["moved"].arrays()
    for changed, message in [
        ({"layer": np.array(["a", "b"])}, "at least three layers and of 2 to 256 images; got 2 and 12"),
        ({"group": np.zeros(257)}, "of 2 to 256 images; got 4 and 257"),
        ({"space": arrays["space"][:, :9]}, r"space of 4 layers and 12 images is \(4, 66\); got \(4, 9\)"),
        ({"upper": arrays["upper"][:5]}, r"upper of 4 layers and 12 images is \(6,\); got \(5,\)"),
        ({"most": np.full(4, np.nan)}, "most: 4 values are not finite"),
        ({"lower": arrays["identity"] + 1}, "0 ≤ slb ≤ lower ≤ upper ≤ identity"),
        ({"chance": -arrays["chance"]}, "chance is at least 0"),
        ({"partner": arrays["partner"] + 1}, "partner is an image from 0 to 11; got 12"),
        ({"group": arrays["group"][::-1]}, "from 0 to 3 that never falls: sort images by class"),
        ({"groups": arrays["groups"][:3]}, "group is an index from 0 to 2"),
    ]:
        with pytest.raises(InputError, match=message):
            Shown.read({**arrays, **changed})
    with pytest.raises(InputError, match="lacks most, partner"):
        Shown.read({name: values for name, values in arrays.items() if name not in ("most", "partner")})
    (spaces, found), _ = moved
    few = {pair: one for pair, one in found.items() if pair != ("b", "c")}
    with pytest.raises(InputError, match="1 of 6 pairs are missing, such as b and c"):
        Shown.of(spaces, few, group=np.zeros(12), groups=["one"])
    flat = {name: np.full(6, 0.25) for name in NUMBERS}
    with pytest.raises(InputError, match="flat: all distances between layers are equal"):
        PairMap({"flat": Shown.read({**arrays, **flat})})


def test_it_is_small(tmp_path, rng):
    """Two LeNets, a network of 22 layers and one of 12."""

    def made(n_layers):
        n_pairs = n_layers * (n_layers - 1) // 2
        bounds = np.sort(rng.uniform(size=(5, n_pairs)), axis=0)
        return Shown.read(
            {
                "layer": np.array([f"features.{i}.conv" for i in range(n_layers)]),
                "space": rng.integers(0, 256, size=(n_layers, 1770)),
                "most": np.full(n_layers, 2.0),
                **dict(zip(NUMBERS, bounds, strict=True)),
                "partner": rng.integers(0, 60, size=(n_pairs, 60)),
                "group": GROUP,
                "groups": np.array(GROUPS),
            }
        )

    widget = PairMap({"a": made(11), "b": made(11), "c": made(22), "d": made(12)})
    widgets.save(tmp_path / "page.html", widget)
    assert (tmp_path / "page.html").stat().st_size < 320_000


def test_the_figure_without_scripts_says_the_same(shown):
    widget = PairMap(shown, name="still", caption="A finding.", titles=TITLES, first=2, second=7)
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert page.startswith('<figure data-widget="')
    assert 'id="figure-still"' in page
    assert "A finding." in page
    assert page.count("<svg") == 2
    said = (
        "Map of every two layers of LeNet-5, cost relative to chance, with groups outlined; and which image"
    )
    assert f"{said} goes where. {widget.words}" in page
    data = re.search(r'href="data:text/csv;base64,([^"]+)"', page)[1]
    check_table(pd.read_csv(io.BytesIO(base64.b64decode(data))), shown["lenet"], 1e-3)


def check_table(numbers, one, rtol=1e-6):
    n = len(one.layer)
    assert numbers["first"].tolist() == [one.layer[i] for i, _ in zip(*np.triu_indices(n, 1), strict=True)]
    assert numbers["second"].tolist() == [one.layer[j] for _, j in zip(*np.triu_indices(n, 1), strict=True)]
    for name in NUMBERS:
        np.testing.assert_allclose(numbers[name], getattr(one, name), rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(numbers["distance"], np.sqrt(one.upper) / 2, rtol=rtol, atol=1e-7)
    np.testing.assert_allclose(numbers["relative"], one.upper / one.chance, rtol=rtol, atol=1e-7)
    np.testing.assert_allclose(numbers["gap"], one.identity - one.upper, rtol=rtol, atol=1e-7)
    here = np.arange(len(one.group))
    np.testing.assert_allclose(numbers["to_itself"], (one.partner == here).mean(axis=1), rtol=rtol)
    kin = (one.group[one.partner] == one.group).mean(axis=1)
    np.testing.assert_allclose(numbers["to_its_class"], kin, rtol=rtol)


# --- in a real browser ---------------------------------------------------------------------------

PAGE = """within => {
  const box = document.querySelector(within);
  const all = (selector, read) => [...box.querySelectorAll(selector)].map(read);
  const text = selector => all(selector, e => e.textContent);
  const at = (e, ...names) => names.map(name => +e.getAttribute(name));
  const ring = kind => all(`.rf-square circle.${kind}`, e => at(e, "cx", "cy"))[0];
  const rim = at(box.querySelector(".rf-rim"), "x", "y", "width");
  const labels = all(".rf-bracket g:first-child text", e => [+e.getAttribute("x"), +e.textContent]);
  const ticks = labels.filter(([, v]) => v === v);
  const [[x0, v0], [x1, v1]] = [ticks[0], ticks.at(-1)];
  const distance = x => v0 + ((x - x0) / (x1 - x0)) * (v1 - v0);
  const first = (selector, ...names) => at(box.querySelector(selector), ...names);
  const move = selector => +box.querySelector(selector).getAttribute("d").match(/M([\\d.-]+)/)[1];
  const [left, , wide] = first(".rf-bracket .rf-between", "x", "y", "width");
  const cross = e => {
    const [x, y, side] = e.getAttribute("d").match(/[-\\d.]+/g).map(Number);
    return [x + side / 2, y + side / 2];
  };
  const dot = e => at(e, "cx", "cy"), dots = (kind, read) => all(`.rf-coupling ${kind}`, read);
  return {
    words: `${text(".rf-result")[0]} ${text(".rf-cuts")[0]}`, slider: text(".rf-slider output")[0],
    menus: all("select", e => e.selectedOptions[0].textContent), titles: text("b"),
    key: text(".rf-every .rf-bar span")[0],
    cells: all(".rf-cells rect", e => [e.dataset.cell, +e.dataset.value, e.getAttribute("fill")]),
    blocks: all(".rf-block", e => at(e, "x", "y", "width", "height")), rim,
    rings: [ring("rf-chosen"), ring("rf-mirrored")], here: text(".rf-square .rf-here"),
    bounds: [move(".rf-bracket .rf-possible"), left, left + wide].map(distance),
    found: distance(first(".rf-bracket .rf-found", "cx")[0]),
    place: distance(move(".rf-bracket .rf-place") + 9), random: distance(move(".rf-bracket .rf-random")),
    same: dots(".rf-same", dot), kin: dots(".rf-kin", dot), away: dots(".rf-away-to", cross),
    shares: text(".rf-match dd"), classes: all(".rf-coupling .rf-class", e => at(e, "x", "y", "width")),
  };
}"""


def open_page(tab, address, *, count=1):
    tab.goto(address)
    for i in range(count):
        tab.locator("[data-widget][data-ready]").nth(i).wait_for()


def seen(tab, *, within="body"):
    tab.evaluate("new Promise(requestAnimationFrame)")
    return SimpleNamespace(**tab.evaluate(PAGE, within))


def agrees(tab, widget, one):
    """What is on the page is what Python has for this state."""
    page = seen(tab)
    assert page.words == widget.words
    n, (x, y, side) = len(one.layer), page.rim
    size = side / n
    # The map, its values and its blocks.
    order = {tuple(pair): place for place, pair in enumerate(zip(*np.triu_indices(n, 1), strict=True))}
    values = {
        "relative": one.upper / one.chance,
        "distance": np.sqrt(one.upper) / 2,
        "gap": one.identity - one.upper,
    }[widget.quantity]
    expected = rdm.square(values)
    got = {tuple(map(int, cell.split())): value for cell, value, _ in page.cells}
    assert len(got) == n * n
    np.testing.assert_allclose(
        [got[divmod(c, n)] for c in range(n * n)], expected.ravel(), rtol=1e-5, atol=1e-6
    )
    ends = [0, *widget.blocks.cuts, n]
    squares = [
        [x + a * size, y + a * size, (b - a) * size, (b - a) * size] for a, b in itertools.pairwise(ends)
    ]
    np.testing.assert_allclose(page.blocks, squares, rtol=1e-6)
    # The pair on the map.
    pair = tuple(sorted((min(widget.first, n - 1), min(widget.second, n - 1))))
    centres = [[x + (j + 0.5) * size, y + (i + 0.5) * size] for i, j in (pair, pair[::-1])]
    np.testing.assert_allclose(sorted(page.rings), sorted(centres), rtol=1e-6)
    assert len(page.here) == 2
    # Its bracket.
    bracket = {name: np.sqrt(widget.bracket[name]) / 2 for name in NUMBERS}
    drawn = [*page.bounds[:2], page.found, page.place, page.random]
    np.testing.assert_allclose(drawn, [*bracket.values()], rtol=1e-5, atol=1e-6)
    # Who goes where.
    partner, here = one.partner[order[pair]], np.arange(len(one.group))
    step = page.classes[0][2] / np.count_nonzero(one.group == one.group[0])
    left, top, _ = page.classes[0]
    same, kin = partner == here, one.group[partner] == one.group
    for kind, which in (("same", same), ("kin", kin & ~same), ("away", ~kin)):
        centres = np.stack([left + (partner[which] + 0.5) * step, top + (here[which] + 0.5) * step], axis=1)
        np.testing.assert_allclose(np.reshape(getattr(page, kind), (-1, 2)), centres, rtol=1e-6)
    assert page.shares == [
        f"{100 * s:.0f}\xa0%" for s in (same.mean(), kin.mean() - same.mean(), 1 - kin.mean())
    ]
    return page


@pytest.mark.browser
def test_every_state_of_the_page(tab, static_page, shown):
    widget = PairMap(shown, titles=TITLES)
    open_page(tab, static_page(widget))
    networks_, what = tab.get_by_role("combobox", name="Network"), tab.get_by_role("combobox", name="Show")
    handle, square = tab.get_by_role("slider", name="Groups"), tab.locator(".rf-square")
    agrees(tab, widget, shown["lenet"])
    for network, one in shown.items():
        networks_.select_option(TITLES[network])
        tab.evaluate("new Promise(requestAnimationFrame)")
        last = len(one.layer) - 1
        with widget.hold_trait_notifications():
            widget.network, widget.first, widget.second = network, 0, last
        widget.n_blocks = subnetworks.best_blocks(rdm.square(np.sqrt(one.upper) / 2), most=last + 1).n_blocks
        page = agrees(tab, widget, one)
        assert page.slider == f"{widget.n_blocks}, the best number"
        for quantity, title in QUANTITIES.items():
            widget.quantity = quantity
            what.select_option(title)
            page = agrees(tab, widget, one)
            assert page.titles[0] == f"Every two layers: {title}"
            assert page.menus == [TITLES[network], title]
        for n_blocks in range(1, last + 2):
            widget.n_blocks = n_blocks
            handle.fill(str(n_blocks))
            agrees(tab, widget, one)
        square.focus()
        for column in range(last - 1, 0, -1):
            widget.second = column
            square.press("ArrowLeft")
            page = agrees(tab, widget, one)
            assert page.here == [one.layer[0], one.layer[column]]
        square.press("End")
        widget.second = last


@pytest.mark.browser
def test_keys_move_the_pair_past_the_diagonal(tab, static_page, shown):
    open_page(tab, static_page(PairMap(shown, first=3, second=5)))
    square = tab.locator(".rf-square")
    square.focus()
    for key, pair in [
        ("ArrowLeft", ["conv2", "relu2"]),
        ("ArrowLeft", ["conv2", "pool1"]),  # conv2 itself is passed over
        ("ArrowDown", ["relu2", "pool1"]),
        ("ArrowUp", ["conv2", "pool1"]),
        ("ArrowUp", ["relu1", "pool1"]),
        ("Home", ["relu1", "conv1"]),
        ("ArrowUp", ["relu1", "conv1"]),  # above is the corner
        ("End", ["relu1", "fc3"]),
        ("ArrowRight", ["relu1", "fc3"]),
    ]:
        square.press(key)
        assert seen(tab).here == pair, key
    assert tab.evaluate("document.activeElement.classList.contains('rf-square')")
    assert square.get_attribute("data-lm-suppress-shortcuts") == "true"  # JupyterLab leaves the keys alone


@pytest.mark.browser
def test_pointing_shows_and_a_click_keeps(tab, static_page, shown):
    open_page(tab, static_page(PairMap(shown)))
    words = tab.locator(".rf-result")

    def at(i, j):
        box = tab.locator(f'[data-cell="{i} {j}"]').bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    tab.mouse.move(*at(2, 7))
    assert seen(tab).here == ["pool1", "relu3"]
    assert words.get_attribute("aria-live") == "off"  # a mouse that passes is not read out
    tab.mouse.move(*at(4, 4))  # a layer with itself: nothing to see
    assert seen(tab).here == ["conv1", "fc3"]
    tab.mouse.move(*at(7, 2))
    page = seen(tab)
    assert page.here == ["relu3", "pool1"]
    assert page.words.startswith("pool1 and relu3: ")
    tab.mouse.move(2, 2)
    assert seen(tab).here == ["conv1", "fc3"]
    tab.mouse.click(*at(2, 7))
    assert words.get_attribute("aria-live") == "polite"
    tab.mouse.move(*at(1, 3))
    assert seen(tab).here == ["relu1", "conv2"]
    tab.mouse.move(2, 2)
    assert seen(tab).here == ["pool1", "relu3"]
    tab.locator(".rf-square").focus()
    tab.mouse.move(*at(5, 9))
    tab.keyboard.press("Enter")
    tab.mouse.move(2, 2)
    assert seen(tab).here == ["pool2", "relu4"]
    tab.touchscreen.tap(*at(6, 8))
    assert seen(tab).here == ["fc1", "fc2"]
    tab.touchscreen.tap(*at(6, 6))
    assert seen(tab).here == ["fc1", "fc2"]


@pytest.mark.browser
def test_colours_are_those_of_the_values(tab, static_page, shown):
    """The map and both matrices, in the book's colours from 0 to the largest."""
    one, widget = shown["toy"], PairMap(shown, network="toy", first=1, second=4)
    open_page(tab, static_page(widget))
    page = seen(tab)
    colours = np.frombuffer(widget.colours, np.uint8).reshape(256, 3)
    relative = rdm.square(one.upper / one.chance)
    for cell, _, fill in page.cells:
        i, j = map(int, cell.split())
        step = int(255 * relative[i, j] / relative.max() + 0.5)
        got = np.array([int(v) for v in re.findall(r"\d+", fill)])
        assert np.abs(got - colours[max(0, step - 1) : step + 2]).max(axis=1).min() == 0
    assert page.key == f"{100 * relative.max():.0f}\xa0%"
    most = one.most[[1, 4]].max()
    pixels_of = "e => [...e.getContext('2d').getImageData(0, 0, e.width, e.height).data]"
    for layer, canvas in zip((1, 4), tab.locator("canvas").all(), strict=True):
        values = rdm.square(one.space[layer] / 255 * one.most[layer])
        expected = colours[np.floor(255 * values / most + 0.5).astype(int)].astype(int)
        got = np.reshape(canvas.evaluate(pixels_of), (60, 60, 4)).astype(int)
        assert (got[..., 3] == 255).all()
        assert (got[..., :3] == expected).all(axis=2).mean() > 0.98  # halves are rounded in float32
    tab.get_by_role("combobox", name="Network").select_option("lenet")
    tab.get_by_role("combobox", name="Show").select_option(QUANTITIES["gap"])
    assert seen(tab).key == "everywhere"  # 0, of LeNets


@pytest.mark.browser
def test_another_network_is_shown_at_about_the_same_depth(tab, static_page, shown):
    open_page(tab, static_page(PairMap(shown, first=8, second=3)))
    menu = tab.get_by_role("combobox", name="Network")
    menu.select_option("moved")
    assert seen(tab).here == ["c", "b"]
    assert seen(tab).slider == "1, the best number"
    menu.select_option("toy")
    assert seen(tab).here == ["features.3.conv", "features.2.conv"]
    assert seen(tab).slider == "3, the best number"
    handle = tab.get_by_role("slider", name="Groups")
    assert handle.get_attribute("max") == "6"
    handle.press("ArrowRight")
    assert seen(tab).slider == "4"
    assert handle.get_attribute("aria-valuetext") == "4 groups"


@pytest.mark.browser
def test_neighbours_stay_two_layers_in_a_shorter_network(tab, static_page, shown):
    open_page(tab, static_page(PairMap(shown, first=9, second=10)))
    tab.get_by_role("combobox", name="Network").select_option("moved")
    assert seen(tab).here == ["d", "c"]


@pytest.mark.browser
def test_it_is_said_and_named(tab, static_page, shown):
    """For those who do not see it: the words are live, drawings have alternatives, the slider its value."""
    open_page(tab, static_page(PairMap(shown, titles=TITLES)))
    words = seen(tab).words
    for what in (".rf-result", ".rf-cuts"):
        line = tab.locator(what)
        assert (line.get_attribute("role"), line.get_attribute("aria-live")) == ("status", "polite")
    for name, start in (
        (".rf-bracket", "Bounds of the distance, "),
        (".rf-coupling", "To which image of fc3 ea"),
    ):
        drawing = tab.locator(name)
        label = drawing.get_attribute("aria-label")
        assert label.startswith(start)
        assert words.startswith(label[label.index("conv1 and fc3: ") :])
        assert drawing.get_attribute("role") == "img"
    label = tab.locator(".rf-square").get_attribute("aria-label")
    assert (
        label
        == "Map of every two layers of LeNet-5: cost relative to chance. Arrow keys move from pair to pair."
    )
    assert [c.get_attribute("aria-label") for c in tab.locator("canvas").all()] == [
        f"Distances between 60 images in {layer}, sorted by class." for layer in ("conv1", "fc3")
    ]
    assert tab.get_by_role("slider").get_attribute("aria-valuetext") == "2 groups, the best number"
    assert tab.get_by_role("group", name="Layers pair by pair").count() == 1
    assert tab.locator(".rf-room p:not([role=status]):not([aria-hidden=true])").count() == 0


@pytest.mark.browser
def test_the_numbers_can_be_downloaded(tab, static_page, shown, tmp_path):
    open_page(tab, static_page(PairMap(shown, network="toy")))
    with tab.expect_download() as started:
        tab.get_by_role("link", name="Numbers (CSV)").locator("visible=true").click()
    assert started.value.suggested_filename == "pairs-pairs.csv"
    started.value.save_as(tmp_path / "pairs.csv")
    check_table(pd.read_csv(tmp_path / "pairs.csv"), shown["toy"])


@pytest.mark.browser
def test_the_pair_is_made_of_traits(tab, static_page, shown):
    one, other = PairMap(shown, name="one"), PairMap(shown, name="other", network="toy")
    for trait in ("first", "second"):
        ipywidgets.jslink((one, trait), (other, trait))
    open_page(tab, static_page(one, other), count=2)
    tab.locator("#figure-one .rf-square").focus()
    tab.keyboard.press("Home")
    one.second = other.second = 1
    for widget in (one, other):
        assert seen(tab, within=f"#figure-{widget.name}").words == widget.words


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_jump_while_pairs_are_pointed_at(tab, static_page, shown, width):
    tab.set_viewport_size({"width": width, "height": 900})
    open_page(tab, static_page(PairMap(shown)))
    for network in shown:
        tab.get_by_role("combobox", name="Network").select_option(network)
        square, places = tab.locator(".rf-square"), set()
        square.focus()
        for key in ("Home", *["ArrowRight"] * 4, "ArrowDown", *["ArrowLeft"] * 4, "ArrowDown"):
            square.press(key)
            seen(tab)
            boxes = [
                tab.locator(f".rf-{what}").bounding_box() for what in ("square", "bracket", "below", "foot")
            ]
            places.add(tuple((box["y"], box["height"]) for box in boxes))
        for n_blocks in range(1, len(shown[network].layer) + 1):
            tab.get_by_role("slider").fill(str(n_blocks))
            seen(tab)
            boxes = [
                tab.locator(f".rf-{what}").bounding_box() for what in ("square", "bracket", "below", "foot")
            ]
            places.add(tuple((box["y"], box["height"]) for box in boxes))
        assert len(places) == 1, network


@pytest.mark.browser
def test_it_fits_narrow_screens(tab, static_page, shown):
    open_page(tab, static_page(PairMap(shown)))
    for width in (1280, 700, 390, 320):
        tab.set_viewport_size({"width": width, "height": 800})
        for network in shown:
            tab.get_by_role("combobox", name="Network").select_option(network)
            seen(tab)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            within = "[...document.querySelectorAll('.rf-pairs *')].filter(e => e.checkVisibility())"
            right = f"Math.max(...{within}.map(e => e.getBoundingClientRect().right))"
            assert tab.evaluate(right) <= width
            sides = "[...document.querySelectorAll('.rf-matched canvas, .rf-coupling .rf-grid')]"
            wide = tab.evaluate(f"{sides}.map(e => e.getBoundingClientRect().width)")
            if width >= 700:  # beside each other, all three are equally large
                assert max(wide) - min(wide) < 0.02 * max(wide)


@pytest.mark.browser
def test_every_other_name_gives_way_where_there_are_many(tab, static_page, shown, rng):
    bounds = np.sort(rng.uniform(size=(5, 231)), axis=0)
    arrays = {
        "layer": np.array([f"l{i}" for i in range(22)]),
        "space": np.full((22, 15), 255),
        "most": np.ones(22),
    }
    arrays |= dict(zip(NUMBERS, bounds, strict=True))
    arrays |= {"partner": np.zeros((231, 6)), "group": np.zeros(6), "groups": np.array(["one"])}
    open_page(tab, static_page(PairMap({"deep": Shown.read(arrays)}, first=3, second=6)))
    names = tab.locator(".rf-names >> nth=0").locator("text")
    visible = "es => es.filter(e => getComputedStyle(e).visibility === 'visible').map(e => e.textContent)"
    assert len(names.evaluate_all(visible)) == 22
    tab.set_viewport_size({"width": 360, "height": 800})
    assert names.evaluate_all(visible) == [f"l{i}" for i in range(22) if i % 2 == 0 or i == 3]


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_stand_out(tab, static_page, shown, theme):
    """At least 3 : 1 from the page, as WCAG asks of drawings, and 4.5 : 1 where it is text."""
    open_page(tab, static_page(PairMap(shown, network="toy", first=0, second=5)))
    tab.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)

    def luminance(colour):
        c = np.array([float(v) for v in re.findall(r"[\d.]+", colour)[:3]]) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    def contrast(a, b):
        return (max(a, b) + 0.05) / (min(a, b) + 0.05)

    read = "(e, name) => getComputedStyle(e)[name]"
    ground = luminance(tab.locator("body").evaluate(read, "backgroundColor"))
    for what, name, least in [
        (".rf-match dt .rf-same", "fill", 3),
        (".rf-match dt .rf-kin", "stroke", 3),
        (".rf-match dt .rf-away-to", "stroke", 3),
        (".rf-bracket .rf-possible", "stroke", 3),
        (".rf-bracket .rf-found", "fill", 3),
        (".rf-bracket .rf-place", "stroke", 3),
        (".rf-bracket .rf-random", "stroke", 3),
        (".rf-lines .rf-found", "backgroundColor", 3),
        (".rf-lines .rf-possible", "backgroundColor", 3),
        (".rf-lines .rf-place", "borderTopColor", 3),
        (".rf-lines .rf-random", "borderLeftColor", 3),
        (".rf-square .rf-names text", "fill", 4.5),
        (".rf-bracket text", "fill", 4.5),
        (".rf-coupling text", "fill", 4.5),
        (".rf-lead", "color", 4.5),
        (".rf-every p", "color", 4.5),
        (".rf-result", "color", 4.5),
    ]:
        assert contrast(luminance(tab.locator(what).first.evaluate(read, name)), ground) > least, what
    # On every colour of the map, one of the two lines of an outline is seen.
    fills = [luminance(fill) for _, _, fill in seen(tab).cells]
    for kind in ("rf-block", "rf-chosen", "rf-mirrored"):
        inks = [luminance(tab.locator(f".{c}").first.evaluate(read, "stroke")) for c in ("rf-casing", kind)]
        assert min(max(contrast(fill, ink) for ink in inks) for fill in fills) > 3, kind
        assert contrast(*inks) > 4.5


@pytest.mark.browser
def test_without_scripts_the_figure_stays(browser, static_page, shown):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 800})
    tab = context.new_page()
    tab.goto(static_page(PairMap(shown, caption="A finding.")))
    assert tab.locator("figure svg").count() == 2
    for drawing in tab.locator("figure svg").all():
        box = drawing.bounding_box()
        assert box["width"] > 250
        assert box["x"] + box["width"] <= 390
    assert tab.get_by_text("A finding.").is_visible()
    context.close()
