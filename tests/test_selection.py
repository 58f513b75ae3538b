"""The choice of k on other images: against loops, planted worlds, and what must not matter."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from rarefire import curves, rdm, selection
from rarefire._engine import resampling
from rarefire.errors import InputError

N, F = 24, 12


@pytest.fixture
def given(rng):
    """Features of 24 images, some of them rare, and judgments that come partly from the first ones."""
    features = np.maximum(rng.normal(size=(N, F)) - np.linspace(-1, 1.2, F), 0)
    pairs = N * (N - 1) // 2
    human = 3 * pdist(features[:, :5], "correlation") + rng.normal(size=pairs) * 0.5
    return features, human


# --- an implementation with nothing but loops and scipy's distances --------------------------------


def r_of(features, people, images, inside, metric):
    """r of similarities of some images with people's, over the images that are `inside`."""
    use = np.array([i for i in images if inside[i]], dtype=int)
    if len(use) < 3:
        return np.nan
    said = people[np.ix_(use, use)][np.triu_indices(len(use), 1)]
    known = np.isfinite(said)
    a, b = pdist(features[use], metric)[known], said[known]
    return np.corrcoef(a, b)[0, 1] if len(a) > 1 and np.ptp(a) > 1e-12 and np.ptp(b) else np.nan


def defined(features, metric):
    return np.ptp(features, axis=1) > 0 if metric == "correlation" else features.any(axis=1)


def naive(features, subjects, order, *, rng, zeros=None, ks=None, metric="correlation", folds=2, repeats=10):
    """Estimate, se, p, k, as the docstring says it."""
    n, n_features = features.shape
    scaled = [s if len(subjects) == 1 else (s - np.nanmean(s)) / np.nanstd(s) for s in subjects]
    people = [rdm.square(s) for s in scaled]
    for p in people:
        np.fill_diagonal(p, np.nan)
    judged = np.isfinite(people).any(axis=(0, 1))
    features, people, n = features[judged], [p[judged][:, judged] for p in people], judged.sum()
    with np.errstate(invalid="ignore"):
        known = np.isfinite(people).sum(axis=0)
        mean = np.nansum(people, axis=0) / np.where(known > 0, known, np.nan)
    zeros = (features == 0) if zeros is None else zeros
    d, variance, chosen = [], [], []
    for _ in range(repeats):
        by_fold, in_fold, k_of = [], 0.0, []
        for test in np.array_split(rng.permutation(n), folds):
            train = [i for i in range(n) if i not in set(test.tolist())]
            if isinstance(order, str):
                rates = [sum(zeros[i, f] for i in train) / len(train) for f in range(n_features)]
                sign = 1 if order == "low" else -1
                indices = sorted(range(n_features), key=lambda f: (sign * rates[f], f))
            else:
                indices = list(order)
            best_k, best_r = None, -np.inf
            for k in ks or range(1, n_features + 1):
                some = features[:, indices[:k]]
                has = defined(some, metric)
                r = r_of(some, mean, train, has, metric)
                if has[train].sum() >= len(train) / 2 and r > best_r + 1e-12:
                    best_k, best_r = k, r
            k_of.append(best_k)
            some = features[:, indices[:best_k]]
            has = defined(some, metric)

            def change(images, some=some, has=has):
                return [
                    r_of(some, p, images, has, metric) - r_of(features, p, images, has, metric)
                    for p in people
                ]

            by_fold.append(change(test))
            said = [np.isfinite(np.array(people)[:, i, test]).any() for i in range(n)]
            draws = np.array([np.mean(change(test[test != i])) for i in test if has[i] and said[i]])
            m = len(draws)
            in_fold += (m - 1) / m * ((draws - draws.mean()) ** 2).sum()
        chosen.append(k_of)
        by_subject = np.mean(by_fold, axis=0)
        v = in_fold / folds**2
        if len(people) > 1:
            v += by_subject.var(ddof=1) / len(people)
        d.append(by_subject.mean())
        variance.append(v)
    estimate = np.median(d)
    se = np.sqrt(np.median([v + (x - estimate) ** 2 for v, x in zip(variance, d, strict=True)]))
    df = n - folds if len(people) == 1 else min(n - folds, len(people) - 1)
    return {
        "estimate": estimate,
        "se": se,
        "p": 2 * stats.t.sf(abs(estimate) / se, df),
        "k": chosen,
        "df": df,
    }


