"""Figures: what reaches the page."""

import base64
import io
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from docutils import nodes
from docutils.utils import new_document
from PIL import Image

from rarefire import records
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.page import frame, palette, plots, reader, static_page


@pytest.fixture
def drawn(rng):
    figure, axes = plots.panel(title="title")
    x, y = np.linspace(0, 1, 20), rng.uniform(size=(7, 20))
    y[:5, :3] = np.nan
    plots.curves(axes, x, y, colour="low")
    axes.text(0.5, 0.5, "R² = 0.9974")
    return figure, axes, x, y


def test_curves_draw_median_band_and_single_instances(drawn):
    _, axes, x, y = drawn
    assert len(axes.lines) == 8
    median = axes.lines[-1]
    np.testing.assert_allclose(median.get_xdata(), x[3:])  # where at least half are defined
    np.testing.assert_allclose(median.get_ydata(), np.median(y[:, 3:], axis=0))


def test_summary_by_hand():
    found = plots.summary([1, 2], a=[[1.0, np.nan], [3.0, np.nan], [2.0, 5.0]])
    assert found["a median"].tolist() == [2, 5]
    assert found["a 5%"][0] == pytest.approx(1.1)
    assert found["a defined"].tolist() == [3, 1]


def test_cumulative_share_by_hand():
    grid, share = plots.cumulative_share([[0.0, 0.25, 0.25, 1.0]])
    at = dict(zip(np.round(grid, 2), share[0], strict=True))
    assert (at[0.0], at[0.24], at[0.25], at[0.99], at[1.0]) == (0.25, 0.25, 0.75, 0.75, 1.0)


def test_a_path_says_the_same_in_fewer_bytes():
    assert frame._short_path("M 0.04 1.26 \nL 2.5 3.149 \nL 4 5.0 \nz") == "M0 1.3l2.5 1.8 1.5 1.9z"
    # Only a line that follows a line needs no name; a minus parts two numbers.
    assert frame._short_path("M 9 9 C 1 1 2 2 3 3 L 4 4 L 3.5 2") == "M9 9C1 1 2 2 3 3l1 1-.5-2"
    assert frame._short_path("M 0 0 L 1 1 z M 5 5 L 5 4.8 L 6 4.8") == "M0 0l1 1zM5 5l0-.2 1 0"


def test_the_steps_of_a_long_path_do_not_drift(rng):
    points = rng.uniform(0, 300, size=(500, 2))
    short = frame._short_path("M " + "\nL ".join(f"{x:.6f} {y:.6f}" for x, y in points))
    numbers = np.array(re.findall(r"-?(?:\d+\.?\d*|\.\d+)", short), dtype=float).reshape(-1, 2)
    np.testing.assert_allclose(np.cumsum(numbers, axis=0), points, atol=0.051)


def test_a_small_image_is_the_same_image(rng):
    square = rng.uniform(size=(30, 30))
    for values in (square, np.where(square < 0.1, np.nan, square)):  # opaque, and with holes
        figure = plots.rdm_panel(values, limits=(0, 1))
        data = re.search(r"base64,([^\"]+)", frame._svg(figure, prefix="x"))[1]
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)
        expected = mpl.colormaps[palette.COLOUR_MAP](values, bytes=True).astype(int)
        assert shown.shape == (30, 30, 4)
        np.testing.assert_allclose(shown[..., 3], 255 * np.isfinite(values))
        np.testing.assert_allclose(shown[np.isfinite(values)], expected[np.isfinite(values)], atol=1)


