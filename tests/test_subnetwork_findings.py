"""Findings on groups of layers, from made records whose answers are known."""

from pathlib import Path

import numpy as np
import pytest

from rarefire import inference, records, store
from rarefire import subnetworks as direct
from rarefire.errors import InputError
from rarefire.page import claims, scorecard
from rarefire.page import subnetwork_findings as findings
from rarefire.rdm import condensed
from rarefire.records import block_tests
from rarefire.records.block_tests import Blocks
from rarefire.records.layer_choice import CHOSEN, NUMBERS, Choice
from rarefire.records.sequence_maps import SETTINGS, Transformers
from rarefire.records.subnetworks import Maps

N = 6  # networks, as many as an interval takes
CLAIMS = {claim.id: claim for claim in claims.of_others().values() if claim.group == "subnetworks"}
LAYERS = ("mlp 0", "mlp 1", "mlp 2", "mlp 3")
AT = np.arange(4)

#: Two groups, of which a chain explains half: pairs of neighbours are 1, 4 and 1 apart, all others 4.
GROUPS = np.where(AT[:, None] // 2 == AT // 2, 1.0, 4.0) * (AT[:, None] != AT)
#: A smooth chain, of which two groups explain two fifths: all but 2 of 10 / 3.
CHAIN = np.abs(AT[:, None] - AT).astype(float)
#: The first layer alone.
FIRST = np.where((AT[:, None] == 0) == (AT == 0), 1.0, 4.0) * (AT[:, None] != AT)
#: Each claim on R² of `GROUPS` when `CHAIN` was before.
VALUES = {
    ("groups-there", ""): 1,
    ("groups-emerge", ""): 1 - 0.4,
    ("groups-abrupt", "than a smooth chain"): 1 - 0.5,
    ("groups-abrupt", "than untrained"): 0.5 - (0.4 - 1),
    ("groups-uneven", ""): 0,
}


def arrays(*apart, accuracy=0.5):
    """Of networks with these maps by ½·GW on both samples; by CKA they are chains."""
    upper = np.stack([condensed(2 * each) ** 2 for each in apart])[:, None].repeat(2, axis=1)
    cka = np.broadcast_to(1 - condensed(CHAIN) / 4, upper.shape)
    return {
        "layer": [LAYERS] * len(apart),
        "accuracy": np.full(len(apart), accuracy),
        "upper": upper,
        "cka": cka,
    }


def maps(*apart, accuracy=0.5, images="mnist"):
    return Maps.of(arrays(*apart, accuracy=accuracy), stimuli=images, network="any")


def lenets(images="mnist", n=N, **ways):
    """Trained as usual they have two groups, and before that none."""
    made = {"untrained": [CHAIN] * n, "usual": [GROUPS] * n, **ways}
    return {way: maps(*apart, images=images) for way, apart in made.items()}


WAYS = {"decay": [FIRST] * N, "norm": [GROUPS] * N}


def transformers(n=N, *, states=("untrained", "before", "after"), passed=(0.1, 0.9, 0.2, 0.4), after=GROUPS):
    """The block that moves the stream least is the second, of neighbours that are as near the first."""
    of = {"untrained": CHAIN, "before": CHAIN + (CHAIN > 2), "after": after}
    more = {"passed": [passed] * n, "skipped": np.zeros((n, 4))}
    facts = {"stimuli": "addition", "network": "transformer"}
    return {state: Transformers.of({**arrays(*[of[state]] * n), **more}, **facts) for state in states}


def choice(features=0.1, moved=(2, 1), without=(0.5, 0.75)):
    chosen = np.full((len(CHOSEN), len(NUMBERS)), 0.9)
    chosen[0] = 0.3 + features + np.array([-0.02, -0.01, 0, 0.01, 0.02])
    drawn = np.tile([0.2, 0.4, 0.5, 0.1], (len(NUMBERS), 1))
    by = np.array([moved, *[[0, 0][: len(moved)]] * 3])
    given = {"chosen": chosen, "drawn": drawn, "moved": by, "without": np.array(without)}
    return Choice((store.Answer(given, {"facts": {"network": "any"}}, "computed"),))


def simulated(*, noises=(1.0, 2.0)):
    """Of ten planted networks, ½·GW finds nine and then eight, CKA five, RSA six, and identity all."""
    answers = []
    for noise in noises:
        found = {"gw": 9 if noise == 1 else 8, "identity": 10, "cka": 5, "pearson": 6, "cosine": 0}
        planted = np.stack([np.where(np.arange(10) < found[m], 9, -9) for m in block_tests.MEASURES], axis=1)
        uneven = np.tile([5.0, 5, 5, 20, 5], (10, 1))  # above what RSA finds
        for kind, b in (("blocks", planted), ("smooth", np.zeros((10, 5))), ("uneven", uneven)):
            facts = {"kind": kind, "differ": "both", "noise": noise, "measures": list(block_tests.MEASURES)}
            given = {"b": b, "b_uneven": b, "exact": np.zeros(b.shape, dtype=bool)}
            answers.append(store.Answer(given, {"facts": facts}, "computed"))
    return Blocks(tuple(answers))


def listed(sets=None, networks=None, *, of=None, choices=None, blocks=None):
    return list(
        findings.subnetworks(
            sets or {}, networks or {}, transformers=of or {}, choices=choices or {}, simulated=blocks
        )
    )


def read(*given, **more):
    """Findings by claim, images and convention."""
    found = listed(*given, **more)
    keys = [(f.claim, f.images, f.convention) for f in found]
    assert len(set(keys)) == len(keys)
    return {key: np.atleast_1d(f.values) for key, f in zip(keys, found, strict=True)}


def test_lenets_count_one_by_one():
    found = read({"mnist": lenets(**WAYS), "digits": lenets("digits", n=2)})
    for images, n in (("mnist", N), ("digits", 2)):
        for (claim, way), expected in VALUES.items():
            np.testing.assert_allclose(found[claim, images, way], [expected] * n, atol=1e-12, err_msg=claim)
    # Of two ways that are no twins one has other maps, cut elsewhere.
    assert found["strategy-moves", "mnist", ""] == [0.5]
    assert found["strategy-cuts", "mnist", ""] == [0.5]
    assert ("strategy-moves", "digits", "") not in found


def test_each_imagenet_network_counts_once():
    one = {"untrained": maps(CHAIN), "trained": maps(GROUPS)}
    two = {"untrained": maps(GROUPS), "trained": maps(CHAIN)}
    found = read(networks={"one": one, "two": two, "alone": {"trained": maps(GROUPS)}})
    for claim, convention, expected in (
        ("groups-there", "2 networks", [1, 0.4]),
        ("groups-emerge", "2 networks", [0.6, -0.6]),
        ("groups-abrupt", "2 networks, than a smooth chain", [0.5, -0.6]),
        ("groups-abrupt", "2 networks, than untrained", [1.1, -1.1]),
        ("groups-uneven", "2 networks", [0, -0.6]),
    ):
        values = found[claim, "imagenet-sample", convention]
        np.testing.assert_allclose(values, expected, atol=1e-12, err_msg=claim)
    assert ("groups-there", "imagenet-sample", "1 network") in read(networks={"one": one})
    assert not any(np.isfinite(v).any() for v in read(networks={"no": {"trained": maps(CHAIN)}}).values())


def test_transformers_are_named_by_task_and_depth():
    found = read(
        of={
            "addition-2": transformers(3),
            "addition-4": transformers(passed=(1, 0, 0.6, 0.6)),
            "docstrings-4": transformers(states=("untrained", "after")),
        }
    )
    for task, blocks, n in (
        ("addition", "2 blocks", 3),
        ("addition", "4 blocks", N),
        ("docstrings", "4 blocks", N),
    ):
        for (claim, way), expected in VALUES.items():
            values = found[claim, task, f"{blocks}, {way}" if way else blocks]
            np.testing.assert_allclose(values, [expected] * n, atol=1e-12, err_msg=claim)
    np.testing.assert_allclose(found["use-redundant", "addition", "2 blocks"], [0.9 - 0.5] * 3)
    np.testing.assert_allclose(found["use-redundant", "addition", "4 blocks"], [0 - 0.4] * N)
    # Before the rule is found the maps are others, in the same two groups.
    assert found["strategy-moves", "addition", "4 blocks"] == [1]
    assert found["strategy-cuts", "addition", "4 blocks"] == [0]
    np.testing.assert_equal(found["strategy-moves", "docstrings", ""], [np.nan])


def test_what_groups_are_good_for():
    nothing = choice(moved=(), without=())  # no step gives what it takes
    found = read(choices={"one": choice(), "two": choice(features=-0.2, moved=(1, 2)), "three": nothing})
    features = found["use-features", "imagenet-sample", "3 networks"]
    np.testing.assert_allclose(features, [0.1, -0.2, 0.1])
    redundant = found["use-redundant", "imagenet-sample", "3 networks"]
    np.testing.assert_allclose(redundant, [0.75 - 0.625, 0.5 - 0.625, np.nan])
    assert ("use-features", "imagenet-sample", "1 network") in read(choices={"one": choice()})


def test_power_is_beside_the_best_of_other_measures():
    found = read(blocks=simulated())
    # Beside RSA's six of ten; above the uneven chains RSA finds none, and CKA five.
    assert found["more-powerful", "simulated", "smooth chains"] == pytest.approx((0.3 + 0.2) / 2)
    assert found["more-powerful", "simulated", "smooth and uneven chains"] == pytest.approx((0.4 + 0.3) / 2)


def test_ways_are_tested_against_the_usual_one():
    by_way = lenets(**WAYS, few=[GROUPS, GROUPS, CHAIN, CHAIN, FIRST, CHAIN])
    table = findings.ways(by_way)
    assert table["way"].tolist() == ["decay", "norm", "few"]
    for row in table.to_dict("records"):
        test = direct.ways_test(
            by_way["usual"].apart(), by_way[row["way"]].apart(), rng=np.random.default_rng(0)
        )
        assert (row["between"], row["within"], row["p"]) == (test.between, test.within, test.p)
    np.testing.assert_allclose(table["holm"], inference.holm(table["p"]))
    # Of 462 ways to divide twelve networks the one that is there; two ways that are the same.
    assert table["p"].tolist()[:2] == pytest.approx([1 / 462, 1])
    assert table["cuts"].tolist() == ["mlp 1", "mlp 2", "mlp 2"]
    assert set(table["usual"]) == {"mlp 2"}
    assert table["seeds"].tolist() == [6, 6, 5]
    assert table["accuracy"].tolist() == [0.5] * 3
    gains = by_way["few"].gains()
    assert table["b"].iloc[2] == np.median([gain.b for gain in gains])
    assert table["b_uneven"].iloc[2] == np.median([gain.b_uneven for gain in gains])
    # By CKA all maps are the same.
    assert findings.ways(by_way, measure="cka")["holm"].tolist() == [1, 1, 1]
    assert findings.ways({"trained": maps(GROUPS), "untrained": maps(CHAIN)}).empty


def test_cuts_are_the_most_frequent_then_the_fewest_then_the_first():
    assert findings.cuts(maps(GROUPS, FIRST, GROUPS)) == ("mlp 2", 2)
    assert findings.cuts(maps(GROUPS, FIRST)) == ("mlp 1", 1)
    three = np.where((AT[:, None] == AT) | ((AT[:, None] - 1.5) ** 2 + (AT - 1.5) ** 2 < 1), 1.0, 4.0)
    three = three * (AT[:, None] != AT)  # only the two in the middle are near each other
    assert findings.cuts(maps(three)) == ("mlp 1 mlp 3", 1)
    assert findings.cuts(maps(three, GROUPS)) == ("mlp 2", 1)
    assert findings.cuts(maps(GROUPS, GROUPS, FIRST), measure="cka") == ("mlp 2", 3)


def test_seeds_are_tested_against_their_twins():
    by_way = lenets()
    test = findings.seeds(by_way["usual"], by_way["untrained"])
    assert (test.trained, test.twin, test.estimate) == pytest.approx((0.5, -0.6, 1.1))
    assert (test.p, test.n) == (2**-N, N)
    turned = findings.seeds(by_way["untrained"], by_way["usual"])
    assert turned.p == 1
    same = findings.seeds(by_way["usual"], by_way["untrained"], measure="cka")
    assert same.estimate == 0
    with pytest.raises(InputError, match="B of at least five seeds and of as many twins are needed"):
        findings.seeds(maps(GROUPS), maps(CHAIN))


def test_the_redundant_block_is_that_which_moves_the_stream_least():
    last = np.abs(np.subtract.outer([0, 3, 5, 5.5], [0, 3, 5, 5.5]))
    found = transformers(2, passed=(1, 0.2, 0.3, 0.7), after=last)["after"]
    np.testing.assert_allclose(findings.redundant(found), [0.7 - 0.4] * 2)
    np.testing.assert_allclose(findings.redundant(found, measure="cka"), [0.2 - 0.4] * 2)  # all are as near


def test_without_records_every_claim_is_untested_on_its_own_images():
    found = listed()
    assert [(f.claim, f.images) for f in found] == [(c.id, s) for c in CLAIMS.values() for s in c.scope]
    card = scorecard.verdicts(found)
    assert set(card["verdict"]) == {claims.UNTESTED}
    assert not card["beyond"].any()
    # What lacks is found by images: another task does not stand for a task.
    some = [f for f in found if f.images == "addition"]
    lack = [(f.claim, f.images) for f in scorecard.lacking(some, "subnetworks")]
    assert lack == [(f.claim, f.images) for f in found if f.images != "addition"]
    assert list(scorecard.lacking([], "no group")) == []


def test_every_claim_gets_a_finding_and_a_verdict():
    photographs = {str(k): {"untrained": maps(CHAIN), "trained": maps(GROUPS)} for k in range(6)}
    found = listed(
        {"mnist": lenets(**WAYS), "cifar10-jpg": lenets("cifar10-jpg", **WAYS), "digits": lenets("digits")},
        photographs,
        of={
            "addition-2": transformers(5),
            "addition-4": transformers(),
            "docstrings-4": transformers(states=("untrained", "after")),
        },
        choices=dict.fromkeys(photographs, choice()),
        blocks=simulated(),
    )
    card = scorecard.verdicts(found)
    assert set(card["id"]) == set(CLAIMS)
    untested = card[card["verdict"] == claims.UNTESTED]
    assert sorted(zip(untested["id"], untested["images"], strict=True)) == [
        ("strategy-cuts", "docstrings"),  # which are trained in one way
        ("strategy-moves", "docstrings"),
    ]
    own = card[~card["beyond"]].set_index(["id", "images", "convention"])["verdict"]
    for name, images, convention, verdict in (
        ("groups-there", "docstrings", "4 blocks", claims.REPRODUCED),
        ("groups-emerge", "addition", "4 blocks", claims.REPRODUCED),
        ("groups-emerge", "addition", "2 blocks", claims.UNDECIDED),  # five networks have no interval
        ("groups-abrupt", "addition", "4 blocks, than untrained", claims.REPRODUCED),
        ("groups-uneven", "addition", "4 blocks", claims.HOLDS),
        ("strategy-moves", "addition", "4 blocks", claims.REPRODUCED),
        ("strategy-cuts", "addition", "4 blocks", claims.NOT_REPRODUCED),
        ("use-features", "imagenet-sample", "6 networks", claims.REPRODUCED),
        ("use-redundant", "imagenet-sample", "6 networks", claims.REPRODUCED),
        ("more-powerful", "simulated", "smooth chains", claims.REPRODUCED),
    ):
        assert own[name, images, convention] == verdict, name
    # Image networks are beyond what the claims on groups are about.
    assert card[card["images"].isin(["mnist", "cifar10-jpg", "digits"])]["beyond"].all()
    there = card[card["id"] == "groups-there"].set_index("images")["beyond"]
    assert there["imagenet-sample"]
    shown = scorecard.of_groups(card, "subnetworks")
    assert list(dict.fromkeys(shown["id"])) == list(CLAIMS)  # in the order of the file


def test_kinds_that_are_ahead_of_a_chain_are_counted_by_their_median():
    kinds = {"groups": maps(GROUPS, GROUPS, CHAIN), "chain": maps(CHAIN, CHAIN, GROUPS)}
    assert findings.ahead(kinds) == ["groups"]
    assert findings.ahead(kinds, measure="cka") == []
    assert findings.ahead(kinds, inner=True) == []  # four layers are too few


def test_kinds_pass_both_tests_over_seeds():
    pairs = {"groups": (maps(*[GROUPS] * N), maps(*[CHAIN] * N)), "as before": (maps(*[GROUPS] * N),) * 2}
    assert findings.passing(pairs) == ["groups"]
    assert findings.passing(pairs, level=0.01) == []  # no p is below 1/64


def test_the_readme_says_what_was_recorded():
    text = " ".join((Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8").split())
    lenets = {name: records.subnetworks.known(name) for name in ("mnist", "cifar10-jpg")}
    of = {name: records.sequence_maps.known(name) for name in SETTINGS}
    seeds = {name: (by["usual"], by["untrained"]) for name, by in lenets.items()}
    seeds |= {name: (by["after"], by["untrained"]) for name, by in of.items()}
    passed = findings.passing(seeds)
    for said in (
        f"in {sum(n in of for n in passed)} of {len(of)} kinds of small transformer",
        f"and {sum(n in lenets for n in passed)} of {len(lenets)} of LeNet.",
    ):
        assert said in text, said
