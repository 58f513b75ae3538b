"""The ghost reader: what Python says, and what a real Chromium shows of it."""

import base64
import contextlib
import io
import re
from dataclasses import replace
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import traitlets
from PIL import Image

from rarefire import embeddings, ghosts, records, stimuli, store
from rarefire.errors import InputError, RarefireWarning, UnknownNameError
from rarefire.page import reader
from rarefire.page.reader import GhostReader, Shelf

COLOURS = [(r, g, b) for r in (0.05, 0.5, 0.95) for g in (0.05, 0.5, 0.95) for b in (0.05, 0.5, 0.95)]
NAMES = [f"thing {i}" for i in range(27)]


def one_colour(rgb):
    return np.broadcast_to(np.array(rgb, dtype=np.float32)[:, None, None], (3, 30, 40))


def reading(rng, *, m, ghosts, components, dead=3):
    """Made up: for each number of images, how many ghosts there are and how many components they have."""
    top = np.full((len(m), 10, 8), -1, dtype=np.int32)
    explained, control = np.full((2, len(m), 10), np.nan)
    for s, count in enumerate(components):
        top[s, :count] = rng.permuted(np.tile(np.arange(27), (count, 1)), axis=1)[:, :8]
        explained[s, :count] = np.sort(rng.dirichlet(np.ones(count + 1))[:count])[::-1]
        control[s, :count] = rng.uniform(size=count)
    numbers = {"m": np.array(m), "ghosts": np.array(ghosts), "dead": np.asarray(dead)}
    return {**numbers, "top": top, "explained": explained, "control": control}


@pytest.fixture
def made(rng):
    """27 things of one colour each, and three categories: of few images, of many, and without ghosts."""
    read = {
        "cats": reading(rng, m=[1, 2, 5, 20], ghosts=[1400, 20, 7, 1], components=[8, 6, 3, 1]),
        "dogs": reading(rng, m=[1, 3], ghosts=[12, 5], components=[5, 2]),
        "fish": reading(rng, m=[2, 4], ghosts=[2, 0], components=[0, 0], dead=0),
    }
    own = {name: np.stack([one_colour(c) for c in rng.permutation(COLOURS)[:n]]) for name, n in OWN.items()}
    return Shelf("things", "made up", read, 3000, NAMES, own, dict(enumerate(map(one_colour, COLOURS))))


OWN = {"cats": 8, "dogs": 3, "fish": 4}  # examples


@pytest.fixture
def digits(trained):
    """Real digits in a trained LeNet-5: features, images and the shelf of their classes."""
    network, images = trained
    embedding = embeddings.extract(network, images)
    return embedding, images, reader.classes(embedding, images, title="digits", network="LeNet-5")


def found_again(digits, label, m):
    """Ghosts of the first m images shown of a class, and their components, from the features anew."""
    embedding, images, shelf = digits
    half = stimuli.half_mask(images.labels)
    own = np.flatnonzero(half & (images.labels == label))
    shown = shelf.examples[str(label)][:m]
    rows = [int(np.flatnonzero([np.array_equal(images.images[i], one) for i in own])[0]) for one in shown]
    few = pytest.warns(RarefireWarning, match="one image") if m == 1 else contextlib.nullcontext()
    with few:
        found = ghosts.find(embedding[own], rows, others=embedding[~half])
    return found, ghosts.components(embedding[~half], found.features)


# --- Python --------------------------------------------------------------------------------------


def test_classes_are_what_ghosts_finds_in_the_same_rows(digits):
    _, images, shelf = digits
    assert list(shelf.readings) == [str(label) for label in range(10)]
    for label in range(10):
        read = shelf.readings[str(label)]
        half = stimuli.half_mask(images.labels)
        assert read["m"].tolist() == list(range(1, (half & (images.labels == label)).sum() + 1))
        for m in read["m"][:8]:  # as many images as are shown say which they are
            found, components = found_again(digits, label, m)
            assert read["ghosts"][m - 1] == len(found.features)
            assert read["dead"] == found.dead.sum()
            k = len(components.explained)
            np.testing.assert_array_equal(read["top"][m - 1, :k], components.top(8))
            np.testing.assert_allclose(read["explained"][m - 1, :k], components.explained)
            assert (read["top"][m - 1, k:] == -1).all()
    assert sum(read["ghosts"][-1] for read in shelf.readings.values()) > 50


