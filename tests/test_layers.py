"""A network layer by layer: what Python says, and what a real Chromium shows of it."""

import base64
import io
import re
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import traitlets

from rarefire import lowlevel, store, units
from rarefire.errors import InputError, UnknownNameError
from rarefire.page import widgets
from rarefire.page.dimensions import PROPERTIES
from rarefire.page.layers import LayerMap
from rarefire.records.dimension import LAYERS, Dimensions
from rarefire.records.information import CATEGORY
from rarefire.records.information import LAYERS as MEASURED
from rarefire.records.record import Record

SQUEEZED = ("input", "features.2", "features.3", "features.4", "pooled", "outputs")
INSIDE = ("features.1", "features.3.relu", "features.4", "pooled")  # features.1 has no place
GREY = (*lowlevel.NAMES[:7], CATEGORY)
STATES = ("untrained", "trained")
UNITS = {"relu1": 6, "pool1": 6, "relu2": 16, "pool2": 16, "relu3": 120, "relu4": 84}


def dimensions(rng, layers, points, epochs):
    """Made up; `epochs` ``(I, E)``, as in the records."""
    epochs = np.asarray(epochs)
    shape = (*epochs.shape, len(layers), len(points))
    two_nn = rng.uniform(5, 20, size=shape)
    if epochs.shape[1] > 1:
        two_nn[:, :, 0] = two_nn[:, :1, 0]  # the images are the same before and after training
    return Dimensions.of(
        {
            "layer": np.tile(layers, (len(epochs), 1)),
            "epoch": epochs,
            "points": np.tile(points, (len(epochs), 1)),
            "two_nn": two_nn.astype(np.float32),
            "se": rng.uniform(0.1, 1.5, size=shape).astype(np.float32),
        },
        stimuli="made",
        network="made",
    )


def sampled(rng, layers, asked, counts):
    of = np.repeat(np.arange(len(layers)), counts)
    bits = rng.integers(0, 90, size=(2, len(asked), len(of))).astype(np.uint8)
    if "spectral_slope" in asked:
        bits[:, asked.index("spectral_slope"), of == 0] = 255
    arrays = {
        "layer": np.array(layers),
        "asked": np.array(asked),
        "of": of.astype(np.uint8),
        "channel": np.concatenate([3 * np.arange(n) for n in counts]).astype(np.uint16),
        "poz": rng.beta(0.6, 0.6, size=(2, len(of))).astype(np.float16),
        "bits": bits,
    }
    return Record((store.Answer(arrays, {"facts": {"network": "made", "stimuli": "made"}}, "cache"),))


@pytest.fixture
def made(rng):
    """LeNets with units and without, an ImageNet network beside twins, and one that has no twin."""
    ends = np.tile([0, 1, 16], (4, 1))
    found = {
        "mnist": dimensions(rng, LAYERS, [2000, 1000, 500, 250, 125], ends),
        "cifar10-jpg": dimensions(rng, LAYERS, [2000, 1000, 500], ends[:3]),
        "squeezenet1_1": dimensions(rng, SQUEEZED, [1431, 715, 357, 178], [[-1], [0], [0], [0]]),
        "mobilenet_v2": dimensions(rng, SQUEEZED, [1431], [[-1]]),
    }
    found["squeezenet1_1"].two_nn[1:, 0, 2, 1] = np.nan
    found["mnist"].two_nn[:2, -1, 3, 0] = np.nan  # the median of two
    samples = {
        "mnist": sampled(rng, MEASURED, GREY, [*UNITS.values()]),
        "squeezenet1_1": sampled(rng, INSIDE, (*lowlevel.NAMES, CATEGORY), [64, 32, 45, 45]),
        "cifar10-jpg": None,
    }
    return found, samples


def two_nn(found, layer, scale=0, of=np.nanmedian):
    """Untrained and trained."""
    return [of(found.state(found.two_nn, trained=t)[:, layer, scale], axis=0) for t in (False, True)]


def units_of(sample, layer, what):
    """PoZ and bits, each untrained and trained, ``(2, n)``."""
    own = sample["of"] == sample["layer"].tolist().index(layer)
    bits = sample["bits"][:, sample["asked"].tolist().index(what)][:, own].astype(float)
    return sample["poz"][:, own].astype(float), bits / 160