def compare(found, expected):
    np.testing.assert_array_equal(found.k, expected["k"])
    for name in ("estimate", "se", "p", "df"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-10), name
    margin = stats.t.ppf(0.975, expected["df"]) * expected["se"]
    ends = expected["estimate"] - margin, expected["estimate"] + margin
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-9)


@pytest.mark.parametrize(
    ("order", "options"),
    [
        ("low", {}),
        ("high", {"metric": "cosine", "ks": [3, 5, 7, 8, 10]}),
        ("low", {"folds": 3}),
        (np.random.default_rng(3).permutation(F), {"ks": [2, 6, 9]}),
    ],
)
def test_one_rdm_equals_naive_loops(given, order, options):
    features, human = given
    own = {"k" if name == "ks" else name: value for name, value in options.items()}
    found = selection.cross_fitted(features, human, order, rng=np.random.default_rng(8), repeats=3, **own)
    expected = naive(features, [human], order, rng=np.random.default_rng(8), repeats=3, **options)
    compare(found, expected)
    assert found.estimate != 0
    assert (found.n, found.n_subjects, found.level) == (N, 0, 0.95)


def test_subjects_equal_naive_loops(given, rng):
    features, human = given
    # Of different scales: each counts as much as the others in the choice of k.
    subjects = (human + rng.normal(size=(4, len(human))) * 0.5) * [[1], [10], [0.1], [3]] + 7
    found = selection.cross_fitted(features, subjects, "low", rng=np.random.default_rng(8), repeats=3)
    expected = naive(features, subjects, "low", rng=np.random.default_rng(8), repeats=3)
    compare(found, expected)
    assert (found.n_subjects, found.df) == (4, 3)


def test_pairs_that_were_not_judged_are_left_out(given, rng):
    features, human = given
    subjects = human + rng.normal(size=(3, len(human))) * 0.5
    subjects[0, rng.permutation(len(human))[:40]] = np.nan
    subjects[:, rng.permutation(len(human))[:20]] = np.nan
    options = {"repeats": 2, "rng": np.random.default_rng(9)}
    compare(
        selection.cross_fitted(features, subjects[0], "low", **options),
        naive(features, subjects[:1], "low", repeats=2, rng=np.random.default_rng(9)),
    )
    options["rng"] = np.random.default_rng(9)
    compare(
        selection.cross_fitted(features, subjects, "low", **options),
        naive(features, subjects, "low", repeats=2, rng=np.random.default_rng(9)),
    )


def test_images_without_a_similarity_are_no_replicates(given):
    """Some images are silent in the features that come first, for which k is fixed."""
    features, human = given
    features[[1, 4, 15], :6] = 0
    arguments = (features, human, np.arange(F))
    found = selection.cross_fitted(*arguments, k=[6], rng=np.random.default_rng(2), repeats=2)
    compare(found, naive(features, [human], np.arange(F), ks=[6], repeats=2, rng=np.random.default_rng(2)))
    assert (found.k == 6).all()
    assert found.r_kept - found.r_all == pytest.approx(found.estimate, abs=0.1)


def test_images_that_nobody_judged_take_no_part(given, rng):
    features, human = given
    more = np.vstack([features, np.maximum(rng.normal(size=(30, F)), 0)])
    judged = np.full((N + 30, N + 30), np.nan)
    judged[:N, :N] = rdm.square(human)
    options = {"repeats": 3, "silent": None}
    found = selection.cross_fitted(more, judged, "low", rng=np.random.default_rng(1), **options)
    alone = selection.cross_fitted(features, human, "low", rng=np.random.default_rng(1), **options)
    assert found.n == N
    assert found.estimate == pytest.approx(alone.estimate, abs=1e-12)
    assert (found.df, found.p) == (alone.df, pytest.approx(alone.p, abs=1e-10))
    # In a part of the images, too: an image that was compared with none of the others in it.
    few = rdm.square(human)
    first, _ = np.array_split(np.random.default_rng(1).permutation(N), 2)
    few[first[0], first] = few[first, first[0]] = np.nan
    human = rdm.condensed(few)
    found = selection.cross_fitted(features, human, "low", rng=np.random.default_rng(1), repeats=1)
    compare(found, naive(features, [human], "low", rng=np.random.default_rng(1), repeats=1))


