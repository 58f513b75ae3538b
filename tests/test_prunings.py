"""Pruning compared: what Python says, and what a real Chromium shows of it."""

import base64
import io
import re
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import traitlets

from rarefire import rdm, store
from rarefire.errors import InputError, UnknownNameError
from rarefire.page import palette
from rarefire.page.prunings import BANDS, PruningMap
from rarefire.pruning import METHODS
from rarefire.records.pruned import Pruned
from rarefire.records.record import Record
from rarefire.similarity import MEASURES

COMPARED = ("relu1", "pool1", "relu2", "pool2", "relu3", "relu4", "fc3")  # of LeNet-5
LAYERS = {"pool1": 1, "pool2": 3, "fc1": 4, "fc2": 5, "outputs": 6}  # of these, those that are shown
UNITS = {"pool1": slice(0, 6), "pool2": slice(6, 22), "fc1": slice(22, 142), "fc2": slice(142, 226)}
WEIGHTS = np.array([150, 2400, 30720, 10080, 840])
LADDER = ("imp", "lrr", "trim", "on")  # every round
FEW = ("one-shot", "random", "reinitialised", "again", "seed")


def chain(n_rounds, at, methods=tuple(METHODS)):
    """The networks of one instance."""
    rounds = {m: range(1, n_rounds + 1) if m in LADDER else at for m in methods}
    return [("dense", 0), *((m, k) for m in methods for k in rounds[m])]


def pruned(rng, networks, *, instances=3, rate=0.3, images="digits"):
    """Made up: similarities fall with the rounds, units go."""
    n, shape = len(networks), (instances, len(networks))
    number = np.array([k for _, k in networks])
    masked = np.array([m not in ("dense", "again", "on", "seed") for m, _ in networks])
    left = np.round(WEIGHTS * np.where(masked, (1 - rate) ** number, 1)[:, None]).astype(int)
    fall = np.where(number > 0, 0.97, 1) * np.where(masked, 0.95**number, 1)
    alike = fall[:, None, None] - np.where(number > 0, 1, 0)[:, None, None] * rng.uniform(
        0, 0.2, size=(*shape, 7, 4)
    )
    incoming = np.where(rng.uniform(size=(*shape, 226)) < 0.03 * (masked * number)[:, None], 0, 0.7)
    apoz = np.round(rng.beta(0.4, 0.6, size=(*shape, 226)), 2)
    return Pruned.of(
        {
            "method": np.tile([m for m, _ in networks], (instances, 1)),
            "number": np.tile(number, (instances, 1)),
            "accuracy": rng.integers(700, 1000, size=shape).astype(np.float32) / 1000,
            "left": np.tile(left, (instances, 1, 1)),
            "alike": alike.astype(np.float32),
            "chance": rng.uniform(0.1, 0.2, size=(instances, 7)).astype(np.float32),
            "apoz": apoz.astype(np.float32),
            "incoming": incoming.astype(np.float32),
        },
        stimuli=images,
        network="lenet5",
    ), n