# --- Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", GREY)
def test_numbers_are_those_of_the_records(made, what):
    found, samples = made
    widget = LayerMap(found, samples, what=what)
    for layer, name in enumerate(LAYERS):
        widget.layer = layer
        np.testing.assert_allclose(widget.dimension, two_nn(found["mnist"], layer), rtol=1e-6)
        if name not in MEASURED or (what == "spectral_slope" and name == "relu1"):
            assert np.isnan([*widget.known, *widget.poz]).all()
            continue
        rates, bits = units_of(samples["mnist"], name, what)
        np.testing.assert_allclose(widget.known, np.median(bits, axis=1))
        np.testing.assert_allclose(widget.poz, np.median(rates, axis=1))


def test_the_words(made):
    found, samples = made
    widget = LayerMap(found, samples, layer=5, what="energy_45")
    (before, after), (before_half, after_half) = (two_nn(found["mnist"], 5, k) for k in (0, 1))
    rates, bits = (np.median(v, axis=1) for v in units_of(samples["mnist"], "relu2", "energy_45"))
    assert widget.words == (
        f"relu2 (6 of 12): {after:.1f} dimensions trained, {before:.1f} untrained (2,000 images); with 1,000 "
        f"images, {after_half:.1f} and {before_half:.1f}. The median of 16 units knows {bits[1]:.2f} bits "
        f"about orientation 45° trained, {bits[0]:.2f} untrained; PoZ {100 * rates[1]:.0f}\xa0% against "
        f"{100 * rates[0]:.0f}\xa0%."
    )
    widget.layer = 4
    assert widget.words.endswith(". No units of conv2: only what is behind a ReLU has a PoZ.")
    widget.layer, widget.what = 2, "spectral_slope"
    assert widget.words.endswith(". Most windows of relu1 have no spectral slope: it was not measured.")
    widget.network = "cifar10-jpg"
    assert widget.words.endswith(". Single units of CIFAR-10 (JPEG) are not shown here.")
    widget.network = "squeezenet1_1"
    assert " and undefined. The median of 32 units of features.3.relu knows " in widget.words
    widget.layer = 3
    assert " The median of 45 units knows " in widget.words
    widget.network = "mobilenet_v2"
    alone = found["mobilenet_v2"].two_nn[0, 0, 3, 0]
    assert widget.words.startswith(f"features.4 (4 of 6): {alone:.1f} dimensions (1,431 images). Single ")


def test_it_begins_where_there_are_units(made):
    found, samples = made
    widget = LayerMap(found, samples)
    assert (widget.network, widget.layer, widget.what) == ("mnist", LAYERS.index("relu1"), "luminance")
    titles = ["MNIST", "CIFAR-10 (JPEG)", "SqueezeNet 1.1", "MobileNetV2"]
    assert [each["title"] for each in widget.networks] == titles
    assert LayerMap(found, samples, titles={"mnist": "grey"}).networks[0]["title"] == "grey"
    assert LayerMap(found, samples, network="squeezenet1_1").layer == SQUEEZED.index("features.3")
    without = LayerMap(found)
    assert (without.layer, without.what) == (0, "luminance")
    assert np.isnan(without.known).all()


def test_every_property_has_a_title():
    assert list(PROPERTIES) == [*lowlevel.NAMES, CATEGORY]
    assert len(set(PROPERTIES.values())) == len(PROPERTIES)


def test_state_falls_back_where_a_network_has_less(made):
    found, samples = made
    widget = LayerMap(found, samples, layer=11, what="red_green")
    np.testing.assert_allclose(widget.dimension, two_nn(found["mnist"], 11), rtol=1e-6)
    widget.layer = 10  # asked about light, as nothing was asked about colour
    assert "about luminance trained" in widget.words
    widget.network = "squeezenet1_1"  # six layers
    np.testing.assert_allclose(widget.dimension, two_nn(found["squeezenet1_1"], 5), rtol=1e-6)
    widget.layer = 4
    assert "about red–green trained" in widget.words


