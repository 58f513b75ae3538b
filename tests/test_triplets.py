"""Triplets: naive loops as oracles, answers by hand, simulated ceilings and levels, the real materials."""

import dataclasses
import itertools
import shutil

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import squareform

from rarefire import inference, poz, ratings, rdm, stimuli, triplets
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.triplets import Ceiling, Triplets


def made(asked, votes=None, n=None, **given):
    """Triplets without files; one vote for each where none are given."""
    asked = np.asarray(asked)
    votes = np.tile([1, 0], (len(asked), 1)) if votes is None else np.asarray(votes)
    n = int(asked.max()) + 1 if n is None else n
    fields = {"name": "made", "images": None, "names": tuple(f"i{i}" for i in range(n))}
    fields |= {"triplets": asked, "votes": votes, "citation": "c", "licence": "l", "source": "s"}
    return Triplets(**(fields | given))


def asked(rng, n, total):
    """Different triplets of n images, in random order."""
    every = [(r, a, b) for r in range(n) for a, b in itertools.permutations(range(n), 2) if r not in (a, b)]
    return np.array(every)[rng.permutation(len(every))[:total]]


def answered(rng, n=14, total=300):
    """Triplets with up to five votes, the majority's choice first."""
    m = rng.integers(1, 6, size=total)
    f = rng.binomial(m, rng.uniform(0.4, 1, size=total))
    votes = np.sort(np.column_stack([f, m - f]), axis=1)[:, ::-1]
    return made(asked(rng, n, total), votes)


# --- the class -----------------------------------------------------------------------------------


def test_what_triplets_are(rng):
    given = made([[0, 1, 2], [2, 0, 3]], [[3, 1], [2, 2]])
    assert (given.n, len(given)) == (4, 2)
    assert given.decided.tolist() == [True, False]
    assert repr(given) == "<made: 4 images (not at hand), 2 triplets, 8 answers, 1 tied>"
    assert given.triplets.dtype == np.intp
    small = made(np.uint8([[0, 1, 2], [2, 0, 3]]), np.uint8([[3, 1], [2, 2]]))
    assert small.digest == given.digest
    images = stimuli.in_categories(np.zeros((4, 3, 2, 2), np.float32), ["a"] * 4, name="made", source="made")
    changes = [{"votes": [[3, 0], [2, 2]]}, {"images": images}, {"triplets": [[0, 2, 1], [2, 0, 3]]}]
    digests = {dataclasses.replace(given, **change).digest for change in changes}
    assert len(digests | {given.digest}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triplets": [[0, 1, 4]]}, r"by numbers from 0 to 3; got 4"),
        ({"triplets": [[0, -1, 2]]}, r"by numbers from 0 to 3; got -1"),
        ({"triplets": [[0, 1, 1]]}, r"three different images; triplet 0 is \[0, 1, 1\]"),
        ({"triplets": [[2, 1, 2]]}, r"three different images; triplet 0 is \[2, 1, 2\]"),
        ({"triplets": [[0.0, 1, 2]]}, r"triplets are whole numbers, \(n_triplets, 3\); got float64 \(1, 3\)"),
        ({"triplets": [[0, 1]]}, r"triplets are whole numbers, \(n_triplets, 3\); got int64 \(1, 2\)"),
        ({"triplets": np.empty((0, 3), int)}, r"triplets are whole numbers.*\(0, 3\)"),
        ({"votes": [[1, 2]]}, r"majority's choice comes first.* triplet 0 has votes \[1, 2\]"),
        ({"votes": [[0, 0]]}, r"at least one vote; triplet 0 has votes \[0, 0\]"),
        ({"votes": [[2, -1]]}, r"triplet 0 has votes \[2, -1\]"),
        ({"votes": [[1, 0], [1, 0]]}, r"there are 1 triplets and votes for 2"),
        ({"votes": [1, 0]}, r"votes are whole numbers, \(n_triplets, 2\)"),
    ],
)
def test_triplets_that_are_none(change, message):
    given = made([[0, 1, 2]], [[2, 1]], n=4)
    with pytest.raises(InputError, match=message):
        dataclasses.replace(given, **change)