@pytest.mark.browser
def test_a_drawing_looks_the_same_in_fewer_bytes(tab, drawn, rng):
    """As matplotlib writes it, but for the page's colours, and as it travels: pixel by pixel."""
    figure, axes = drawn[:2]
    axes.plot([0, 0.5, 1], [0.2, 0.9, 0.4], marker="o", color=palette.COLOURS["high"])
    axes.plot([0, 0.5, 1], [0.3, 0.1, 0.8], marker="s", color=palette.COLOURS["sd"], alpha=0.5)
    axes.scatter(*rng.uniform(size=(2, 9)), c=rng.uniform(size=9), cmap="viridis", edgecolors="black")
    axes.set_xticks([0, 1], ["one", "other"], rotation=60)
    whole = io.StringIO()
    with palette.style():
        figure.savefig(whole, format="svg", metadata={"Date": None, "Creator": None})
    plain = palette.themed(whole.getvalue()[whole.getvalue().index("<svg") :])
    short = frame._svg(figure, prefix="x")
    assert len(short) < 0.7 * len(plain)
    pictures = []
    for drawing in (
        re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", plain.replace(' height="', ' data-h="', 1)),
        short,
    ):
        tab.set_content(f'<div id="d" style="width:600px;color:#000">{drawing}</div>')
        tab.locator("svg").evaluate("e => { e.style.width = '600px'; e.style.maxWidth = 'none'; }")
        shot = tab.locator("#d").screenshot()
        pictures.append(np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int))
    assert pictures[0].shape == pictures[1].shape
    # Edges move by up to a tenth of a point, text by hints; tiles of 6 × 6 pixels hold most of that.
    high, wide = (side // 6 * 6 for side in pictures[0].shape[:2])
    tiles = [p[:high, :wide].reshape(high // 6, 6, wide // 6, 6, 3).mean(axis=(1, 3)) for p in pictures]
    away = np.abs(tiles[0] - tiles[1])
    assert away.max() < 60  # a mark that is lost or has another colour: above 100
    assert away.mean() < 3
    assert (pictures[0].min(axis=-1) < 250).mean() > 0.02  # something is drawn


def test_page_colours():
    assert palette.page_colour("low") == "var(--rf-0072b2, #0072b2)"
    with pytest.raises(UnknownNameError, match="no colour 'lwo'. There are: low"):
        palette.page_colour("lwo")


def test_a_figure_on_the_page(drawn):
    numbers = pd.DataFrame({"k": [1, 2], "r2": [0.5, 1.0]})
    page = frame.show(
        [drawn[0], drawn[0]],
        name="two",
        alt='a "quoted" text',
        caption="finding",
        numbers=numbers,
        legend={"low first": "low"},
    ).data
    assert page.count("<svg") == 2
    assert 'aria-label="a &quot;quoted&quot; text"' in page
    assert "R² = 0.9974" in page  # text is text, whole
    assert "currentColor" in page
    assert palette.INK not in page
    assert "var(--rf-0072b2, #0072b2)" in page
    assert "low first" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:url\(#|href="#)([^")]+)', page):
        assert target in ids
    data = re.search(r'href="data:text/csv;base64,([^"]+)"', page)[1]
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(base64.b64decode(data))), numbers)


def test_the_same_figure_is_the_same_text():
    def draw():
        figure, axes = plots.panel(title="same")
        plots.curves(axes, [0, 0.5, 1], [[0.1, 0.4, 0.9], [0.2, 0.3, 1.0]], colour="low")
        return frame.show(figure, name="x", alt="a", caption="c").data

    assert draw() == draw()


def test_rdm_panel_histogram_picture_and_table(rng):
    square = rng.uniform(size=(20, 20))
    panel = plots.rdm_panel(square, title="t", below="b", groups=["a", "b"], limits=(0, 1))
    image = panel.axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), square)
    assert image.get_clim() == (0, 1)
    assert [t.get_text() for t in panel.axes[0].get_yticklabels()] == ["a", "b"]
    sheet = plots.picture(rng.uniform(size=(7, 1, 4, 4)), titles=list("abcdefg"), columns=3)
    assert len(sheet.axes) == 9
    _, axes = plots.panel()
    plots.histogram(axes, [0.1, 0.9, 0.95], colour="mnist", bins=[0, 0.5, 1])
    assert [p.get_height() for p in axes.patches] == [1, 2]
    text = frame.table(pd.DataFrame({"x": [0.12345], "y": [np.nan]}), name="t", caption="c").data
    assert "<td>0.12</td>" in text
    assert "<td>–</td>" in text
    unnamed = frame.table(pd.DataFrame({"": ["a"], "x": [1]}), name="t", caption="c").data
    assert re.findall(r"<t[hd]>[^<]*</t[hd]>", unnamed)[:2] == ["<td></td>", "<th>x</th>"]