def test_traits_are_checked(made):
    widget = LayerMap(*made)
    for trait, value, message in [
        ("network", "digits", "network is one of mnist, cifar10-jpg, squeezenet1_1, mobilenet_v2; got 'dig"),
        ("what", "hue", "what is one of luminance, contrast, .*, blue_yellow, category; got 'hue'"),
        ("layer", 12, "layer is an index from 0 to 11; got 12"),
        ("layer", -1, "layer is an index from 0 to 11; got -1"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(widget, trait, value)
        with pytest.raises(traitlets.TraitError, match=message):
            LayerMap(*made, **{trait: value})
    grey = LayerMap({"mnist": made[0]["mnist"]}, made[1])
    with pytest.raises(traitlets.TraitError, match="spectral_slope, category; got 'red_green'"):
        grey.what = "red_green"
    with pytest.raises(UnknownNameError, match="no trait 'layr'. There are: layer"):
        LayerMap(*made, layr=1)


def test_records_that_do_not_fit_are_refused(made):
    found, samples = made
    one, sample = found["mnist"], samples["mnist"]
    with pytest.raises(InputError, match="at least one network"):
        LayerMap({})
    other = np.where(np.arange(4)[:, None] > 2, "x", one.layer)
    for arrays, message in [
        ({"layer": other}, "instances of 'mnist' must have the same layers"),
        ({"points": one.points + np.arange(4)[:, None]}, "must have the same numbers of images"),
        ({"epoch": np.zeros((4, 1)), "two_nn": one.two_nn[:, :1], "se": one.se[:, :1]}, "no trained network"),
    ]:
        changed = Dimensions.of({**one.arrays, **arrays}, stimuli="made", network="made")
        with pytest.raises(InputError, match=message):
            LayerMap({"mnist": changed})
    for arrays, message in [
        ({"asked": np.array(["hue", *GREY[1:]])}, "units are asked about luminance, .*; those of 'mnist' ab"),
        ({"poz": sample["poz"][:, :9]}, r"poz \(2, 248\) and bits \(2, 8, 248\); got \(2, 9\) and \(2, 8, 2"),
        ({"bits": sample["bits"][:, :5]}, r"bits \(2, 8, 248\); got \(2, 248\) and \(2, 5, 248\)"),
        ({"layer": np.array(list("abcdef"))}, "no layer of the units of 'mnist' is in one of its layers: go"),
    ]:
        changed = Record((store.Answer({**sample.arrays, **arrays}, {"facts": {}}, "cache"),))
        with pytest.raises(InputError, match=message):
            LayerMap({"mnist": one}, {"mnist": changed})


def test_the_line_is_all_that_three_responses_can_say(rng):
    """h(p) + 1 − p: their entropy, where no two activations above 0 are equal and their number is even."""
    activations = rng.permuted(np.abs(rng.normal(size=(1000, 6))), axis=0)
    for column, silent in enumerate((0, 100, 334, 500, 900, 1000)):
        activations[:silent, column] = 0
    rates = (activations == 0).mean(axis=0)
    bound = units.poz_bound(rates) + 1 - rates
    np.testing.assert_allclose(units.entropy(units.responses(activations)), bound, atol=1e-9)
    assert bound.max() == pytest.approx(np.log2(3), abs=1e-5)


def test_it_is_small(rng, tmp_path):
    """Two kinds of LeNets and five ImageNet networks of twenty layers, two with units."""
    long = ("input", *(f"features.{i}" for i in range(18)), "outputs")
    found = {name: dimensions(rng, LAYERS, [2000, 1000, 500, 250, 125], np.tile([0, 1, 16], (5, 1)))
             for name in ("mnist", "cifar10-jpg")}  # fmt: skip
    for i in range(5):
        found[f"network {i}"] = dimensions(rng, long, [1431, 715, 357, 178], [[-1], [0], [0]])
    asked = (*lowlevel.NAMES, CATEGORY)
    samples = {
        "mnist": sampled(rng, MEASURED, GREY, [*UNITS.values()]),
        "network 0": sampled(rng, long[1:-1], asked, [128] * 18),
    }
    widgets.save(tmp_path / "page.html", LayerMap(found, samples))
    assert (tmp_path / "page.html").stat().st_size < 250_000


@pytest.mark.parametrize(("layer", "drawings"), [(5, 3), (4, 2)])
def test_the_figure_without_scripts_says_the_same(made, layer, drawings):
    found, samples = made
    widget = LayerMap(found, samples, name="still", caption="A finding.", layer=layer)
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert page.startswith('<figure data-widget="')
    assert 'id="figure-still"' in page
    assert "A finding." in page
    assert page.count("<svg") == drawings
    for label in STATES:
        assert f"</span>{label}</li>" in page
    assert f"layers of MNIST, by number of images, and what single units know. {widget.words}" in page
    data = re.search(r'href="data:text/csv;base64,([^"]+)"', page)[1]
    check_table(pd.read_csv(io.BytesIO(base64.b64decode(data))), found["mnist"], 1e-4)


def check_table(numbers, found, rtol=1e-5):
    assert len(numbers) == 2 * np.prod(found.two_nn.shape[2:])
    assert numbers["state"].tolist() == [s for s in STATES[::-1] for _ in range(len(numbers) // 2)]
    for state, own in numbers.groupby("state"):
        values = found.state(found.two_nn, trained=state == "trained").reshape(len(found), -1)
        assert own["images"].tolist() == found.points[0].tolist() * len(found.layers)
        assert own["layer"].tolist() == np.repeat(found.layers, len(found.points[0])).tolist()
        for end, of in (("", np.nanmedian), ("_low", np.nanmin), ("_high", np.nanmax)):
            np.testing.assert_allclose(own[f"two_nn{end}"], of(values, axis=0), rtol=rtol)
        se = np.median(found.state(found.se, trained=state == "trained"), axis=0)
        np.testing.assert_allclose(own["se"], se.ravel(), rtol=rtol)


# --- in a real browser ---------------------------------------------------------------------------

PAGE = """within => {
  const box = document.querySelector(within);
  const visible = e => e.checkVisibility({ visibilityProperty: true });
  const seen = selector => [...box.querySelectorAll(selector)].filter(visible);
  const text = selector => seen(selector).map(e => e.textContent);
  // Values on a drawing's vertical axis, between its labels.
  const scale = svg => {
    const labels = [...svg.querySelectorAll("text")].filter(e => +e.getAttribute("x") === 21);
    const read = e => parseFloat(e.textContent), y = e => +e.getAttribute("y") - 3.5;
    const [a, b] = [labels[0], labels.at(-1)];
    return at => read(a) + ((at - y(a)) / (y(b) - y(a))) * (read(b) - read(a));
  };
  const drawing = name => {
    const svg = seen(`.rf-${name}`)[0];
    if (!svg) return null;
    const value = scale(svg), kind = e => (e.classList.contains("rf-low") ? "trained" : "untrained");
    const at = e => [kind(e), +e.getAttribute("cx"), value(+e.getAttribute("cy"))];
    const of = selector => [...svg.querySelectorAll(selector)].map(at);
    const errors = [...svg.querySelectorAll(".rf-error")].map(e => {
      const [, low, high] = e.getAttribute("d").match(/ (.+)V(.+)/);
      return [kind(e), value(+low), value(+high)];
    });
    const count = selector => svg.querySelectorAll(selector).length;
    return { dots: of(".rf-dot"), places: of(".rf-place, .rf-dot"), units: of(".rf-unit"), errors,
      top: value(8), lines: count(".rf-line"), most: count(".rf-most") };
  };
  return {
    layer: text(".rf-slider output")[0], words: text(".rf-result")[0], titles: text("b"),
    said: text(".rf-space p")[0], key: text(".rf-lines li"), foot: text(".rf-foot")[0],
    menus: seen("select").map(e => e.selectedOptions[0].textContent),
    through: drawing("through"), scale: drawing("scale"), units: drawing("units"),
  };
}"""


def open_page(tab, address, *, count=1):
    tab.goto(address)
    for i in range(count):
        tab.locator("[data-widget][data-ready]").nth(i).wait_for()


def shown(tab, *, within="body"):
    tab.evaluate("new Promise(requestAnimationFrame)")
    return SimpleNamespace(**tab.evaluate(PAGE, within))


def of_state(points, state):
    return np.array([values for kind, *values in points if kind == state]).reshape(-1, 2)


def agrees(tab, widget, found, sample):
    """What is on the page is what Python has for this state."""
    page = shown(tab)
    assert page.words == widget.words
    at = min(widget.layer, len(found.layers) - 1)
    assert page.layer == f"{found.layers[at]} ({at + 1} of {len(found.layers)})"
    there = [state for t, state in enumerate(STATES) if len(found.state(found.two_nn, trained=t == 1))]
    for t, state in enumerate(STATES):
        if state not in there:
            assert not len(of_state(page.through["dots"], state))
            continue
        ((x, value),) = of_state(page.through["dots"], state)
        assert x == pytest.approx(26 + 196 * at / (len(found.layers) - 1))
        assert value == pytest.approx(widget.dimension[t], rel=1e-4)
        curve = found.state(found.two_nn, trained=t == 1)[:, at]
        some = np.isfinite(curve).any(axis=0)
        curve = np.nanmedian(curve[:, some], axis=0)
        error = np.median(found.state(found.se, trained=t == 1)[:, at], axis=0)[some]
        points = of_state(page.scale["places"], state)
        np.testing.assert_allclose(points[:, 1], curve, rtol=1e-4)
        ends = np.stack([curve - error, curve + error], axis=1)
        np.testing.assert_allclose(of_state(page.scale["errors"], state), ends, rtol=1e-4)
        if some.sum() > 1:  # on a logarithmic scale
            steps = np.diff(points[:, 0]) / np.diff(np.log(found.points[0][some]))
            np.testing.assert_allclose(steps, abs(steps[0]), rtol=1e-6)
    assert page.through["lines"] == page.scale["lines"] == len(there)
    assert page.through["top"] == page.scale["top"]  # one axis
    if np.isnan(widget.known).all():
        assert page.units is None
        assert page.words.endswith(page.said)
        return page
    asked = sample["asked"].tolist()
    what = widget.what if widget.what in asked else asked[0]
    own = next(layer for layer in sample["layer"] if f"{layer}.".startswith(f"{found.layers[at]}."))
    rates, bits = units_of(sample, own, what)
    for t, state in enumerate(STATES):
        points = of_state(page.units["units"], state)
        np.testing.assert_allclose((points[:, 0] - 26) / 196, rates[t], atol=1e-6)
        np.testing.assert_allclose(points[:, 1], bits[t], atol=1e-6)
    assert page.units["most"] == 1
    assert page.said == ""
    return page


@pytest.mark.browser
def test_every_state_of_the_page(tab, static_page, made):
    found, samples = made
    widget = LayerMap(found, samples)
    open_page(tab, static_page(widget))
    handle, networks = tab.get_by_role("slider", name="Layer"), tab.get_by_role("combobox", name="Network")
    asked = tab.get_by_role("combobox", name="What units know about")
    for network, title in (("mnist", "MNIST"), ("cifar10-jpg", "CIFAR-10 (JPEG)"),
                           ("squeezenet1_1", "SqueezeNet 1.1"), ("mobilenet_v2", "MobileNetV2")):  # fmt: skip
        networks.select_option(title)
        widget.network, sample = network, samples.get(network)
        properties = sample["asked"].tolist() if sample else ["luminance"]
        for what in properties:
            widget.what = what
            if sample:
                asked.select_option(PROPERTIES[what])
            tops = set()
            for layer in range(len(found[network].layers)):
                handle.fill(str(layer))
                widget.layer = layer
                page = agrees(tab, widget, found[network], sample)
                assert page.menus == [title, PROPERTIES[what]] if sample else [title]
                assert page.titles[2] == (f"Bits about {PROPERTIES[what]}" if sample else "Single units")
                tops |= {page.units["top"]} if page.units else set()
            assert len(tops) == (1 if sample else 0)  # the axis stays while the layer changes
        told = ["all that a unit with this PoZ can tell"] if sample else []
        assert page.key == [*(STATES[::-1] if network != "mobilenet_v2" else ["trained"]), *told]
    assert page.foot.startswith("Lines are medians over 1 trained network, shades")


@pytest.mark.browser
def test_the_bound_is_where_it_belongs(tab, static_page, made):
    """The line on the page, in bits: h(p) + 1 − p."""
    found, samples = made
    open_page(tab, static_page(LayerMap(found, samples, layer=5)))
    top = shown(tab).units["top"]
    path = tab.locator("path.rf-most").get_attribute("d")
    x, y = np.array([step.split() for step in path[1:].split("L")], dtype=float).T
    rates = x / 196
    np.testing.assert_allclose(top * (126 - y) / 126, units.poz_bound(rates) + 1 - rates, atol=0.012)
    assert tab.locator("svg:has(> .rf-most)").evaluate("e => getComputedStyle(e).overflow") == "hidden"


@pytest.mark.browser
def test_another_network_is_shown_at_about_the_same_depth(tab, static_page, made):
    open_page(tab, static_page(LayerMap(*made, layer=6)))
    networks = tab.get_by_role("combobox", name="Network")
    networks.select_option("SqueezeNet 1.1")
    assert shown(tab).layer == "features.4 (4 of 6)"
    handle = tab.get_by_role("slider", name="Layer")
    handle.press("ArrowRight")
    assert shown(tab).layer == "pooled (5 of 6)"
    handle.press("End")
    assert shown(tab).layer == "outputs (6 of 6)"
    networks.select_option("MNIST")
    assert shown(tab).layer == "fc3 (12 of 12)"
    handle.press("Home")
    assert shown(tab).layer == "input (1 of 12)"
    assert handle.get_attribute("aria-valuetext") == "input, 1 of 12"


@pytest.mark.browser
def test_layers_can_be_pointed_at_and_dragged(tab, static_page, made):
    open_page(tab, static_page(LayerMap(*made)))
    box = tab.locator(".rf-through").bounding_box()

    def at(layer):
        return box["x"] + box["width"] * (26 + 196 * layer / 11) / 230

    y = box["y"] + box["height"] / 3
    tab.mouse.move(at(0), y)
    tab.mouse.down()
    tab.mouse.move(at(4.4), y, steps=4)
    assert shown(tab).layer == "conv2 (5 of 12)"
    tab.mouse.move(at(12), y, steps=4)
    tab.mouse.up()
    assert shown(tab).layer == "fc3 (12 of 12)"
    tab.touchscreen.tap(at(7.6), y)
    assert shown(tab).layer == "relu3 (9 of 12)"
    tab.mouse.click(at(0) - 8, y)
    assert shown(tab).layer == "input (1 of 12)"
    tab.locator(".rf-scale").click()  # nothing to choose here
    assert shown(tab).layer == "input (1 of 12)"


@pytest.mark.browser
def test_it_is_said_and_named(tab, static_page, made):
    """For those who do not see it: the words are live, drawings have alternatives, the slider its value."""
    open_page(tab, static_page(LayerMap(*made, layer=5)))
    words = tab.locator(".rf-result")
    assert (words.get_attribute("role"), words.get_attribute("aria-live")) == ("status", "polite")
    for name, start in (
        ("through", "TwoNN by layer of MNIST. "),
        ("scale", "TwoNN of relu2 by number of images, trained and untrained. "),
        ("units", "Bits about luminance that single units know, against their PoZ, trained and untrained. "),
    ):
        label = tab.locator(f".rf-{name}").get_attribute("aria-label")
        assert label == start + shown(tab).words
    assert tab.get_by_role("slider").get_attribute("aria-valuetext") == "relu2, 6 of 12"
    assert tab.get_by_role("group", name="Layer by layer").count() == 1
    assert re.fullmatch(
        r"unit 0, untrained: 0\.\d\d bits, PoZ \d+\xa0%", tab.locator(".rf-unit title").first.text_content()
    )
    # What keeps the place of the words is not read.
    assert tab.get_by_text("The median of 120 units").count() == 1
    assert tab.locator(".rf-room p:not(.rf-result):not([aria-hidden=true])").count() == 0


@pytest.mark.browser
def test_the_numbers_can_be_downloaded(tab, static_page, made, tmp_path):
    found, samples = made
    open_page(tab, static_page(LayerMap(found, samples, what="category")))

    def downloaded(label, name):
        with tab.expect_download() as started:
            tab.get_by_role("link", name=label).locator("visible=true").click()
        assert started.value.suggested_filename == name
        started.value.save_as(tmp_path / name)
        return pd.read_csv(tmp_path / name)

    check_table(downloaded("Numbers (CSV)", "layers-dimensions.csv"), found["mnist"])
    numbers = downloaded("Units (CSV)", "layers-units.csv")
    assert set(numbers["property"]) == {"category"}
    for t, state in enumerate(STATES):
        for layer, n in UNITS.items():
            own = numbers[(numbers["state"] == state) & (numbers["layer"] == layer)]
            rates, bits = units_of(samples["mnist"], layer, "category")
            assert own["channel"].tolist() == [3 * channel for channel in range(n)]
            np.testing.assert_allclose(own["poz"], rates[t])
            np.testing.assert_allclose(own["bits"], bits[t])
    tab.get_by_role("combobox", name="Network").select_option("CIFAR-10 (JPEG)")
    shown(tab)
    assert not tab.get_by_role("link", name="Units (CSV)").is_visible()


@pytest.mark.browser
def test_the_layer_is_a_trait(tab, static_page, made):
    first, second = LayerMap(*made, name="first"), LayerMap(*made, name="second", network="squeezenet1_1")
    ipywidgets.jslink((second, "layer"), (first, "layer"))
    open_page(tab, static_page(first, second), count=2)
    tab.locator("#figure-second").get_by_role("slider").fill("4")
    first.layer = second.layer = 4
    for widget in (first, second):
        said = tab.locator(f"#figure-{widget.name} .rf-result")
        said.filter(has_text=widget.words).wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_jump_while_the_slider_moves(tab, static_page, made, width):
    tab.set_viewport_size({"width": width, "height": 900})
    open_page(tab, static_page(LayerMap(*made)))
    for title in ("MNIST", "SqueezeNet 1.1", "CIFAR-10 (JPEG)"):
        tab.get_by_role("combobox", name="Network").select_option(title)
        tops = set()
        for layer in range(6 if title == "SqueezeNet 1.1" else 12):
            tab.get_by_role("slider").fill(str(layer))
            shown(tab)
            where = (".rf-three", ".rf-through", ".rf-scale", ".rf-space", ".rf-lines", ".rf-foot")
            boxes = [tab.locator(what).bounding_box() for what in where]
            tops.add(tuple((box["y"], box["height"]) for box in boxes))
        assert len(tops) == 1, title


@pytest.mark.browser
def test_it_fits_narrow_screens(tab, static_page, made):
    open_page(tab, static_page(LayerMap(*made)))
    for width in (700, 390, 320):
        tab.set_viewport_size({"width": width, "height": 800})
        for title, layer in [("MNIST", 2), ("MNIST", 4), ("SqueezeNet 1.1", 2), ("CIFAR-10 (JPEG)", 2)]:
            tab.get_by_role("combobox", name="Network").select_option(title)
            tab.get_by_role("slider").fill(str(layer))
            shown(tab)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            within = "[...document.querySelectorAll('.rf-layers *')].filter(e => e.checkVisibility())"
            right = f"Math.max(...{within}.map(e => e.getBoundingClientRect().right))"
            assert tab.evaluate(right) <= width


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_stand_out_from_the_page(tab, static_page, made, theme):
    """At least 3 : 1, as WCAG asks of drawings."""
    open_page(tab, static_page(LayerMap(*made)))
    tab.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)

    def luminance(colour):
        c = np.array([float(v) for v in re.findall(r"[\d.]+", colour)[:3]]) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    read = "(e, name) => getComputedStyle(e)[name]"
    ground = luminance(tab.locator("body").evaluate(read, "backgroundColor"))
    for what, name in [
        *((f".rf-line.rf-{kind}", "stroke") for kind in ("low", "random")),
        *((f".rf-dot.rf-{kind}", "fill") for kind in ("low", "random")),
        *((f".rf-unit.rf-{kind}", "stroke") for kind in ("low", "random")),
        *((f".rf-error.rf-{kind}", "stroke") for kind in ("low", "random")),
        *((f".rf-lines i.rf-{kind}", "borderTopColor") for kind in ("low", "random", "most")),
        ("path.rf-most", "stroke"),
        (".rf-cut", "stroke"),
    ]:
        ink = luminance(tab.locator(what).first.evaluate(read, name))
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) > 3, what
    fills = [tab.locator(f".rf-unit.rf-{kind}").first.evaluate(read, "fill") for kind in ("low", "random")]
    assert fills[0] != "none" == fills[1]
    kinds = ("low", "random", "most")
    styles = [tab.locator(f".rf-lines .rf-{k}").evaluate(read, "borderTopStyle") for k in kinds]
    assert styles == ["solid", "dashed", "solid"]


@pytest.mark.browser
def test_without_scripts_the_figure_stays(browser, static_page, made):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 800})
    tab = context.new_page()
    tab.goto(static_page(LayerMap(*made, caption="A finding.")))
    assert tab.locator("figure svg").count() == 3
    for drawing in tab.locator("figure svg").all():
        box = drawing.bounding_box()
        assert box["width"] > 250
        assert box["x"] + box["width"] <= 390
    assert tab.get_by_text("A finding.").is_visible()
    context.close()