def test_as_many_images_as_names():
    images = stimuli.in_categories(np.zeros((3, 3, 2, 2), np.float32), ["a"] * 3, name="made", source="made")
    with pytest.raises(InputError, match="there are 3 images and 4 names"):
        made([[0, 1, 2]], n=4, images=images)


# --- agreement -----------------------------------------------------------------------------------


def test_agreement_by_hand():
    """Images on a line, at 0, 1, 3 and 6."""
    places = np.array([0.0, 1, 3, 6])
    square = np.abs(places[:, None] - places)
    given = made(
        [[0, 1, 2], [0, 3, 2], [1, 2, 0], [3, 2, 1], [2, 1, 0]], [[3, 0], [2, 1], [4, 1], [2, 2], [5, 0]]
    )
    # 0–1 is 1, 0–2 3: yes. 0–3 is 6, 0–2 3: no. 1–2 is 2, 1–0 1: no. People are tied. 2–1 is 2, 2–0 3: yes.
    assert triplets.outcomes(square, given).tolist() == [1, 0, 0, 1, 1]
    assert triplets.agreement(square, given) == 2 / 4
    assert triplets.agreement(square, given, by="votes") == (3 + 1 + 1 + 2 + 5) / 20
    assert triplets.agreement(rdm.condensed(square), given) == 2 / 4
    square[1, 2] = square[2, 1] = 1  # as far as 1–0: a tie, up to rounding, on one triplet
    square[0, 1] = square[1, 0] = 1 + 1e-15
    assert triplets.outcomes(square, given).tolist() == [1, 0, 0.5, 1, 1]
    assert triplets.agreement(square, given) == 2.5 / 4
    assert triplets.agreement(square, given, by="votes") == (3 + 1 + 2.5 + 2 + 5) / 20


