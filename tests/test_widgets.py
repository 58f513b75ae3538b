"""The smaller widgets: Python and page agree; and what every widget must have."""

import re

import numpy as np
import pandas as pd
import pytest
import traitlets
from IPython.display import HTML
from ipywidgets import IntSlider

from rarefire import poz, rdm
from rarefire.errors import InputError, UnknownNameError
from rarefire.page import frame, plots, scenes, widgets
from rarefire.page.widgets import FeatureSwitch, PozHistogram

A, B, C = [0.91, 0.76, 0.3, 0.7, 0.9, 0], [0.40, 0.70, 0.6, 0.3, 0.7, 0], [0.02, 0.40, 0.9, 0.2, 0.2, 0]


@pytest.fixture
def still():
    figure, axes = plots.panel()
    axes.plot([0, 1], [0, 1])
    return frame.show(figure, name="small", alt="a line", caption="A caption.")


@pytest.fixture
def switch(still):
    return FeatureSwitch([A, B, C], names=["A", "B", "C"], name="small", caption="A caption.", fallback=still)


@pytest.fixture
def rates(rng):
    """PoZ over 50 images of eleven networks with 84 features; some at the threshold exactly, some dead."""
    poz = rng.integers(0, 51, size=(11, 84)) / 50
    poz[:, :5], poz[:, 5:9] = 0.8, 1.0
    return poz


@pytest.fixture
def histogram(still, rates):
    sets = {"digits": ("digits", rates, range(11)), "other": ("mnist", rates[:1, :20], [7])}
    return PozHistogram(sets, name="small", caption="A caption.", fallback=still)


def ready(tab, address):
    tab.goto(address)
    tab.locator("[data-widget][data-ready]").wait_for()


def test_scripts_are_what_all_share_and_their_own():
    source = widgets.script("switch")
    assert source.startswith("// What the book's widgets share")
    assert "rarefire.page.widgets.FeatureSwitch" in source
    assert source.count("export default") == 1


def test_lowest_median_and_highest_of_what_is_defined():
    values = np.array([[4.0, np.nan, np.nan], [1, 3, np.nan], [2, 5, np.nan], [9, np.nan, np.nan]])
    expected = [[1, 3, 9], [3, 4, 5], [np.nan] * 3]
    np.testing.assert_array_equal(widgets.extents(values), np.array(expected, dtype=np.float32))


def test_halves_are_rounded_up_as_in_scripts():
    """Not to the even digit, and as the number is, not as it is written: 1.005 is less than that."""
    given = [(0.8125, 3), (81.25, 1), (0.5, 0), (1.005, 2), (2000, 0)]
    assert [widgets.fixed(*each) for each in given] == ["0.813", "81.3", "1", "1.00", "2000"]


def test_the_switch_in_python(switch):
    np.testing.assert_allclose(switch.similarities(), 1 - rdm.rdm([A, B, C]))
    switch.on = [True] * 5 + [False]
    np.testing.assert_allclose(switch.similarities(), 1 - rdm.rdm([A[:5], B[:5], C[:5]]))
    cosine = switch.similarities("cosine")
    np.testing.assert_allclose(cosine, 1 - rdm.rdm([A, B, C], metric="cosine"))
    switch.on = [False] * 6
    assert np.isnan(switch.similarities()).all()


def test_the_histogram_in_python(histogram, rates):
    np.testing.assert_array_equal(histogram.removed(), rates[0] > 0.8)
    histogram.set, histogram.threshold = 1, 0.3
    np.testing.assert_array_equal(histogram.removed(), rates[0, :20] > 0.3)