def test_signs_are_alike_but_in_code_and_drawings():
    figure = (
        '<figure class="rf-figure" style="width:80%"><svg><text>5%</text></svg>'
        "<td>0.21%</td><td>-.5</td><code>-6%</code><figcaption>half: 50 % of 7%</figcaption></figure>"
    )
    page = new_document("page")
    page += nodes.paragraph("", "", nodes.Text("21% and 22 %, per cent: %; "), nodes.literal("", "f'{x:3%}'"))
    page += nodes.paragraph("", "", nodes.Text("-0.1 to -.2 (-3), 1-2, LeNet-5, 2026-11-02, - 4"))
    page += nodes.raw("", figure, format="html")
    page += nodes.raw("", "<p>9%</p>", format="html")
    static_page._signs(None, page, "page")
    said, minus, drawn, other = (part.astext() for part in page)
    assert said == "21\u00a0% and 22\u00a0%, per cent: %; f'{x:3%}'"
    assert minus == "−0.1 to −.2 (−3), 1-2, LeNet-5, 2026-11-02, - 4"
    changed = {"0.21%": "0.21\u00a0%", ">-.5": ">−.5", "50 % of 7%": "50\u00a0% of 7\u00a0%"}
    for typed, shown in changed.items():
        figure = figure.replace(typed, shown)
    assert drawn == figure
    assert other == "<p>9%</p>"
    text = frame.table(pd.DataFrame({"n": pd.array([3, None], dtype="Int64")}), name="t", caption="c").data
    assert re.findall("<td>(.*?)</td>", text) == ["3", "–"]


def test_curve_panels_and_percent(rng):
    y = rng.uniform(size=(3, 5))
    x = np.linspace(0.2, 1, 5)
    limits = {"x": (0, 1), "y": (0, 1)}
    panels, numbers = plots.curve_panels(
        {"a": (x, {"low": y, "high": 1 - y}), "b": (x, {"low": y})}, xlabel="k", ylabel="r", limits=limits
    )
    assert [p.axes[0].get_title(loc="left") for p in panels] == ["a", "b"]
    assert panels[0].axes[0].xaxis.get_major_formatter()(0.5) == "50%"
    assert numbers["images"].tolist() == ["a"] * 5 + ["b"] * 5
    np.testing.assert_allclose(numbers["low median"][:5], np.median(y, axis=0))
    assert numbers["high median"][5:].isna().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "No Spaces", "alt": "a", "caption": "c"}, "lower-case letters, digits and hyphens"),
        ({"name": "x", "alt": "", "caption": "c"}, "'x' needs a text alternative"),
        ({"name": "x", "alt": "a", "caption": ""}, "'x' needs a text alternative and a caption"),
    ],
)
def test_errors(drawn, options, message):
    with pytest.raises(InputError, match=message):
        frame.show(drawn[0], **options)


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_curve_in_a_file(tmp_path, embedding, suffix):
    from rarefire import curves

    curve = curves.geometry_curve(embedding, np.arange(24))
    path = tmp_path / f"curve.{suffix}"
    plots.save_curve(path, curve, np.linspace(0, 1, 24), title="low→high PoZ", against="people")
    first = path.read_bytes()
    plots.save_curve(path, curve, np.linspace(0, 1, 24), title="low→high PoZ", against="people")
    assert path.read_bytes() == first  # the same numbers make the same file
    if suffix == "svg":
        assert "R² with people" in first.decode()
    with pytest.raises(InputError, match="a .png or .svg file; got 'curve.gif'"):
        plots.save_curve(tmp_path / "curve.gif", curve, np.linspace(0, 1, 24), title="", against="")
    (tmp_path / f"folder.{suffix}").mkdir()
    with pytest.raises(DataError, match="it is a folder"):
        plots.save_curve(tmp_path / f"folder.{suffix}", curve, np.linspace(0, 1, 24), title="", against="")


