"""Claims, verdicts, and the record of our own runs."""

import math

import numpy as np
import pytest

from rarefire import claims, rdm
from rarefire.errors import DataError, InputError, UnknownNameError

CLAIM = claims.Claim("x", "c", "w", ".4", "share", 0.3, 0.5, 0.1, 1.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.3, claims.REPRODUCED),
        (0.5, claims.REPRODUCED),
        (0.29, claims.DIRECTION),
        (1.0, claims.DIRECTION),
        (0.09, claims.NOT_REPRODUCED),
        (1.1, claims.NOT_REPRODUCED),
        (math.nan, claims.UNTESTED),
    ],
)
def test_verdicts_at_and_around_the_bounds(value, expected):
    assert claims.verdict(CLAIM, value) == expected


def test_the_papers_claims_are_complete_and_nested():
    known = claims.claims()
    assert {"poz-80", "r2-at-80", "r2-at-30", "rare-20", "rare-max", "worked-ab"} <= set(known)
    for claim in known.values():
        assert claim.claim
        assert claim.where
        assert claim.reading


def test_the_worked_example_gets_its_verdicts():
    example = np.array(
        [[0.91, 0.76, 0.3, 0.7, 0.9, 0], [0.4, 0.7, 0.6, 0.3, 0.7, 0], [0.02, 0.4, 0.9, 0.2, 0.2, 0]]
    )
    ab, ac, bc = 1 - rdm.rdm(example)
    found = claims.scorecard([("worked-ab", "–", ab), ("worked-bc", "–", bc), ("worked-ac", "–", ac)])
    assert found["verdict"].tolist() == [claims.REPRODUCED] * 3


def test_scorecard_takes_the_median_of_what_is_defined():
    found = claims.scorecard(
        [("poz-80", "digits", [0.35, 0.45, 0.4, np.nan]), ("rare-20", "digits", [np.nan])]
    )
    assert found["ours"][0] == pytest.approx(0.4)
    assert found["undefined"].tolist() == [1, 1]
    assert found["verdict"].tolist() == [claims.REPRODUCED, claims.UNTESTED]


def test_a_verdict_is_withheld_where_most_instances_are_undefined():
    half, fewer = [0.4, 0.4, np.nan, np.nan], [0.4, np.nan, np.nan]
    found = claims.scorecard([("poz-80", "a", half), ("poz-80", "b", fewer)])
    assert found["verdict"].tolist() == [claims.REPRODUCED, claims.UNDEFINED]


def test_check_recorded(tmp_path):
    file = tmp_path / "recorded.csv"
    file.write_text("name,recorded,tolerance\na,0.5,0.1\nb,0.2,0.01\n")
    found = claims.check_recorded({"b": 0.25, "a": 0.55}, path=file)
    assert found.index.tolist() == ["b", "a"]
    assert found["same"].tolist() == [False, True]
    with pytest.raises(UnknownNameError, match="no recorded number 'c'. There are: a, b"):
        claims.check_recorded({"c": 1.0}, path=file)


def test_errors(tmp_path):
    with pytest.raises(UnknownNameError, match="no claim 'poz-8'. There are: poz-80"):
        claims.scorecard([("poz-8", "digits", [0.1])])
    with pytest.raises(InputError, match=r"one value per instance, got shape \(2, 2\)"):
        claims.scorecard([("poz-80", "digits", np.ones((2, 2)))])
    with pytest.raises(DataError, match="no file of claims"):
        claims.claims(tmp_path / "none.csv")
    head = "id,claim,where,value,reading,low,high,direction_low,direction_high\n"
    (tmp_path / "bad.csv").write_text(head + "a,c,w,1,r,0.5,0.3,0,1\n")
    with pytest.raises(DataError, match="the ranges of 'a' are not nested"):
        claims.claims(tmp_path / "bad.csv")
    (tmp_path / "torn.csv").write_text(head + "a,c,w,1,r,0.5\n")
    with pytest.raises(DataError, match="lacks a column or a number"):
        claims.claims(tmp_path / "torn.csv")
