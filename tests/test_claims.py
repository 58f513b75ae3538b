"""Claims, verdicts, and the record of our own runs."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.page import claims

ROOT = Path(__file__).resolve().parents[1]
CLAIM = claims.Claim(
    "x", "g", "title", "c", "w", ".4", ("mnist",), "share", "median", 0.3, 0.5, 0.1, 1.0, "before", "f", ""
)
OURS = replace(CLAIM, value="–", direction_low=0.3, direction_high=0.5)
POSITIVE = replace(CLAIM, statistic="positive", low=0.0, high=1.0, direction_low=0.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.3, claims.REPRODUCED),
        (0.5, claims.REPRODUCED),
        (0.29, claims.DIRECTION),
        (0.29999, claims.DIRECTION),
        (0.3 - 1e-8, claims.REPRODUCED),  # on the edge, in single precision
        (0.5 + 1e-8, claims.REPRODUCED),
        (1.0, claims.DIRECTION),
        (1.0 + 1e-8, claims.DIRECTION),
        (0.09, claims.NOT_REPRODUCED),
        (1.1, claims.NOT_REPRODUCED),
        (math.nan, claims.UNTESTED),
    ],
)
def test_verdicts_at_and_around_the_bounds(value, expected):
    assert claims.verdict(CLAIM, value) == expected


def test_all_verdicts_are_listed_from_the_best_on():
    found = [claims.verdict(CLAIM, value) for value in (0.4, 0.2, 0.0)]
    found += [claims.verdict(OURS, value) for value in (0.4, 0.2)]
    assert list(claims.VERDICTS) == [*found, claims.UNDECIDED, claims.UNDEFINED, claims.UNTESTED]
    assert len(set(claims.VERDICTS)) == 8


@pytest.mark.parametrize(
    ("claim", "value", "expected"),
    [
        (OURS, 0.3, claims.HOLDS),
        (OURS, 0.3 - 1e-8, claims.HOLDS),
        (OURS, 0.29, claims.FAILS),
        (OURS, 0.51, claims.FAILS),
        (OURS, math.nan, claims.UNTESTED),
        (POSITIVE, 0.0, claims.NOT_REPRODUCED),
        (POSITIVE, 1e-7, claims.NOT_REPRODUCED),  # rounding is not positive either
        (POSITIVE, 1e-4, claims.REPRODUCED),
        (POSITIVE, 7.0, claims.REPRODUCED),
        (POSITIVE, -0.1, claims.NOT_REPRODUCED),
        (replace(POSITIVE, value="–"), 0.1, claims.HOLDS),
        (replace(POSITIVE, value="–"), -0.1, claims.FAILS),
    ],
)
def test_what_the_paper_gives_no_number_for_holds_or_fails_and_what_is_positive_is_above_0(
    claim, value, expected
):
    assert claims.verdict(claim, value) == expected


R, D, N = claims.REPRODUCED, claims.DIRECTION, claims.NOT_REPRODUCED


@pytest.mark.parametrize(
    ("claim", "interval", "expected"),
    [
        (CLAIM, (0.3, 0.5), (R,)),
        (CLAIM, (0.29, 0.45), (R, D)),
        (CLAIM, (0.3 - 1e-8, 0.5 + 1e-8), (R,)),  # its ends, in single precision
        (CLAIM, (0.35, 0.51), (R, D)),
        (CLAIM, (0.2, 0.6), (R, D)),
        (CLAIM, (0.15, 0.25), (D,)),
        (CLAIM, (0.6, 0.9), (D,)),
        (CLAIM, (0.05, 0.2), (D, N)),
        (CLAIM, (0.0, 0.09), (N,)),
        (CLAIM, (0.0, 1.1), (R, D, N)),  # everything lies within
        (CLAIM, (-9.0, 9.0), (R, D, N)),
        (CLAIM, (1.1, 1.2), (N,)),
        (CLAIM, (math.nan, 0.4), ()),
        (CLAIM, (0.4, math.inf), ()),
        (OURS, (0.2, 0.4), (claims.HOLDS, claims.FAILS)),
        (OURS, (0.2, 0.6), (claims.HOLDS, claims.FAILS)),
        (OURS, (0.35, 0.4), (claims.HOLDS,)),
        (POSITIVE, (0.001, 0.1), (R,)),
        (POSITIVE, (0.9, 1.1), (R,)),
        (POSITIVE, (-0.1, -0.001), (N,)),
        (POSITIVE, (-0.1, 0.1), (R, N)),
        (POSITIVE, (0.0, 0.1), (R, N)),
    ],
)
def test_an_interval_across_a_border_has_more_than_one_verdict(claim, interval, expected):
    assert claims.verdicts_within(claim, *interval) == expected
    # No value in it has another: a fine grid of them says so.
    if expected:
        grid = np.linspace(*interval, 2001)
        assert {claims.verdict(claim, float(value)) for value in grid} <= set(expected)


def test_a_verdict_on_a_range_that_was_set_afterwards_is_late():
    before, direction, after = (replace(CLAIM, declared=when) for when in claims.DECLARED)
    tested = claims.VERDICTS[:-2]
    assert not any(before.is_late(verdict) for verdict in claims.VERDICTS)
    assert [v for v in tested if not direction.is_late(v)] == [claims.REPRODUCED]  # the inner range decides
    assert all(after.is_late(verdict) for verdict in tested)
    for claim in (direction, after):
        assert not claim.is_late(claims.UNDEFINED)
        assert not claim.is_late(claims.UNTESTED)


def test_borders_are_the_ends_of_the_ranges():
    assert CLAIM.borders == (0.1, 0.3, 0.5, 1.0)
    assert POSITIVE.borders == (0.0,)


def test_the_papers_claims_are_complete():
    known = claims.claims()
    assert {"poz-80", "r2-at-80", "r2-at-30", "rare-20", "rare-max", "worked-ab"} <= set(known)
    groups = ["networks", "geometry", "example", "people", "ghosts"]
    assert list(dict.fromkeys(claim.group for claim in known.values())) == groups  # each in one piece
    for name, claim in known.items():
        assert claim.id == name
        assert re.fullmatch("[a-z0-9-]+", name)  # part of an anchor
        for text in (claim.title, claim.claim, claim.where, claim.value, claim.reading):
            assert text == text.strip() != "", name
        assert claim.scope, name
        assert claim.direction_low <= claim.low <= claim.high <= claim.direction_high


def test_what_the_paper_gives_no_number_for_is_not_counted():
    """And a range that every result would be in is none: it leaves out some of what the quantity can be."""
    ours = {claim.id for claim in claims.claims().values() if not claim.counted}
    assert ours == {
        *("accuracy-mnist", "accuracy-cifar10", "zeros-matter", "ghosts-separate", "ghosts-specific")
    }
    for claim in claims.claims().values():
        if claim.statistic == "median" and claim.scope != ("example",):
            assert (claim.direction_low, claim.direction_high) > (0.0, 1.0), claim.id


def test_every_claim_says_when_its_ranges_were_set():
    when = {claim.id: claim.declared for claim in claims.claims().values()}
    assert {name for name, declared in when.items() if declared == "direction after"} == {"poz-80", "rare-20"}
    after = {name for name, declared in when.items() if declared == "after"}
    people = {claim.id for claim in claims.claims().values() if claim.group in ("people", "ghosts")}
    # Of what pictures show there are no results yet.
    assert after == {"rare-below-low", "zeros-matter", *people} - {"ghosts-figure"}


def test_what_the_book_shows_of_a_claim_is_where_it_says():
    for claim in claims.claims().values():
        page, kind, name = re.fullmatch(
            r"notebooks/(\w+)\.html#(figure|table)-([a-z0-9-]+)", claim.figure
        ).groups()
        notebook = ROOT / "notebooks" / f"{page}.ipynb"
        assert notebook.is_file(), claim.id
        source = "".join("".join(c["source"]) for c in json.loads(notebook.read_text("utf-8"))["cells"])
        assert f'name="{name}"' in source, (claim.id, kind)


def test_what_cannot_be_tested_says_what_is_missing():
    missing = {claim.id for claim in claims.claims().values() if claim.missing}
    assert missing == {"human-20", "human-lower", "ghosts-separate", "ghosts-specific", "ghosts-figure"}
    # All else is about images that anyone can have.
    asked_for = {
        claim.id
        for claim in claims.claims().values()
        if all(name.split("-")[0] == "peterson" for name in claim.scope)
    }
    assert missing == asked_for


def test_what_verdicts_are_on():
    by_statistic: dict[str, list[str]] = {}
    for claim in claims.claims().values():
        by_statistic.setdefault(claim.statistic, []).append(claim.id)
    assert set(by_statistic) == {"median", "largest", "positive"}
    assert by_statistic["positive"] == ["rare-below-low", "human-lower", "ghosts-separate"]
    assert by_statistic["largest"] == ["rare-max"]


def test_claims_on_ghosts_are_about_the_papers_own_images():
    ghosts = [claim for claim in claims.claims().values() if claim.group == "ghosts"]
    assert [claim.id for claim in ghosts] == ["ghosts-separate", "ghosts-specific", "ghosts-figure"]
    for claim in ghosts:
        assert claim.scope == ("peterson",)
        assert claim.is_about("peterson-fruits")
        assert not claim.is_about("mnist")
        assert not claim.is_about("photographs: fruits")


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("mnist", True),
        ("mnist, wide", False),
        ("cifar10-jpg", True),
        ("cifar10-jpg, wide", False),
        ("cifar10: some", True),
        ("mnistx", False),
        ("digits", False),
        ("cifar1", False),
        ("a-mnist", False),
        ("", False),
    ],
)
def test_a_claim_is_about_forms_of_its_image_sets(images, expected):
    assert claims.claims()["poz-80"].is_about(images) is expected


def test_a_claim_on_one_set_is_not_about_the_other():
    assert not claims.claims()["r2-at-30"].is_about("mnist")
    assert claims.claims()["r2-at-30"].is_about("cifar10-jpg")


def _file(path, **changes):
    """A file with one claim; without a column where the change is None."""
    row = {
        "id": "a", "group": "g", "title": "t", "claim": " c ", "where": "w", "value": "1", "scope": "x  y",
        "reading": "r", "statistic": "median", "low": "0.3", "high": "0.5", "direction_low": "0",
        "direction_high": "1", "declared": "after", "figure": "f", "missing": "",
    }  # fmt: skip
    row = {name: value for name, value in (row | changes).items() if value is not None}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return path


def test_claims_of_another_file(tmp_path):
    (found,) = claims.claims(_file(tmp_path / "own.csv")).values()
    expected = claims.Claim(
        "a", "g", "t", "c", "w", "1", ("x", "y"), "r", "median", 0.3, 0.5, 0.0, 1.0, "after", "f", ""
    )
    assert found == expected


@pytest.mark.parametrize("statistic", ["median", "largest", "positive"])
def test_a_claim_is_on_a_statistic(tmp_path, statistic):
    (found,) = claims.claims(_file(tmp_path / "own.csv", statistic=f" {statistic} ")).values()
    assert found.statistic == statistic


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"high": "0.2"}, "the ranges of 'a' are not nested"),
        ({"direction_low": "0.31"}, "the ranges of 'a' are not nested"),
        ({"direction_high": "0.49"}, "the ranges of 'a' are not nested"),
        ({"low": "nan"}, "the ranges of 'a' are not nested"),
        ({"statistic": "mean"}, "'a' is on one of median, largest, positive"),
        ({"statistic": ""}, "'a' is on one of median, largest, positive"),
        ({"declared": "later"}, "the ranges of 'a' were declared before, direction after, after"),
        ({"value": "–"}, "the paper gives no number for 'a', so .* both ranges must be the same"),
        ({"declared": None}, r"lacks a column or a number \('declared'\)"),
        ({"figure": None}, r"lacks a column or a number \('figure'\)"),
        ({"scope": None}, r"lacks a column or a number \('scope'\)"),
        ({"direction_high": None}, r"lacks a column or a number \('direction_high'\)"),
        ({"low": "much"}, "lacks a column or a number"),
    ],
)
def test_a_file_of_claims_must_be_whole(tmp_path, changes, message):
    path = _file(tmp_path / "bad.csv", **changes)
    with pytest.raises(DataError, match=message) as raised:
        claims.claims(path)
    assert str(path) in str(raised.value)


def test_a_torn_file_of_claims_and_none(tmp_path):
    path = _file(tmp_path / "torn.csv")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match="lacks a column or a number"):
        claims.claims(path)
    with pytest.raises(DataError, match="no file of claims at .*none.csv"):
        claims.claims(tmp_path / "none.csv")


# --- beside what was measured --------------------------------------------------------------------


def test_check_recorded(tmp_path):
    file = tmp_path / "recorded.csv"
    file.write_text("name,recorded,tolerance\na,0.5,0.1\nb,0.2,0.01\n")
    found = claims.check_recorded({"b": 0.25, "a": 0.55}, path=file)
    assert found.index.tolist() == ["b", "a"]
    assert found["same"].tolist() == [False, True]
    with pytest.raises(UnknownNameError, match="no recorded number 'c'. There are: a, b"):
        claims.check_recorded({"c": 1.0}, path=file)


def test_a_tolerance_is_four_standard_errors_of_a_difference_of_medians(rng):
    """Of normal values the median has a standard error of 1.2533 σ/√n; two ensembles, √2 as much."""
    found = [claims.tolerance(rng.normal(size=301), rng=rng, n_boot=500) for _ in range(40)]
    assert np.mean(found) == pytest.approx(4 * 2**0.5 * 1.2533 / 301**0.5, rel=0.15)
    values = rng.random(50)
    same = [claims.tolerance(v, rng=np.random.default_rng(0)) for v in (values, [*values, np.nan])]
    assert same[0] == same[1]
    assert claims.tolerance([0.25] * 5, rng=rng) == 0  # a number that has no digits to lose
    with pytest.raises(InputError, match="one value from each of three networks; got \\(2,\\)"):
        claims.tolerance([0.1, 0.2], rng=rng)


@pytest.mark.parametrize("images", ["mnist", "cifar10-jpg"])
def test_recorded_medians_and_tolerances_are_those_of_the_shipped_networks(images, rng):
    """Tolerances within the bootstrap's error, rounded up to two digits."""
    from rarefire.records import ensembles

    ensemble = ensembles.known(images)
    values = {
        "poz-80": (ensemble["poz_test"] > 0.8).mean(axis=1),
        "low-30": ensemble.at("low", 0.3),
        "low-80": ensemble.at("low", 0.8),
        "high-30": ensemble.at("high", 0.3),
    }
    medians = {f"{name}/{images}": float(np.nanmedian(v)) for name, v in values.items()}
    rows = claims.check_recorded(medians)
    np.testing.assert_allclose(rows["now"], rows["recorded"], atol=6e-5)  # as many digits as are recorded
    for given, v in zip(rows["tolerance"], values.values(), strict=True):
        assert 0.95 < given / claims.tolerance(v, rng=rng) < 1.2
