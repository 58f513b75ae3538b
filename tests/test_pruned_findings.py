"""What is read from pruned networks: controls, equal terms, survival, findings; from made arrays."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rarefire import pruning, records, stimuli
from rarefire.errors import UnknownNameError
from rarefire.page import claims, plots, pruned_tables, scorecard
from rarefire.records.pruned import LAYERS, ORDERS, WIDTHS, Pruned, Units
from rarefire.similarity import MEASURES

ROOT = Path(__file__).resolve().parents[1]
N, F, C = 6, 84, 10
ROUNDS = {
    **dict.fromkeys(("imp", "lrr", "trim", "on"), (1, 2, 3)),
    **dict.fromkeys(("one-shot", "random", "reinitialised", "again", "seed"), (1, 3)),
}
NAMES = [("dense", 0), *((method, n) for method, numbers in ROUNDS.items() for n in numbers)]


@pytest.fixture
def found(rng):
    n = len(NAMES)
    alike = rng.uniform(0.3, 1, (N, n, 7, 4))
    alike[:, 0] = 1
    left = np.array(
        [
            [600 * (0.5**k if pruning.METHODS.get(m) and pruning.METHODS[m].masks != "none" else 1)] * 5
            for m, k in NAMES
        ]
    )
    return Pruned.of(
        {
            "method": [[m for m, _ in NAMES]] * N,
            "number": [[k for _, k in NAMES]] * N,
            "accuracy": np.r_["1", np.full((N, 1), 0.9), rng.choice([0.88, 0.897, 0.91], (N, n - 1))],
            "stop": rng.integers(1, 9, (N, n)),
            "left": [left] * N,
            "units_left": rng.integers(1, 6, (N, n, 4)),
            "alike": alike,
            "chance": rng.uniform(0, 0.3, (N, 7)),
            "apoz": rng.uniform(0, 1, (N, n, 226)),
            "incoming": rng.uniform(0, 1, (N, n, 226)),
            "outgoing": rng.uniform(0, 1, (N, n, 226)),
        },
        stimuli="mnist",
        network="lenet5",
    )  # fmt: skip


@pytest.fixture
def units(rng):
    classes = rng.uniform(0.6, 0.9, (N, 4, C))
    classes[:, 0] = 0.95
    return Units.of(
        {
            "importance": rng.uniform(0, 1, (N, len(ORDERS) - 1, F)),
            "r2": rng.uniform(0.2, 1, (N, len(ORDERS), F)),
            "r2_cosine": rng.uniform(0.2, 1, (N, len(ORDERS), F)),
            "accuracy": rng.uniform(0.2, 1, (N, len(ORDERS), F)),
            "poz": rng.uniform(0, 1, (N, F)),
            "lost": rng.uniform(-0.01, 0.1, (N, F, C)),
            "classes": classes,
            "selectivity": rng.uniform(0, 1, (N, F)),
            "fano": rng.uniform(0, 2, (N, 2, F)),
        },
        stimuli="mnist",
        network="lenet5",
    )


def test_places_and_numbers(found):
    assert found.methods == list(ROUNDS)
    for i, (method, number) in enumerate(NAMES):
        assert found.place(method, number) == i
    assert found.place("imp", 0) == 0  # round 0 of every method
    assert found.numbers("random") == [1, 3]
    assert found.layers == LAYERS["lenet5"]
    np.testing.assert_allclose(found.share[:, found.place("imp", 2)], 0.25)
    np.testing.assert_array_equal(found.share[:, found.place("again", 3)], 1)


def test_along_a_method_begins_with_the_dense_network(found):
    x, y = found.along(found.accuracy, "lrr")
    np.testing.assert_allclose(x, [1, 0.5, 0.25, 0.125])
    np.testing.assert_array_equal(y, found.accuracy[:, [0, *(NAMES.index(("lrr", n)) for n in (1, 2, 3))]])


def test_the_control_of_a_reset_method_is_training_again_and_of_others_training_on(found):
    values = found.alike_in("relu4", "cka")
    again = [NAMES.index(("again", n)) for n in (1, 3)]
    for method in ("imp", "random"):
        np.testing.assert_allclose(found.control(method, 3, values), values[:, again].mean(axis=1))
    seeds = [NAMES.index(("seed", n)) for n in (1, 3)]  # what begins with new weights is another seed
    np.testing.assert_allclose(found.control("reinitialised", 3, values), values[:, seeds].mean(axis=1))
    for method, number, on in (("lrr", 2, 2), ("trim", 3, 3), ("one-shot", 3, 1)):  # at once: trained on once
        expected = values[:, NAMES.index(("on", on))]
        np.testing.assert_array_equal(found.control(method, number, values), expected)
    gap = found.excess("imp", 3, layer="relu4", measure="cka")
    np.testing.assert_allclose(gap, values[:, again].mean(axis=1) - values[:, NAMES.index(("imp", 3))])


def test_without_a_control_there_is_no_excess(found):
    keep = [i for i, (method, _) in enumerate(NAMES) if method in ("dense", "imp", "lrr")]
    some = {n: a if n == "chance" else a[:, keep] for n, a in found.arrays.items()}
    bare = Pruned.of(some, stimuli="mnist", network="lenet5")
    table = bare.on_equal_terms()
    assert table["method"].unique().tolist() == ["imp", "lrr"]
    assert table[["control", "excess", "low", "p"]].isna().all().all()
    assert table["alike"].notna().any()


def test_penultimate_is_the_layer_before_the_outputs(found):
    np.testing.assert_array_equal(found.alike_in(measure="cca"), found.alike[:, :, 5, 3].astype(float))
    assert MEASURES[3] == "cca"


def first_that_fails(numbers, holds):
    """The last number before it."""
    last = 0
    for number in numbers:
        if not holds(number):
            return last
        last = number
    return last


def test_last_round_within_a_loss_is_a_loop(found):
    right = found.accuracy
    for method, loss in (("imp", 0.005), ("random", 0.0), ("trim", 0.03)):
        expected = [
            first_that_fails(
                ROUNDS[method],
                lambda n, i=i: right[i, NAMES.index((method, n))] >= 0.9 - loss - 1e-9,  # noqa: B023
            )
            for i in range(N)
        ]
        assert found.last_within(method, loss).tolist() == expected
    of_control = [
        first_that_fails(
            (1, 2, 3),
            lambda n, i=i: (
                right[i, NAMES.index(("trim", n))] >= right[i, NAMES.index(("on", n))] - 0.01 - 1e-9
            ),
        )
        for i in range(N)
    ]
    assert found.last_within("trim", 0.01, of_control=True).tolist() == of_control


def test_on_equal_terms_is_a_loop(found):
    table = found.on_equal_terms(share=0.25, loss=0.005).set_index(["at", "method"])
    assert set(table.index.get_level_values("method")) == {
        m for m in ROUNDS if pruning.METHODS[m].masks != "none"
    }
    values = found.alike_in()
    row = table.loc["weights", "imp"]
    place = NAMES.index(("imp", 2))
    gap = values[:, [NAMES.index(("again", n)) for n in (1, 3)]].mean(axis=1) - values[:, place]
    assert row["n"] == N
    assert row["weights left"] == pytest.approx(0.25)
    assert row["accuracy"] == pytest.approx(found.accuracy[:, place].mean())
    assert row["excess"] == pytest.approx(gap.mean())
    t = stats.ttest_1samp(gap, 0)
    low, high = t.confidence_interval(0.95)
    assert (row["low"], row["high"], row["p"]) == pytest.approx((low, high, t.pvalue))
    last = found.last_within("imp", 0.005)
    has = np.flatnonzero(last)
    row = table.loc["accuracy", "imp"]
    assert row["n"] == len(has)
    assert row["alike"] == pytest.approx(
        np.mean([values[i, NAMES.index(("imp", int(last[i])))] for i in has])
    )


def test_methods_without_a_round_within_the_loss_have_no_row_of_numbers(found):
    arrays = dict(found.arrays)
    arrays["accuracy"] = np.where(np.arange(len(NAMES)) == 0, 0.9, 0.1)[None].repeat(N, axis=0)
    table = Pruned.of(arrays, stimuli="mnist", network="lenet5").on_equal_terms()
    none = table[table["at"] == "accuracy"]
    assert (none["n"] == 0).all()
    assert none["alike"].isna().all()


def test_survival_is_spearman_of_each_network(found):
    for layer, start in (("conv1", 0), ("conv2", 6), ("fc1", 22), ("fc2", 142)):
        width = WIDTHS["lenet5"][layer]
        got = found.survival(layer, of="outgoing")
        for i, n in ((0, 1), (3, 7)):
            rows = found.apoz[i, 0, start : start + width], found.outgoing[i, n, start : start + width]
            assert got[i, n] == pytest.approx(stats.spearmanr(*rows).statistic)


def test_values_in_a_round_of_its_own_of_each_instance(found):
    numbers = np.array([1, 2, 3] * N)[:N]
    places = [NAMES.index(("imp", int(n))) for n in numbers]
    want = [found.accuracy[i, place] for i, place in enumerate(places)]
    np.testing.assert_array_equal(found.each_at("imp", numbers, found.accuracy), want)
    with pytest.raises(UnknownNameError, match="no round of imp '9'"):
        found.each_at("imp", numbers + 8, found.accuracy)


def test_units_of_a_layer_stand_after_those_of_the_layers_before(found):
    assert [found.units_of(layer) for layer in WIDTHS["lenet5"]] == [
        *(slice(0, 6), slice(6, 22), slice(22, 142), slice(142, 226))
    ]
    with pytest.raises(UnknownNameError, match="There are: fc2, fc1"):
        found.units_of("fc3")


def test_survival_by_the_poz_of_a_control_is_the_mean_over_its_rounds(found):
    got = found.survival("fc2", rates="again")
    kept = found.incoming[1, 4, 142:226]
    each = [stats.spearmanr(found.apoz[1, NAMES.index(("again", n)), 142:226], kept) for n in (1, 3)]
    assert got[1, 4] == pytest.approx(np.mean([one.statistic for one in each]))


def test_survival_among_units_that_fire(found):
    arrays = dict(found.arrays)
    arrays["apoz"] = arrays["apoz"].copy()
    arrays["apoz"][:, 0, 142:162] = 1  # twenty of the penultimate units never fired
    some = Pruned.of(arrays, stimuli="mnist", network="lenet5")
    rows = some.apoz[2, 0, 162:226], some.incoming[2, 5, 162:226]
    got = some.survival("fc2", firing=True)[2, 5]
    assert got == pytest.approx(stats.spearmanr(*rows).statistic)


def test_units_that_lost_all_their_weights(found):
    arrays = dict(found.arrays)
    arrays["apoz"], arrays["incoming"] = arrays["apoz"].copy(), arrays["incoming"].copy()
    place = NAMES.index(("imp", 2))
    arrays["incoming"][:2, place, 142:145] = 0
    arrays["apoz"][0, 0, 142:144] = 1
    some = Pruned.of(arrays, stimuli="mnist", network="lenet5")
    assert some.lost("fc2", "imp", 2) == (6, 2)
    assert some.lost("fc1", "imp", 2) == (0, 0)


def test_survival_is_undefined_where_all_have_as_many_left(found):
    arrays = {**found.arrays, "incoming": np.ones_like(found.incoming)}
    assert np.isnan(Pruned.of(arrays, stimuli="mnist", network="lenet5").survival("fc2")).all()


def test_names_that_do_not_exist(found, units):
    for call, known in (
        (lambda: found.numbers("halving"), "imp"),
        (lambda: found.place("random", 2), "1, 3"),
        (lambda: found.alike_in("relu9"), "relu4"),
        (lambda: found.alike_in(measure="rsa"), "pearson"),
        (lambda: found.survival("fc9"), "fc2"),
        (lambda: found.survival("fc2", rates="other"), "again"),
        (lambda: units.at("best", 0.5), "taylor"),
    ):
        with pytest.raises(UnknownNameError, match=known):
            call()


def test_a_share_of_the_units_is_the_nearest_number_of_them(units):
    place = ORDERS.index("taylor")
    np.testing.assert_allclose(units.at("taylor", 0.5), units.r2[:, place, 41])
    np.testing.assert_allclose(units.at("taylor", 0.001, values="accuracy"), units.accuracy[:, place, 0])


def test_the_units_that_are_needed_are_a_loop(units):
    place = ORDERS.index("mean")
    got = units.needed("mean", values="accuracy", short=0.3)
    for i in range(N):
        curve = units.accuracy[i, place]
        k = F
        while k > 1 and curve[k - 2] >= curve[-1] - 0.3:
            k -= 1
        assert got[i] == pytest.approx(k / F)
    with pytest.raises(UnknownNameError, match="taylor"):
        units.needed("best", values="r2", short=0.1)


def test_a_share_of_the_units_that_fire(units):
    arrays = dict(units.arrays)
    arrays["poz"][:, :24] = 1  # 60 fire
    some = Units.of(arrays, stimuli="mnist", network="lenet5")
    np.testing.assert_allclose(some.at("poz", 0.8, firing=True), units.r2[:, ORDERS.index("poz"), 47])


def test_sides_of_zero_are_those_of_the_t_interval():
    assert pruned_tables.side(np.array([1.0, 1.1, 0.9])) == "above"
    assert pruned_tables.side(np.array([-1.0, -1.1, -0.9])) == "below"
    assert pruned_tables.side(np.array([-1.0, 1.1, 0.1])) == "around"


def test_numbers_in_words():
    values = {"mnist": 0.5, "digits": np.nan}
    assert pruned_tables.told(values, "{:.0%}".format) == "50% (MNIST)"
    assert pruned_tables.told(values, "{:.0%}".format, nan="never") == "50% (MNIST), never (digits)"


def test_a_method_leaves_its_control_where_all_later_rounds_do(found):
    arrays = dict(found.arrays)
    arrays["alike"] = np.array(arrays["alike"])
    again = [NAMES.index(("again", n)) for n in (1, 3)]
    arrays["alike"][:, again, 5, 0] = 0.9
    for n, value in ((1, 0.7), (2, 0.95), (3, 0.6)):
        arrays["alike"][:, NAMES.index(("imp", n)), 5, 0] = value + 0.001 * np.arange(N)
    some = Pruned.of(arrays, stimuli="mnist", network="lenet5")
    assert pruned_tables.leaves(some, "imp") == pytest.approx(0.125)
    arrays["alike"][:, NAMES.index(("imp", 3)), 5, 0] = 0.95
    assert np.isnan(pruned_tables.leaves(Pruned.of(arrays, stimuli="mnist", network="lenet5"), "imp"))


def test_orders_that_need_fewer_units(units):
    arrays = dict(units.arrays)
    arrays["accuracy"] = np.zeros_like(arrays["accuracy"])
    for place, order in enumerate(ORDERS):
        arrays["accuracy"][:, place, 20 if order == "sd" else 60 :] = 1
    some = Units.of(arrays, stimuli="mnist", network="lenet5")
    assert pruned_tables.fewer({"mnist": some}, "accuracy", 0.01) == "SD 48% (MNIST)"
    assert pruned_tables.fewer({"mnist": some}, "accuracy", 1.0) == "none (MNIST)"
    for i in range(N):
        arrays["accuracy"][i, ORDERS.index("sd"), 20 : 20 + i % 2] = 0
    some = Units.of(arrays, stimuli="mnist", network="lenet5")
    assert pruned_tables.fewer({"mnist": some}, "accuracy", 0.01) == "SD 47% (MNIST)"
    table = pruned_tables.needed({"mnist": some}).set_index("order")
    assert table.loc["PoZ", "share for accuracy"] == pytest.approx(61 / F)
    assert pruned_tables.once(table.reset_index())["images"].tolist() == ["MNIST", *[""] * 7]


# --- findings ------------------------------------------------------------------------------------


def by_key(findings):
    listed = list(findings)
    keys = [(f.claim, f.images, f.convention) for f in listed]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, listed, strict=True))


def test_findings_equal_loops(found, units):
    said = by_key(scorecard.pruned({"mnist": found}, {"mnist": units}, halves=found, tickets=None))
    cca, rsa = (found.alike[:, :, :, MEASURES.index(m)] for m in ("cca", "pearson"))
    lrr, imp = NAMES.index(("lrr", 1)), NAMES.index(("imp", 1))  # half of the weights are left
    ends = np.minimum(cca[:, lrr, [0, 1]].mean(1), cca[:, lrr, [4, 5, 6]].mean(1))
    middle = cca[:, lrr, [2, 3]].mean(1)
    np.testing.assert_allclose(said["layers-between", "mnist, LeNet-5", "CCA"].values, ends - middle)
    gap = said["small-rates", "mnist", "lottery ticket, RDM, Pearson"].values
    np.testing.assert_allclose(gap, found.excess("imp", 1))
    gap = said["small-rates", "mnist", "no reset, CCA"].values
    np.testing.assert_allclose(gap, cca[:, NAMES.index(("on", 1)), 5] - cca[:, lrr, 5])
    last = [NAMES.index((m, 3)) for m in ("imp", "random", "reinitialised")]
    against = said["structure", "mnist", "with its own weights"].values
    np.testing.assert_allclose(against, found.accuracy[:, last[0]] - found.accuracy[:, last[1]])
    alone = said["structure", "mnist", "with new weights"].values
    np.testing.assert_allclose(alone, found.accuracy[:, last[2]] - found.accuracy[:, last[1]])
    trimmed = said["trim-saves", "mnist", "than the first network"].values
    np.testing.assert_allclose(trimmed, [2.0**n for n in found.last_within("trim", 0.002)])
    trimmed = said["trim-saves", "mnist", "than training on"].values
    last_of = found.last_within("trim", 0.002, of_control=True)
    np.testing.assert_allclose(trimmed, [2.0**n for n in last_of])
    like = said["contrast-again", "mnist", "trimmed and trained on, against trained on"].values
    np.testing.assert_allclose(like, rsa[:, NAMES.index(("trim", 1)), 5] - rsa[:, NAMES.index(("on", 1)), 5])
    whole, without, only, _ = np.moveaxis(units.classes, 1, 0)
    lost = said["few-destroy", "mnist", "LeNet-5"].values
    np.testing.assert_allclose(lost, ((whole - without) / (whole - 0.5)).mean(1))
    kept = said["few-keep", "mnist", "LeNet-5"].values
    np.testing.assert_allclose(kept, ((only - 0.5) / (whole - 0.5)).mean(1))
    stays = units.r2[:, ORDERS.index("poz"), 66]  # 67 of 84
    contrast = said["contrast", "mnist", "RDM, Pearson"].values
    np.testing.assert_allclose(contrast, stays - rsa[:, imp, 5])
    moved = said["halves-2", "mnist", ""].values  # relative to theirs
    np.testing.assert_allclose(moved, (1 - cca[:, NAMES.index(("lrr", 2))].min(axis=1)) / (1 - 0.930))


def test_like_accuracy_leaves_out_networks_that_lose_more(found, units):
    said = by_key(scorecard.pruned({"mnist": found}, {}))
    values, last = said["like-accuracy", "mnist", "RDM, Pearson"].values, found.last_within("imp")
    np.testing.assert_array_equal(np.isnan(values), last == 0)


def test_tickets_are_compared_with_the_whole_network(rng):
    names = [("dense", 0), *(("imp", n) for n in (7, 9, 15)), *(("reinitialised", n) for n in (7, 9, 15))]
    stop, accuracy = rng.integers(20, 80, (5, 7)), rng.uniform(0.97, 0.99, (5, 7))
    tickets = Pruned.of(
        {
            "method": [[m for m, _ in names]] * 5,
            "number": [[n for _, n in names]] * 5,
            "stop": stop,
            "accuracy": accuracy,
        },
        stimuli="mnist",
        network="lenet300-100",
    )
    said = by_key(scorecard.pruned({}, {}, tickets=tickets))
    np.testing.assert_allclose(said["tickets-sooner", "mnist", ""].values, 1 - stop[:, 1] / stop[:, 0])
    gain = 100 * (accuracy[:, 2] - accuracy[:, 0])
    np.testing.assert_allclose(said["tickets-better", "mnist", ""].values, gain)
    np.testing.assert_allclose(said["tickets-new", "mnist", ""].values, stop[:, 4] / stop[:, 1])


def test_every_claim_on_pruning_gets_a_finding_and_a_verdict(found, units):
    names = [("dense", 0), *(("imp", n) for n in (7, 9, 15)), ("reinitialised", 7)]
    arrays = {"method": [[m for m, _ in names]] * N, "number": [[n for _, n in names]] * N}
    arrays |= {"stop": np.ones((N, 5)), "accuracy": np.ones((N, 5))}
    tickets = Pruned.of(arrays, stimuli="mnist", network="lenet300-100")
    card = scorecard.verdicts(
        scorecard.pruned({"mnist": found}, {"mnist": units}, halves=found, tickets=tickets)
    )
    on_pruning = [claim.id for claim in claims.of_others().values() if claim.group == "pruning"]
    assert set(card["id"]) == set(on_pruning)
    assert set(card["verdict"]) <= set(claims.VERDICTS)
    shown = scorecard.of_groups(card, "pruning")
    assert list(dict.fromkeys(shown["id"])) == on_pruning  # in the order of the file


def test_the_readme_says_what_was_recorded():
    names = ("mnist", "cifar10-jpg")
    sets = {n: each for n in names if (each := records.pruned.known(n)) is not None}
    units = {n: records.pruned.known_units(n) for n in sets}
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    leaves = {n: pruned_tables.leaves(each, "imp") for n, each in sets.items()}
    whole = {n: np.median(each.at("poz", 0.8)) for n, each in units.items()}
    form = "from {:.0%} of the weights on".format
    for said in (
        f"trained again {pruned_tables.told(leaves, form, nan='in no round')}.",
        f"leaves {pruned_tables.told(whole, '{:.3f}'.format)};",
    ):
        assert said in text, said


# --- claims --------------------------------------------------------------------------------------

#: Image sets that claims of others are about and that results of ours are of.
AT_HAND = ("mnist", "cifar10", stimuli.SAMPLE, "addition", "docstrings", "simulated")


def test_claims_of_others_are_complete():
    known = claims.of_others()
    each = {path.stem: claims.claims(path) for path in sorted((ROOT / "data" / "claims").glob("*.csv"))}
    assert list(known) == [name for own in each.values() for name in own]  # no id is in two files
    assert {group: {claim.group for claim in own.values()} for group, own in each.items()} == {
        group: {group} for group in each
    }
    assert not set(known) & set(claims.claims())
    assert list(claims.everyones()) == [*claims.claims(), *known]
    for name, claim in known.items():
        assert re.fullmatch("[a-z0-9-]+", name)
        assert claim.declared in claims.DECLARED
        for text in (claim.title, claim.claim, claim.where, claim.value, claim.reading):
            assert text == text.strip() != "", name
        assert claim.scope, name
        assert bool(claim.missing) == set(claim.scope).isdisjoint(AT_HAND), name


def test_claims_of_others_are_where_they_say():
    for claim in claims.of_others().values():
        page, name = re.fullmatch(
            r"notebooks/(\w+)\.html#(?:figure|table)-([a-z0-9-]+)", claim.figure
        ).groups()
        source = json.loads((ROOT / "notebooks" / f"{page}.ipynb").read_text("utf-8"))["cells"]
        assert f'name="{name}"' in "".join("".join(c["source"]) for c in source), claim.id


# --- panels --------------------------------------------------------------------------------------


def test_panels_draw_medians_and_ranges(found):
    panels, numbers = plots.pruned_panels(
        {"mnist": found},
        lambda e: e.accuracy,
        ylabel="accuracy",
        methods=("imp",),
        bands=("seed",),
        beside={"again": lambda e: 2 * e.accuracy},
    )
    (axes,) = panels[0].axes
    assert axes.get_xlim()[0] > axes.get_xlim()[1]  # fewer to the right
    line = axes.lines[-1]
    _, y = found.along(found.accuracy, "imp")
    np.testing.assert_allclose(line.get_ydata(), np.median(y, axis=0))
    own = numbers[numbers["method"] == "imp"]
    np.testing.assert_allclose(own["low"], y.min(axis=0))
    twice = numbers[numbers["method"] == "imp, again"]
    np.testing.assert_allclose(twice["middle"], 2 * np.median(y, axis=0))
    flat = found.accuracy[:, [NAMES.index(("seed", n)) for n in (1, 3)]]
    band = numbers[numbers["method"] == "seed"].iloc[0]
    assert (band["middle"], band["low"], band["high"]) == pytest.approx(
        (np.median(flat), flat.min(), flat.max())
    )


def test_layer_panels_take_the_nearest_round(found):
    panels, numbers = plots.layer_panels(
        {"mnist": found}, ("imp", "again"), near=0.27, measures={"cca": "CCA", "pearson": "RDM"}
    )
    assert len(panels) == 2
    own = numbers.query("method == 'imp' and measure == 'cca'")
    np.testing.assert_allclose(
        own["middle"], np.median(found.alike[:, NAMES.index(("imp", 2)), :, 3], axis=0)
    )
    first = numbers.query("method == 'again' and measure == 'pearson'")
    np.testing.assert_allclose(
        first["middle"], np.median(found.alike[:, NAMES.index(("again", 1)), :, 0], axis=0)
    )
    chance = numbers.query("method == 'chance'")
    np.testing.assert_allclose(chance["middle"], np.median(found.chance, axis=0))


def test_left_panels_put_trimming_beside_leaving_out(found, units):
    look = {"ylabel": "R²", "bands": ("again",)}
    panels, numbers = plots.left_panels({"mnist": found}, {"mnist": units}, "r2", **look)
    assert len(panels) == 1
    by = dict(tuple(numbers.groupby("what")))
    poz, drawn, trimmed, on = (by[name] for name in plots.LEFT)
    flat = found.alike[:, [NAMES.index(("again", n)) for n in (1, 3)], 5, 0]
    assert by["again"][["middle", "low", "high"]].to_numpy() == pytest.approx(
        np.array([[np.median(flat), flat.min(), flat.max()]])
    )
    third = units.r2[:, ORDERS.index("poz"), 2::3]  # at every third number of units
    np.testing.assert_allclose(poz["middle"], np.median(third, axis=0))
    np.testing.assert_allclose(drawn["units left"], np.arange(3, F + 1, 3) / F)
    places = [0, *(NAMES.index(("trim", n)) for n in (1, 2, 3))]
    left = found.units_left[:, places, -1] / found.units_left[:, :1, -1]
    np.testing.assert_allclose(trimmed["units left"], np.median(left, axis=0))
    np.testing.assert_allclose(trimmed["middle"], np.median(found.alike[:, places, 5, 0], axis=0))
    places = [0, *(NAMES.index(("on", n)) for n in (1, 2, 3))]
    np.testing.assert_allclose(on["low"], found.alike[:, places, 5, 0].min(axis=0))
    np.testing.assert_allclose(on["units left"], trimmed["units left"])  # the same round


def test_unit_panels_take_the_order_that_is_asked_for(found, units):
    sets = {"mnist": found}, {"mnist": units}
    panels, numbers = plots.unit_panels(*sets, "accuracy", ["norm"], ylabel="R²", bands=("seed",))
    (line, across) = panels[0].axes[0].lines[-2:]
    of_norm = units.accuracy[:, ORDERS.index("norm"), 2::3]
    np.testing.assert_allclose(line.get_ydata(), np.median(of_norm, axis=0))
    flat = found.accuracy[:, [NAMES.index(("seed", n)) for n in (1, 3)]]
    assert set(across.get_ydata()) == {np.median(flat)}
    assert numbers.iloc[-1]["high"] == flat.max()
    assert list(plots.RANKED) == list(ORDERS)
    assert set(plots.PRUNED) == set(pruning.METHODS)
