"""The paper's claims as cards of the page."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from rarefire.errors import InputError
from rarefire.page import cards, claims, frame, palette, scorecard
from rarefire.page.scorecard import Finding


def page_of(findings, *, places=None, renamed=None, **options):
    """The page of some findings, as a tree, and the scorecard."""
    card = scorecard.verdicts(findings)
    if renamed:
        card["images"] = card["images"].replace(renamed)
    given = {"name": "verdicts", "caption": "Finding <em>one</em>."} | options
    page = cards.verdict_cards(card, places=places or {}, **given)
    return ElementTree.fromstring(page.data), card  # which it would not be, were a text not escaped


def text(element):
    return " ".join("".join(element.itertext()).split())


def place(section):
    """Where links to a claim lead."""
    return section.find("details/div").get("id")


def lines(root):
    """Every finding: its name, drawing, number and verdict."""
    return [list(line) for line in root.iter("li")]


@pytest.fixture
def some(rng):
    """Findings on three claims, in no order: firm ones, one selected, one of other images, one untested."""
    few = [0.3, *[np.nan] * 9]
    return [
        Finding("rare-20", "mnist", rng.uniform(0.2, 0.4, 50), "strict"),
        Finding("worked-ac", "example", -0.1818),
        Finding("rare-20", "digits", rng.uniform(0.6, 0.7, 50)),
        Finding("human-20", "peterson", np.nan),
        Finding("rare-20", "cifar10", few),
        Finding("rare-20", "cifar10-jpg", 0.9, interval=(0.85, 0.95)),
    ]


def test_a_card_for_each_claim_and_a_line_for_each_finding(some):
    root, card = page_of(some, places={"rare-20": "03.html?a=1&b=2#figure-x", "poz-80": "unused.html"})
    assert (root.tag, root.get("id"), root.get("class")) == ("figure", "figure-verdicts", "rf-figure")
    sections = list(root.iter("section"))
    order = ["rare-20", "worked-ac", "human-20"]
    assert [place(section) for section in sections] == [f"claim-{name}" for name in order]
    for name, section in zip(order, sections, strict=True):
        claim = claims.claims()[name]
        assert section.find("details/summary/b").text == claim.title
        quote = section.find(".//blockquote")
        assert text(quote) == f"“{claim.claim}” {claim.where}"
        assert quote.find("cite").text == claim.where
        assert f"Read as: {claim.reading}. Reproduced: " in text(section)
        rows = card[card["id"] == name]
        found = section.findall(".//ul/li")
        assert len(found) == len(rows)
        for (who, drawing, _, verdict), row in zip(found, rows.itertuples(), strict=True):
            assert text(who) == f"{row.images} {row.convention}".strip()
            said = f"{cards.SIGNS[row.verdict]} {row.verdict}{'†' * row.late}"
            assert text(verdict).removesuffix(" by its value") == said
            if rows["ours"].notna().any():
                assert (drawing.tag, drawing.get("aria-hidden")) == ("svg", "true")  # the words say it all
            else:  # nothing to draw, and no axis
                assert (drawing.tag, text(drawing)) == ("span", "")
                assert section.find(".//p[@class='rf-ends']") is None
        counts = rows["verdict"].value_counts()
        brief = text(section.find("details/summary/small"))
        assert all(f"{cards.SIGNS[v]} {n} {cards.short(v)}" in brief for v, n in counts.items())
        missing = f"What is missing to test it: {claim.missing}"
        assert (missing in text(section)) == bool(claim.missing)
    assert "Reproduced: 0.10 to 0.50; in direction: 0.05 to 0.75. † The wider range was" in text(sections[0])
    assert "Reproduced: −0.185 to −0.175; in direction: −1.00 to 0.00." in text(sections[1])
    assert "†" not in text(sections[1])
    assert "in direction: 0.80 to 1.25. † This was set after results had been seen." in text(sections[2])
    assert "What is missing" in text(sections[2])
    links = {place(section): [a.get("href") for a in section.iter("a")] for section in sections}
    assert links == {
        "claim-rare-20": ["03.html?a=1&b=2#figure-x"],
        "claim-worked-ac": [],
        "claim-human-20": [],
    }


def test_the_class_of_a_line_says_its_verdict_and_whether_it_goes_beyond_the_paper(some):
    root, card = page_of(some)
    # In order of the claims: the lines of rare-20 first.
    card = card.sort_values("id", key=lambda ids: ids.map(card["id"].unique().tolist().index), kind="stable")
    expected = [
        f"rf-verdict-{claims.VERDICTS.index(row.verdict)}{' rf-beyond' * row.beyond}"
        for row in card.itertuples()
    ]
    assert [line.get("class") for line in root.iter("li")] == expected
    assert expected == [
        "rf-verdict-0",
        "rf-verdict-1 rf-beyond",
        "rf-verdict-6",
        "rf-verdict-2",
        "rf-verdict-0",
        "rf-verdict-7",
    ]


def percent(element, name):
    assert element.get(name).endswith("%")
    return float(element.get(name)[:-1])


def test_a_dot_stands_where_its_value_is(some):
    """Two dots fix the axis; all else must fit: the other dot, the bars, the ranges, the printed ends."""
    root, card = page_of(some)
    section, rows = next(root.iter("section")), card[card["id"] == "rare-20"]
    drawn = [line[1] for line in section.findall(".//ul/li")]
    dots = [percent(drawing.find("g/circle"), "cx") for drawing in drawn]
    (a, b), (x, y) = rows["ours"].iloc[[0, 3]], (dots[0], dots[3])

    def at(value):
        return x + (value - a) * (y - x) / (b - a)

    assert dots == pytest.approx([at(value) for value in rows["ours"]], abs=0.03)
    for drawing, row in zip(drawn, rows.to_dict("records"), strict=True):
        spans = [(row["from"], row["to"]), (row["low"], row["high"])]
        bars = drawing.findall("g/rect")
        expected = [(at(low), at(high)) for low, high in spans if np.isfinite(low)]
        found = [(percent(bar, "x"), percent(bar, "x") + percent(bar, "width")) for bar in bars]
        assert len(found) == len(expected)
        np.testing.assert_allclose(np.ravel(found), np.ravel(expected), atol=0.05)
        direction, reproduced = drawing.findall("rect")
        ends = [percent(reproduced, "x"), percent(reproduced, "x") + percent(reproduced, "width")]
        assert ends == pytest.approx([at(0.1), at(0.5)], abs=0.05)
        # That for the direction ends with the axis, or at its own end.
        wide = [percent(direction, "x"), percent(direction, "x") + percent(direction, "width")]
        assert wide == pytest.approx([max(0, at(0.05)), min(100, at(0.75))], abs=0.05)
    start, end = (float(span.text.replace("−", "-")) for span in section.find(".//p[@class='rf-ends']"))
    assert (at(start), at(end)) == pytest.approx((0, 100), abs=0.7)  # printed with two digits
    for value in rows[["ours", "low", "high", "from", "to"]].to_numpy().ravel():
        assert np.isnan(value) or -0.02 < at(value) < 100.02


def test_what_is_drawn_stays_in_its_place_whatever_comes_out():
    known = claims.claims()
    values = [-7.0, -0.2, 0.0, 0.31, 0.5, 0.9, 0.9999, 1.0, 3.0]
    one = [Finding(name, "x", value) for name in known for value in values]
    many = [Finding(name, "x", np.linspace(value, value + 2, 9)) for name in known for value in values]
    wide = [Finding(name, "x", value, interval=(value - 9, value + 9)) for name in known for value in values]
    for findings in (*([finding] for finding in one + many + wide), one, many):
        root, _ = page_of(findings)
        drawn = [e for e in root.iter() if e.tag in ("rect", "circle")]
        assert drawn
        for shape in drawn:
            ends = [percent(shape, "cx")] if shape.tag == "circle" else [percent(shape, "x")]
            if shape.tag == "rect":
                assert percent(shape, "width") > 0
                ends.append(ends[0] + percent(shape, "width"))
                assert percent(shape, "width") <= 100
            assert min(ends) >= 0, ElementTree.tostring(shape)
            # What is narrow is drawn .8 % wide, so that it can be seen.
            assert max(ends) <= 100.82, ElementTree.tostring(shape)


@pytest.mark.parametrize("claim", list(claims.claims()))
def test_an_axis_goes_no_further_than_the_quantity(claim):
    """Where all that is found lies in the range of the direction, the axis ends there at the latest."""
    known = claims.claims()[claim]
    for value in (known.direction_low, (known.low + known.high) / 2, known.direction_high):
        if known.direction_low < known.direction_high:
            root, _ = page_of([Finding(claim, "x", value)])
            start, end = (
                float(s.text.replace("−", "-")) for s in root.findall(".//p[@class='rf-ends']/span")
            )
            assert known.direction_low - 0.006 < start <= end < known.direction_high + 0.006
            assert start - 0.006 < value < end + 0.006


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_an_axis_has_a_length_where_all_is_equal(value):
    root, _ = page_of([Finding("worked-order", "example", value)])
    shapes = [e for e in root.iter() if e.tag in ("rect", "circle")]
    assert len(shapes) == (3 if value == 1 else 0)
    for shape in shapes:
        assert 0 <= percent(shape, "cx" if shape.tag == "circle" else "x") <= 100
    assert "Reproduced: 1.00." in text(root)
    assert "in direction" not in text(root)  # for it is the same range


def test_numbers_are_written_out(some):
    root, card = page_of(some)
    said = {text(who): text(number) for who, _, number, _ in lines(root)}
    first = card.iloc[0]
    assert said["mnist strict"] == f"{first['ours']:.2f} {first['low']:.2f} to {first['high']:.2f}"
    assert said["example"] == "−0.18"
    assert said["peterson"] == "–"
    assert said["cifar10"] == "0.30 in 1 of 10"
    assert said["cifar10-jpg"] == "0.90 0.85 to 0.95"
    root, _ = page_of(
        [
            Finding("rare-max", "cifar10", [0.1, 0.41, 0.5, np.nan, 0.3, 0.39, 0.2]),
            Finding("rare-max", "mnist", [0.6]),
            Finding("rare-below-low", "cifar10", -0.054, interval=(-0.2, 0.1)),
            Finding("r2-at-80", "mnist", 0.9974, interval=(0.981, 0.99951)),
            Finding("r2-at-80", "cifar10", -0.9904),
            Finding("r2-at-80", "digits", 1.0),
        ]
    )
    assert [text(number) for _, _, number, _ in lines(root)] == [
        "0.50 in range: 2 of 7",
        "0.60",
        "−0.05 −0.20 to 0.10",
        "0.997 0.981 to 1.00",
        "−0.990",
        "1.00",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (0.0004, "0.00"),
        (-0.0004, "0.00"),
        (0.0006, "0.001"),
        (-0.004, "−0.004"),
        (0.0194, "0.019"),
        (0.0196, "0.020"),
        (0.02, "0.02"),
        (-0.024, "−0.02"),
        (0.126, "0.13"),
        (-0.18, "−0.18"),
        (0.979, "0.98"),
        (0.98, "0.98"),
        (0.9804, "0.980"),
        (0.9949, "0.995"),
        (0.9994, "0.999"),
        (0.9996, "1.00"),
        (-0.9949, "−0.995"),
        (-0.9996, "−1.00"),
        (1.0, "1.00"),
        (1.004, "1.00"),
        (-12.3, "−12.30"),
    ],
)
def test_a_number_has_two_digits_or_three_near_0_and_1(value, expected):
    assert frame.number(value) == expected


def test_how_many_instances_have_a_value_is_said_where_some_have_none():
    root, _ = page_of(
        [
            Finding("poz-80", "mnist", [0.4, 0.4, np.nan]),
            Finding("poz-80", "digits", [0.4, 0.4, 0.4]),
            Finding("rare-max", "mnist", [0.5, np.nan, 0.1]),  # the largest: what lies in the range counts
            Finding("rare-max", "digits", [0.5, 0.1, 0.1]),
        ]
    )
    assert [text(number) for _, _, number, _ in lines(root)] == [
        "0.40 in 2 of 3",
        "0.40",
        "0.50 in range: 1 of 3",
        "0.50 in range: 1 of 3",
    ]


def test_a_line_says_between_which_verdicts_it_is_undecided_or_that_it_has_no_interval():
    across, within = np.linspace(0, 0.8, 9), np.linspace(0.35, 0.45, 9)
    both = "reproduced or in direction"
    findings = [
        (Finding("poz-80", "a", across), f"{both} or not reproduced; its value alone: reproduced"),
        (Finding("poz-80", "b", within), None),
        (Finding("poz-80", "c", 0.29, interval=(0.25, 0.33)), f"{both}; its value alone: in direction"),
        (Finding("poz-80", "d", [0.35, 0.4]), "by its value"),  # too few for an interval
        (Finding("poz-80", "e", [*across, *[np.nan] * 10]), None),  # undefined: nothing is decided
        (Finding("poz-80", "f", np.nan), None),
        (Finding("rare-max", "g", across), "by its value"),
        (Finding("human-lower", "h", 0.1, interval=(-0.1, 0.3)), None),
        (Finding("zeros-matter", "i", 0.06, interval=(0.04, 0.07)), "holds or fails; its value alone: holds"),
    ]
    root, card = page_of([finding for finding, _ in findings])
    found = [[small.text for small in verdict.findall("small")] for *_, verdict in lines(root)]
    either = "reproduced or not reproduced; its value alone: reproduced"
    assert found == [[either] if f.images == "h" else [small] if small else [] for f, small in findings]
    undecided = [True, False, True, *[False] * 4, True, True]
    assert (card["verdict"] == claims.UNDECIDED).tolist() == undecided


def test_verdicts_as_a_sign_and_in_words():
    card = scorecard.verdicts(
        [
            Finding("poz-80", "a", 0.4, interval=(0.35, 0.45)),
            Finding("poz-80", "b", 0.25, interval=(0.15, 0.35)),
            Finding("rare-max", "c", [0.1, 0.5]),
            Finding("rare-max", "c", [0.1, 0.5], "firing"),
            Finding("zeros-matter", "d", 0.05, interval=(0.04, 0.06)),
            Finding("poz-80", "e", np.nan),
        ]
    ).to_dict("records")
    assert [cards.sign(row) for row in card] == ["●", "●/◐/○†", "●", "●†", "▲/△†", "–"]
    assert [cards.words(row) for row in card] == [
        "reproduced",
        "undecided: reproduced or in direction or not reproduced†",
        "reproduced, by its value",
        "reproduced, by its value†",
        "undecided: holds or fails†",
        "cannot be tested here",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1996, "0.1996"),  # not .20, which would be in direction
        (0.1951, "0.195"),
        (0.2004, "0.20"),
        (0.2, "0.20"),
        (0.2949, "0.29"),
        (0.2951, "0.295"),
        (0.2999996, "0.30"),  # on the edge
        (0.504, "0.504"),
        (0.4951, "0.50"),
    ],
)
def test_a_number_that_is_written_has_its_own_verdict(value, expected):
    root, card = page_of([Finding("poz-80", "x", value, interval=(value, 0.6))])
    said = text(lines(root)[0][2])
    assert said == f"{expected} {expected} to 0.60"
    assert scorecard.readable(card, "ours")["ours"].tolist() == [expected]
    shown = float(expected)
    claim = claims.claims()["poz-80"]
    assert claims.verdict(claim, shown) == claims.verdict(claim, value)


def test_what_counts_is_said_in_words():
    findings = [Finding(name, "x", 0.1, interval=(0.05, 0.3)) for name in ("human-lower", "poz-80")]
    findings += [Finding(name, "x", 0.1) for name in ("zeros-matter", "ghosts-separate", "worked-order")]
    root, _ = page_of(findings)
    said = {place(section).removeprefix("claim-"): text(section) for section in root.iter("section")}
    late = "set after results had been seen."
    above = "where the whole interval is above 0."
    assert f"Reproduced {above} † This was {late}" in said["human-lower"]
    assert (
        f"Reproduced: 0.30 to 0.50; in direction: 0.20 to 0.80. † The wider range was {late}"
        in said["poz-80"]
    )
    ours = "The paper gives no number; by our own measure it holds"
    assert f"{ours} from 0.05 to 1.00. † This was {late}" in said["zeros-matter"]
    assert f"{ours} {above}" in said["ghosts-separate"]
    assert "Reproduced: 1.00." in said["worked-order"]
    assert late not in said["worked-order"]


def test_minus_signs_are_typographic():
    root, _ = page_of(
        [Finding("worked-ac", "example", -0.18), Finding("rare-below-low", "mnist", np.linspace(-1, 0, 9))]
    )
    for section in root.iter("section"):
        parts = section.find("details/div")
        own = [text(part) for part in parts if part.tag != "blockquote"]  # that is the paper's
        assert not re.search(r"-\d", " ".join(own))
        assert re.search(r"−\d", " ".join(own))


def test_what_has_no_value_has_no_dot_and_is_no_nan():
    findings = [
        Finding("human-20", "peterson", np.nan),
        Finding("human-lower", "peterson-furniture", [np.nan, np.nan]),
        Finding("human-20", "mur", 0.9, interval=(np.nan, np.nan)),
        Finding("rare-20", "mnist", [np.nan] * 5),
    ]
    root, card = page_of(findings)
    sections = {place(s): s.findall(".//ul/li") for s in root.iter("section")}
    dots = {name: [len(line.findall(".//circle")) for line in found] for name, found in sections.items()}
    assert dots == {"claim-human-20": [0, 1], "claim-human-lower": [0], "claim-rare-20": [0]}
    for part in root.iter():
        if part.tag != "a":
            for said in (part.text, part.tail, *part.attrib.values()):
                assert "nan" not in (said or "").lower()
    said = []
    for _, drawing, number, verdict in (line for line in lines(root) if line[1].find(".//circle") is None):
        assert text(number) == "–"
        said.append(text(verdict))
        assert not drawing.findall("g/*")
        # What is asked for is drawn all the same, beside one that has a value.
        assert bool(drawing.findall("rect")) == (drawing.tag == "svg")
    # One finding without a value, then two of several instances.
    without = [claims.UNTESTED, claims.UNDEFINED, claims.UNDEFINED]  # the mark is on verdicts only
    assert said == [f"{cards.SIGNS[verdict]} {verdict}" for verdict in without]
    assert card["ours"].isna().sum() == 3


def test_texts_are_escaped():
    name, way, place = '<b>bold</b> & "co"', "<i>strictly</i>", 'x.html?"><script>alert(1)</script>'
    root, _ = page_of(
        [Finding("poz-80", name, 0.4, way), Finding("human-lower", "x", 1)], places={"poz-80": place}
    )
    (who, *_), _ = lines(root)
    assert (who.text.strip(), who.find("small").text) == (name, way)
    assert not list(who.iter("b"))
    assert next(root.iter("section")).find(".//a").get("href") == place
    assert not list(root.iter("script"))
    assert claims.claims()["human-lower"].missing in text(root)  # with its own quotation marks


def test_cards_have_a_name_a_caption_and_their_numbers(some):
    root, card = page_of(some)
    (group,) = [e for e in root.iter("div") if e.get("role") == "group"]
    assert group.get("aria-label")
    assert len(list(group.iter("section"))) == 3
    caption = root.find("figcaption")
    assert text(caption).startswith("Finding one.")
    assert caption.find("em").text == "one"
    link = caption.find("a[@download='verdicts.csv']")
    data = base64.b64decode(link.get("href").removeprefix("data:text/csv;base64,"))
    found = pd.read_csv(
        io.BytesIO(data), keep_default_na=False, na_values=dict.fromkeys(("ours", "low", "high"), "")
    )
    assert found.columns.tolist() == [c for c in card.columns if c != "claim"]
    assert found["images"].tolist() == card["images"].tolist()
    assert found["verdict"].tolist() == card["verdict"].tolist()
    np.testing.assert_allclose(found["ours"].astype(float), card["ours"], rtol=1e-4)
    np.testing.assert_allclose(found["low"].astype(float), card["low"], rtol=1e-4)


def test_names_for_readers_are_shown(some):
    root, _ = page_of(some, renamed=palette.LABELS)
    names = [text(line[0]) for line in lines(root)]
    assert names == [
        *("MNIST strict", "digits", "CIFAR-10", "CIFAR-10 (JPEG)", "example"),
        "Peterson et al., six sets",
    ]
    assert "rf-beyond" in root.findall(".//li")[1].get("class")


def test_signs_tell_verdicts_apart_without_colour():
    assert list(cards.SIGNS) == list(claims.VERDICTS)
    assert len(set(cards.SIGNS.values())) == len(claims.VERDICTS)
    assert all(len(sign) == 1 for sign in cards.SIGNS.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "No Spaces"}, "lower-case letters, digits and hyphens; got 'No Spaces'"),
        ({"caption": ""}, "the figure 'verdicts' needs a text alternative and a caption"),
    ],
)
def test_errors_of_cards(some, options, message):
    with pytest.raises(InputError, match=message):
        page_of(some, **options)


def test_verdicts_as_bars_are_counted():
    kinds = [claims.REPRODUCED] * 3 + [claims.UNDECIDED]
    figure, numbers = cards.verdict_bars({"one": kinds, "other": [claims.REPRODUCED]})
    assert numbers.set_index("part").to_dict("list") == {claims.REPRODUCED: [3, 1], claims.UNDECIDED: [1, 0]}
    axes = figure.axes[0]
    widths = sorted(round(bar.get_width(), 6) for bar in axes.patches)
    assert widths == [0.0, 0.25, 0.75, 1.0]
    assert {t.get_text() for t in axes.texts} == {
        "● 3",
        "△ 1".replace("△", cards.SIGNS[claims.UNDECIDED]),
        "● 1",
    }