def test_the_order_of_channels_counts_zeros_over_positions(given, rng):
    features, human = given
    # As many zeros as there are positions only where the mean over positions is 0.
    zeros = np.where(features == 0, 9, rng.integers(0, 9, size=features.shape))
    found = selection.cross_fitted(
        features, human, "low", silent=zeros, rng=np.random.default_rng(4), repeats=2
    )
    expected = naive(features, [human], "low", zeros=zeros, rng=np.random.default_rng(4), repeats=2)
    compare(found, expected)
    plain = selection.cross_fitted(features, human, "low", rng=np.random.default_rng(4), repeats=2)
    assert not np.array_equal(found.k, plain.k) or found.estimate != plain.estimate


def test_partitions_are_combined_by_hand():
    """Median .2; variances and squared distances from it sum to .02, .05 and .01."""
    d, variance = np.array([0.1, 0.3, 0.2]), np.array([0.01, 0.04, 0.01])
    estimate, se = selection.over_partitions(d, variance)
    assert (estimate, se) == pytest.approx((0.2, np.sqrt(0.02)))
    # Of two, the middle: .15, with .01 + .0025 and .06 + .0025.
    estimate, se = selection.over_partitions(np.array([0.1, 0.2]), np.array([0.01, 0.06]))
    assert (estimate, se) == pytest.approx((0.15, np.sqrt((0.0125 + 0.0625) / 2)))
    # One partition is left as it is.
    assert selection.over_partitions(-d, variance) == pytest.approx((-0.2, np.sqrt(0.02)))
    assert selection.over_partitions(d[:1], variance[:1]) == pytest.approx((0.1, 0.1))


# --- what must not matter --------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["features", "judgments", "silence"])
def test_test_images_have_no_part_in_the_choice(given, what):
    """Everything about a fold's test images changes, and the k chosen for that fold does not."""
    features, human = given
    noise = np.random.default_rng(77)
    first, _ = np.array_split(np.random.default_rng(6).permutation(N), 2)
    zeros = np.where(features == 0, 9, noise.integers(0, 9, size=features.shape))

    def chosen(features, human, zeros):
        options = {"silent": zeros, "repeats": 1, "rng": np.random.default_rng(6)}
        return selection.cross_fitted(features, human, "low", **options).k[0].tolist()

    before = chosen(features, human, zeros)
    others = set()
    for _ in range(5):
        changed, people, silent = features.copy(), rdm.square(human), zeros.copy()
        if what == "features":  # a rare feature becomes active, and the other way round
            changed[first] = np.maximum(noise.normal(size=(len(first), F)) + np.linspace(-2, 2, F), 0)
        elif what == "judgments":  # among the test images, and of them with the training images
            spoilt = noise.normal(size=(N, N)) * 10
            spoilt += spoilt.T
            people[first] = spoilt[first]
            people[:, first] = spoilt[:, first]
        else:
            silent[first] = noise.integers(0, 10, size=(len(first), F)) * np.linspace(0, 5, F).astype(int)
        after = chosen(changed, people, silent)
        assert after[0] == before[0]
        others.add(after[1])
    assert others != {before[1]}  # for the other fold they are training images, and it matters


def test_the_same_generator_gives_the_same_and_inputs_stay(given):
    features, human = given
    zeros = (features == 0).astype(int)
    before = [array.copy() for array in (features, human, zeros)]
    options = {"silent": zeros, "repeats": 3}
    np.random.seed(0)  # noqa: NPY002 (the global state must not matter)
    first = selection.cross_fitted(features, human, "low", rng=np.random.default_rng(1), **options)
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    again = selection.cross_fitted(features, human, "low", rng=np.random.default_rng(1), **options)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    other = selection.cross_fitted(features, human, "low", rng=np.random.default_rng(2), **options)
    ours, theirs = ([found.estimate, found.se, found.p] for found in (first, again))
    assert ours == pytest.approx(theirs, abs=1e-12)
    np.testing.assert_array_equal(first.k, again.k)
    assert abs(other.estimate - first.estimate) > 1e-6
    for array, copy in zip((features, human, zeros), before, strict=True):
        np.testing.assert_array_equal(array, copy)


class SamePartitions(np.random.Generator):
    """The partitions of images that changed their places."""

    def __init__(self, seed, places):
        super().__init__(np.random.PCG64(seed))
        self.places = places

    def permutation(self, n):
        return self.places[super().permutation(n)]