def test_a_panel_of_predictions_draws_what_it_is_given():
    x = np.linspace(0.1, 1, 10)
    lines = {"low": x / 2, "high": np.where(x < 0.3, np.nan, x / 3)}
    figure = plots.prediction_panel(
        x,
        lines,
        title="people",
        xlabel="share",
        ylabel="r",
        ylim=(0, 0.8),
        ceiling=(0.57, 0.63),
        band=(x / 5, x / 4),
        points={"ridge": ([0.2, 1.0], [0.3, 0.6])},
        peaks=[(0.5, 0.25)],
        stars=[(0.5, 0.25)],
    )
    (axes,) = figure.axes
    drawn = [(line.get_xdata(), line.get_ydata()) for line in axes.lines]
    np.testing.assert_allclose(drawn[0], (x, lines["low"]))
    np.testing.assert_allclose(drawn[1], (x, lines["high"]))
    np.testing.assert_allclose(drawn[2], ([0.2, 1.0], [0.3, 0.6]))
    assert (drawn[3][0], drawn[3][1]) == ([0.5], [0.25])
    assert axes.lines[3].get_color() == palette.COLOURS["peak"]
    assert drawn[4][1] == pytest.approx([0.25 + 0.06 * 0.8])  # above its dot
    assert axes.lines[4].get_marker() == "*"
    ceiling = axes.patches[0]
    assert (ceiling.get_y(), ceiling.get_height()) == pytest.approx((0.57, 0.06))
    assert [text.get_text() for text in axes.texts] == ["noise ceiling"]
    bare = plots.prediction_panel(x, lines, title="", xlabel="", ylabel="", ylim=(0, 1))
    assert len(bare.axes[0].lines) == 2
    assert not bare.axes[0].texts