def sampled(rng, networks, *, order=None):
    """RDMs of 40 images of ten classes; a few distances are undefined."""
    distances = rng.integers(0, 255, size=(len(networks), 7, 780)).astype(np.uint8)
    distances = (distances // 2 + distances[:1] // 2).astype(np.uint8)
    distances[:, :, 5:200:30] = 255
    order = np.arange(len(networks)) if order is None else order
    arrays = {
        "method": np.array([m for m, _ in networks])[order],
        "number": np.array([k for _, k in networks])[order],
        "rdm": distances[order],
        "layers": np.array(COMPARED),
        "labels": np.repeat(np.arange(10), 4),
    }
    return Record((store.Answer(arrays, {"facts": {"network": "lenet5", "stimuli": "digits"}}, "cache"),))


@pytest.fixture
def made(rng):
    """Two image sets. The first has all methods and a sample, in another order; the second neither."""
    first, second = chain(3, (1, 3)), chain(4, (2,), ("lrr", "trim", "again"))
    found = {"digits": pruned(rng, first)[0], "mnist": pruned(rng, second, instances=4, images="mnist")[0]}
    # A layer that is dead in two of three instances, and in all of them.
    i = first.index(("imp", 3))
    found["digits"].alike[:2, i, LAYERS["pool2"]] = np.nan
    found["digits"].alike[:, first.index(("trim", 2)), LAYERS["pool2"]] = np.nan
    samples = {"digits": sampled(rng, first, order=rng.permutation(len(first)))}
    return found, samples


def place(found, method, number):
    return int(np.flatnonzero((found.method[0] == method) & (found.number[0] == number))[0])


def rounds_of(found, method):
    return [0, *sorted(int(k) for k in found.number[0][found.method[0] == method])]


def distances(sample, method, number, layer):
    """The square RDM of the images shown: three of each class."""
    i = np.flatnonzero((sample["method"] == method) & (sample["number"] == number))[0]
    values = sample["rdm"][i, LAYERS[layer]].astype(float)
    few = np.flatnonzero(np.arange(40) % 4 < 3)
    return rdm.square(np.where(values == 255, np.nan, values / 127))[np.ix_(few, few)]


def shares(text):
    return float(re.search(r"([\d.]+)\s%", text)[1]) / 100


# --- Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("layer", LAYERS)
def test_numbers_are_those_of_the_records(made, layer, measure):
    found, samples = made
    one, m, at = found["digits"], MEASURES.index(measure), LAYERS[layer]
    widget = PruningMap(found, samples, layer=layer, measure=measure)
    for method in [m for m in METHODS if m not in ("again", "on", "seed")]:
        widget.method = method
        for step, number in enumerate(rounds_of(one, method)):
            widget.step = step
            i = place(one, method if number else "dense", number)
            assert widget.share == pytest.approx(0.7**number, abs=1e-3)
            assert widget.accuracy == pytest.approx(np.median(one.accuracy[:, i]))
            alike = one.alike[:, i, at, m]
            alike = alike[np.isfinite(alike)]
            expected = np.median(alike) if len(alike) else np.nan
            assert widget.similarity == pytest.approx(expected, nan_ok=True)
            gone = (one.incoming[0, i, UNITS[layer]] == 0).sum() if layer in UNITS else 0
            assert widget.gone == gone
            networks = (("dense", 0), (method if number else "dense", number))
            dense, now = (distances(samples["digits"], *network, layer) for network in networks)
            upper = np.triu_indices(30, k=1)
            both = np.isfinite(dense[upper]) & np.isfinite(now[upper])
            r = np.corrcoef(dense[upper][both], now[upper][both])[0, 1]
            assert widget.r2 == pytest.approx(r**2, abs=1e-6)


def test_the_words(made):
    found, samples = made
    one = found["digits"]
    widget = PruningMap(found, samples, step=2, measure="cca")
    i = place(one, "imp", 2)
    among = [np.median(one.alike[:, one.method[0] == control, 5, 3]) for control in BANDS]
    dense = np.median(one.accuracy[:, 0])
    assert widget.words == (
        f"49\xa0% of the weights left: fc2’s mean canonical correlation with the dense network is "
        f"{np.median(one.alike[:, i, 5, 3]):.3f} (trained again without pruning: {among[0]:.3f}; another "
        f"seed: {among[1]:.3f}; chance: {np.median(one.chance[:, 5]):.3f}); accuracy "
        f"{100 * np.median(one.accuracy[:, i]):.1f}\xa0% (dense {100 * dense:.1f}\xa0%)."
    )
    widget.measure, widget.layer, widget.images, widget.method = "pearson", "outputs", "mnist", "lrr"
    other = found["mnist"]
    assert widget.words.startswith("49\xa0% of the weights left: the outputs’ RDM agrees with the dense ")
    assert f"(trained again without pruning: {np.median(other.alike[:, -1, 6, 0]):.3f});" in widget.words
    assert np.isnan(widget.r2)  # no sample
    widget.images, widget.method, widget.layer = "digits", "trim", "pool2"
    assert "at R² undefined (trained again" in widget.words


def test_halves_are_rounded_as_the_page_rounds_them(rng):
    """toFixed rounds 81.25 up, Python to the even digit."""
    networks = chain(2, (1,), ("imp",))
    found, _ = pruned(rng, networks, instances=1)
    found.accuracy[:] = 0.8125
    found.alike[:] = 0.8125
    assert "R² 0.813; accuracy 81.3\xa0% (dense 81.3\xa0%)" in PruningMap({"digits": found}).words


def test_it_begins_with_the_penultimate_layer_of_the_dense_network(made):
    widget = PruningMap(*made)
    state = [getattr(widget, t) for t in ("images", "method", "layer", "measure", "step")]
    assert state == ["digits", "imp", "fc2", "pearson", 0]
    assert (widget.share, widget.similarity, widget.gone) == (1, 1, 0)
    assert widget.r2 == pytest.approx(1)
    assert [s["title"] for s in widget.sets] == ["digits", "MNIST"]
    titled = PruningMap(*made, titles={"mnist": "grey"})
    assert [s["title"] for s in titled.sets] == ["digits", "grey"]


def test_state_falls_back_where_a_set_has_less(made):
    found, samples = made
    widget = PruningMap(found, samples, method="imp", step=3)
    assert widget.share == pytest.approx(0.7**3, abs=1e-3)
    widget.images = "mnist"  # no lottery tickets: the first of its own
    widget.step = 4
    assert widget.share == pytest.approx(0.7**4, abs=1e-3)
    widget.images = "digits"  # three rounds
    assert widget.share == pytest.approx(0.7**3, abs=1e-3)
    widget.method = "random"  # rounds 1 and 3
    assert widget.share == pytest.approx(0.7**3, abs=1e-3)
    widget.step = 1
    assert widget.share == pytest.approx(0.7, abs=1e-3)


def test_traits_are_checked(made):
    widget = PruningMap(*made)
    for trait, value, message in [
        ("images", "cifar10", "images is one of digits, mnist; got 'cifar10'"),
        ("method", "again", "method is one of imp, lrr, one-shot, trim, random, reinitialised; got 'again'"),
        ("layer", "relu1", "layer is one of pool1, pool2, fc1, fc2, outputs; got 'relu1'"),
        ("measure", "r", "measure"),
        ("step", 5, "step is an index from 0 to 4; got 5"),
        ("step", -1, "step is an index from 0 to 4; got -1"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(widget, trait, value)
        with pytest.raises(traitlets.TraitError, match=message):
            PruningMap(*made, **{trait: value})
    with pytest.raises(UnknownNameError, match="no trait 'stepp'. There are: step"):
        PruningMap(*made, stepp=1)


def changed(found, **arrays):
    return Pruned.of({**found.arrays, **arrays}, stimuli="digits", network="lenet5")


def test_records_that_do_not_fit_are_refused(made, rng):
    found, samples = made
    one, sample = found["digits"], samples["digits"]
    with pytest.raises(InputError, match="at least one image set"):
        PruningMap({})
    for arrays, message in [
        ({"alike": one.alike[:, :, :5]}, r"of 'digits' must be of 7 layers by 4 measures; got \(5, 4\)"),
        ({"apoz": one.apoz[..., :9]}, "apoz and incoming of 'digits' must be of 226 units; got 9 and 226"),
        ({"incoming": one.incoming[..., :9]}, "of 226 units; got 226 and 9"),
        ({"method": np.where(one.method == "dense", "imp", one.method)}, "no dense network among those of"),
        ({"left": np.broadcast_to(WEIGHTS, one.left.shape)}, "no method masked any weight of 'digits'"),
        ({"number": one.number + np.arange(3)[:, None]}, "instances of 'digits' must have the same networks"),
    ]:
        with pytest.raises(InputError, match=message):
            PruningMap({"digits": changed(one, **arrays)})

    def without(**arrays):
        return Record((store.Answer({**sample.arrays, **arrays}, {"facts": {}}, "cache"),))

    few = {name: sample[name][sample["method"] != "trim"] for name in ("method", "number", "rdm")}
    with pytest.raises(InputError, match=r"sample of 'digits' lacks 'trim' in round 1 \(3 are missing\)"):
        PruningMap({"digits": one}, {"digits": without(**few)})
    with pytest.raises(InputError, match="the sample of 'digits' lacks layer 'pool2'"):
        PruningMap(
            {"digits": one},
            {"digits": without(layers=np.array(["x" if n == "pool2" else n for n in COMPARED]))},
        )
    other = Pruned.of(
        {**one.arrays, "alike": one.alike[:, :, :3], "chance": one.chance[:, :3],
         "apoz": np.zeros((*one.method.shape, 400)), "incoming": np.ones((*one.method.shape, 400))},
        stimuli="mnist", network="lenet300-100",
    )  # fmt: skip
    with pytest.raises(
        InputError, match="networks of one architecture; got layers pool1, .* and fc1, fc2, outputs"
    ):
        PruningMap({"digits": one, "mnist": other})
    alone = PruningMap({"mnist": other})
    assert (alone.layer, alone.sets[0]["units"]) == ("fc2", [300, 100, 0])


def test_three_sets_are_small(rng, tmp_path):
    """As in the book: ten rounds in six instances twice, and digits."""
    from rarefire.page import widgets

    networks = {
        "digits": chain(3, (1, 2, 3)),
        "mnist": chain(10, (1, 3, 6, 10)),
        "cifar10": chain(10, (1, 3, 6, 10)),
    }
    found = {name: pruned(rng, each, instances=6, rate=0.2)[0] for name, each in networks.items()}
    samples = {name: sampled(rng, each) for name, each in networks.items()}
    widgets.save(tmp_path / "page.html", PruningMap(found, samples))
    assert (tmp_path / "page.html").stat().st_size < 600_000


def test_the_figure_without_scripts_says_the_same(made):
    found, samples = made
    widget = PruningMap(found, samples, name="still", caption="A finding.", layer="fc1", measure="cka")
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert page.startswith('<figure data-widget="')
    assert 'id="figure-still"' in page
    assert "A finding." in page
    assert page.count("<svg") == 2
    for label in ("lottery ticket", "random mask", *BANDS.values()):
        assert f"</span>{label}</li>" in page
    widget.step = 3
    assert f"CKA with the dense network {widget.similarity:.3f}, accuracy {100 * widget.accuracy:.1f}" in page
    data = re.search(r'href="data:text/csv;base64,([^"]+)"', page)[1]
    numbers = pd.read_csv(io.BytesIO(base64.b64decode(data)))
    check_table(numbers, found["digits"], LAYERS["fc1"], MEASURES.index("cka"), 1e-4)


def check_table(numbers, found, layer, measure, rtol=1e-5):
    assert numbers["method"].tolist() == found.method[0].tolist()
    assert numbers["round"].tolist() == found.number[0].tolist()
    np.testing.assert_allclose(numbers["share"], np.median(found.share, axis=0), rtol=rtol)
    for what, values in (("similarity", found.alike[:, :, layer, measure]), ("accuracy", found.accuracy)):
        for end, of in (("", np.median), ("_low", np.min), ("_high", np.max)):
            np.testing.assert_allclose(numbers[f"{what}{end}"], of(values, axis=0), rtol=rtol)


# --- in a real browser ---------------------------------------------------------------------------

PAGE = """within => {
  const box = document.querySelector(within);
  const seen = selector => [...box.querySelectorAll(selector)].filter(e => e.checkVisibility());
  const text = selector => seen(selector).map(e => e.textContent);
  const copied = canvas => { // reading from the canvas itself would change how it is kept
    const { width, height } = canvas;
    const copy = Object.assign(document.createElement("canvas"), { width, height });
    const pen = copy.getContext("2d", { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    return [...pen.getImageData(0, 0, width, height).data];
  };
  // A place in a drawing, between the labels of its axes.
  const at = (svg, which) => {
    const dot = svg.querySelector(".rf-dot");
    if (!dot) return NaN;
    if (which === "x") return +dot.getAttribute("cx");
    const labels = [...svg.querySelectorAll("text")].filter(e => e.getAttribute("text-anchor") === "end");
    const read = e => parseFloat(e.textContent), y = e => +e.getAttribute("y") - 3.5;
    const [a, b] = [labels[0], labels.at(-1)];
    return read(a) + ((+dot.getAttribute("cy") - y(a)) / (y(b) - y(a))) * (read(b) - read(a));
  };
  const plots = [...box.querySelectorAll(".rf-curve")];
  return {
    left: text(".rf-slider output")[0], words: text(".rf-result")[0],
    now: text(".rf-lines li:has(.rf-chosen)"),
    similarity: at(plots[0], "y"), accuracy: at(plots[1], "y"), x: [at(plots[0], "x"), at(plots[1], "x")],
    lines: plots[0].querySelectorAll(".rf-line").length, bands: plots[0].querySelectorAll(".rf-band").length,
    chance: plots[0].querySelectorAll(".rf-chance").length,
    r2: parseFloat(box.querySelector("[data-r2]")?.dataset.r2 ?? "NaN"),
    bars: seen(".rf-units").map(e => +e.getAttribute("height")),
    units: box.querySelector(".rf-rates").nextSibling.textContent,
    pixels: seen("canvas").map(copied),
  };
}"""


def open_page(tab, address, *, count=1):
    tab.goto(address)
    for i in range(count):
        tab.locator("[data-widget][data-ready]").nth(i).wait_for()


def shown(tab, *, within="body"):
    tab.evaluate("new Promise(requestAnimationFrame)")
    return SimpleNamespace(**tab.evaluate(PAGE, within))


def agrees(tab, widget, found, sample, *, within="body"):
    """What is on the page is what Python has for this state."""
    page = shown(tab, within=within)
    assert page.words == widget.words
    assert shares(page.left) == pytest.approx(widget.share, abs=0.0051)
    assert page.accuracy == pytest.approx(100 * widget.accuracy, abs=0.01)
    assert page.similarity == pytest.approx(widget.similarity, abs=1e-4, nan_ok=True)
    least = min(0.1, found.share.min())
    assert page.x[1] == pytest.approx(34 + 258 * np.log(widget.share) / np.log(least), abs=0.01)
    assert page.chance == (widget.measure == "cca")
    own = [m for m in METHODS if m in found.method[0] and m not in ("again", "on", "seed")]
    method = widget.method if widget.method in own else own[0]
    steps = rounds_of(found, method)
    number = steps[min(widget.step, len(steps) - 1)]
    i = place(found, method if number else "dense", number)
    if widget.layer in UNITS:
        there = found.incoming[0, i, UNITS[widget.layer]] > 0
        rates = found.apoz[0, i, UNITS[widget.layer]][there]
        counts = np.histogram(rates, np.linspace(0, 1, 21))[0]
        assert len(page.bars) == (counts > 0).sum()
        heights = np.array(page.bars)
        np.testing.assert_allclose(heights / heights.sum(), counts[counts > 0] / counts.sum(), atol=1e-6)
        dead = (rates == 1).sum()
        gone = f"{(~there).sum()} of {len(there)} units gone"
        more = (
            f"; {dead} {'more ' if widget.gone else ''}never fire{'s' if dead == 1 else ''}" if dead else ""
        )
        assert page.units == f"Bars: now; outline: dense. {gone}{more}."
    else:
        assert page.bars == []
        assert page.units == ""
        assert tab.locator(".rf-rates").inner_html().count("Outputs are not rectified") == 1
    if sample is None:
        assert page.pixels == []
        return page
    assert page.r2 == pytest.approx(widget.r2, abs=1e-6)
    squares = [
        distances(sample, *which, widget.layer)
        for which in (("dense", 0), (method if number else "dense", number))
    ]
    most = np.ceil(10 * np.nanmax(squares[0]) - 1e-6) / 10
    colours = np.frombuffer(palette.shades(), np.uint8).reshape(256, 3).astype(int)
    for square, pixels in zip(squares, page.pixels, strict=True):
        given = np.array(pixels).reshape(30, 30, 4)
        np.testing.assert_array_equal(given[..., 3] == 0, np.isnan(square))
        place_ = np.clip(np.round(np.nan_to_num(square) * 255 / most), 0, 255).astype(int)
        inside = np.isfinite(square)
        assert np.abs(given[..., :3] - colours[place_])[inside].max() <= 4  # a neighbouring colour at a half
    return page


@pytest.mark.browser
def test_every_state_of_the_page(tab, static_page, made):
    found, samples = made
    widget = PruningMap(found, samples)
    open_page(tab, static_page(widget))
    handle = tab.get_by_role("slider", name="Weights left")
    measures = {"pearson": "RDM, Pearson", "cosine": "RDM, cosine", "cka": "CKA", "cca": "CCA"}
    states = [(m, layer, measure) for m, layer, measure in zip(
        ("imp", "lrr", "one-shot", "trim", "random", "reinitialised", "imp", "trim"),
        (*LAYERS, "pool2", "pool2", "fc2"), (*MEASURES, *MEASURES[::-1]), strict=True)]  # fmt: skip
    for method, layer, measure in states:
        tab.get_by_role("combobox", name="Pruned by").select_option(METHODS[method].title)
        tab.get_by_role("radio", name=layer, exact=True).check()
        tab.get_by_role("radio", name=measures[measure]).check()
        widget.method, widget.layer, widget.measure = method, layer, measure
        for step in range(len(rounds_of(found["digits"], method))):
            handle.fill(str(step))
            widget.step = step
            page = agrees(tab, widget, found["digits"], samples["digits"])
            assert (page.lines, page.bands) == (6, 2)
            assert page.now == [METHODS[method].title]
    tab.get_by_role("combobox", name="Images").select_option("MNIST")
    widget.images = "mnist"
    page = agrees(tab, widget, found["mnist"], None)
    assert (page.lines, page.bands) == (2, 1)


@pytest.mark.browser
def test_another_method_or_set_leaves_about_as_many_weights(tab, static_page, made):
    open_page(tab, static_page(PruningMap(*made, step=3)))
    methods = tab.get_by_role("combobox", name="Pruned by")
    methods.select_option("random mask")  # rounds 1 and 3
    assert shown(tab).left == "34\xa0%"
    tab.get_by_role("slider").press("ArrowLeft")
    assert shown(tab).left == "70\xa0%"
    methods.select_option("lottery ticket")
    assert shown(tab).left == "70\xa0%"
    tab.get_by_role("slider").press("End")
    assert shown(tab).left == "34\xa0%"
    tab.get_by_role("combobox", name="Images").select_option("MNIST")  # magnitude, no reset: its first
    page = shown(tab)
    assert (page.left, page.now) == ("34\xa0%", ["magnitude, no reset"])
    tab.get_by_role("slider").press("Home")
    assert shown(tab).left == "100\xa0%"
    assert (
        tab.get_by_role("slider").get_attribute("aria-valuetext")
        == "100\xa0% of the weights left, not pruned"
    )


@pytest.mark.browser
def test_both_plots_can_be_pointed_at_and_dragged(tab, static_page, made):
    open_page(tab, static_page(PruningMap(*made)))
    for plot in (tab.locator(".rf-curve").nth(0), tab.locator(".rf-curve").nth(1)):
        box = plot.bounding_box()

        def at(share, box=box):
            return box["x"] + box["width"] * (34 + 258 * np.log(share) / np.log(0.1)) / 300

        y = box["y"] + box["height"] / 3
        tab.mouse.move(at(1), y)
        tab.mouse.down()
        tab.mouse.move(at(0.5), y, steps=4)
        assert shown(tab).left == "49\xa0%"
        tab.mouse.move(at(0.1), y, steps=4)
        tab.mouse.up()
        assert shown(tab).left == "34\xa0%"
        tab.touchscreen.tap(at(0.72), y)
        assert shown(tab).left == "70\xa0%"
        tab.mouse.click(at(1) - 20, y)
        assert shown(tab).left == "100\xa0%"


@pytest.mark.browser
def test_it_is_said_and_named(tab, static_page, made):
    """For those who do not see it: the words are live, drawings have alternatives, the slider its value."""
    open_page(tab, static_page(PruningMap(*made, step=1)))
    words = tab.locator(".rf-result")
    assert (words.get_attribute("role"), words.get_attribute("aria-live")) == ("status", "polite")
    said = words.inner_text()
    for i, title in enumerate(
        ("fc2: R² with the dense network, against", "Accuracy on test images, against")
    ):
        label = tab.locator(".rf-curve").nth(i).get_attribute("aria-label")
        assert label.startswith(title)
        assert re.sub(r"\s", " ", label).endswith(re.sub(r"\s", " ", said))
    assert tab.locator(".rf-rates").get_attribute("aria-label").startswith("Histogram of APoZ of fc2’s units")
    for canvas in tab.locator("canvas").all():
        assert re.match(
            r"(Dissimilarities of 30 images in fc2|The same with 70 % left)",
            canvas.get_attribute("aria-label").replace("\xa0", " "),
        )
    assert tab.get_by_role("slider").get_attribute("aria-valuetext") == "70\xa0% of the weights left, round 1"
    assert tab.get_by_role("group", name="Pruning compared").count() == 1


@pytest.mark.browser
def test_the_numbers_can_be_downloaded(tab, static_page, made, tmp_path):
    found, samples = made
    open_page(tab, static_page(PruningMap(found, samples, layer="fc1", measure="cosine")))
    with tab.expect_download() as started:
        tab.get_by_role("link", name="Numbers (CSV)").locator("visible=true").click()
    assert started.value.suggested_filename == "prunings-networks.csv"
    started.value.save_as(tmp_path / "numbers.csv")
    numbers = pd.read_csv(tmp_path / "numbers.csv")
    assert set(numbers["layer"]) == {"fc1"}
    assert set(numbers["measure"]) == {"cosine"}
    check_table(numbers, found["digits"], LAYERS["fc1"], 1)


@pytest.mark.browser
def test_the_step_is_a_trait(tab, static_page, made):
    first, second = PruningMap(*made, name="first"), PruningMap(*made, name="second", layer="pool2")
    ipywidgets.jslink((second, "step"), (first, "step"))
    open_page(tab, static_page(first, second), count=2)
    tab.locator("#figure-second").get_by_role("slider").fill("2")
    first.step = second.step = 2
    tab.locator("#figure-first").get_by_text(first.words).wait_for()
    tab.locator("#figure-second").get_by_text(second.words).wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_jump_while_the_slider_moves(tab, static_page, made, width):
    tab.set_viewport_size({"width": width, "height": 900})
    open_page(tab, static_page(PruningMap(*made, measure="cca")))
    for layer in ("fc2", "outputs"):
        tab.get_by_role("radio", name=layer).check()
        tops = set()
        for step in range(4):
            tab.get_by_role("slider").fill(str(step))
            shown(tab)
            tops |= {
                tab.locator(what).first.bounding_box()["y"] for what in (".rf-curve", ".rf-two", ".rf-rates")
            }
        assert len(tops) == (3 if width == 390 else 2)


@pytest.mark.browser
def test_it_fits_narrow_screens(tab, static_page, made):
    open_page(tab, static_page(PruningMap(*made)))
    for width in (390, 320):
        tab.set_viewport_size({"width": width, "height": 800})
        for layer, measure in [("fc2", "RDM, Pearson"), ("pool2", "CCA"), ("outputs", "RDM, cosine")]:
            tab.get_by_role("radio", name=layer).check()
            tab.get_by_role("radio", name=measure).check()
            shown(tab)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            within = "[...document.querySelectorAll('.rf-prunings *')].filter(e => e.checkVisibility())"
            right = f"Math.max(...{within}.map(e => e.getBoundingClientRect().right))"
            assert tab.evaluate(right) <= width


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_stand_out_from_the_page(tab, static_page, made, theme):
    """At least 3 : 1, as WCAG asks of drawings."""
    open_page(tab, static_page(PruningMap(*made, step=1)))
    tab.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)

    def luminance(colour):
        c = np.array([float(v) for v in re.findall(r"[\d.]+", colour)[:3]]) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    read = "(e, name) => getComputedStyle(e)[name]"
    ground = luminance(tab.locator("body").evaluate(read, "backgroundColor"))
    for what, name in [
        (".rf-line.rf-now", "stroke"),
        (".rf-again path", "stroke"),
        (".rf-seed path", "stroke"),
        (".rf-line", "stroke"),
        (".rf-dot", "fill"),
    ]:
        ink = luminance(tab.locator(what).first.evaluate(read, name))
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) > 3, what


@pytest.mark.browser
def test_without_scripts_the_figure_stays(browser, static_page, made):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 800})
    tab = context.new_page()
    tab.goto(static_page(PruningMap(*made, caption="A finding.")))
    for drawing in tab.locator("figure svg").all():
        box = drawing.bounding_box()
        assert box["width"] > 250
        assert box["x"] + box["width"] <= 390
    assert tab.get_by_text("A finding.").is_visible()
    context.close()