@pytest.mark.parametrize("what", ["unit", "answers", "square", "subjects", "features", "images"])
def test_what_is_found_does_not_hang_on(given, rng, what):
    features, human = given
    subjects, order = human + rng.normal(size=(4, len(human))) * 0.5, rng.permutation(F)
    found = selection.cross_fitted(features, subjects, order, rng=np.random.default_rng(1))
    again = np.random.default_rng(1)
    if what == "unit":
        features = 3.7 * features
    elif what == "answers":
        subjects = subjects * [[5], [1], [0.1], [3]] + [[3], [0], [-7], [1]]
    elif what == "square":
        subjects = np.stack([rdm.square(s) for s in subjects])
    elif what == "subjects":
        subjects = subjects[[2, 0, 3, 1]]
    elif what == "features":
        p = rng.permutation(F)
        features, order = features[:, p], np.argsort(p)[order]
    else:
        p = rng.permutation(N)
        features, subjects = features[p], np.stack([rdm.square(s)[np.ix_(p, p)] for s in subjects])
        again = SamePartitions(1, np.argsort(p))
    other = selection.cross_fitted(features, subjects, order, rng=again)
    np.testing.assert_array_equal(other.k, found.k)
    for name in ("estimate", "low", "high", "se", "df", "p", "r_kept", "r_all"):
        assert getattr(other, name) == pytest.approx(getattr(found, name), abs=1e-10), name
    assert found.low < found.estimate < found.high


# --- worlds in which the answer is known -----------------------------------------------------------