def test_agreement_as_a_loop(rng):
    given = answered(rng)
    values = np.round(rng.uniform(size=14 * 13 // 2), 1)  # with ties
    square, agree, own, majorities = squareform(values), 0.0, 0.0, 0
    for (r, a, b), (f, other) in zip(given.triplets, given.votes, strict=True):
        near = 0.5 if square[r, a] == square[r, b] else float(square[r, a] < square[r, b])
        own += near * f + (1 - near) * other
        if f > other:
            majorities += 1
            agree += near
    assert (triplets.outcomes(values, given) == 0.5).sum() > 5
    assert triplets.agreement(values, given) == pytest.approx(agree / majorities, abs=1e-12)
    assert triplets.agreement(square, given, by="votes") == pytest.approx(own / given.votes.sum(), abs=1e-12)


def test_what_agrees_with_nobody(rng):
    given = answered(rng)
    with pytest.raises(InputError, match=r"are of 10 pairs; 'made' has 14 images, 91 pairs"):
        triplets.agreement(np.arange(10.0), given)
    with pytest.raises(InputError, match=r"an RDM is square"):
        triplets.agreement(np.zeros((14, 13)), given)
    values = np.arange(91.0)
    values[0] = np.nan  # images 0 and 1
    asks = [t for t, (r, *x) in enumerate(given.triplets.tolist()) if {0, 1} in ({r, x[0]}, {r, x[1]})]
    message = rf"{len(asks)} of 300 triplets ask for .* NaN or infinite \(first: triplet {asks[0]}\)"
    with pytest.raises(InputError, match=message):
        triplets.agreement(values, given)
    assert triplets.agreement(values, made([[5, 6, 7]], n=14)) == 1  # it is not asked for
    tied = made([[0, 1, 2], [1, 2, 0]], [[1, 1], [2, 2]])
    with pytest.raises(InputError, match="people are tied on all 2 triplets of 'made'"):
        triplets.agreement([1.0, 2, 3], tied)
    assert triplets.agreement([1.0, 2, 3], tied, by="votes") == 0.5
    for function in (
        lambda by: triplets.agreement([1.0, 2, 3], tied, by=by),
        lambda by: triplets.ceiling(tied, by=by),
    ):
        with pytest.raises(InputError, match="by is one of majorities, votes; got 'people'"):
            function("people")


# --- ceiling -------------------------------------------------------------------------------------


def leave_one_out(votes):
    """Each person against the majority of the others; every triplet weighs the same."""
    agree = compared = 0.0
    for f, a in votes:
        people = [1] * f + [0] * a
        for i, own in enumerate(people):
            others = people[:i] + people[i + 1 :]
            margin = 2 * sum(others) - len(others)
            if margin:
                agree += float(own == (margin > 0)) / len(people)
                compared += 1 / len(people)
    return agree / compared


def test_ceiling_by_hand_and_as_a_loop(rng):
    given = made([[0, 1, 2], [1, 2, 0], [2, 1, 0]], [[3, 0], [2, 1], [1, 0]])
    # 3:0 all three agree. 2:1 the two face a tie, the one disagrees. 1:0 has no others.
    assert triplets.ceiling(given) == Ceiling(3 / 3 / (3 / 3 + 1 / 3), 1.0)
    # Pairs of people: 3 of 3 agree; 1 of 3. Weighted by 3 votes each.
    assert triplets.ceiling(given, by="votes") == pytest.approx(((3 * 1 + 3 * 1 / 3) / 6, 6 / 7))
    many = answered(rng)
    assert triplets.ceiling(many).low == pytest.approx(leave_one_out(many.votes.tolist()), abs=1e-12)
    with pytest.raises(InputError, match="no triplet of 'made' was answered by two people"):
        triplets.ceiling(made([[0, 1, 2]]))


@pytest.mark.parametrize("m", [3, 4, 6])
def test_one_more_person_reaches_the_lower_ceiling(rng, m):
    """Brute force: people who answer alike with a probability of each triplet's own, and one more of them."""
    total = 40_000
    p = rng.beta(3, 1.2, size=total)
    f = rng.binomial(m, p)
    votes = np.sort(np.column_stack([f, m - f]), axis=1)[:, ::-1]
    given = made(np.tile([0, 1, 2], (total, 1)), votes)
    more, others = rng.random(total) < p, rng.binomial(m - 1, p)
    decided = 2 * others != m - 1
    reached = np.mean((more == (2 * others > m - 1))[decided])
    assert triplets.ceiling(given).low == pytest.approx(reached, abs=0.008)
    own = np.where(more, f, m - f).sum() / (m * total)  # single answers that one more person agrees with
    assert triplets.ceiling(given, by="votes").low == pytest.approx(own, abs=0.008)
    perfect = np.where(p > 0.5, f, m - f).sum() / (m * total)
    assert triplets.ceiling(given, by="votes").high >= perfect


# --- the change of agreement ---------------------------------------------------------------------


def some_features(rng, n=14, width=30):
    features = np.maximum(rng.normal(size=(n, 4)) @ rng.normal(size=(4, width)) - rng.normal(size=width), 0)
    features[0, :5] = 0  # without a similarity in the first five
    features[1, :9] = 0
    return features


def prefix(features, order, k, metric, silenced):
    kept = features[:, order[:k]]
    if silenced:
        kept = np.zeros_like(features)
        kept[:, order[:k]] = features[:, order[:k]]
    square = np.full((len(features), len(features)), np.nan)
    defined = (
        [i for i, x in enumerate(kept) if (x != x[0]).any()]
        if metric == "correlation"
        else [i for i, x in enumerate(kept) if x.any()]
    )
    for i, j in itertools.product(defined, repeat=2):
        x, y = kept[i], kept[j]
        square[i, j] = 1 - (
            np.corrcoef(x, y)[0, 1] if metric == "correlation" else x @ y / np.sqrt((x @ x) * (y @ y))
        )
    return square


@pytest.mark.parametrize(
    ("metric", "silenced"), [("correlation", False), ("correlation", True), ("cosine", False)]
)
def test_a_curve_of_agreement_as_loops(rng, metric, silenced):
    """Agreement, jackknife, and what pairs and single triplets add, one triplet after the other."""
    features, given = some_features(rng), answered(rng, total=400)
    order, ks = np.concatenate([np.arange(5), 5 + rng.permutation(25)]), [3, 7, 8, 20, 30]
    found = triplets.agreement_curve(features, given, order, k=ks, metric=metric, silenced=silenced)
    assert found.k.tolist() == ks
    whole = prefix(features, order, 30, metric, silenced=False)
    for s, k in enumerate(ks):
        square = prefix(features, order, k, metric, silenced=silenced)
        psi, kept, every, members, ties = [], [], [], [], 0
        for (r, a, b), (f, other) in zip(given.triplets, given.votes, strict=True):
            if f == other or np.isnan(square[[r, r, a], [a, b, b]]).any():
                continue
            both = [
                0.5 if abs(d[r, a] - d[r, b]) < 1e-12 else float(d[r, a] < d[r, b]) for d in (square, whole)
            ]
            ties += both[0] == 0.5
            kept.append(both[0])
            every.append(both[1])
            members.append({r, a, b})
        psi, total = np.subtract(kept, every), len(kept)
        images = sorted(set().union(*members))
        assert (found.n_triplets[s], found.n_images[s], found.ties[s]) == (total, len(images), ties)
        assert found.agreement[s] == pytest.approx(np.mean(kept), abs=1e-12)
        assert found.agreement_all[s] == pytest.approx(np.mean(every), abs=1e-12)
        n = len(images)
        left = [np.mean([x for x, m in zip(psi, members, strict=True) if i not in m]) for i in images]
        np.testing.assert_allclose(found.without[images, s], left, atol=1e-12)
        jackknife = (n - 1) / n * sum((np.array(left) - np.mean(left)) ** 2)
        assert found.jackknife[s] == pytest.approx(jackknife, rel=1e-9)
        design = np.array([[1.0, *(i in m for i in images)] for m in members])
        effects, _, rank, _ = np.linalg.lstsq(design, psi, rcond=None)
        e = psi - design @ effects
        b = np.sum(e**2) / (total - rank) / total
        assert found.single[s] == pytest.approx(b, rel=1e-9, abs=1e-15)
        hat = np.eye(total) - design @ np.linalg.pinv(design)
        pairs, independent = 0.0, 0.0
        for pair in itertools.combinations(images, 2):
            inside = np.array([set(pair) <= m for m in members])
            pairs += e[inside].sum() ** 2
            independent += hat[np.ix_(inside, inside)].sum()  # the expectation of that for residuals of noise
        p = max(pairs / total**2 - b * independent / total, 0)
        assert found.shared[s] == pytest.approx(p, rel=1e-7, abs=1e-15)
        assert found.variance[s] == pytest.approx(
            max(jackknife - 2 * p - 3 * b, 0) + p + b, rel=1e-7, abs=1e-15
        )
    assert found.difference[-1] == 0
    assert found.variance[-1] == 0


def test_silenced_features_stay_in_the_centring(rng):
    """As an embedding in which they are 0; not as one without them."""
    features, given = some_features(rng), answered(rng, total=400)
    kept = features.copy()
    kept[:, 12:] = 0
    options = {"k": [12], "silenced": True}
    silenced = triplets.agreement_curve(features, given, np.arange(30), **options)
    by_hand = triplets.agreement_curve(kept, given, np.arange(30), k=[30])
    assert silenced.agreement[0] == by_hand.agreement[0]
    assert (
        silenced.agreement_all[0]
        == triplets.agreement_curve(features, given, np.arange(30), k=[30]).agreement[0]
    )
    removed = triplets.agreement_curve(features, given, np.arange(30), k=[12])
    assert removed.agreement[0] != silenced.agreement[0]
    cosine = [
        triplets.agreement_curve(features, given, np.arange(30), metric="cosine", k=[12], silenced=s)
        for s in (0, 1)
    ]
    assert cosine[0].agreement == cosine[1].agreement


def test_the_curve_agrees_with_agreement(rng):
    features, given = np.abs(rng.normal(size=(14, 30))), answered(rng)
    order = poz.order(features.mean(axis=0))
    found = triplets.agreement_curve(features, given, order)
    assert found.k.tolist() == list(range(1, 31))
    assert np.isnan(found.agreement[0])  # one feature alone has no correlation
    assert found.n_triplets[0] == 0
    for k in (2, 3, 17, 30):
        assert found.agreement[k - 1] == triplets.agreement(rdm.rdm(features[:, order[:k]]), given)
    # Two features: similarities are 1 or −1 and mostly tied.
    assert found.ties[1] > 50
    estimate = found.estimate(level=0.9)
    assert estimate.unit == "image"
    test = triplets.change_of_agreement(features, given, order, k=17, level=0.9)
    for name in ("estimate", "low", "high", "se", "df", "p"):
        assert getattr(test, name) == pytest.approx(getattr(estimate, name)[16], nan_ok=True), name
    assert (test.k, test.n, test.n_subjects, test.df, test.level) == (17, 14, 0, 13, 0.9)
    assert test.r_kept == found.agreement[16]
    assert test.r_kept - test.r_all == test.estimate
    assert test.high - test.low == pytest.approx(2 * stats.t.ppf(0.95, 13) * test.se)
    assert "D = " in str(test)
    assert isinstance(test, inference.Test)
    # Steps among others are what they are alone; covariances are those of a covariance.
    few = triplets.agreement_curve(features, given, order, k=[5, 17, 18, 30])
    np.testing.assert_allclose(few.variance, found.variance[[4, 16, 17, 29]], rtol=1e-9)
    assert (np.diag(few.covariance) >= few.variance * (1 - 1e-9)).all()
    np.testing.assert_allclose(np.diag(few.covariance), few.variance, rtol=0.3)
    assert np.linalg.eigvalsh(few.covariance).min() > -1e-12
    assert few.covariance[1, 2] > few.covariance[0, 2]
    # Over one k the maximum is the test at that k.
    alone = triplets.agreement_curve(features, given, order, k=[17])
    most = alone.maximum(rng=rng, n_draws=40_000)
    assert most.p == pytest.approx(alone.estimate().p[0], abs=0.012)
    assert few.maximum(rng=rng).p >= few.maximum(rng=rng, alternative="greater").p / 2 - 0.02


def test_every_feature_and_all_features(rng):
    features, given = np.abs(rng.normal(size=(14, 30))), answered(rng)
    test = triplets.change_of_agreement(features, given, np.arange(30), k=30)
    assert (test.estimate, test.se, test.p) == (0, 0, 1)


def test_many_steps_have_no_covariances_but_the_same_variances(rng):
    features, given = np.abs(rng.normal(size=(14, 600))), answered(rng)
    every = triplets.agreement_curve(features, given, np.arange(600))
    few = triplets.agreement_curve(features, given, np.arange(600), k=[9, 300])
    assert every.covariance.size == 0
    with pytest.raises(InputError, match="over 600 numbers of features needs more covariances .*fewer k"):
        every.maximum(rng=rng)
    np.testing.assert_allclose(every.variance[[8, 299]], few.variance, rtol=1e-9)


def test_two_models_are_compared_as_two_slices_are(rng):
    features, given = np.abs(rng.normal(size=(14, 30))), answered(rng)
    test = triplets.change_of_agreement(features, given, np.arange(30), k=17)
    found = triplets.compare(rdm.rdm(features[:, :17]), rdm.rdm(features), given)
    for name in ("estimate", "low", "high", "se", "df", "p"):
        assert getattr(found, name) == pytest.approx(getattr(test, name)), name
    assert (found.first, found.second, found.n) == pytest.approx((test.r_kept, test.r_all, test.n))
    assert triplets.compare(rdm.rdm(features), rdm.rdm(features), given).p == 1
    with pytest.raises(InputError, match="of 78 pairs; 'made' has 14 images, 91 pairs"):
        triplets.compare(rdm.rdm(features[:13]), rdm.rdm(features), given)


def test_what_cannot_be_tested_is_named(rng):
    features, given = np.abs(rng.normal(size=(14, 6))), answered(rng)
    order = np.arange(6)
    with pytest.raises(InputError, match="the embedding has 13 images, 'made' 14"):
        triplets.change_of_agreement(features[:13], given, order, k=3)
    with pytest.raises(InputError, match="k is one number, chosen beforehand; .* agreement_curve"):
        triplets.change_of_agreement(features, given, order, k=[3, 4])
    with pytest.raises(InputError, match="k must lie between 1 and 6"):
        triplets.agreement_curve(features, given, order, k=[7])
    with pytest.raises(InputError, match="order must hold each of the 6"):
        triplets.agreement_curve(features, given, order[:5])
    with pytest.raises(InputError, match="metric is 'correlation' or 'cosine'; got 'euclidean'"):
        triplets.agreement_curve(features, given, order, metric="euclidean")
    with pytest.raises(InputError, match="NaN or infinite"):
        triplets.agreement_curve(np.where(features > 1, np.nan, features), given, order)
    with pytest.raises(InputError, match=r"the change at k = 1 is undefined: 0 images in 0 triplets"):
        triplets.change_of_agreement(features, given, order, k=1)
    few = made([[0, 1, 2], [3, 4, 5]], n=14)
    with pytest.raises(InputError, match=r"undefined: 6 images in 2 triplets with a majority are too few"):
        triplets.change_of_agreement(features, few, order, k=3)


# --- how often it is wrong -----------------------------------------------------------------------


def study(rng, n, total, effect=0.0):
    """Images with features of two kinds; people follow both geometries, or with an `effect` the kept ones.

    Their distance is a mixture of that of the kept features and that of all, of one of their own, and of
    noise of every pair; they answer by chance, the more so the less distances differ. With `effect` 0 the
    kept features agree as well as all: the weight .54 was found by simulation.
    """
    mixing = np.random.default_rng(1).normal(size=(6, 40))
    mixing[:3, 20:] *= 0.3
    mixing[3:, :20] *= 0.3
    features = np.maximum(rng.normal(size=(n, 6)) @ mixing + 0.7 * rng.normal(size=(n, 40)) - 0.5, 0)
    geometries = [rdm.unit_vectors(part)[0] for part in (features[:, :20], features)]
    upper = np.triu_indices(n, 1)
    kept, every = ((1 - (u @ u.T)[upper]) for u in geometries)
    people = rng.normal(size=(n, 5))
    own = ((people[:, None] - people) ** 2).sum(axis=-1)[upper]
    kept, every, own = (stats.zscore(d) for d in (kept, every, own))
    weight = 0.54 + effect
    human = squareform(weight * kept + (1 - weight) * every + 0.7 * own + 0.5 * rng.normal(size=len(own)))
    r, a, b = asked_quickly(rng, n, total)
    m = rng.choice([1, 2, 3, 4, 5], size=len(r), p=[0.04, 0.07, 0.16, 0.26, 0.47])
    f = rng.binomial(m, stats.norm.cdf(1.2 * (human[r, b] - human[r, a])))
    turn = 2 * f < m
    shown = np.column_stack([r, np.where(turn, b, a), np.where(turn, a, b)])
    return features, made(shown, np.column_stack([np.maximum(f, m - f), np.minimum(f, m - f)]), n)


def asked_quickly(rng, n, total):
    drawn = rng.integers(0, n, size=(3, 2 * total))
    different = (drawn[0] != drawn[1]) & (drawn[0] != drawn[2]) & (drawn[1] != drawn[2])
    return drawn[:, different][:, :total]


def test_the_level_holds_and_power_is_more_than_the_plain_jackknifes():
    """A test that takes triplets for independent is wrong more often than it says."""
    seeds = 300

    def rejected(effect, start):
        found = np.zeros((seeds, 3))
        for seed in range(seeds):
            features, given = study(np.random.default_rng(start + seed), 36, 1200, effect)
            curve = triplets.agreement_curve(features, given, np.arange(40), k=[20])
            t = np.abs(curve.difference) / np.sqrt([curve.variance, curve.jackknife, curve.single]).ravel()
            found[seed] = t > stats.t.ppf(0.975, [35, 35, 10_000])
        return found.mean(axis=0)

    ours, _, naive = rejected(0.0, 0)
    assert ours <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / seeds)
    assert naive > 0.05 + 0.02
    power, less, _ = rejected(0.2, 10_000)
    assert power > less + 0.1
    assert power > 0.5


# --- the real materials --------------------------------------------------------------------------


@pytest.fixture
def real(mirror, own_cache, monkeypatch):
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    return mirror


def test_materials(real):
    given = triplets.load("materials", size=32)
    assert (given.n, len(given), (~given.decided).sum()) == (100, 25_801, 1_657)
    assert given.images.images.shape == (100, 3, 32, 32)
    assert given.names[0] == "alum-bronze"
    assert triplets.load("materials").images.images.shape == (100, 3, 298, 298)
    train, test = (triplets.load("materials", size=8, split=part) for part in ("train", "test"))
    assert (len(train), len(test)) == (22_801, 3_000)
    np.testing.assert_array_equal(np.concatenate([train.triplets, test.triplets]), given.triplets)
    np.testing.assert_array_equal(np.concatenate([train.votes, test.votes]), given.votes)
    assert "(test split)" in test.source
    assert "25,801 triplets of 100 pictures, 104,692 answers" in given.source
    assert triplets.available("materials")
    # No triplet twice: all of them may be used together.
    r, *others = given.triplets.T
    assert len({(i, *sorted(pair)) for i, *pair in zip(r, *others, strict=True)}) == len(given)
    assert triplets.ceiling(given, by="votes") == pytest.approx((0.716, 0.838), abs=5e-4)
    assert triplets.ceiling(given) == pytest.approx((0.777, 1), abs=5e-4)
    # Colours alone agree with people; numbers from a generator do not.
    colour = rdm.rdm(triplets.load("materials").images.images.mean(axis=(2, 3)), metric="euclidean")
    assert triplets.agreement(colour, given) > 0.58
    chance = np.random.default_rng(0).uniform(size=len(colour))
    assert triplets.agreement(chance, given) == pytest.approx(0.5, abs=0.03)


def test_materials_that_are_missing_or_others(mirror, own_cache):
    assert not triplets.available("materials")
    with pytest.raises(DataError, match=r"'materials' is not on this machine .*mlagunas/material-appearance"):
        triplets.load("materials")
    own = own_cache / "materials100"
    shutil.copytree(mirror / "materials100", own)
    assert triplets.load("materials", size=8).n == 100
    with np.load(own / "triplets.npz") as file:
        held = {name: file[name] for name in file.files}
    np.savez(own / "triplets.npz", **held | {"test_votes": held["test_votes"][::-1]})
    with pytest.raises(DataError, match="materials100 does not hold 'materials' as this package knows it"):
        triplets.load("materials")
    del held["names"]
    np.savez(own / "triplets.npz", **held)
    with pytest.raises(DataError, match=r"triplets\.npz is damaged: .*names"):
        triplets.load("materials")
    shutil.copy(mirror / "materials100" / "triplets.npz", own)
    (own / "images" / "aluminium.jpg").unlink()
    with pytest.raises(DataError, match=r"there is no file .*aluminium\.jpg"):
        triplets.load("materials")


def test_wrong_names(own_cache):
    with pytest.raises(UnknownNameError, match="no set of triplets 'material'. There are: materials"):
        triplets.load("material")
    with pytest.raises(UnknownNameError, match="no set of triplets 'x'"):
        triplets.available("x")
    with pytest.raises(UnknownNameError, match="no split 'validation'. There are: all, train, test"):
        triplets.load("materials", split="validation")
    with pytest.raises(InputError, match="size must be a whole number of pixels"):
        triplets.load("materials", size=0)


# --- your own --------------------------------------------------------------------------------------


def odd_trials(rng, distances, total):
    """What one who leaves out the image in none of the closest pair says, as a table."""
    n = len(distances)
    rows = ["who,image1,image2,image3,choice,rt"]
    for t in range(total):
        a, b, c = rng.choice(n, 3, replace=False)
        odd = min([(distances[b, c], a), (distances[a, c], b), (distances[a, b], c)])[1]
        rows.append(f"p{t % 3},i{a},i{b},i{c},i{odd},{rng.integers(300, 900)}")
    return "\n".join(rows)


def test_odd_one_out_trials_as_triplets(tmp_path, rng):
    n = 8
    distances = rdm.square(rng.random(n * (n - 1) // 2))
    (tmp_path / "odd.csv").write_text(odd_trials(rng, distances, 200))
    choices = ratings.read_choices(tmp_path / "odd.csv")
    given = triplets.read(tmp_path / "odd.csv")
    assert given.votes.sum() == 2 * len(choices)
    assert triplets.odd_one_out(distances, choices) == 1
    assert triplets.agreement(distances, given) == 1
    other = rdm.square(rng.random(n * (n - 1) // 2))
    left, right = [0, 0], []
    for a, b, odd in choices.trials:
        right.append(np.argmin([other[a, b], other[a, odd], other[b, odd]]) == 0)
        for r, chosen in ((a, b), (b, a)):
            left[int(other[r, chosen] < other[r, odd])] += 1
    assert triplets.odd_one_out(other, choices) == pytest.approx(np.mean(right))
    assert triplets.agreement(other, given, by="votes") == pytest.approx(left[1] / sum(left))
    assert triplets.odd_one_out(np.ones((n, n)) - np.eye(n), choices) == pytest.approx(1 / 3)


def test_votes_of_triplets_are_counted(tmp_path):
    rows = ["r,a,b", "r,b,a", "r,a,b", "a,b,r"]
    (tmp_path / "t.csv").write_text("\n".join(["anchor,positive,negative", *rows]))
    given = triplets.read(tmp_path / "t.csv")
    assert given.names == ("a", "b", "r")
    assert given.triplets.tolist() == [[0, 1, 2], [2, 0, 1]]
    assert given.votes.tolist() == [[1, 0], [2, 1]]
    choices = ratings.read_choices(tmp_path / "t.csv")
    with pytest.raises(InputError, match="'t' holds triplets, not odd-one-out trials: agreement takes those"):
        triplets.odd_one_out(np.ones(3), choices)


def test_odd_one_out_needs_dissimilarities_of_these_images(tmp_path, rng):
    (tmp_path / "odd.csv").write_text("image1,image2,odd\na,b,c\nb,c,d\n")
    choices = ratings.read_choices(tmp_path / "odd.csv")
    with pytest.raises(InputError, match="of 3 pairs; 'odd' has 4 images"):
        triplets.odd_one_out(np.ones(3), choices)
    with pytest.raises(InputError, match="1 of 2 trials ask for a dissimilarity that is not finite"):
        triplets.odd_one_out([np.nan, 1, 1, 1, 1, 1], choices)