def test_the_gallery_of_classes_is_the_other_half(digits):
    embedding, images, shelf = digits
    half = stimuli.half_mask(images.labels)
    assert (shelf.stimuli, shelf.network, shelf.n_features) == ("digits", "LeNet-5", 84)
    assert len(shelf.names) == len(shelf.pictures) == (~half).sum()
    for row, i in enumerate(np.flatnonzero(~half)):
        np.testing.assert_array_equal(shelf.pictures[row], images.images[i])
        assert shelf.names[row].split()[-1] == str(images.labels[i])
    again = reader.classes(embedding, images, title="digits", network="LeNet-5", seed=1)
    assert not np.array_equal(again.examples["3"], shelf.examples["3"])  # in another order
    for name, read in shelf.readings.items():
        assert read["ghosts"][-1] == again.readings[name]["ghosts"][-1]
        assert read["control"].shape == (len(read["m"]), 10)
        drawn = read["control"][np.isfinite(read["control"])]
        assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.fixture
def folder(tmp_path):
    """A gallery of 30 pictures of one colour, three of each class; six of them are dogs."""
    classes = ["n01440764_tench", "n02085620_Chihuahua", "n02113978_Mexican_hairless", "n03000134_fence"]
    classes += [f"n0400{i}000_thing_{i}" for i in range(6)]
    for i in range(30):
        path = tmp_path / "gallery" / classes[i // 3] / f"{i % 3}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (8 * i, 255 - 8 * i, 60)).save(path)
    return stimuli.gallery(tmp_path / "gallery", size=16)


@pytest.fixture
def recorded(rng, folder):
    """What the store gives back: eight places for steps, the rest of them empty."""

    def record(category, n, *, first):
        embedding = np.maximum(rng.normal(size=(30, 40)) - 1, 0)
        of_category = np.maximum(rng.normal(size=(n, 40)) - 1, 0)
        arrays = records.ghosts.read(of_category, embedding, at=records.ghosts.steps(n), draws=1)
        for name in ("m", "ghosts", "expected", "explained", "top", "control", "ceiling", "looks"):
            padded = np.zeros((8, *arrays[name].shape[1:]), dtype=arrays[name].dtype)
            padded[: len(records.ghosts.steps(n))] = arrays[name]
            arrays[name] = padded
        arrays |= {"first": first, "n_features": np.asarray(40), "names": np.array(folder.names)}
        facts = {"category": category, "network": "vgg19"}
        return records.ghosts.Reading((store.Answer(arrays, {"facts": facts}, "cache"),))

    return [
        record("faces", 7, first=np.array([3, 1, 4, 0, 5])),
        record("dogs", 5, first=np.array([8, 3, 5, 4, 7])),
    ]


def test_a_shelf_of_recorded_readings(rng, folder, recorded):
    judged = stimuli.Stimuli("mur", "test", rng.uniform(size=(6, 3, 16, 16)), np.zeros(6, int), ("a",), "")
    shelf = reader.shelf(recorded, gallery=folder, judged=judged, title="photographs")
    assert (shelf.stimuli, shelf.network, shelf.n_features) == ("photographs", "vgg19", 40)
    assert shelf.names[:10:3] == ["tench", "Chihuahua", "Mexican hairless", "fence"]
    for each in recorded:
        read = shelf.readings[each.category]
        assert read["m"].tolist() == records.ghosts.steps(each.n_images)
        assert len(read["ghosts"]) == len(read["top"]) == len(read["explained"]) == len(read["m"])
        np.testing.assert_array_equal(read["top"], each.arrays["top"][: len(read["m"])])
    rows = {int(row) for read in shelf.readings.values() for row in read["top"].ravel() if row >= 0}
    assert set(shelf.pictures) == rows
    for row in rows:
        np.testing.assert_array_equal(shelf.pictures[row], folder[[row]][0])
    np.testing.assert_array_equal(shelf.examples["faces"], judged.images[[3, 1, 4, 0, 5]])
    np.testing.assert_array_equal(shelf.examples["dogs"], folder[[8, 3, 5, 4, 7]])
    assert GhostReader(shelf).m == 7


@pytest.mark.parametrize("given", ["another", "fewer", "none", "no judged"])
def test_pictures_only_of_the_same_gallery(folder, recorded, given):
    """Rows of another gallery would be other pictures."""
    gallery = {
        "another": replace(folder, files=(*folder.files[3:], *folder.files[:3])),
        "fewer": replace(folder, files=folder.files[:-1]),
        "none": None,
        "no judged": folder,
    }[given]
    shelf = reader.shelf(recorded, gallery=gallery)
    assert shelf.examples is None
    assert (shelf.pictures is None) == (given != "no judged")
    assert shelf.names[0] == "tench"


def test_state_falls_back_where_a_category_has_less(made):
    only = replace(made, readings={"dogs": made.readings["dogs"]})
    widget = GhostReader([made, only])
    assert (widget.shelf, widget.category, widget.component, widget.m) == (0, 0, 0, 20)
    for category, step, component, m in [
        (0, 0, 0, 1),
        (0, 2, 1, 5),
        (1, 0, 4, 1),
        (1, 3, 1, 3),
        (1, 1, 0, 3),
    ]:
        widget.category, widget.step, widget.component = category, step, component
        assert widget.m == m
        read = made.readings[["cats", "dogs"][category]]
        assert widget.rows.tolist() == read["top"][min(step, len(read["m"]) - 1), component].tolist()
    widget.shelf, widget.category = 1, 2  # it has one
    assert widget.m == 3
    widget.shelf = 0
    assert widget.m == 4
    assert widget.rows.tolist() == []  # no ghosts


def test_the_last_component_stands_in_for_one_that_a_category_does_not_have(made):
    widget = GhostReader(made, step=2, component=5)
    assert widget.rows.tolist() == made.readings["cats"]["top"][2, 2].tolist()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"category": 3}, "category is an index from 0 to 2; got 3"),
        ({"category": -1}, "category is an index from 0 to 2; got -1"),
        ({"step": 4}, "step is an index from 0 to 3; got 4"),
        ({"component": 6}, "component is an index from 0 to 5; got 6"),
        ({"shelf": 1}, "shelf is an index from 0 to 0; got 1"),
    ],
)
def test_indices_out_of_range(made, state, message):
    with pytest.raises(traitlets.TraitError, match=message):
        GhostReader(made, **state)