@pytest.mark.parametrize("order", ["low", "fixed"])
def test_features_that_people_do_not_see_are_found_to_harm(rng, order):
    """Six active features are what people see; thirty rare ones, of other causes, come after them."""
    seen = np.abs(rng.normal(size=(60, 6)))
    unseen = np.maximum(rng.normal(size=(60, 30)) * 2 - 1, 0)
    features = np.hstack([seen, unseen])
    people = pdist(seen, "correlation") + 0.1 * rng.normal(size=60 * 59 // 2)
    given = order if order == "low" else np.arange(36)
    found = selection.cross_fitted(features, people, given, rng=rng)
    assert found.estimate > 0.2
    assert found.low > 0
    assert found.p < 1e-4
    assert np.median(found.k) == 6
    assert found.r_kept > 0.9 > found.r_all
    assert found.r_kept - found.r_all == pytest.approx(found.estimate, abs=0.05)


def test_an_order_that_comes_in_backwards_gains_nothing(rng):
    """High PoZ first: what people see comes last, so all features are chosen, or nearly."""
    seen = np.abs(rng.normal(size=(60, 6)))
    features = np.hstack([seen, np.maximum(rng.normal(size=(60, 30)) - 1, 0)])
    people = pdist(seen, "correlation") + 0.1 * rng.normal(size=60 * 59 // 2)
    found = selection.cross_fitted(features, people, "high", rng=rng)
    assert found.k.min() >= 35
    assert abs(found.estimate) < 0.02


@pytest.mark.parametrize("n_subjects", [0, 3])
def test_all_features_do_not_differ_from_themselves(given, rng, n_subjects):
    features, human = given
    human = human + rng.normal(size=(n_subjects, len(human))) if n_subjects else human
    found = selection.cross_fitted(features, human, "low", k=[F], rng=np.random.default_rng(0))
    assert (found.estimate, found.se, found.p, found.low, found.high) == (0, 0, 1, 0, 0)
    assert found.r_kept == found.r_all
    assert (found.k == F).all()


def test_dead_features_change_nothing_at_all(rng):
    """Rounding is no difference, and its p would be anything."""
    alive = np.maximum(rng.normal(size=(30, 16)), 0)
    unit, _ = rdm.unit_vectors(alive, metric="cosine")
    human = -(unit @ unit.T)[np.triu_indices(30, 1)] + 0.003 * rng.normal(size=435)
    features = np.hstack([alive, np.zeros((30, 20))])
    found = selection.cross_fitted(features, human, "low", metric="cosine", k=[4, 16, 36], rng=rng)
    assert set(np.unique(found.k)) <= {16, 36}
    assert (found.estimate, found.se, found.p) == (0, 0, 1)


def test_what_is_printed(given):
    features, human = given
    found = selection.cross_fitted(features, human, "low", rng=np.random.default_rng(0), repeats=4)
    first, second, third = str(found).split("\n")
    assert first == (
        f"D = {found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}], p = {found.p:.3g}, df = 22"
    )
    assert second == (
        f"r = {found.r_kept:.3f} with {np.median(found.k):g} features (median choice, from "
        f"{found.k.min()} to {found.k.max()}), {found.r_all:.3f} with all"
    )
    assert third == (
        "order and k chosen on 50% of the images, D on the others, 4 × 2 folds; "
        "delete-one-image jackknife (24 images)"
    )
    subjects = np.stack([human, human[::-1], human**2])
    found = selection.cross_fitted(
        features, subjects, np.arange(F), rng=np.random.default_rng(0), folds=4, repeats=2
    )
    assert str(found).split("\n")[2] == (
        "k chosen on 75% of the images, D on the others, 2 × 4 folds; "
        "delete-one-image jackknife (3 subjects, 24 images)"
    )


# --- similarities ----------------------------------------------------------------------------------


def test_similarities_less_one_by_hand():
    """Two images that are alike, one opposite to them, and one without a similarity; then at right angles."""
    features = np.array([[1.0, 0, 0], [3, 2, 2], [0, 5, 5], [4, 4, 4]])
    similar, defined = resampling.less_one(features, metric="correlation")
    np.testing.assert_allclose(similar, [0, -2, 0, -2, 0, 0], atol=1e-12)
    assert defined.tolist() == [True, True, True, False]
    similar, defined = resampling.less_one(features[:3] * [[1], [0], [1]], metric="cosine")
    np.testing.assert_allclose(similar, [0, -1, 0], atol=1e-12)
    assert defined.tolist() == [True, False, True]
    with pytest.raises(InputError, match="metric is one of"):
        resampling.less_one(features, metric="manhattan")


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_few_steps_one_by_one_are_the_steps_of_many(given, metric):
    """Up to three steps are made each by itself, more in one pass; and what is known is not made again."""
    features, human = given
    features[2, :7], features[9] = 0, 0
    many = np.array([2, 5, 7, 9, F])
    weigh = resampling.without_each(N)
    r, r_all, defined = resampling.resample(features, np.arange(F), many, metric, human, weigh)
    for steps in (many[:3], many[3:]):
        own = resampling.resample(features, np.arange(F), steps, metric, human, weigh)
        at = np.searchsorted(many, steps)
        for found, expected in zip(own[:2], (r, r_all), strict=True):
            np.testing.assert_allclose(found, expected[..., at], atol=1e-12)
        np.testing.assert_array_equal(own[2], defined[at])
    whole, _ = resampling.less_one(features, metric=metric)
    for steps in (many, many[:3]):
        known = resampling.resample(features, np.arange(F), steps, metric, human, weigh, whole=whole)
        at = np.searchsorted(many, steps)
        np.testing.assert_allclose(known[1], r_all[..., at], atol=1e-12)


# --- best ------------------------------------------------------------------------------------------


def curve(r, n_images):
    return curves.Curve(np.array([2, 4, 6, 8, 10]), np.array(r), np.array(n_images), 10)


def test_best_is_the_first_of_the_highest_among_those_that_count():
    full = [20] * 5
    assert selection.best(curve([0.1, 0.5, 0.3, 0.5, 0.2], full), n_images=20) == 4
    assert selection.best(curve([-0.5, np.nan, -0.3, -0.4, -0.6], full), n_images=20) == 6
    rare = [9, 10, 12, 16, 20]
    assert selection.best(curve([0.9, 0.5, 0.3, 0.4, 0.2], rare), n_images=20) == 4
    assert selection.best(curve([0.9, 0.5, 0.3, 0.4, 0.2], rare), n_images=20, least=0.6) == 8
    assert selection.best(curve([0.9, 0.5, 0.3, 0.4, 0.2], rare), n_images=20, least=0) == 2


def test_a_choice_does_not_hang_on_rounding():
    """Differences of 1e-13 are none: the smallest k of those; differences of 1e-11 are."""
    full = [20] * 5
    assert selection.best(curve([0.1, 0.5, 0.3, 0.5 + 1e-13, 0.2], full), n_images=20) == 4
    assert selection.best(curve([0.1, 0.5 + 1e-13, 0.3, 0.5, 0.2], full), n_images=20) == 4
    assert selection.best(curve([0.1, 0.5, 0.3, 0.5 + 1e-11, 0.2], full), n_images=20) == 8
    # One that does not count is not what the others are measured by.
    rare = [9, 20, 20, 20, 20]
    assert selection.best(curve([0.9, 0.5, 0.3, 0.5 + 1e-13, 0.2], rare), n_images=20) == 4


# --- errors ----------------------------------------------------------------------------------------


def call(given, **changed):
    arguments = {"embedding": given[0], "human": given[1], "order": "low", "rng": np.random.default_rng(0)}
    return selection.cross_fitted(**{**arguments, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rng": 3}, "rng is a numpy.random.Generator; got int"),
        ({"folds": 1}, "folds must be a whole number, at least 2; got 1"),
        ({"folds": 2.0}, "folds is a whole number; got 2.0"),
        ({"repeats": 0}, "repeats is a whole number, at least 1; got 0"),
        ({"folds": 5}, "5 folds need at least 25 images; got 24"),
        ({"level": 95}, r"level lies in \(0, 1\); got 95"),
        ({"order": "up"}, "order is 'low', 'high' or a permutation of the features; got 'up'"),
        ({"order": [0, 1]}, r"order must hold each of the 12 feature indices once; got shape \(2,\)"),
        ({"silent": np.zeros((N, 3))}, r"silent must be \(24, 12\), as the embedding; got \(24, 3\)"),
        ({"k": [0]}, "k must lie between 1 and 12, in whole numbers; got"),
        ({"k": [13]}, "k must lie between 1 and 12"),
        ({"embedding": np.full((N, F), -1.0)}, "100% of the activations are negative"),
        ({"embedding": np.full((N, F), np.nan)}, "24 of 24 images have NaN"),
        ({"human": np.arange(10.0)}, "the RDM is of 5 images; the embedding has 24 images"),
        ({"human": np.arange(276.0)[None]}, r"several subjects are at least two; got \(1, 276\)"),
        ({"human": np.ones((2, 276))}, "all values of the RDM are equal"),
        ({"metric": "euclidean"}, "metric is one of"),
    ],
)
def test_errors_say_what_came_and_what_was_expected(given, changed, message):
    with pytest.raises(InputError, match=message):
        call(given, **changed)


def test_an_order_that_is_fixed_takes_any_sign(given):
    """PoZ asks for post-ReLU features; an order that is given does not."""
    features, human = given
    found = call((features - 1, human), order=np.arange(F), repeats=2)
    # Less 1 everywhere, the correlations are the same.
    assert found.estimate == pytest.approx(call(given, order=np.arange(F), repeats=2).estimate, abs=1e-10)


def test_k_at_which_images_are_silent_cannot_be_chosen(given):
    features, human = given
    features[:, :4] = 0
    features[3, 0] = features[8, 1] = 1
    with pytest.raises(InputError, match="r is undefined at every k, or fewer than 50% of 12 images have"):
        call((features, human), order=np.arange(F), k=[3])


def test_d_that_is_undefined_in_most_partitions_is_refused(rng):
    """Fourteen of twenty images have a similarity in the first two features; of five there are too few."""
    features = rng.random((20, 4))
    features[:6, :2] = 0
    with pytest.raises(InputError, match=r"D is undefined in \d+ of 10 partitions: too few test images"):
        call((features, rng.random(190)), order=np.arange(4), k=[2], folds=4, metric="cosine")
    # A subject who judged four images only, and one with a single opinion.
    features, human = rng.random((30, 5)), rng.random((3, 435))
    few = np.full((30, 30), np.nan)
    few[:4, :4] = rdm.square(human[1, :6])
    human[1] = rdm.condensed(few)
    with pytest.raises(InputError, match=r"D is undefined in \d+ of 10 .* subject judged no two of them"):
        call((features, human))
    human[1] = 0
    human[1, :3] = 1
    with pytest.raises(InputError, match=r"D is undefined in \d+ of 10 .* similarities do not vary"):
        call((features, human))


def test_best_of_nothing():
    with pytest.raises(InputError, match="r is undefined at every k, or fewer than 50% of 20 images"):
        selection.best(curve([np.nan] * 5, [20] * 5), n_images=20)
    with pytest.raises(InputError, match="fewer than 80% of 20 images have one"):
        selection.best(curve([0.5] * 5, [15] * 5), n_images=20, least=0.8)