def test_an_rdm_with_its_images_along_the_edge(rng):
    n = 30
    images = np.ones((n, 3, 8, 8)) * np.linspace(0, 1, n)[:, None, None, None]
    square = rng.uniform(size=(n, n))
    figure = plots.rdm_with_images(square, images, title="RDM", limits=(0, 1))
    edge, matrix = figure.axes
    np.testing.assert_allclose(matrix.images[0].get_array(), square)
    assert matrix.get_title() == "RDM"
    strip = np.asarray(edge.images[0].get_array())
    height = len(strip)
    assert strip.shape == (round(n * 26 / 5), 5 * 26, 3)
    for i in range(2, n - 2):  # each image is there, beside its row
        row, column = int((i + 0.5) * height / n), (4 - i % 5) * 26 + 13
        assert strip[row, column, 0] / 255 == pytest.approx(i / (n - 1), abs=0.01), i
    grey = plots.rdm_with_images(square, images[:, :1], title="", limits=(0, 1))
    np.testing.assert_allclose(np.asarray(grey.axes[0].images[0].get_array()), strip)
    with pytest.raises(InputError, match="29 images for 30 rows"):
        plots.rdm_with_images(square, images[1:], title="", limits=(0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sprite_holds_every_image_in_its_place(rng, channels):
    images = np.broadcast_to(rng.uniform(size=(7, channels, 1, 1)), (7, channels, 16, 24))
    made = frame.sprite(images, largest=24)
    kind = "png" if channels == 1 else "jpeg"
    assert (made["type"], made["tile"], made["columns"]) == (f"image/{kind}", [24, 16], 3)
    sheet = Image.open(io.BytesIO(made["file"]))
    assert (sheet.format, sheet.mode) == (kind.upper(), "L" if channels == 1 else "RGB")
    assert sheet.size == (3 * 24, 3 * 16)
    pixels = np.asarray(sheet, dtype=float).reshape(48, 72, channels)
    for i, image in enumerate(images):
        x, y = 24 * (i % 3), 16 * (i // 3)
        tile = pixels[y : y + 16, x : x + 24]
        expected = np.rint(255 * image[:, 0, 0])
        if channels == 1:  # to the pixel
            np.testing.assert_array_equal(tile, np.broadcast_to(expected, tile.shape))
        else:
            np.testing.assert_allclose(tile[6:10, 6:18].mean(axis=(0, 1)), expected, atol=4)
    assert pixels[34:, 34:].max() < 8  # after the last, nothing


def test_a_sprite_makes_images_smaller_and_never_larger(rng):
    images = rng.uniform(size=(2, 1, 40, 20))
    for largest, tile in [(40, [20, 40]), (400, [20, 40]), (10, [5, 10]), (1, [1, 1])]:
        made = frame.sprite(images, largest=largest, columns=2)
        assert made["tile"] == tile
        assert Image.open(io.BytesIO(made["file"])).size == (2 * tile[0], tile[1])
    exact = np.asarray(Image.open(io.BytesIO(frame.sprite(images, largest=40, columns=2)["file"])))
    np.testing.assert_array_equal(exact, np.rint(255 * np.hstack(images[:, 0])))
    light = np.where(np.arange(40)[:, None] < 20, 0.0, 1.0) * np.ones((1, 1, 40, 20))
    small = np.asarray(Image.open(io.BytesIO(frame.sprite(light, largest=10)["file"])))
    assert small[:4].max() < 40
    assert small[6:].min() > 215
    single = frame.sprite(images, largest=40, columns=1)
    assert (single["columns"], Image.open(io.BytesIO(single["file"])).size) == (1, (20, 80))


def test_a_sprite_of_colours_is_smaller_in_lower_quality(rng):
    images = rng.uniform(size=(4, 3, 32, 32))
    low, high = (frame.sprite(images, largest=32, quality=q)["file"] for q in (40, 95))
    assert len(low) < 0.7 * len(high)


def test_a_contact_sheet(rng):
    rows = {
        "cats & dogs": (rng.uniform(size=(3, 3, 90, 60)), ["a <cat>", 'the "dog"', "a cat's"]),
        "<b>grey</b>": (np.full((2, 1, 30, 30), 0.4), ["one", "two"]),
        "without images": (None, ["tench", "<i>fence</i>"]),
    }
    numbers = pd.DataFrame({"row": [3, 1, 4], "image": ["a", "b,c", 'd"']})
    page = frame.contact_sheet(rows, name="sheet", caption="<em>Finding</em>.", numbers=numbers).data
    assert page.startswith('<figure class="rf-figure" id="figure-sheet">')
    titles = re.findall(r"<b>(.*?)</b>", page)
    assert titles == ["cats &amp; dogs", "&lt;b&gt;grey&lt;/b&gt;", "without images"]
    alternatives = re.findall(r'\balt="([^"]*)"', page)
    assert alternatives == ["a &lt;cat&gt;, the &quot;dog&quot;, a cat&#x27;s", "one, two"]
    assert "<p>tench, &lt;i&gt;fence&lt;/i&gt;</p>" in page
    assert "<figcaption><em>Finding</em>." in page
    sheets = re.findall(r'width="(\d+)" height="(\d+)" src="data:(image/\w+);base64,([^"]+)"', page)
    opened = [Image.open(io.BytesIO(base64.b64decode(data))) for *_, data in sheets]
    # One beside the other; 80 pixels at most, or as they are.
    assert [(kind, image.size) for (_, _, kind, _), image in zip(sheets, opened, strict=True)] == [
        ("image/jpeg", (3 * 53, 80)),
        ("image/png", (2 * 30, 30)),
    ]
    assert [(int(width), int(height)) for width, height, *_ in sheets] == [image.size for image in opened]
    np.testing.assert_array_equal(np.asarray(opened[1]), np.full((30, 60), 102))
    data = re.search(r'download="sheet.csv" href="data:text/csv;base64,([^"]+)"', page)[1]
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(base64.b64decode(data))), numbers)
    smaller = frame.contact_sheet(rows, name="sheet", caption="c", numbers=numbers, size=36).data
    assert 'width="72" height="36"' in smaller


@pytest.mark.parametrize("names", [["one"], ["one", "two", "three"]])
def test_a_contact_sheet_needs_a_name_for_each_image(names):
    rows = {"fine": (None, ["x"]), "ghosts": (np.zeros((2, 1, 4, 4)), names)}
    with pytest.raises(InputError, match=f"'ghosts' has 2 images and {len(names)} names"):
        frame.contact_sheet(rows, name="x", caption="c", numbers=pd.DataFrame({"a": [1]}))


def test_strips_draw_every_value_where_it_is(rng):
    rows = {
        "usual": {"digits": rng.uniform(size=5), "mnist": rng.uniform(size=4)},
        "only one set": {"mnist": [0.9, 0.1, 0.4]},
        "another first": {"cifar10": [0.2], "digits": [0.3, 0.6]},
    }
    figure, numbers = plots.strips(rows, xlabel="share", band=(0.3, 0.5))
    (axes,) = figure.axes
    given = [(title, name, np.asarray(v)) for title, row in rows.items() for name, v in row.items()]
    ticks = [line for line in axes.lines if line.get_marker() == "|"]
    assert len(ticks) == len(axes.lines) == len(axes.collections) == len(given)
    places = {}
    for (title, name, values), dots, tick in zip(given, axes.collections, ticks, strict=True):
        x, y = np.asarray(dots.get_offsets()).T
        np.testing.assert_allclose(x, values)
        assert len(set(y)) == 1
        assert tick.get_xdata() == pytest.approx([np.median(values)])
        assert tick.get_ydata() == pytest.approx(y[:1])
        assert mpl.colors.to_hex(dots.get_facecolor()[0]) == tick.get_color() == palette.COLOURS[name]
        places[title, name] = y[0]
    # Rows from the top, at their names; in each row every set at its own height, also where one is absent.
    assert [label.get_text() for label in axes.get_yticklabels()] == list(rows)
    bottom, top = axes.get_ylim()
    assert bottom > max(places.values())
    assert top < min(places.values())
    offsets = {}
    for (title, name), y in places.items():
        row = axes.get_yticks()[list(rows).index(title)]
        assert abs(y - row) < 0.5
        offsets.setdefault(name, set()).add(round(y - row, 9))
    assert all(len(seen) == 1 for seen in offsets.values())
    heights = [*offsets["digits"], *offsets["mnist"], *offsets["cifar10"]]  # in the order in which they come
    assert heights == sorted(set(heights))
    assert axes.get_xlabel() == "share"
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((0.3, 0.2))
    assert numbers.columns.tolist() == ["row", "group", "value"]
    expected = [(title, name, value) for title, name, values in given for value in values]
    assert list(numbers.itertuples(index=False, name=None)) == expected
    page = frame.show(figure, name="recipes", alt="a", caption="c", numbers=numbers).data
    assert "only one set" in page


def test_strips_without_a_band_and_of_another_width():
    figure, _ = plots.strips({"a": {"low": [1, 2, 9]}}, xlabel="x", width=3)
    assert not figure.axes[0].patches
    assert figure.get_figwidth() == 3
    assert figure.axes[0].lines[0].get_xdata() == [2]
    wide, _ = plots.strips({name: {"low": [1]} for name in "abcdefgh"}, xlabel="x")
    assert wide.get_figheight() > 3 * figure.get_figheight() / 2


def test_strips_leave_out_what_is_undefined():
    rows = {"some": {"digits": [np.nan, 0.2, 0.8, np.nan, 0.3]}, "none": {"digits": [np.nan, np.nan]}}
    figure, numbers = plots.strips(rows, xlabel="x")
    (axes,) = figure.axes
    some, none = axes.collections
    assert np.asarray(some.get_offsets())[:, 0].tolist() == [0.2, 0.8, 0.3]
    assert len(none.get_offsets()) == 0
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.3], []]  # the median of those that are left
    assert [label.get_text() for label in axes.get_yticklabels()] == ["some", "none"]  # its row stays
    assert numbers["value"].tolist() == [0.2, 0.8, 0.3]
    assert set(numbers["row"]) == {"some"}
    assert figure.get_figwidth() == pytest.approx(4.6)