def test_traits_are_checked_and_observed(made):
    widget = GhostReader(made)
    seen = []
    widget.observe(lambda change: seen.append((change["name"], change["new"])), ["component", "step"])
    widget.component, widget.step = 2, 1
    assert seen == [("component", 2), ("step", 1)]
    for trait, value, message in [
        ("shelf", 1, "shelf is an index from 0 to 0; got 1"),
        ("step", -1, "step is an index from 0 to 3; got -1"),
        ("component", 6, "component is an index from 0 to 5; got 6"),
        ("component", "one", "component"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(widget, trait, value)
    assert GhostReader(made, n_components=8, component=7, step=0).rows.shape == (8,)
    with pytest.raises(UnknownNameError, match="no trait 'componnet'. There are: component"):
        GhostReader(made, componnet=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"readings": {}}, "at least one shelf with at least one category"),
        ({"names": NAMES[:-1]}, "the readings name image 26; the gallery has 26 names"),
        ({"pictures": {0: one_colour(COLOURS[0])}}, r"there is no picture of image 1 \(26 are missing\)"),
        ({"names": ["x"] * 65_536}, "a gallery of at most 65,535 images travels; got 65,536"),
    ],
)
def test_shelves_that_do_not_fit_are_refused(made, change, message):
    with pytest.raises(InputError, match=message):
        GhostReader([made, replace(made, **change)])


def test_no_shelf():
    with pytest.raises(InputError, match="at least one shelf"):
        GhostReader([])


def test_each_picture_travels_once(made):
    few = {name: {**read, "top": np.minimum(read["top"], 4)} for name, read in made.readings.items()}
    (packed,) = GhostReader(replace(made, readings=few)).shelves
    assert packed["names"] == NAMES[:5]
    sheet = Image.open(io.BytesIO(packed["pictures"]["file"]))
    assert sheet.size == (3 * 40, 2 * 30)  # five pictures, as they are: smaller than 56 pixels
    smaller = GhostReader(made, size=20).shelves[0]["pictures"]
    assert (smaller["tile"], smaller["columns"], smaller["rows"]) == ([20, 15], 6, 5)
    assert GhostReader(replace(made, examples=None, pictures=None)).shelves[0]["pictures"] == {}