def test_errors(still, histogram):
    options = {"name": "small", "caption": "A caption.", "fallback": still}
    with pytest.raises(InputError, match="names must be 3, one per image; got 2"):
        FeatureSwitch([A, B, C], names=["A", "B"], **options)
    with pytest.raises(InputError, match=r"poz of 'x' must be \(n_networks, n_features\) in \[0, 1\]"):
        PozHistogram({"x": ("digits", [[0.5, 1.5]], [0])}, **options)
    with pytest.raises(InputError, match="at least one image set"):
        PozHistogram({}, **options)
    with pytest.raises(UnknownNameError, match="no colour 'pink'"):
        PozHistogram({"x": ("pink", [[0.5]], [0])}, **options)
    with pytest.raises(InputError, match="seeds of 'x' must be 1, one per network; got 2"):
        PozHistogram({"x": ("digits", [[0.5]], [0, 1])}, **options)
    with pytest.raises(UnknownNameError, match="no trait 'treshold'. There are: threshold"):
        PozHistogram({"x": ("digits", [[0.5]], [0])}, treshold=0.5, **options)
    with pytest.raises(InputError, match="fallback must be a figure"):
        FeatureSwitch([A, B, C], names=["A", "B", "C"], **{**options, "fallback": HTML("<p>no</p>")})
    for trait, value, message in [
        ("threshold", 2, "threshold"),
        ("set", 2, "set is an index from 0 to 1; got 2"),
        ("network", 11, "network is an index from 0 to 10; got 11"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(histogram, trait, value)
    with pytest.raises(traitlets.TraitError, match="on must be 6 truth values, one per feature; got 1"):
        FeatureSwitch([A, B, C], names=["A", "B", "C"], on=[True], **options)


def test_the_figure_for_pages_without_scripts_is_marked(switch):
    data, _ = switch._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    place = r'style="--rf-wide:22rem;--rf-narrow:28rem"'
    assert re.match(rf'<figure data-widget="{switch.model_id}" {place} class="rf-figure"', data["text/html"])


def test_a_saved_page_is_one_file_and_its_text_is_text(still, tmp_path):
    hostile = "</script><script>document.title = 'taken'</script>"
    switch = FeatureSwitch([A, B, C], names=["A", "B", hostile], name="small", caption="x", fallback=still)
    widgets.save(tmp_path / "page.html", switch, title="A & B")
    page = (tmp_path / "page.html").read_text()
    assert "<title>A &amp; B</title>" in page
    assert hostile not in page
    with pytest.raises(
        InputError, match=r"a page is an \.html file with at least one widget; got 'page.htm', 1"
    ):
        widgets.save(tmp_path / "page.htm", switch)
    with pytest.raises(InputError, match=r"got 'page.html', 0"):
        widgets.save(tmp_path / "page.html")
    with pytest.raises(InputError, match="takes widgets of this package; got IntSlider"):
        widgets.save(tmp_path / "page.html", IntSlider())
    with pytest.raises(InputError, match="names of their own .*; got small, small"):
        widgets.save(tmp_path / "page.html", switch, switch)


@pytest.mark.browser
def test_switching_features_moves_three_similarities(tab, static_page, switch):
    ready(tab, static_page(switch))

    def shown():
        texts = tab.locator(".rf-pair > span").all_inner_texts()
        found = [re.findall(r"−?\d\.\d+|–", text) for text in texts]
        return np.array([[float(v.replace("−", "-").replace("–", "nan")) for v in pair] for pair in found])

    def expected():
        return np.stack([switch.similarities(), switch.similarities("cosine")], axis=1)

    np.testing.assert_allclose(shown(), expected(), atol=0.0051)
    assert tab.get_by_role("status").inner_text() == "Most alike, by either measure: A and B."
    boxes = tab.get_by_role("checkbox")
    boxes.nth(5).focus()
    tab.keyboard.press("Space")
    switch.on = [True] * 5 + [False]
    tab.get_by_text("Most alike by Pearson: B and C; by cosine: A and B.").wait_for()
    np.testing.assert_allclose(shown(), expected(), atol=0.0051)
    width = float(
        tab.locator(".rf-pair .rf-pearson").nth(1).get_attribute("style").split("width: ")[1].split("%")[0]
    )
    assert width == pytest.approx(50 * 0.939, abs=0.1)
    for feature in range(4):
        boxes.nth(feature).uncheck()
    switch.on = [False] * 4 + [True, False]
    tab.get_by_text("Most alike by Pearson: undefined; by cosine: all equally.").wait_for()
    np.testing.assert_allclose(shown(), expected(), atol=0.0051)  # one feature: no Pearson, a cosine of 1
    boxes.nth(4).uncheck()
    tab.get_by_text("Most alike, by either measure: undefined.").wait_for()


@pytest.mark.browser
def test_the_threshold_marks_what_lies_above_it(tab, static_page, histogram, rates, tmp_path):
    ready(tab, static_page(histogram))
    handle = tab.get_by_role("slider")

    def agrees(poz, threshold):
        removed = int((poz[0] > threshold + 1e-9).sum())
        tab.get_by_text(f"{removed} of {poz.shape[1]} features").wait_for()
        assert tab.locator(".rf-goes").count() == removed
        assert tab.locator(".rf-stays").count() == poz.shape[1] - removed
        said = tab.locator(".rf-result").inner_text().replace("\xa0", " ")
        assert f"{int((poz[0] == 1).sum())} never fire" in said
        if len(poz) > 1:
            low, median, high = 100 * np.quantile((poz > threshold + 1e-9).mean(axis=1), [0.05, 0.5, 0.95])
            shown = re.search(r"(\d+) % go \(median; 90 % of networks: (\d+) % to (\d+) %", said)
            np.testing.assert_allclose([int(v) for v in shown.groups()], [median, low, high], atol=0.51)

    agrees(rates, 0.8)
    handle.focus()
    tab.keyboard.press("ArrowLeft")
    agrees(rates, 0.79)
    handle.fill("33")
    agrees(rates, 0.33)
    with tab.expect_download() as started:
        tab.get_by_role("link", name="Numbers (CSV)").first.click()
    started.value.save_as(tmp_path / "features.csv")
    table = pd.read_csv(tmp_path / "features.csv")
    np.testing.assert_allclose(table["poz"], rates[0], atol=1e-6)
    np.testing.assert_array_equal(table["removed"] == 1, rates[0] > 0.33)
    tab.get_by_role("combobox", name="Network").select_option("seed 10")
    tab.get_by_text(f"{int((rates[10] > 0.33).sum())} of 84 features").wait_for()
    tab.get_by_role("combobox", name="Images").select_option("other")
    agrees(rates[:1, :20], 0.33)
    # Pointing at the drawing sets the threshold too.
    box = tab.locator(".rf-histogram").bounding_box()
    tab.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 20)
    tab.wait_for_function("document.querySelector('input[type=range]').value !== '33'")
    assert 45 < int(handle.input_value()) < 60


@pytest.fixture
def looked_at(still, embedding):
    """Two networks, of one of which the page holds what it says of 40 images."""
    rates = np.stack([poz.poz(embedding), np.linspace(0, 1, 24)])
    scene = scenes.Scene("digits", "seed 3", embedding, labels=np.arange(40) % 4, names=list("abcd"))
    given = {"digits": ("digits", rates, [3, 7])}
    options = {"name": "small", "caption": "A caption.", "fallback": still}
    return PozHistogram(given, scenes={"digits": {3: scene}}, **options), scene


def test_the_histogram_s_feature_in_python(looked_at, embedding, still, rates):
    widget, scene = looked_at
    order = poz.order(poz.poz(embedding))
    removed = widget.removed()
    assert widget.portrait().feature == next(f for f in order if removed[f])
    widget.threshold = 1.0  # nothing lies above it
    assert widget.portrait().feature == order[-1]
    widget.feature = 5
    expected = scenes.portrait(scene, 5)
    assert (widget.portrait().silenced, widget.portrait().rank) == (expected.silenced, expected.rank)
    widget.network = 1
    with pytest.raises(InputError, match="there is no scene of 'digits', seed 7: give one as scenes="):
        widget.portrait()
    with pytest.raises(traitlets.TraitError, match="feature is an index from 0 to 23; got 24"):
        widget.feature = 24
    options = {"name": "small", "caption": "A caption.", "fallback": still}
    sets = {"digits": ("digits", rates, range(11))}
    with pytest.raises(UnknownNameError, match="no image set 'mnist'. There are: digits"):
        PozHistogram(sets, scenes={"mnist": {0: scene}}, **options)
    with pytest.raises(UnknownNameError, match="no network of 'digits' with seed '12'. There are: "):
        PozHistogram(sets, scenes={"digits": {12: scene}}, **options)
    with pytest.raises(InputError, match="a scene of 'digits' has another PoZ than the set: .* Leave out"):
        PozHistogram(
            {"digits": ("digits", rates[:1, :24], [0])},
            scenes={"digits": {0: scenes.Scene("", "", embedding, poz=np.zeros(24))}},
            **options,
        )


@pytest.mark.browser
def test_a_box_of_the_histogram_is_a_feature_to_look_at(tab, static_page, looked_at, embedding):
    widget, scene = looked_at
    ready(tab, static_page(widget))
    panel, threshold = tab.locator(".rf-feature"), tab.get_by_role("slider", name="Threshold")
    assert not panel.locator(".rf-strip").is_visible()
    rates = poz.poz(embedding)
    # The lowest box of a column, with the mouse: it does not move the threshold.
    feature = int(poz.order(rates)[0])
    box = tab.locator(".rf-histogram rect", has_text=f"feature {feature}:").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    panel.get_by_text(f"Feature {feature} fires for").wait_for()
    assert threshold.input_value() == "80"
    fires = int((embedding[:, feature] > 0).sum())
    said = panel.locator(".rf-said").inner_text()
    assert f"fires for {fires} of 40 images" in said
    r2 = float(re.search(r"R² = (\d\.\d+)", said)[1])
    assert r2 == pytest.approx(scenes.portrait(scene, feature).silenced, abs=2e-3)
    assert tab.locator(".rf-histogram .rf-chosen title").text_content().startswith(f"feature {feature}:")
    # A finger, on another.
    other = int(np.flatnonzero(rates == 1)[0])
    tab.locator(".rf-histogram rect", has_text=f"feature {other}:").scroll_into_view_if_needed()
    box = tab.locator(".rf-histogram rect", has_text=f"feature {other}:").bounding_box()
    tab.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    panel.get_by_text(f"Feature {other} fires for none of these 40 images").wait_for()
    # The one at the threshold goes with it.
    panel.get_by_role("button", name="the one at the threshold").click()
    threshold.fill("30")
    widget.threshold, widget.feature = 0.3, None
    panel.get_by_text(f"Feature {widget.portrait().feature}:").wait_for()
    tab.get_by_role("combobox", name="Network").select_option("seed 7")
    tab.get_by_text("What single features fire for is in this page for seed 3.").wait_for()
    assert not panel.is_visible()