# --- texts and panels that several chapters share ----------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "+.012"),
        (-0.34, "−.340"),
        (0, ".000"),
        (-0.0004, ".000"),
        (1.5, "+1.500"),
        (-10.5, "−10.500"),
        (0.9999, "+1.000"),
    ],
)
def test_a_difference_has_its_sign_and_no_zero_before_the_point(value, text):
    assert frame.signed(value) == text


def test_p_values_and_intervals_in_words():
    assert [frame.p_value(p) for p in (0.00099, 0.001, 0.25, np.nan)] == [
        "<\u00a0.001",
        "0.001",
        "0.250",
        "–",
    ]
    assert frame.interval(-0.125, 0.5) == "−0.12\u00a0to\u00a00.50"
    assert frame.interval(-0.125, 0.5, frame.signed) == "−.125\u00a0to\u00a0+.500"
    assert frame.interval(np.nan, np.nan) == "–"
    assert frame.span([0.5, np.nan, -0.125]) == "−0.12\u00a0to\u00a00.50"
    assert frame.span([0.944, 0.941]) == "0.94"
    assert frame.span([np.nan]) == "–"


def test_words_as_a_sentence_has_them():
    assert [frame.enumerated("abc"[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert frame.enumerated([]) == ""


def test_a_text_for_each_image_set():
    texts = {"digits": "12%", "mnist": "15%", "of my own": "1%"}
    assert frame.listed(texts) == "digits 12%; MNIST 15%; of my own 1%"
    assert frame.listed(texts, "{text} on {name}") == "12% on digits; 15% on MNIST; 1% on of my own"


def ensembles(rng, n=6, features=8):
    """Two image sets; in a curve, the first step is defined for too few images."""
    from rarefire.records.ensembles import Ensemble

    def one(images):
        seen = np.full((n, features), 20)
        seen[:, 0] = 3
        arrays = {"poz_test": rng.random((n, features)), "random": rng.random((n, 4, features))}
        arrays |= {name: rng.random((n, features)) for name in ("low", "high")}
        arrays |= {f"n_images_{name}": seen for name in ("low", "high")}
        return Ensemble.of(arrays, stimuli=images, network="lenet5")

    return {name: one(name) for name in ("digits", "mnist")}


def test_nested_panels_draw_medians_over_networks(rng):
    found = ensembles(rng)
    panels, numbers = plots.nested_panels(found, {"low": "low", "random": "random"}, first=2)
    assert [p.axes[0].get_title(loc="left") for p in panels] == ["digits", "MNIST"]
    assert numbers["images"].tolist() == ["digits"] * 7 + ["MNIST"] * 7
    for panel, (name, e) in zip(panels, found.items(), strict=True):
        low, random = panel.axes[0].lines
        np.testing.assert_allclose(low.get_xdata(), np.arange(2, 9) / 8)
        np.testing.assert_allclose(low.get_ydata(), np.median(e["low"][:, 1:] ** 2, axis=0))
        over_orders = np.median(e["random"][:, :, 1:] ** 2, axis=1)
        np.testing.assert_allclose(random.get_ydata(), np.median(over_orders, axis=0))
        own = numbers[numbers["images"] == palette.LABELS[name]]
        np.testing.assert_allclose(own["low median"], low.get_ydata())
        assert panel.axes[0].get_xlim() == plots.SHARES["x"]
        labels = panel.axes[0].get_xlabel(), panel.axes[0].get_ylabel()
        assert labels == ("share of features inserted", "R² with all features")
    whole, _ = plots.nested_panels(found, {"high": "high"}, singles=True, xlabel="share")
    assert len(whole[0].axes[0].lines) == 7
    assert whole[0].axes[0].lines[-1].get_xdata()[0] == 2 / 8  # where half of them are defined
    assert whole[0].axes[0].get_xlabel() == "share"


def test_nested_panels_of_the_features_that_fire(rng):
    found = ensembles(rng)
    for e in found.values():
        e["poz_test"][:, 1:3] = 1  # two of eight never fire
    panels, numbers = plots.nested_panels(found, {"high": "high"}, first=2, firing=True)
    for panel, e in zip(panels, found.values(), strict=True):
        (line,) = panel.axes[0].lines
        np.testing.assert_allclose(line.get_xdata(), np.arange(2, 9) / 8)
        k = [2 + round(6 * share) for share in line.get_xdata()]
        np.testing.assert_allclose(line.get_ydata(), np.median(e["high"] ** 2, axis=0)[np.array(k) - 1])
        assert panel.axes[0].get_xlabel() == "share of firing features"
    half = [np.median(e["high"][:, 2 + 3 - 1] ** 2) for e in found.values()]
    said = plots.medians(found, 0.5, "high", firing=True)
    assert said == f"digits {half[0]:.2f}; MNIST {half[1]:.2f}"
    assert len(numbers) == 14


def test_medians_for_a_caption(rng):
    found = ensembles(rng)
    low, high = ([np.median(e[kind][:, 3] ** 2) for e in found.values()] for kind in ("low", "high"))
    said = plots.medians(found, 0.5, "low", "high")
    assert said == f"digits {low[0]:.2f} and {high[0]:.2f}; MNIST {low[1]:.2f} and {high[1]:.2f}"
    said = plots.medians(found, 0.5, "low", digits=3, form="{text} on {name}")
    assert said == f"{low[0]:.3f} on digits; {low[1]:.3f} on MNIST"
    assert plots.medians_span(found, 0.5, "low", digits=3) == frame.span(low, "{:.3f}".format)


def test_panels_of_people_are_those_that_are_recorded():
    found = records.people.known("mur")
    tests = records.people.verdicts(found)
    tests.loc[(tests["view"] == "pooled") & (tests["kind"] == "high"), ["D", "holm"]] = (0.1, 0.01)
    panels = plots.people_panels(found, {"low": "low", "cosine": "high_cosine"}, tests=tests)
    for panel, p in zip(panels, found, strict=True):
        (axes,) = panel.axes
        assert axes.get_title(loc="left") == p.title
        lines = axes.lines
        np.testing.assert_array_equal(lines[0].get_ydata(), p.r("low"))
        np.testing.assert_array_equal(lines[1].get_ydata(), p.r("high_cosine"))
        dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines[2:] if line.get_marker() == "o"]
        assert dots == [p.peak("low"), p.peak("high")]
        stars = [line.get_xdata()[0] for line in lines if line.get_marker() == "*"]
        assert stars == ([p.peak("high")[0]] if p.view == "pooled" else [])
    ridge = plots.people_panels(found[:1], {"random": "random"}, ridge=True, ylim=(0.2, 1))[0].axes[0]
    plain, weighted = ridge.lines
    np.testing.assert_array_equal(plain.get_ydata(), found[0]["plain"])
    np.testing.assert_array_equal(weighted.get_ydata(), found[0]["ridge"])
    assert plain.get_fillstyle() == "none"
    assert ridge.get_ylim() == (0.2, 1)
    (band,) = [c for c in ridge.collections if c.get_paths()]
    np.testing.assert_allclose(
        np.nanmax(band.get_paths()[0].vertices[:, 1]), np.nanmax(found[0]["random"][2])
    )


def test_panels_of_ghosts_by_how_many_images_define(rng):
    found = {"mnist": records.ghosts_by_class.known("mnist", seeds=range(3))}
    panels, numbers = plots.ghost_panels(
        found, lambda e: {"ghosts": e.area("ghosts")}, ylabel="AUC", ylim=(0, 1)
    )
    (axes,) = panels[0].axes
    assert (axes.get_title(loc="left"), axes.get_xscale(), axes.get_ylabel()) == ("MNIST", "log", "AUC")
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), found["mnist"]["m"][0])
    np.testing.assert_allclose(numbers["ghosts median"], np.median(found["mnist"].area("ghosts"), axis=0))