def test_rows_and_numbers_of_a_sheet(made):
    read = made.readings["cats"]
    for step, count in ((2, 3), (-1, 1), (9, 1), (0, 3)):
        s = min(step, 3)
        rows = reader.sheet_rows(made, "cats", step=step)
        (title, (own, said)), *rest = rows.items()
        m = read["m"][s]
        which = f"{'8 of ' if m > 8 else ''}the {m} images that define"
        assert title == f"cats: {'the image that defines' if m == 1 else which} the ghosts"
        np.testing.assert_array_equal(own, made.examples["cats"][:m])
        assert said == [f"cats, image {i + 1}" for i in range(min(m, 8))]
        assert len(rest) == count
        for j, (heading, (pictures, names)) in enumerate(rest):
            top = read["top"][s, j]
            assert heading.startswith(f"component {j + 1} of ")
            assert f"({read['explained'][s, j]:.1%} of" in heading
            assert names == [NAMES[row] for row in top]
            np.testing.assert_array_equal(pictures, np.stack([made.pictures[row] for row in top]))
    assert len(reader.sheet_rows(made, "cats", step=0, n_components=7)) == 8
    assert list(reader.sheet_rows(made, "fish")) == ["fish: the 4 images that define the ghosts"]
    bare = reader.sheet_rows(replace(made, examples=None, pictures=None), "dogs", n_components=1)
    ((pictures, names),) = bare.values()
    assert (pictures, names) == (None, [NAMES[row] for row in made.readings["dogs"]["top"][1, 0]])

    numbers = pd.concat([reader.sheet_numbers(made, "cats", step=step) for step in (0, 1, 2, 5)])
    assert len(numbers) == 8 * (8 + 6 + 3 + 1)
    for line in numbers.itertuples():
        s, j = [1, 2, 5, 20].index(line.m), line.component - 1
        assert line.ghosts == read["ghosts"][s]
        assert (line.explained, line.control) == (read["explained"][s, j], read["control"][s, j])
        assert line.row == read["top"][s, j, line.rank - 1]
        assert line.image == NAMES[line.row]
    assert list(reader.sheet_numbers(made, "fish")) == list(numbers)
    assert reader.sheet_numbers(made, "fish").empty


def test_the_figure_without_scripts_says_the_same(made):
    widget = GhostReader(made, name="still", caption="A finding.", step=2)
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert page.startswith('<figure data-widget="')
    assert 'id="figure-still"' in page
    assert "A finding." in page
    read = made.readings["cats"]
    alternatives = re.findall(r'alt="([^"]+)"', page)
    fours = [four for top in read["top"][2, :3] for four in (top[:4], top[4:])]
    assert alternatives[2:] == [", ".join(NAMES[row] for row in four) for four in fours]
    data = re.search(r'href="data:text/csv;base64,([^"]+)"', page)[1]
    numbers = pd.read_csv(io.BytesIO(base64.b64decode(data)))
    expected = reader.sheet_numbers(made, "cats", step=2)
    pd.testing.assert_frame_equal(numbers, expected, rtol=1e-4)
    bare = GhostReader(replace(made, examples=None), category=2)._repr_mimebundle_()[0]["text/html"]
    assert re.search(r"<b>ghosts</b><div class=.rf-strips.><p>none</p></div>", bare)


# --- in a real browser ---------------------------------------------------------------------------

PAGE = """within => {
  const box = document.querySelector(within);
  const seen = selector => [...box.querySelectorAll(selector)].filter(e => e.checkVisibility());
  const text = selector => seen(selector).map(e => e.innerText).join(" ").replace(/\\s+/g, " ");
  const tiles = i => [...box.querySelectorAll(".rf-tiles")[i].children]
    .map(e => e.checkVisibility() && (e.ariaLabel ?? e.innerText)).filter(Boolean);
  return {
    many: text(".rf-slider output"), said: text(".rf-result"), all: text(".rf-reader"),
    own: tiles(0), top: tiles(1), pictures: seen("[role=img]").length,
    bars: seen(".rf-components label").map(e => ({
      title: e.children[1].innerText, share: e.lastElementChild.innerText,
      checked: e.querySelector("input").checked, width: e.querySelector("i").getBoundingClientRect().width,
    })),
  };
}"""


