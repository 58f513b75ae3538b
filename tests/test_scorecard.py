"""Findings for each claim, against the arrays that they are taken from."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rarefire import inference, records, store
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.page import claims, scorecard
from rarefire.page.scorecard import Finding
from rarefire.records.ensembles import Ensemble
from rarefire.records.ghosts_by_class import ClassGhosts
from rarefire.records.people import Prediction
from rarefire.records.people_across import Across

N, F = 7, 21  # instances, features
K20, K30, K80 = 4, 6, 17  # 20, 30 and 80 % of 21 features: 4.2, 6.3, 16.8
SUFFIXES = {"authors": "_class", "class": "_class_signed", "images": "", "strict": "_heldout"}
SUFFIXES["firing"] = ""  # the same curves, read elsewhere


@pytest.fixture
def ensemble(rng):
    """Seven made instances; curves differ between the conventions, and some are undefined for a while."""
    arrays = {name: rng.uniform(0.4, 1, (N, F)) for name in ("poz_test", "poz_heldout")}
    arrays["poz_test"][0, :3] = 0.8  # not greater than .8
    arrays["poz_heldout"][1, :2] = 0.8
    for i in range(1, N):
        arrays["poz_test"][i, -i:] = 1  # so many never fire
    for suffix in dict.fromkeys(SUFFIXES.values()):
        for first in ("low", "high"):
            r, counted = rng.uniform(-1, 1, (N, F)), np.full((N, F), 40)
            if first == "high":
                r[2, : K20 + 1] = np.nan  # nothing fires
                r[3, :2] = np.nan
                counted[4, : K20 - 1] = 19  # fewer than half of the images
                r[4, : K20 - 1] = 0.99
                counted[5, :F] = 20
                counted[5, -1] = 40  # half of them are enough
            arrays[first + suffix], arrays[f"n_images_{first}{suffix}"] = r, counted
    arrays["accuracy"] = rng.uniform(0.9, 1, N)
    return Ensemble.of(arrays, stimuli="mnist", network="lenet5")


def of_others(ensemble, *, images="mnist", network="lenet5"):
    """The same numbers, as if of other images and networks."""
    return Ensemble.of(ensemble.arrays, stimuli=images, network=network)


def r2(ensemble, name, i, k):
    """R² of instance i with the first k features, or NaN."""
    counted = ensemble.arrays[f"n_images_{name}"][i]
    return ensemble.arrays[name][i, k - 1] ** 2 if 2 * counted[k - 1] >= counted[-1] else np.nan


def by_id(findings):
    findings = list(findings)
    assert len({f.claim for f in findings}) == len(findings)
    return {f.claim: f for f in findings}


@pytest.mark.parametrize("convention", ["authors", "class", "images", "strict"])
def test_geometry_equals_loops(ensemble, convention):
    found = by_id(scorecard.geometry(ensemble, convention=convention))
    low, high = (first + SUFFIXES[convention] for first in ("low", "high"))
    rates = ensemble.arrays["poz_heldout" if convention == "strict" else "poz_test"]
    firing = [sum(rate < 1 for rate in row) for row in rates]
    assert (firing == [21, 20, 19, 18, 17, 16, 15]) == (convention != "strict")
    largest = [[r2(ensemble, high, i, k) for k in range(1, K20 + 1)] for i in range(N)]
    expected = {
        "poz-80": [sum(rate > 0.8 for rate in row) / F for row in rates],
        "r2-at-80": [r2(ensemble, low, i, K80) for i in range(N)],
        "zeros-matter": [1 - r2(ensemble, low, i, firing[i]) for i in range(N)],
        "r2-at-30": [r2(ensemble, low, i, K30) for i in range(N)],
        "rare-20": [r2(ensemble, high, i, K20) for i in range(N)],
        "rare-max": [max((v for v in row if v == v), default=np.nan) for row in largest],
        "rare-below-low": [r2(ensemble, low, i, K30) - r2(ensemble, high, i, K30) for i in range(N)],
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].values, values, err_msg=name)
        assert (found[name].images, found[name].convention) == ("mnist", convention)
        assert found[name].interval is None
    # The made ensemble has what a curve can lack.
    assert np.isnan(found["rare-20"].values[2])
    assert np.isnan(found["rare-max"].values).tolist() == [i == 2 for i in range(N)]
    # .99² of few images does not count.
    assert found["rare-max"].values[4] == pytest.approx(r2(ensemble, high, 4, K20), rel=1e-12)
    assert np.isfinite(found["rare-20"].values[5])


def test_shares_of_the_features_that_fire_equal_loops(ensemble):
    for i in range(N):
        ensemble.arrays["poz_test"][i] = np.where(np.arange(F) < 2 * i, 1, 0.5)
    found = by_id(scorecard.geometry(ensemble, convention="firing"))
    low, high = "low", "high"

    def at(name, share, i):
        """R² of the first share of what fires; of the rarest, after what never does."""
        firing = F - 2 * i
        return r2(ensemble, name, i, round(share * firing) + (2 * i if name == high else 0))

    largest = [
        [r2(ensemble, high, i, 2 * i + k) for k in range(1, round(0.2 * (F - 2 * i)) + 1)] for i in range(N)
    ]
    expected = {
        "r2-at-80": [at(low, 0.8, i) for i in range(N)],
        "r2-at-30": [at(low, 0.3, i) for i in range(N)],
        "rare-20": [at(high, 0.2, i) for i in range(N)],
        "rare-max": [max((v for v in row if v == v), default=np.nan) for row in largest],
        "rare-below-low": [at(low, 0.3, i) - at(high, 0.3, i) for i in range(N)],
    }
    assert set(found) == set(expected)  # how many fire is no share of those that do
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].values, values, err_msg=name)


def test_the_strict_convention_is_the_usual_one(ensemble):
    usual, strict = (
        by_id(g) for g in (scorecard.geometry(ensemble), scorecard.geometry(ensemble, convention="strict"))
    )
    assert {name: f.convention for name, f in usual.items()} == dict.fromkeys(strict, "strict")
    np.testing.assert_array_equal(usual["rare-20"].values, strict["rare-20"].values)


@pytest.mark.parametrize(
    ("images", "network", "name", "beyond"),
    [
        ("mnist", "lenet5", "mnist", False),
        ("mnist", "lenet5-wide", "mnist, wide", True),
        ("mnist", "lenet5-batchnorm", "mnist, batchnorm", True),
        ("cifar10-jpg", "lenet5", "cifar10-jpg", False),
        ("digits", "lenet5", "digits", True),
        ("digits", "lenet5-half", "digits, half", True),
    ],
)
def test_findings_are_named_by_images_and_the_form_of_the_network(ensemble, images, network, name, beyond):
    given = of_others(ensemble, images=images, network=network)
    card = scorecard.verdicts([*scorecard.accuracy(given), *scorecard.geometry(given)])
    assert set(card["images"]) == {name}
    assert set(card.loc[card["id"].isin(["poz-80", "rare-20"]), "beyond"]) == {beyond}


@pytest.mark.parametrize(
    ("images", "claim"),
    [
        ("mnist", "accuracy-mnist"),
        ("cifar10", "accuracy-cifar10"),
        ("cifar10-jpg", "accuracy-cifar10"),
        ("digits", None),
    ],
)
def test_accuracy_is_compared_where_the_paper_has_these_images(ensemble, images, claim):
    found = list(scorecard.accuracy(of_others(ensemble, images=images)))
    assert [f.claim for f in found] == ([] if claim is None else [claim])
    for finding in found:
        np.testing.assert_array_equal(finding.values, ensemble["accuracy"])


def test_an_unknown_convention(ensemble):
    with pytest.raises(UnknownNameError, match="no convention 'stict'. There are: strict, "):
        list(scorecard.geometry(ensemble, convention="stict"))


def test_the_example_equals_numpy():
    """The paper: .62, .56, −.18 with the zero; −.06, .40, −.94 without; the order turns."""
    found = {name: f.values for name, f in by_id(scorecard.example()).items()}
    rows = np.array(scorecard.EXAMPLE)
    assert rows.shape == (3, 6)
    assert not rows[:, 5].any()
    for suffix, embedding in (("", rows), ("-without", rows[:, :5])):
        r = np.corrcoef(embedding)
        for pair, value in {"ab": r[0, 1], "ac": r[0, 2], "bc": r[1, 2]}.items():
            assert found[f"worked-{pair}{suffix}"] == pytest.approx(value, abs=1e-12)
    assert found["worked-ab"] > found["worked-bc"]
    assert found["worked-ab-without"] < found["worked-bc-without"]
    assert found["worked-order"] == 1


def test_the_example_is_reproduced_but_for_the_last_digit_of_one_number():
    card = scorecard.verdicts(scorecard.example()).set_index("id")
    expected = dict.fromkeys(card.index, claims.REPRODUCED) | {"worked-ab-without": claims.DIRECTION}
    assert card["verdict"].to_dict() == expected
    assert set(card["by"]) == {"value"}  # there are no other images that it could be about
    assert not card["late"].any()
    assert len(card) == 7
    assert not card["beyond"].any()
    for name, printed in card["paper"].items():
        if name not in ("worked-order", "worked-ab-without"):
            assert float(printed.replace("−", "-")) == pytest.approx(card.loc[name, "ours"], abs=0.005)


# --- people --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mur_predicted():
    found = records.people.known("mur")
    assert [p.view for p in found] == ["pooled", "channels", "positions"]
    return found


def ratio(prediction):
    """R² of the first 20 % of the features, relative to all, and its interval, from the arrays."""
    arrays = prediction.arrays
    whole = float(arrays["low"][-1])
    # D and its interval at 20 %, in units of r with single people; ceiling: from the mean to these.
    d, low, high = arrays["advance_low"][0][:3].astype(float) / float(arrays["ceiling"][1])
    return ((whole + d) / whole) ** 2, (((whole + low) / whole) ** 2, ((whole + high) / whole) ** 2)


def across(d, se, *, df=30.0, r_all=0.5, sets=("letters", "materials")):
    """Two networks on some sets, with known D by network, reading and share: ``(2, 6, 3)``."""
    answers = []
    for name in sets:
        for network, (own, error) in enumerate(zip(d, se, strict=True)):
            error = np.broadcast_to(error, own.shape)
            low, high, p = inference.t_interval(own, error, df)
            whole = np.full(own.shape, r_all)
            columns = (own, low, high, error, np.full(own.shape, df), p, whole + own, whole)
            arrays = {
                "tests": np.stack(columns, axis=-1),
                "skewness": np.zeros((6, 3)),
                "random": np.zeros((3, 3)),
            }
            facts = {"judgments": name, "network": f"n{network}", "view": "pooled"}
            answers.append(store.Answer(arrays, store.provenance("given", facts), "computed"))
    return Across(tuple(answers))


def test_people_are_means_over_networks_that_err_together():
    d = np.zeros((2, 6, 3))
    d[:, 0, 0] = -0.05, -0.03  # left out, 20 %
    d[:, 0, 1], d[:, 2, 1], d[:, 3, 1] = (0.03, 0.05), (0.01, 0.0), (-0.04, -0.06)
    found = list(scorecard.people(across(d, [0.01, 0.02]), None))
    said = {(f.claim, f.images, f.convention): f for f in found}
    assert len(said) == len(found)
    margin = stats.t.ppf(0.975, 30) * 0.015  # the mean of the standard errors, not less
    fifth = said["human-20", "36 letters, 2 networks", ""]
    assert fifth.values == pytest.approx((0.46 / 0.5) ** 2)
    assert fifth.interval == pytest.approx([((0.46 + s * margin) / 0.5) ** 2 for s in (-1, 1)])
    half = said["human-lower", "36 letters, 2 networks", ""]
    assert half.values == pytest.approx(0.04)
    assert half.interval == pytest.approx((0.04 - margin, 0.04 + margin))
    assert said["human-lower", "100 materials, 2 networks", ""].values == pytest.approx(0.04)
    # Agreement with majorities has no R².
    assert not any(claim == "human-20" and "materials" in images for claim, images, _ in said)
    card = scorecard.verdicts(found).set_index(["id", "images", "convention"])
    assert card.loc[("human-lower", "36 letters, 2 networks", ""), "verdict"] == claims.REPRODUCED
    assert card["beyond"].iloc[:3].all()


def test_people_equal_what_was_recorded():
    lenets = records.people_by_class.known("cifar10h")
    recorded = records.people_across.known()
    found = {(f.claim, f.images, f.convention): f for f in scorecard.people(recorded, lenets)}
    table = recorded.table().query("view == 'pooled' and share == 0.5 and reading == 'removed'")
    for name, title in records.people_across.SETS.items():
        rows = table[table["set"] == name]
        assert len(rows) == 5
        half = found["human-lower", f"{title}, 5 networks", ""]
        assert half.values == pytest.approx(rows["estimate"].mean())
        width = half.interval[1] - half.interval[0]
        assert width == pytest.approx(2 * stats.t.ppf(0.975, rows["df"].min()) * rows["se"].mean())
    by_class = found["human-20", "CIFAR-10H, class means of LeNets", ""]
    curves = lenets["low"].astype(float)  # 20 % of 84 features are 17
    np.testing.assert_allclose(by_class.values, (curves[:, 16] / curves[:, 83]) ** 2, rtol=1e-6)
    assert len(by_class.values) == 50
    assert by_class.interval is None  # that over instances


def test_the_papers_statements_on_people_stay_untested_without_its_sets():
    card = scorecard.verdicts(scorecard.people(records.people_across.known(), None))
    untested = card[card["ours"].isna()]
    assert untested[["id", "images"]].to_numpy().tolist() == [
        ["human-20", "peterson"],
        ["human-lower", "peterson-furniture"],
        ["human-lower", "peterson-vegetables"],
    ]
    assert set(untested["verdict"]) == {claims.UNTESTED}
    assert not untested["beyond"].any()
    others = card[card["ours"].notna()]
    assert len(others) == 3 + 4
    assert others["beyond"].all()
    assert claims.UNTESTED not in set(others["verdict"])


def test_without_people_only_the_untested_are_left():
    assert [f.claim for f in scorecard.people(None, None)] == ["human-20", "human-lower", "human-lower"]


def test_claims_are_untested_on_each_of_their_own_image_sets():
    found = list(scorecard.untested("human-lower", "poz-80"))
    assert [(f.claim, f.images) for f in found] == [
        ("human-lower", "peterson-furniture"),
        ("human-lower", "peterson-vegetables"),
        ("poz-80", "mnist"),
        ("poz-80", "cifar10"),
    ]
    card = scorecard.verdicts(found)
    assert card["verdict"].tolist() == [claims.UNTESTED] * 4
    assert (card[["between", "by"]] == "").all(axis=None)
    assert not card["late"].any()
    assert not card["beyond"].any()
    assert list(scorecard.untested()) == []
    with pytest.raises(UnknownNameError, match="no claim 'nope'"):
        list(scorecard.untested("nope"))


def named(prediction, judgments):
    """The same numbers, in arrays of their own, as if of other judgments."""
    (answer,) = prediction.answers
    facts = {**answer.provenance["facts"], "judgments": judgments}
    arrays = {name: values.copy() for name, values in answer.arrays.items()}
    return Prediction((replace(answer, arrays=arrays, provenance={**answer.provenance, "facts": facts}),))


def test_with_the_papers_own_sets_nothing_stays_untested(mur_predicted):
    _, channels, positions = mur_predicted
    sets = ("peterson-furniture", "peterson-fruits", "peterson-vegetables")
    six = [named(p, name) for p, name in zip((channels, positions, channels), sets, strict=True)]
    card = scorecard.verdicts(scorecard.people(None, None, six))
    assert claims.UNTESTED not in set(card["verdict"])
    for claim, about in (("human-20", sets), ("human-lower", (sets[0], sets[2]))):
        rows = card[card["id"] == claim]
        assert rows["images"].tolist() == [*sets]
        assert rows.loc[~rows["beyond"], "images"].tolist() == list(about)
    at_20 = card[card["id"] == "human-20"].set_index("images")
    assert at_20.loc[sets[0], "ours"] == at_20.loc[sets[2], "ours"]
    for name, prediction in ((sets[0], channels), (sets[1], positions)):
        expected, ends = ratio(prediction)
        assert at_20.loc[name, "ours"] == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(at_20.loc[name, ["low", "high"]].astype(float), ends, rtol=1e-5)
    half = records.people.beforehand([channels], kinds=["low"]).set_index("share").loc[0.5]
    row = card[(card["id"] == "human-lower") & (card["images"] == sets[0])].iloc[0]
    assert row[["ours", "low", "high"]].tolist() == pytest.approx(half[["estimate", "low", "high"]].tolist())


# --- ghosts --------------------------------------------------------------------------------------


def test_ghosts_of_shipped_ensembles_and_photographs():
    sets = {name: records.ghosts_by_class.known(name) for name in ("mnist", "cifar10-jpg")}
    photographs = records.ghosts.known()
    found = list(scorecard.ghosts(sets, photographs))
    separate = {(f.images, f.convention): f for f in found if f.claim == "ghosts-separate"}
    specific = {f.images: f for f in found if f.claim == "ghosts-specific"}
    *tested, last = found
    assert len(separate) + len(specific) == len(tested)
    assert (last.claim, last.images) == ("ghosts-figure", "peterson")
    assert [f.claim for f in found[-3:]] == ["ghosts-separate", "ghosts-specific", "ghosts-figure"]
    for none in (last, separate.pop(("peterson", "")), specific.pop("peterson")):
        assert np.isnan(none.values)
    categories = {reading.category: reading for reading in photographs}
    assert {"faces", "dogs", records.ghosts.EVERY} <= set(categories)
    assert set(specific) == {f"photographs: {category}" for category in categories}
    # Ghosts, and as in the record: random features, the most active, the mean in few features, the mean.
    controls = {"random features": 1, "its most active features": 2, "the category’s mean": 4}
    names = [*sets, "photographs, by category"]
    assert set(separate) == {(name, f"against {control}") for name in names for control in controls}
    for control, query in controls.items():
        for name, ensemble in sets.items():
            m = ensemble["m"][0].tolist()
            assert min(m, key=lambda at: abs(at - 120)) == 100
            auc = ensemble["auc"][:, :, m.index(100)].astype(float)  # (instances, classes, queries)
            better = (auc[..., 0] - auc[..., query]).mean(axis=1)
            np.testing.assert_allclose(separate[name, f"against {control}"].values, better, atol=1e-6)
        others = [reading for name, reading in categories.items() if name != records.ghosts.EVERY]
        assert len(others) == 7
        # Against the other judged photographs; for kinds of the gallery, against its rest.
        places = [int(np.isnan(reading.arrays["auc"][0]).all()) for reading in others]
        assert 0 < sum(places) < 7
        gains = [r.arrays["difference"][place, query - 1, 0] for r, place in zip(others, places, strict=True)]
        np.testing.assert_array_equal(separate[names[-1], f"against {control}"].values, gains)
    for category, reading in categories.items():
        arrays, name = reading.arrays, f"photographs: {category}"
        last = np.flatnonzero(arrays["m"])[-1]
        assert specific[name].values == pytest.approx(1 - arrays["control"][last, 0])
        assert specific[name].convention == f"{arrays['m'][last]} images"
    card = scorecard.verdicts(found)
    # Of the paper's own sets there is nothing; all that is measured goes beyond them.
    assert card["beyond"].tolist() == [True] * (len(card) - 3) + [False] * 3
    assert (card["verdict"] == claims.UNTESTED).tolist() == [not beyond for beyond in card["beyond"]]
    assert not card.loc[card["beyond"], "counted"].any()
    assert set(card["verdict"]) == {claims.HOLDS, claims.FAILS, claims.UNDECIDED, claims.UNTESTED}


def test_ghosts_that_separate_worse_than_a_control_fail(rng):
    """Though they separate: an AUC of .9 is none of .99."""
    auc = np.full((8, 10, 1, 5), 0.99) + rng.uniform(-0.005, 0.005, (8, 10, 1, 5))
    auc[..., 0] -= 0.09  # the ghosts
    auc[..., 1] = rng.uniform(0.4, 0.6, (8, 10, 1))  # random features
    given = ClassGhosts.of({"m": np.full((8, 1), 120), "auc": auc}, stimuli="digits", network="lenet5")
    card = scorecard.verdicts(scorecard.ghosts({"digits": given}, []))
    said = card.set_index("convention")["verdict"]
    assert said[[f"against {control}" for control in scorecard.CONTROLS.values()]].tolist() == [
        *(claims.FAILS, claims.FAILS, claims.HOLDS)
    ]


@pytest.mark.parametrize(("at", "nearest"), [([1, 90, 140], 2), ([1, 110, 140], 1), ([1, 2, 5], 2)])
def test_ghosts_at_the_number_of_images_nearest_to_the_papers(rng, at, nearest):
    auc = rng.uniform(0.5, 1, (4, 10, 3, 5))
    given = ClassGhosts.of({"m": np.tile(at, (4, 1)), "auc": auc}, stimuli="digits", network="lenet5")
    *found, _, _, _ = scorecard.ghosts({"digits": given}, [])
    for finding, query in zip(found, (4, 2, 1), strict=True):
        better = auc[:, :, nearest, 0].mean(axis=1) - auc[:, :, nearest, query].mean(axis=1)
        np.testing.assert_allclose(finding.values, better)
        assert (finding.claim, finding.images) == ("ghosts-separate", "digits")
    *_, last = scorecard.ghosts({"digits": given}, [])
    assert last.images == "peterson"


def test_every_claim_gets_a_finding(ensemble):
    found: list[Finding] = []
    for images in ("mnist", "cifar10"):
        given = of_others(ensemble, images=images)
        found += [*scorecard.accuracy(given), *scorecard.geometry(given)]
    found += [*scorecard.example(), *scorecard.people(records.people_across.known(), None)]
    found += scorecard.ghosts({}, records.ghosts.known())
    assert {f.claim for f in found} == set(claims.claims())


def score(*findings):
    return scorecard.verdicts([Finding(*finding) for finding in findings])


# --- the paper's ---------------------------------------------------------------------------------


def test_scorecard_takes_the_median_of_what_is_defined():
    found = score(("poz-80", "digits", [0.35, 0.45, 0.4, np.nan]), ("rare-20", "mnist", np.nan))
    assert found["ours"][0] == pytest.approx(0.4)
    assert found["instances"].tolist() == [4, 1]
    assert found["undefined"].tolist() == [1, 1]
    assert found["verdict"].tolist() == [claims.REPRODUCED, claims.UNTESTED]
    assert found["beyond"].tolist() == [True, False]
    assert found["id"].tolist() == ["poz-80", "rare-20"]
    known = claims.claims()
    assert found["claim"].tolist() == [known[name].reading for name in ("poz-80", "rare-20")]
    assert found["paper"].tolist() == [known[name].value for name in ("poz-80", "rare-20")]


def test_instances_are_summarised_by_hand():
    """21 values in steps of .05: the 5 % and 95 % quantiles are the second and the last but one."""
    values = np.arange(21) / 20
    found = scorecard.verdicts([Finding("poz-80", "mnist", values[::-1], "way")]).iloc[0]
    assert (found["ours"], found["from"], found["to"]) == pytest.approx((0.5, 0.05, 0.95))
    assert found["within"] == 5  # .3 to .5, both ends included
    assert found["convention"] == "way"
    assert found["instances"] == 21
    assert found["undefined"] == 0


def test_one_value_has_no_spread_and_no_interval():
    found = score(("poz-80", "mnist", 0.4)).iloc[0]
    assert found[["low", "high", "from", "to"]].isna().all()
    assert (found["ours"], found["instances"], found["within"]) == (0.4, 1, 1)
    assert (found["verdict"], found["by"]) == (claims.REPRODUCED, "value")


@pytest.mark.parametrize("n", [6, 7, 8, 9, 25, 49, 50])
def test_the_interval_of_a_median_is_two_order_statistics(rng, n):
    """Closed form: the largest j for which at most 2.5 % of Binomial(n, ½) lie below j; with NaN aside."""
    values = rng.normal(size=n)
    below = np.cumsum([math.comb(n, j) for j in range(n)]) / 2**n  # P(B ≤ j)
    j = 1 + np.flatnonzero(below <= 0.025).max()
    low, high = score(("poz-80", "mnist", [*values, np.nan])).loc[0, ["low", "high"]]
    ordered = np.sort(values)
    assert (low, high) == (ordered[j - 1], ordered[n - j])
    if n == 50:
        assert (low, high) == (ordered[18 - 1], ordered[33 - 1])


def test_five_values_are_too_few_for_an_interval_of_95_per_cent():
    found = score(("poz-80", "mnist", [0.1, 0.2, 0.3, 0.4, 0.5, np.nan])).iloc[0]
    assert found[["low", "high"]].isna().all()
    assert found[["from", "to"]].notna().all()


@pytest.mark.parametrize("n", [10, 50])
def test_the_interval_covers_the_median_of_skewed_data(n):
    """Log-normal values, median 1; the exact coverage is 97.9 % and 96.7 %."""
    rng = np.random.default_rng(4)
    card = scorecard.verdicts(Finding("poz-80", "mnist", np.exp(rng.normal(0, 2, n))) for _ in range(400))
    covered = ((card["low"] <= 1) & (card["high"] >= 1)).mean()
    assert 0.93 <= covered < 1


def test_the_largest_of_all_instances():
    found = score(("rare-max", "cifar10", [0.1, 0.45, np.nan, 0.2, 0.3, 0.15, 0.12])).iloc[0]
    assert found["ours"] == 0.45
    assert found["within"] == 1
    assert found["verdict"] == claims.REPRODUCED
    assert found[["low", "high"]].isna().all()  # one value; its place says nothing about the next
    assert found["by"] == "value"


def test_a_verdict_is_withheld_where_most_instances_are_undefined():
    half, fewer = [0.4, 0.4, np.nan, np.nan], [0.4, np.nan, np.nan]
    found = score(
        ("poz-80", "a", half),
        ("poz-80", "b", fewer),
        ("poz-80", "c", [np.nan] * 3),
        ("poz-80", "d", [np.nan]),
        ("poz-80", "e", np.nan),
    )
    assert found["verdict"].tolist() == [claims.REPRODUCED, *[claims.UNDEFINED] * 2, *[claims.UNTESTED] * 2]
    assert found["ours"].tolist()[:2] == [0.4, 0.4]


def test_an_interval_of_what_is_undefined_in_most_instances_decides_nothing():
    """Eight values of twenty have an interval, and it lies within the range; ten of twenty are enough."""
    found = score(("poz-80", "a", [0.4] * 8 + [np.nan] * 12), ("poz-80", "b", [0.4] * 10 + [np.nan] * 10))
    assert found["low"].tolist() == found["high"].tolist() == [0.4, 0.4]
    assert found["verdict"].tolist() == found["of value"].tolist() == [claims.UNDEFINED, claims.REPRODUCED]
    assert found["by"].tolist() == ["", "interval"]


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.001, 0.1), claims.REPRODUCED),
        ((-0.1, -0.001), claims.NOT_REPRODUCED),
        ((-0.001, 0.1), claims.UNDECIDED),
        ((-0.1, 0.001), claims.UNDECIDED),
        ((np.nan, np.nan), claims.UNDECIDED),
        (None, claims.UNDECIDED),
    ],
)
def test_whether_something_is_positive_is_decided_by_its_whole_interval(interval, expected):
    value = 0.05 if interval is None or np.isnan(interval[0]) else sum(interval) / 2
    found = scorecard.verdicts([Finding("human-lower", "x", value, interval=interval)]).iloc[0]
    assert found["verdict"] == expected
    assert found["between"] == ("reproduced or not reproduced" if expected == claims.UNDECIDED else "")
    assert found["ours"] == value
    assert found["by"] == ("interval" if interval and np.isfinite(interval[0]) else "")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.0, 0.1), claims.UNDECIDED),
        ((1e-9, 0.1), claims.UNDECIDED),  # rounding is not positive either
        ((-0.1, 0.0), claims.NOT_REPRODUCED),
        ((-0.1, 1e-9), claims.NOT_REPRODUCED),
    ],
)
def test_zero_itself_is_not_positive(interval, expected):
    found = scorecard.verdicts([Finding("human-lower", "x", sum(interval) / 2, interval=interval)])
    assert found["verdict"].tolist() == [expected]


def test_what_has_no_value_is_not_called_undecided():
    found = scorecard.verdicts(
        [Finding("human-lower", "x", np.nan, interval=(-0.1, 0.1)), Finding("human-lower", "x", [np.nan] * 3)]
    )
    assert found["verdict"].tolist() == [claims.UNTESTED, claims.UNDEFINED]
    assert found["by"].tolist() == ["", ""]


def test_instances_too_say_whether_something_is_positive():
    """Of 20 in order the interval is from the 6th to the 15th."""
    steps = np.arange(20) / 100
    found = score(("human-lower", "x", steps - 0.045), ("human-lower", "x", steps - 0.055))
    assert found["low"].tolist() == pytest.approx([0.005, -0.005])
    assert found["verdict"].tolist() == [claims.REPRODUCED, claims.UNDECIDED]


def test_the_largest_is_no_selection_among_those_that_are_undefined():
    found = score(
        ("rare-max", "cifar10", [0.45, *[np.nan] * 9]), ("rare-20", "cifar10", [0.45, *[np.nan] * 9])
    )
    assert found["verdict"].tolist() == [claims.REPRODUCED, claims.UNDEFINED]


@pytest.mark.parametrize("claim", ["poz-80", "rare-max"])
def test_an_interval_that_is_given_takes_the_place_of_that_over_instances(claim):
    values = np.linspace(0.4, 0.5, 30)
    found = scorecard.verdicts([Finding(claim, "cifar10", values, interval=(0.25, 0.75))]).iloc[0]
    assert (found["low"], found["high"]) == (0.25, 0.75)
    assert found["to"] == pytest.approx(0.495)  # that of the instances remains


@pytest.mark.parametrize(
    ("value", "interval", "between"),
    [
        (0.4, (0.3, 0.5), ""),
        (0.4, (0.29, 0.45), "reproduced or reproduced in direction"),
        (0.4, (0.3 - 1e-8, 0.5 + 1e-8), ""),  # its ends, in single precision
        (0.25, (0.21, 0.29), ""),
        (0.25, (0.19, 0.29), "reproduced in direction or not reproduced"),
        (0.25, (0.2, 0.8), "reproduced or reproduced in direction"),  # what is reproduced lies within
        (0.05, (0.0, 0.09), ""),
        (0.05, (0.0, 1.1), "reproduced or reproduced in direction or not reproduced"),
    ],
)
def test_an_interval_across_a_border_is_undecided(value, interval, between):
    found = scorecard.verdicts([Finding("poz-80", "mnist", value, interval=interval)]).iloc[0]
    assert found["of value"] == claims.verdict(claims.claims()["poz-80"], value)
    assert found["verdict"] == (claims.UNDECIDED if between else found["of value"])
    assert (found["between"], found["by"]) == (between, "interval")


def test_a_median_over_instances_is_undecided_where_its_interval_is():
    found = score(
        ("poz-80", "mnist", np.linspace(0.31, 0.49, 50)), ("poz-80", "mnist", np.linspace(0, 0.8, 9))
    )
    assert found["of value"].tolist() == [claims.REPRODUCED] * 2
    assert found["verdict"].tolist() == [claims.REPRODUCED, claims.UNDECIDED]


def test_what_was_decided_after_looking_is_marked():
    found = scorecard.verdicts(
        [
            Finding("r2-at-80", "mnist", 0.997, "strict"),
            Finding("r2-at-80", "mnist", 0.997, "class"),  # the reading
            Finding("r2-at-80", "mnist", 0.997, "firing"),
            Finding("r2-at-80", "mnist", np.nan, "firing"),  # nothing is decided
            Finding("rare-20", "mnist", 0.3),
            Finding("rare-20", "mnist", 0.7),  # the wider range
            Finding("zeros-matter", "mnist", 0.3),  # both
        ]
    )
    assert found["late"].tolist() == [False, True, True, False, False, True, True]
    assert found["counted"].tolist() == [True] * 6 + [False]


def test_findings_come_in_their_order_and_may_be_drawn_from_an_iterator():
    names = ["rare-20", "poz-80", "rare-20"]
    found = scorecard.verdicts(Finding(name, "mnist", [0.3]) for name in names)
    assert found["id"].tolist() == names


def test_a_card_for_readers():
    card = scorecard.verdicts(
        [
            Finding("rare-below-low", "mnist", np.linspace(-0.5, 0.5, 21), interval=(-0.125, 0.301)),
            Finding("poz-80", "mnist", 0.4),
            Finding("human-lower", "mur", 0.01, interval=(-0.0001, 0.02)),  # no minus before a zero
        ]
    )
    found = scorecard.readable(card, "images", "95 %", "verdict", "90 % of instances")
    assert found.columns.tolist() == ["images", "95 %", "verdict", "90 % of instances"]
    assert found["95 %"].tolist() == ["−0.12\u00a0to\u00a00.30", "–", "0.00\u00a0to\u00a00.02"]
    assert found["90 % of instances"].tolist() == ["−0.45\u00a0to\u00a00.45", "–", "–"]
    assert found["verdict"].tolist() == [
        "undecided: reproduced or not reproduced†",
        "reproduced, by its value",
        "undecided: reproduced or not reproduced†",
    ]
    assert "95 %" not in card.columns  # which stays as it is
    assert scorecard.readable(card, "ours")["ours"].tolist() == ["0.00", "0.40", "0.010"]
    assert scorecard.readable(card, "ours", digits=3)["ours"].tolist() == ["0.000", "0.400", "0.010"]
    none = scorecard.verdicts([Finding("poz-80", "mnist", np.nan)])
    assert scorecard.readable(none, "ours")["ours"].tolist() == ["–"]
    with pytest.raises(UnknownNameError, match="no column '95%'. There are: 95 %"):
        scorecard.readable(card, "images", "95%")


def test_errors_of_findings():
    with pytest.raises(UnknownNameError, match="no claim 'poz-8'. There are: poz-80"):
        score(("poz-8", "digits", [0.1]))
    with pytest.raises(InputError, match=r"poz-80: expected one value per instance, got shape \(2, 2\)"):
        score(("poz-80", "digits", np.ones((2, 2))))


# --- tables for readers ----------------------------------------------------------------------------


def two_ensembles(rng):
    """Made instances of two image sets, with what figure 1 is read from."""

    def one(images):
        arrays = {name: rng.uniform(0.4, 1, (N, F)) for name in ("poz_test", "poz_heldout")}
        for first in ("low", "high"):
            for suffix in SUFFIXES.values():
                arrays[f"{first}{suffix}"] = rng.uniform(0.1, 1, (N, F))
                arrays[f"n_images_{first}{suffix}"] = np.full((N, F), 40)
        return Ensemble.of(arrays, stimuli=images, network="lenet5")

    return [one("mnist"), one("digits")]


def test_ways_of_reading_in_short():
    assert scorecard.WAYS == {
        "authors": "class means, r²",
        "class": "class means, r",
        "strict": "images, r",
        "firing": "images, r, of features that fire",
    }
    assert set(scorecard.LATE) < set(scorecard.CONVENTIONS)


def test_all_readings_of_several_ensembles(rng):
    ensembles = two_ensembles(rng)
    found = scorecard.readings(ensembles)
    rare = found["id"] == "poz-80"
    assert found.loc[rare, ["images", "convention"]].to_numpy().tolist() == [
        [name, f"PoZ on {which} images"] for name in ("mnist", "digits") for which in ("the same", "held-out")
    ]
    shares = [(e[counted] > 0.8).mean(axis=1) for e in ensembles for counted in ("poz_test", "poz_heldout")]
    np.testing.assert_allclose(found.loc[rare, "ours"], np.median(shares, axis=1))
    rest = scorecard.geometry_verdicts(ensembles, scorecard.WAYS)
    rest = rest[rest["id"] != "poz-80"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[~rare].reset_index(drop=True), rest)
    own = scorecard.on_the_paper(found)
    assert set(own["images"]) == {"mnist"}
    assert set(own["id"]) == {"poz-80", "r2-at-80", "rare-20", "rare-below-low"}  # zeros-matter is ours


def test_how_many_have_which_verdict():
    card = score(
        ("poz-80", "a", 0.4),
        ("poz-80", "a", 0.4),
        ("poz-80", "a", 0.1),
        ("zeros-matter", "a", 0.9),
        ("poz-80", "a", np.linspace(0, 0.8, 9)),
        ("rare-below-low", "a", 0.1),
        ("rare-below-low", "a", 0.2),
    )
    assert scorecard.tally(card) == (
        "2 reproduced, 1 not reproduced, 1 holds (our measure), 3 undecided "
        "(1 reproduced or in direction or not reproduced, 2 reproduced or not reproduced)"
    )
    assert scorecard.tally(card[:2]) == "2 reproduced"
    assert scorecard.tally(card[5:]) == "2 undecided (reproduced or not reproduced)"
    assert scorecard.tally(card[:0]) == ""
    assert scorecard.in_short(card) == (
        "2 of 7 readings of what the papers state are reproduced, 1 not; 4 stay open."
    )
    partly = score(("poz-80", "a", 0.25), ("poz-80", "a", 0.4))
    assert "1 of 2" in scorecard.in_short(partly)
    assert "are reproduced, 1 in direction, 0 not; 0 stay open." in scorecard.in_short(partly)
    with pytest.raises(InputError, match="card has no line"):
        scorecard.in_short(card[:0])


def test_verdicts_of_several_ensembles_read_in_several_ways(rng):
    ensembles = two_ensembles(rng)
    found = scorecard.geometry_verdicts(ensembles, ["class", "strict"])
    ways = [(e, way) for e in ensembles for way in ("class", "strict")]
    alone = [scorecard.verdicts(scorecard.geometry(e, convention=way)) for e, way in ways]
    pd.testing.assert_frame_equal(found, pd.concat(alone, ignore_index=True))
    assert set(scorecard.geometry_verdicts(ensembles)["convention"]) == {"strict"}
    with pytest.raises(UnknownNameError, match="no convention 'ours'"):
        scorecard.geometry_verdicts(ensembles, ["ours"])


def test_image_sets_and_groups_named_for_readers(rng):
    accuracy = [Finding("accuracy-mnist", "mnist", 0.99)]
    card = scorecard.verdicts(
        [Finding("rare-20", "elsewhere", 0.3, "strict"), Finding("poz-80", "mnist", 0.4, "x")]
    )
    assert scorecard.labelled(card)["images"].tolist() == ["elsewhere", "MNIST"]
    assert card["images"].tolist() == ["elsewhere", "mnist"]  # stays as it is
    both = pd.concat([card, scorecard.verdicts(accuracy)], ignore_index=True)
    found = scorecard.of_groups(both, "geometry")
    assert found["id"].tolist() == ["poz-80", "rare-20"]  # as in data/paper.csv
    assert found["images"].tolist() == ["MNIST", "elsewhere"]
    assert found["convention"].tolist() == ["x", "images, r"]
    assert scorecard.of_groups(both, "networks", "geometry")["id"].tolist()[0] == "accuracy-mnist"
    with pytest.raises(UnknownNameError, match="no group 'geometries'. There are: .*geometry"):
        scorecard.of_groups(both, "geometries")


def test_numbers_beside_recorded_ones():
    known = pd.read_csv(records.ensembles.store.data_dir() / "recorded.csv", index_col="name")
    name, row = known.index[0], known.iloc[0]
    assert "Fewer than fifty" in scorecard.recorded({}).data  # not an empty table
    shown = scorecard.recorded({name: row["recorded"] + row["tolerance"] / 2}).data
    assert f"<td>{name}</td>" in shown
    assert f"{row['recorded']:.3f}" in shown
    assert 'id="table-recorded"' in shown
    with pytest.raises(DataError, match=f"no longer what the recorded runs found:\n(.|\n)*{name}"):
        scorecard.recorded({name: row["recorded"] + 2 * row["tolerance"]})


def test_gains_from_the_naive_test_to_the_valid_one():
    row = {"view": "channels", "kind": "low", "gain": 0.0123, "naive p": 0.0001, "p": 0.25, "holm": 0.5}
    rest = {"chosen D": 0.001, "chosen low": -0.02, "chosen high": 0.0349}
    (found,) = scorecard.gains(pd.DataFrame([row | rest])).to_dict("records")
    assert found == {
        "features": "channels (APoZ), low→high",
        "gain": "+.012",
        "naive p": "<\u00a0.001",
        "p, any slice": "0.250",
        "Holm": "0.500",
        "chosen elsewhere": "+.001",
        "95 %": "−.020\u00a0to\u00a0+.035",
    }


def test_what_was_decided_beforehand_is_a_row_for_each_order():
    share, holm, chance = [0.2, 0.5] * 2, [0.01, 0.2, 0.2, np.nan], [0.01, 0.01, 0.2, 0.05]
    tests = pd.DataFrame(
        {
            "view": "pooled",
            "kind": ["low", "low", "high", "high"],
            "share": share,
            "estimate": [0.1, -0.2, 0.3, 0],
            "holm": holm,
            "chance holm": chance,
        }
    )
    found = scorecard.decided(tests)
    assert list(found) == ["features", "D at 20%", "D at 50%"]
    assert found.to_numpy().tolist() == [
        ["pooled, low→high", "+.100*†", "−.200†"],
        ["pooled, high→low", "+.300", ".000"],
    ]


def test_changes_at_class_level():
    row = {
        "kind": "high",
        "share": 0.2,
        "r kept": 0.456,
        "r all": 0.5,
        "D": -0.044,
        "low": -0.1,
        "high": 0.01,
    }
    (found,) = scorecard.changes(pd.DataFrame([row | {"holm": np.nan}])).to_dict("records")
    assert list(found.values()) == ["20%, high→low", "0.46", "0.50", "−.044", "−.100\u00a0to\u00a0+.010", "–"]
    assert list(found) == ["features", "r", "r, all", "D", "95 %", "Holm"]


def test_separations_are_those_that_are_recorded():
    tests = records.ghosts.retrieved(records.ghosts.known())
    found = scorecard.separations(tests)
    assert list(found) == ["category", "against", "ghosts", "random", "most active", "mean, few", "mean"]
    assert len(found) * 4 == len(tests)
    titles = {"random": "random", "active": "most active", "random mean": "mean, few", "mean": "mean"}
    outside = {"judged": "other cut-outs", "gallery": "gallery"}
    at = found.set_index(["category", "against"])
    for row in tests.to_dict("records"):
        line = at.loc[row["category"], outside[row["place"]]]
        assert line["ghosts"] == f"{row['ghosts']:.2f}"
        assert line[titles[row["query"]]] == f"{row['other']:.2f}" + "*" * (row["holm"] < 0.05)


# --- the same story everywhere ---------------------------------------------------------------------


def test_the_readme_has_the_numbers_of_the_scorecard():
    """MNIST, then CIFAR-10, from the shipped results, as the scorecard and the landing page have them."""
    text = " ".join((Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8").split())
    both = [records.ensembles.known(name) for name in ("mnist", "cifar10-jpg")]
    kept, firing = ([e.median_at("low", 0.8, firing=only) for e in both] for only in (False, True))
    alone = [e.median_at("high", 0.2, firing=True) for e in both]
    rare = [np.median(e.rare_share()) for e in both]
    card = scorecard.readings(both)
    own = scorecard.on_the_paper(card)
    (dogs,) = [reading for reading in records.ghosts.known() if reading.category == "dogs"]
    compared = records.people_across.known()
    headline = compared.headline()
    gains = headline[(headline["holm"] < 0.05) & (headline["estimate"] > 0)]
    ends = [f"{gains['estimate'].agg(end):.3f}".removeprefix("0") for end in ("min", "max")]
    half = compared.table().query("view == 'pooled' and share == 0.5 and reading == 'silenced'")
    silenced = half.set_index(["set", "network"]).loc[[*zip(gains["set"], gains["network"], strict=True)]]
    assert (silenced["p"] > 0.05).all()
    for said in (
        f"in {len(gains)} of {len(headline)} comparisons of a network with an image set",
        f"by {ends[0]} to {ends[1]} of r or of agreement, and lowers it in "
        f"{((headline['holm'] < 0.05) & (headline['estimate'] < 0)).sum()}",
        f"silenced instead of removed, none of the {len(gains)} gains can be shown",
        f"R² without them: {kept[0]:.3f} on MNIST, {kept[1]:.3f} on CIFAR-10",
        f"the other 80 % have {firing[0]:.3f} and {firing[1]:.3f}",
        f"the rarest 20 % alone have {alone[0]:.2f} and {alone[1]:.2f}, inside the paper's",
        f"{100 * rare[0]:.0f} % and {100 * rare[1]:.0f} % are silent for more than 80 % of the images",
        f"Of {len(own)} readings of what the paper states about small networks, on its own image sets: "
        f"{scorecard.tally(own)}. {own['late'].sum()} of them hang on a range or a way of reading",
    ):
        assert said in text, said
    known = claims.claims()["rare-20"]
    assert all(known.low < value < known.high for value in alone)
    for value in rare:  # half as many
        assert 0.45 < value / 0.4 < 0.55
    query = scorecard.verdicts(
        scorecard.ghosts({e.images: records.ghosts_by_class.known(e.images) for e in both}, [dogs])
    )
    query = query[(query["id"] == "ghosts-separate") & query["images"].isin(["mnist", "cifar10-jpg"])]
    said = query.groupby("convention")["verdict"].agg(set)
    assert said["against random features"] == {claims.HOLDS}
    assert said["against the category’s mean"] == {claims.FAILS}