def test_panels_of_the_control_are_those_that_are_recorded():
    found = records.ghosts.known()
    many, explained = (figure.axes[0] for figure in plots.control_panels(found, named=["dogs"]))
    assert (len(many.lines), len(explained.lines)) == (len(found), 2 * len(found))
    for i, reading in enumerate(found):
        np.testing.assert_array_equal(many.lines[i].get_ydata(), reading["expected"] / reading.n_features)
        np.testing.assert_array_equal(explained.lines[2 * i].get_ydata(), reading["control"][:, 0])
        np.testing.assert_array_equal(explained.lines[2 * i + 1].get_ydata(), reading["ceiling"][:, 0])
    assert [text.get_text() for text in explained.texts] == ["dogs"]


def test_a_sheet_is_its_rows_and_numbers():
    shelf = reader.shelf(records.ghosts.known(), gallery=None, judged=None)
    shown = reader.sheet(shelf, "dogs", name="dogs-sheet", caption="Dogs.", n_components=2).data
    rows = reader.sheet_rows(shelf, "dogs", n_components=2)
    assert 'id="figure-dogs-sheet"' in shown
    assert shown.count("<b>") == len(rows) == 2  # names, where the pictures are not
    assert all(f"<p>{', '.join(names)}</p>" in shown for _, names in rows.values())
    data = base64.b64encode(
        reader.sheet_numbers(shelf, "dogs").to_csv(index=False, float_format="%.5g").encode()
    )
    assert data.decode() in shown