def open_page(tab, address, *, count=1):
    tab.goto(address)
    for i in range(count):
        tab.locator("[data-widget][data-ready]").nth(i).wait_for()


def shown(tab, *, within="body"):
    tab.evaluate("new Promise(requestAnimationFrame)")
    return SimpleNamespace(**tab.evaluate(PAGE, within))


def choose(tab, category, *, within="body"):
    tab.locator(within).get_by_role("combobox", name="Category").select_option(category)


def agrees(tab, shelf, category, step, component, *, within="body"):
    """What is on the page is what Python has for this state."""
    page, read = shown(tab, within=within), shelf.readings[category]
    explained = read["explained"][step, :6][np.isfinite(read["explained"][step, :6])]
    at = min(component, len(explained) - 1)
    m, count = read["m"][step], read["ghosts"][step]
    assert page.many == f"{m} of {read['m'][-1]}"
    after = f"{count:,} ghost{'' if count == 1 else 's'} after {m} image{'' if m == 1 else 's'} "
    assert page.said.startswith(after)
    share = re.match(rf"([\d.]+) % of {shelf.n_features:,} features: silent for ", page.said[len(after) :])
    assert float(share[1]) == pytest.approx(100 * count / shelf.n_features, abs=0.51)
    assert f"{read['dead']} more never fire" in page.said
    assert ("One image says little" in page.said) == (m == 1)
    owned = 0 if shelf.examples is None else min(m, len(shelf.examples[category]))
    assert page.own == [f"{category}, image {i + 1}" for i in range(owned)]
    assert page.top == [shelf.names[row] for row in read["top"][step, at]]
    assert page.pictures == owned + len(page.top) * (shelf.pictures is not None)
    assert [bar["title"] for bar in page.bars] == [f"component {j + 1}" for j in range(len(explained))]
    assert [bar["checked"] for bar in page.bars] == [j == at for j in range(len(explained))]
    for bar, share in zip(page.bars, explained, strict=True):
        assert bar["share"].endswith("\xa0%")
        assert float(bar["share"][:-2]) == pytest.approx(100 * share, abs=0.051 if share < 0.1 else 0.51)
        assert bar["width"] / page.bars[0]["width"] == pytest.approx(share / explained[0], abs=0.02)
    control = read["control"][step, at]
    explains = re.search(
        r"random features, none of them ghosts, explain (\d+) % of this component\.", page.all
    )
    assert float(explains[1]) == pytest.approx(100 * control, abs=0.51)
    return page


@pytest.mark.browser
def test_the_page_shows_what_the_features_say(tab, static_page, digits):
    _, _, shelf = digits
    widget = GhostReader(shelf)
    open_page(tab, static_page(widget))
    handle = tab.locator("input[type=range]")
    for label, m in [(0, 1), (0, 4), (3, 4), (7, 2), (7, 5), (9, 5)]:
        choose(tab, str(label))
        handle.fill(str(m - 1))
        shown(tab)
        found, components = found_again(digits, label, m)
        for component in {0, min(6, len(components.explained)) - 1}:
            tab.get_by_role("radio", name=f"component {component + 1}").check()
            page = agrees(tab, shelf, str(label), m - 1, component)
            assert page.said.startswith(f"{len(found.features)} ghost")
            names = [shelf.names[row] for row in components.top(8)[component]]
            assert page.top == names
            widget.category, widget.step, widget.component = label, m - 1, component
            assert (widget.m, [shelf.names[row] for row in widget.rows]) == (m, names)


@pytest.mark.browser
@pytest.mark.parametrize("pictures", [True, False])
def test_every_state_of_the_page(tab, static_page, made, pictures):
    """Without pictures the names stand in their places."""
    shelf = made if pictures else replace(made, examples=None, pictures=None)
    open_page(tab, static_page(GhostReader(shelf)))
    for category in ("cats", "dogs"):
        choose(tab, category)
        for step in reversed(range(len(shelf.readings[category]["m"]))):
            tab.locator("input[type=range]").fill(str(step))
            shown(tab)
            for radio in reversed(tab.get_by_role("radio").all()):
                radio.check()
                agrees(tab, shelf, category, step, int(radio.input_value()))
    # One that the category does not have: its last; and back.
    choose(tab, "cats")
    tab.locator("input[type=range]").fill("0")
    tab.get_by_role("radio", name="component 6").check()
    choose(tab, "dogs")
    agrees(tab, shelf, "dogs", 0, 4)
    choose(tab, "cats")
    agrees(tab, shelf, "cats", 0, 5)


@pytest.mark.browser
def test_keys_and_mouse_move_the_slider(tab, static_page, made):
    open_page(tab, static_page(GhostReader(made)))
    handle = tab.locator("input[type=range]")
    agrees(tab, made, "cats", 3, 0)
    handle.focus()
    for key, step in [("ArrowLeft", 2), ("ArrowDown", 1), ("ArrowRight", 2), ("Home", 0), ("End", 3)]:
        tab.keyboard.press(key)
        agrees(tab, made, "cats", step, 0)
        assert handle.evaluate("e => e === document.activeElement")
        m = [1, 2, 5, 20][step]
        assert handle.get_attribute("aria-valuetext").startswith(f"{m} of 20 images: ")
    box = handle.bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] - 8, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.35 * box["width"], middle, steps=5)
    tab.mouse.up()
    agrees(tab, made, "cats", 1, 0)
    tab.touchscreen.tap(box["x"] + 0.65 * box["width"], middle)
    agrees(tab, made, "cats", 2, 0)
    # Another category has its own steps: two.
    choose(tab, "dogs")
    agrees(tab, made, "dogs", 1, 0)
    assert (handle.get_attribute("max"), handle.input_value()) == ("1", "1")


@pytest.mark.browser
def test_a_category_without_ghosts_says_so(tab, static_page, made):
    open_page(tab, static_page(GhostReader(made)))
    choose(tab, "fish")
    page = shown(tab)
    assert page.said.startswith("0 ghosts after 4 images 3,000 features. ")
    assert re.search(r"No ghosts: every feature fires .*, or for none at all", page.all)
    assert (page.top, page.bars) == ([], [])
    assert len(page.own) == 4
    assert "random features" not in page.all
    assert tab.get_by_role("radiogroup").is_hidden()
    assert tab.locator(".rf-tiles").nth(1).is_hidden()
    # Ghosts that fire for other images of the category, but for none of the gallery.
    tab.locator("input[type=range]").fill("0")
    page = shown(tab)
    assert page.said.startswith("2 ghosts after 2 images 0.1 % of 3,000 features: ")
    assert "These ghosts fire for no image of the gallery" in page.all
    assert (page.top, page.bars) == ([], [])
    choose(tab, "cats")
    agrees(tab, made, "cats", 0, 0)


@pytest.mark.browser
def test_the_numbers_can_be_downloaded(tab, static_page, made, tmp_path):
    commas = replace(made, names=[f'{name}, "so called"' for name in NAMES])
    open_page(tab, static_page(GhostReader(commas, name="small", step=1)))
    with tab.expect_download() as started:
        tab.locator(".rf-reader").get_by_role("link", name="Numbers (CSV)").click()
    started.value.save_as(tmp_path / "images.csv")
    assert started.value.suggested_filename == "small-images.csv"
    table = pd.read_csv(tmp_path / "images.csv")
    expected = reader.sheet_numbers(commas, "cats", step=1)
    assert len(table) == 6 * 8
    assert (table.category == "cats").all()
    assert (table.images == 2).all()
    for name in ("ghosts", "component", "rank", "image"):
        assert table[name].tolist() == expected[name].tolist()
    np.testing.assert_allclose(table.explained, expected.explained, rtol=1e-6)


@pytest.mark.browser
def test_no_ghosts_no_error_on_download(browser, static_page, made):
    tab = browser.new_page()
    trouble = []
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    open_page(tab, static_page(GhostReader(made, category=2)))
    link = tab.locator(".rf-reader").get_by_role("link", name="Numbers (CSV)")
    if link.is_visible():
        link.click()
    tab.evaluate("new Promise(resolve => setTimeout(resolve))")  # after whatever the click led to
    tab.close()
    assert trouble == []


@pytest.mark.browser
def test_the_focus_stays_on_the_component(tab, static_page, made):
    open_page(tab, static_page(GhostReader(made, step=1)))
    tab.locator("input[type=range]").focus()
    tab.keyboard.press("Tab")
    focused = "document.activeElement.getAttribute('type') + document.activeElement.value"
    for key, component in [("ArrowRight", 1), ("ArrowDown", 2), ("ArrowLeft", 1), ("ArrowUp", 0)]:
        assert tab.evaluate(focused).startswith("radio")
        tab.keyboard.press(key)
        agrees(tab, made, "cats", 1, component)
        assert tab.evaluate(focused) == f"radio{component}"
    tab.keyboard.press("ArrowLeft")  # round to the last
    agrees(tab, made, "cats", 1, 5)
    assert tab.evaluate(focused) == "radio5"
    # Fewer components, as when a linked slider moves: the one that is shown then.
    move = "e => { e.value = 2; e.dispatchEvent(new Event('input')); }"
    tab.locator("input[type=range]").evaluate(move)
    agrees(tab, made, "cats", 2, 2)
    assert tab.evaluate(focused) == "radio2"
    tab.keyboard.press("ArrowLeft")
    agrees(tab, made, "cats", 2, 1)


@pytest.mark.browser
def test_linked_readers_move_together_without_a_kernel(tab, static_page, made):
    first, second = GhostReader(made, name="first", step=0), GhostReader(made, name="second", category=1)
    ipywidgets.jslink((first, "component"), (second, "component"))
    open_page(tab, static_page(first, second), count=2)
    tab.locator("#figure-second").get_by_role("radio", name="component 2").check()
    agrees(tab, made, "cats", 0, 1, within="#figure-first")
    agrees(tab, made, "dogs", 1, 1, within="#figure-second")
    tab.locator("#figure-first").get_by_role("radio", name="component 5").check()
    agrees(tab, made, "cats", 0, 4, within="#figure-first")
    agrees(tab, made, "dogs", 1, 4, within="#figure-second")  # it has two
    # What is not linked stays.
    choose(tab, "dogs", within="#figure-first")
    tab.locator("#figure-second input[type=range]").fill("0")
    agrees(tab, made, "dogs", 0, 4, within="#figure-first")
    agrees(tab, made, "dogs", 0, 4, within="#figure-second")


@pytest.mark.browser
def test_other_images(tab, static_page, made, rng):
    """Another shelf starts with its first category, all its images and the first component."""
    cats = reading(rng, m=[1, 2], ghosts=[30, 20], components=[2, 2])
    other = replace(made, stimuli="more", readings={"lions": cats}, examples=None, n_features=50)
    open_page(tab, static_page(GhostReader([made, other], category=1, step=0, component=3)))
    agrees(tab, made, "dogs", 0, 3)
    tab.get_by_role("combobox", name="Images").select_option("more, made up")
    agrees(tab, other, "lions", 1, 0)
    assert tab.get_by_role("combobox", name="Category").is_hidden()  # there is only one
    tab.get_by_role("combobox", name="Images").select_option("things, made up")
    agrees(tab, made, "cats", 3, 0)
    open_page(tab, static_page(GhostReader(made)))
    assert tab.get_by_role("combobox", name="Images").is_hidden()


def colours(tab, picture):
    """Of the middle of each tile of the page that is shown: by label, in [0, 1]."""
    found = {}
    for tile in tab.locator(".rf-tile").all():
        box = tile.bounding_box()
        assert box["width"] / box["height"] == pytest.approx(4 / 3, abs=0.02)  # as the pictures are
        edge = (box["x"] + 3, box["y"] + 3, box["x"] + box["width"] - 3, box["y"] + box["height"] - 3)
        inside = np.asarray(picture.crop(tuple(round(side) for side in edge)), dtype=float)[..., :3]
        found[tile.get_attribute("aria-label")] = np.median(inside, axis=(0, 1)) / 255
    return found


@pytest.mark.browser
@pytest.mark.parametrize("medium", ["screen", "phone", "print"])
def test_every_tile_is_the_right_picture(tab, static_page, made, medium):
    if medium == "phone":
        tab.set_viewport_size({"width": 390, "height": 900})
    open_page(tab, static_page(GhostReader(made, step=1)))
    tab.emulate_media(media="print" if medium == "print" else "screen")
    for category, step, component in [("cats", 1, 5), ("cats", 3, 0), ("dogs", 1, 1)]:
        choose(tab, category)
        tab.locator("input[type=range]").fill(str(step))
        shown(tab)
        tab.get_by_role("radio", name=f"component {component + 1}").check()
        agrees(tab, made, category, step, component)
        found = colours(tab, Image.open(io.BytesIO(tab.screenshot(full_page=True))))
        read = made.readings[category]
        for row in read["top"][step, component]:
            np.testing.assert_allclose(found[NAMES[row]], COLOURS[row], atol=0.04)
        for i, picture in enumerate(made.examples[category][: read["m"][step]]):
            np.testing.assert_allclose(found[f"{category}, image {i + 1}"], picture[:, 0, 0], atol=0.04)


@pytest.mark.browser
def test_pictures_are_printed(tab, static_page, made):
    """Also where the reader prints without backgrounds."""
    open_page(tab, static_page(GhostReader(made)))
    assert tab.pdf(print_background=False).count(b"/Subtype /Image") == 16
    open_page(tab, static_page(GhostReader(replace(made, examples=None, pictures=None))))
    assert tab.pdf(print_background=False).count(b"/Subtype /Image") == 0


@pytest.mark.browser
def test_components_are_printed(tab, static_page, made):
    open_page(tab, static_page(GhostReader(made, step=1)))
    for what in (".rf-components i", ".rf-components label:has(:checked)"):
        assert tab.locator(what).first.evaluate("e => getComputedStyle(e).printColorAdjust") == "exact"


TEXTS = """() => [...document.querySelectorAll(".rf-components label span")].map(span => {
  const range = document.createRange();
  range.selectNodeContents(span);
  const { left, top, right, bottom } = range.getBoundingClientRect();
  return [left, top + 1, right, bottom - 1].map(Math.round);
})"""


@pytest.mark.browser
@pytest.mark.parametrize(
    "colours",
    [
        "light",
        "dark",
        "forced",
    ],
)
def test_components_can_be_read(tab, static_page, made, colours):
    if colours == "forced":
        tab.emulate_media(forced_colors="active")
    else:
        tab.emulate_media(color_scheme=colours)
    open_page(tab, static_page(GhostReader(made, step=1)))
    grey = Image.open(io.BytesIO(tab.screenshot())).convert("L")
    areas = tab.evaluate(TEXTS)
    assert len(areas) == 12
    for area in areas:
        assert np.ptp(np.asarray(grey.crop(area)).astype(int)) > 150


@pytest.mark.browser
@pytest.mark.parametrize(
    "what",
    [
        "pictures",
        "names",
        "a long title",
    ],
)
def test_it_fits_narrow_screens(tab, static_page, made, what):
    shelf = replace(made, names=[f"a Donaudampfschifffahrtsgesellschaft {i}" for i in range(27)])
    if what == "names":
        shelf = replace(shelf, examples=None, pictures=None)
    title = "photographs of animals and things, SqueezeNet 1.0" if what == "a long title" else "photographs"
    open_page(tab, static_page(GhostReader([shelf, replace(shelf, stimuli=title)])))
    for width in (390, 320):
        tab.set_viewport_size({"width": width, "height": 800})
        for category, step in [("cats", 0), ("cats", 1), ("dogs", 1), ("fish", 0)]:
            choose(tab, category)
            tab.locator("input[type=range]").fill(str(step))
            shown(tab)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            within = "[...document.querySelectorAll('.rf-reader *')].filter(e => e.checkVisibility())"
            right = f"Math.max(...{within}.map(e => e.getBoundingClientRect().right))"
            assert tab.evaluate(right) <= width


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_jump_while_the_slider_moves(tab, static_page, made, width):
    """Fewer examples leave their places empty."""
    tab.set_viewport_size({"width": width, "height": 900})
    open_page(tab, static_page(GhostReader(made)))
    heights = set()
    for step in range(4):
        tab.locator("input[type=range]").fill(str(step))
        shown(tab)
        heights |= {tab.locator(".rf-tiles").nth(i).bounding_box()["height"] for i in range(2)}
    assert len(heights) == 1


@pytest.mark.browser
def test_without_scripts_the_figure_stays(browser, static_page, made):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 800})
    tab = context.new_page()
    tab.goto(static_page(GhostReader(made, step=1, caption="A finding.")))
    sheets = tab.locator("figure img").all()
    assert len(sheets) == 7  # two examples, and three times eight images, four by four
    for sheet in sheets:
        box = sheet.bounding_box()
        assert box["x"] + box["width"] <= 320
    assert tab.get_by_text("A finding.").is_visible()
    context.close()
