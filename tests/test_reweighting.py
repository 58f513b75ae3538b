"""Ridge re-weighting: against scikit-learn's primal ridge on explicit products, and planted weights."""

import itertools
from unittest import mock

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from rarefire import rdm, reweighting
from rarefire.errors import InputError

N, F = 26, 9
PAIRS = list(itertools.combinations(range(N), 2))


@pytest.fixture
def given(rng):
    """Features, and judgments that come from some of them."""
    features = np.maximum(rng.normal(size=(N, F)) + 0.4, 0)
    x, _ = products(features, range(F), "correlation")
    human = 2 - x[:, :3].sum(axis=1) + 0.1 * rng.normal(size=len(PAIRS))
    return features, human


def unit(row, metric):
    row = row - row.mean() if metric == "correlation" else row
    return row / np.sqrt(row @ row) if row.any() else None


def products(features, first, metric):
    """Of two images' scaled activations, feature by feature; and which pairs have them."""
    rows = [unit(row, metric) for row in np.asarray(features)[:, list(first)]]
    found = [
        rows[i] * rows[j] if rows[i] is not None and rows[j] is not None else np.full(len(first), np.nan)
        for i, j in PAIRS
    ]
    return np.array(found), ~np.isnan(found).any(axis=1)


def among(images, use):
    return np.array([p for p, (i, j) in enumerate(PAIRS) if use[p] and i in images and j in images])


def predict(x, y, train, test, alpha):
    """Of test pairs, by a primal ridge with an intercept."""
    centred = x[train] - x[train].mean(axis=0)
    penalty = alpha * np.mean([row @ row for row in centred])
    model = Ridge(alpha=penalty, fit_intercept=True, solver="cholesky").fit(x[train], y[train])
    return model.predict(x[test])


def fit(x, y, train, test, alpha):
    """R on test pairs."""
    return np.corrcoef(predict(x, y, train, test, alpha), y[test])[0, 1]


def parts_of(seed, folds, repeats=1):
    """The test parts, and the three parts of their training images."""
    rng = np.random.default_rng(seed)
    tests = [
        part
        for parts in [np.array_split(rng.permutation(N), folds) for _ in range(repeats)]
        for part in parts
    ]
    return tests, [np.array_split(rng.permutation([i for i in range(N) if i not in t]), 3) for t in tests]


@pytest.fixture
def ways(monkeypatch):
    """How often equations were made by features, and by pairs."""
    spies = {name: mock.Mock(wraps=getattr(reweighting, name)) for name in ("_by_features", "_by_pairs")}
    for name, spy in spies.items():
        monkeypatch.setattr(reweighting, name, spy)
    return lambda: {name: spy.call_count for name, spy in spies.items()}


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("by_pairs", [False, True])
def test_primal_ridge_with_the_penalty_of_training_images(given, rng, ways, monkeypatch, metric, by_pairs):
    """The same regression, whichever matrix is solved; an image lacks a similarity, and pairs a judgment."""
    features, human = given
    human += rng.normal(size=len(human)) * 0.3
    human[[4, 70, 200]] = np.nan
    features[5, [7, 8, 0, 1]] = 0  # the image has no similarity in the first four features
    order = np.roll(np.arange(F), 2)
    monkeypatch.setattr(reweighting, "_DUAL", 10**9 if by_pairs else 1)
    options = {"k": [4, F], "metric": metric, "folds": 3, "repeats": 2}
    found = reweighting.reweighted(features, human, order, rng=np.random.default_rng(1), **options)
    assert ways() == {"_by_features": 2 * (not by_pairs), "_by_pairs": 2 * by_pairs}  # for both k
    assert (found.k.tolist(), found.n_images) == ([4, F], N)
    for values in (found.plain, found.ridge, found.variance, found.alpha):
        assert values.shape == (2, 2, 3)
    tests, inner = parts_of(1, 3, 2)
    for step, k in enumerate(found.k):
        x, defined = products(features, order[:k], metric)
        assert defined.all() == (k == F)
        use = defined & np.isfinite(human)
        for place, (test, parts) in enumerate(zip(tests, inner, strict=True)):
            held, at = among(test, use), (step, *divmod(place, 3))
            train = [i for i in range(N) if i not in test]
            fits = [(among([i for i in train if i not in p], use), among(p, use)) for p in parts]
            scores = [np.mean([fit(x, -human, *own, alpha) for own in fits]) for alpha in reweighting.ALPHAS]
            alpha = reweighting.ALPHAS[int(np.argmax(scores))]
            assert found.alpha[at] == alpha
            expected = fit(x, -human, among(train, use), held, alpha)
            assert found.ridge[at] == pytest.approx(expected, abs=1e-9)
            plain = np.corrcoef(x[held].sum(axis=1), -human[held])[0, 1]
            assert found.plain[at] == pytest.approx(plain, abs=1e-12)
    assert len(np.unique(found.alpha)) > 1


def test_the_gain_has_the_jackknife_of_each_test_part(given):
    """The weights stay; one image after another leaves the test part."""
    features, human = given
    human[[4, 70, 200]] = np.nan
    features[5, [7, 8, 0, 1]] = 0  # no replicate where it has no similarity
    order, alpha = np.roll(np.arange(F), 2), 0.3
    options = {"k": [4, F], "folds": 3, "repeats": 4, "alphas": [alpha]}
    found = reweighting.reweighted(features, human, order, rng=np.random.default_rng(1), **options)
    gain = found.gain()
    tests, _ = parts_of(1, 3, 4)
    for step, k in enumerate(found.k):
        x, defined = products(features, order[:k], "correlation")
        use = defined & np.isfinite(human)
        d, variance = np.zeros((2, 12))
        for place, test in enumerate(tests):
            held = among(test, use)
            train = among([i for i in range(N) if i not in test], use)
            weighted = dict(zip(held.tolist(), predict(x, -human, train, held, alpha), strict=True))

            def change(pairs, x=x, weighted=weighted):
                fitted, said = [weighted[p] for p in pairs], -human[pairs]
                return np.corrcoef(fitted, said)[0, 1] - np.corrcoef(x[pairs].sum(axis=1), said)[0, 1]

            d[place] = change(held)
            present = [i for i in test if any(i in PAIRS[p] for p in held)]
            assert len(present) == len(test) - (k == 4 and 5 in test)
            without = [change([p for p in held if i not in PAIRS[p]]) for i in present]
            m = len(without)
            variance[place] = (m - 1) / m * np.sum((without - np.mean(without)) ** 2)
            assert found.variance[step].ravel()[place] == pytest.approx(variance[place], rel=1e-6)
        by_partition = d.reshape(4, 3).mean(axis=1)
        estimate = np.median(by_partition)
        spread = variance.reshape(4, 3).sum(axis=1) / 9 + (by_partition - estimate) ** 2
        se = np.sqrt(np.median(spread))
        margin = stats.t.ppf(0.975, N - 3) * se
        expected = (estimate, se, estimate - margin, estimate + margin)
        own = (gain.estimate[step], gain.se[step], gain.low[step], gain.high[step])
        assert own == pytest.approx(expected, rel=1e-6)
        assert gain.p[step] == pytest.approx(2 * stats.t.sf(abs(estimate) / se, N - 3), rel=1e-5)
    assert (gain.k.tolist(), gain.n.tolist(), gain.df.tolist()) == ([4, F], [N, N], [N - 3.0] * 2)
    assert (gain.quantity, gain.unit, gain.level) == ("ridge − plain", "image", 0.95)
    assert gain.method == "4 × 3 folds; delete-one-image jackknife"
    narrow = found.gain(level=0.5)
    np.testing.assert_allclose(narrow.high - narrow.low, 2 * stats.t.ppf(0.75, N - 3) * gain.se)
    np.testing.assert_allclose(narrow.p, gain.p, rtol=1e-12)


def test_the_gain_is_over_the_partitions_that_have_one():
    """Of five partitions; where only two of them have a value, there is none."""
    shape = (2, 5, 2)
    plain, variance = np.full(shape, 0.25), np.full(shape, 0.01)
    ridge = plain + np.array([0.1, 0.2, 0.3, 0.4, 0.5])[:, None]
    ridge[0, 4, 1] = np.nan
    variance[0, 3, 0] = np.nan
    ridge[1, :3, 0] = np.nan
    found = reweighting.Reweighted(np.array([3, 6]), plain, ridge, variance, np.ones(shape), 20)
    gain = found.gain()
    # .1 .2 .3, each with 2 × .01 / 4 and its squared distance from .2: the median is .015.
    assert (gain.estimate[0], gain.se[0]) == pytest.approx((0.2, np.sqrt(0.015)))
    for values in (gain.estimate, gain.se, gain.low, gain.high, gain.p):
        assert np.isnan(values).tolist() == [False, True]


def test_weights_that_people_have_are_found(rng):
    """People use three of twelve features, one of them twice as much."""
    features = rng.normal(size=(36, 12)) + 2
    z, _ = rdm.unit_vectors(features)
    i, j = np.triu_indices(36, 1)
    weights = np.zeros(12)
    weights[[1, 4, 7]] = 1, 2, 1
    human = 5 - (z[i] * z[j]) @ weights
    options = {"rng": np.random.default_rng(3), "alphas": [1e-6, 1e-3], "folds": 2, "repeats": 3}
    found = reweighting.reweighted(features, human, np.arange(12), **options)
    assert found.ridge.min() > 0.999
    assert found.plain.mean() < 0.8
    assert found.gain().low[0] > 0.1
    # Few of the features that matter: not more than what they hold.
    some = reweighting.reweighted(features, human, np.arange(12), k=[2, 5, 8], **options)
    table = some.table()
    assert table.columns.tolist() == ["k", "plain", "ridge", "D", "low", "high", "p", "alpha"]
    assert table["k"].tolist() == [2, 5, 8]
    np.testing.assert_allclose(table["plain"], [row.mean() for row in some.plain], atol=1e-12)
    np.testing.assert_allclose(table["ridge"], [row.mean() for row in some.ridge], atol=1e-12)
    np.testing.assert_array_equal(table["alpha"], [np.median(row) for row in some.alpha])
    gain = some.gain()
    np.testing.assert_allclose(table["D"], gain.estimate, atol=1e-12)
    for name in ("low", "high", "p"):
        np.testing.assert_allclose(table[name], getattr(gain, name), atol=1e-12)
    assert table["ridge"].is_monotonic_increasing
    assert table["ridge"][0] < 0.7


def test_people_who_see_something_else_are_not_predicted(rng):
    r = []
    for _ in range(8):
        features, human = np.abs(rng.normal(size=(24, 8))), rng.normal(size=276)
        found = reweighting.reweighted(features, human, np.arange(8), rng=rng, folds=2, repeats=1)
        r.append(found.ridge.ravel())
    r = np.concatenate(r)
    assert abs(r.mean()) < 4 * r.std() / np.sqrt(len(r))
    assert 0 < r.std() < 0.3


def test_pairs_of_a_training_and_a_test_image_are_in_neither_set(given, rng):
    features, human = given
    options = {"folds": 2, "repeats": 1, "k": [3, F]}
    before = reweighting.reweighted(features, human, np.arange(F), rng=np.random.default_rng(4), **options)
    (first, second), _ = parts_of(4, 2)
    changed = rdm.square(human)
    between = np.ix_(first, second)
    # Exchanged among one another, so that mean and standard deviation of all stay.
    changed[between] = rng.permutation(changed[between].ravel()).reshape(len(first), -1)
    changed[np.ix_(second, first)] = changed[between].T
    again = reweighting.reweighted(features, changed, np.arange(F), rng=np.random.default_rng(4), **options)
    for name in ("plain", "ridge", "variance", "alpha"):
        np.testing.assert_allclose(getattr(again, name), getattr(before, name), atol=1e-9)
    # And test images have no part in the weights: without them in the training set, nothing is left.
    inside = np.ix_(first, first)
    changed[inside] = rdm.square(rng.permutation(rdm.condensed(changed[inside])))
    last = reweighting.reweighted(features, changed, np.arange(F), rng=np.random.default_rng(4), **options)
    assert last.alpha[:, 0, 0].tolist() == before.alpha[:, 0, 0].tolist()  # chosen on the second part
    for part in (0, 1):
        assert not np.allclose(last.ridge[:, 0, part], before.ridge[:, 0, part], atol=0.01)


def test_the_smaller_matrix_is_taken(rng, ways):
    """Of 26 images' 325 pairs about a fourth are fitted to, 81: by pairs only with more features."""
    features, human = np.maximum(rng.normal(size=(N, 90)), 0), rng.random(len(PAIRS))
    options = {"folds": 2, "repeats": 1, "alphas": [0.1]}
    for k, counted in ((81, (1, 0)), (82, (1, 1))):
        found = reweighting.reweighted(
            features, human, np.arange(90), rng=np.random.default_rng(4), k=[k], **options
        )
        assert tuple(ways().values()) == counted
        x, use = products(features, range(k), "correlation")
        (test, _), _ = parts_of(4, 2)
        expected = fit(x, -human, among([i for i in range(N) if i not in test], use), among(test, use), 0.1)
        assert found.ridge[0, 0, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("chunk", [1, 700, 10**9])  # one feature at once, some, all
def test_products_of_four_activations_by_hand(rng, monkeypatch, chunk):
    """Of all pairs of images, those of an image with itself among them."""
    monkeypatch.setattr(reweighting, "_CHUNK", chunk)
    monkeypatch.setattr(reweighting, "_IMAGES", 3)
    unit = rng.normal(size=(7, 40))
    both = list(itertools.combinations_with_replacement(range(7), 2))
    expected = [[np.sum(unit[i] * unit[j] * unit[k] * unit[m]) for k, m in both] for i, j in both]
    found = np.full((28, 28), np.nan)
    reweighting._fill(found, unit)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_penalties_that_predict_equally_well_do_not_hang_on_rounding(given):
    """Two features correlate by 1 or −1 in every pair: a penalty scales the prediction, and r stays."""
    features, human = given
    options = {"k": [2], "folds": 2, "repeats": 3, "rng": np.random.default_rng(0)}
    found = reweighting.reweighted(features, human, np.arange(F), alphas=[1.0, 0.01, 100.0], **options)
    assert (found.alpha == 1).all()  # the first


def test_where_nothing_is_to_be_weighted_it_is_nan(given):
    """One feature has no correlation over features, and for cosine every image is the same."""
    features, human = given
    for metric in ("correlation", "cosine"):
        options = {"k": [1, 6], "metric": metric, "repeats": 2, "alphas": [0.1]}
        found = reweighting.reweighted(
            features + 0.1, human, np.arange(F), rng=np.random.default_rng(0), **options
        )
        gain = found.gain()
        for values in (found.plain, found.ridge, found.variance, found.alpha, gain.estimate, gain.p):
            assert np.isnan(values[0]).all()
            assert np.isfinite(values[1]).all()
        assert np.isnan(found.table()["ridge"][0])


def test_a_part_whose_images_are_all_alike_has_no_r(rng):
    """Two features correlate by 1 or −1, and rounding makes no difference between pairs."""
    features = rng.random((N, 2)) + np.eye(2)[0]
    features[::4] = features[::4, ::-1]
    options = {"rng": np.random.default_rng(0), "folds": 5, "repeats": 4, "alphas": [0.1, 1.0]}
    found = reweighting.reweighted(features, rng.random(len(PAIRS)), [0, 1], **options)
    tests, inner = parts_of(0, 5, 4)
    alike = [len(set(test % 4 == 0)) == 1 for test in tests]
    assert 0 < sum(alike) < 20
    assert np.isnan(found.plain.ravel()).tolist() == alike
    unknown = [all(len(set(part % 4 == 0)) == 1 for part in parts) for parts in inner]
    assert np.isnan(found.ridge.ravel()).tolist() == [a or u for a, u in zip(alike, unknown, strict=True)]


def test_a_part_that_nobody_judged_does_not_choose_the_penalty(given):
    features, human = given
    tests, inner = parts_of(7, 3)
    few = rdm.square(human)
    few[np.ix_(inner[0][1], inner[0][1])] = np.nan
    x, _ = products(features, range(F), "correlation")
    human = rdm.condensed(few)
    options = {"folds": 3, "repeats": 1, "rng": np.random.default_rng(7)}
    found = reweighting.reweighted(features, human, np.arange(F), **options)
    use, train = np.isfinite(human), [i for i in range(N) if i not in tests[0]]
    scores = []
    for alpha in reweighting.ALPHAS:
        r = [
            fit(x, -human, among([i for i in train if i not in p], use), among(p, use), alpha)
            for p in (inner[0][0], inner[0][2])
        ]
        scores.append(np.mean(r))
    assert found.alpha[0, 0, 0] == reweighting.ALPHAS[int(np.argmax(scores))]
    assert np.isfinite(found.ridge).all()


def test_inputs_and_the_global_state_stay(given, capsys):
    features, human = given
    before = features.copy(), human.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    options = {"rng": np.random.default_rng(4), "k": [3, F], "folds": 2, "repeats": 1}
    quiet = reweighting.reweighted(features, human, np.arange(F), **options)
    assert capsys.readouterr().err == ""
    options["rng"] = np.random.default_rng(4)
    loud = reweighting.reweighted(features, human, np.arange(F), progress=True, **options)
    assert "ridge" in capsys.readouterr().err
    np.testing.assert_allclose(quiet.ridge, loud.ridge, atol=1e-12)
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(human, before[1])
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rng": None}, "rng is a numpy.random.Generator; got NoneType"),
        ({"folds": 1}, "folds is at least 2, with four images in each part, 24 in all; got 1 for 26"),
        ({"folds": 7}, "four images in each part, 24 in all; got 7 for 26"),
        (
            {"embedding": np.eye(20), "human": np.arange(190.0), "order": np.arange(20), "folds": 2},
            "24 in all; got 2 for 20",
        ),
        ({"repeats": 0}, "repeats is a whole number, at least 1; got 0"),
        ({"alphas": [1.0, 0.0]}, r"alphas must be greater than 0; got \[1.0, 0.0\]"),
        ({"alphas": []}, r"alphas must be greater than 0; got \[\]"),
        ({"k": [10]}, "k must lie between 1 and 9"),
        ({"order": [0, 1]}, "order must hold each of the 9 feature indices once"),
        ({"human": np.arange(3.0)}, "the RDM is of 3 images; the embedding has 26 images"),
        ({"human": np.ones(325)}, "all values of the RDM are equal"),
        ({"embedding": np.full((N, F), np.inf)}, "26 of 26 images have NaN or infinite features"),
        ({"metric": "euclidean"}, "metric is one of"),
    ],
)
def test_errors_say_what_came_and_what_was_expected(given, changed, message):
    arguments = {"embedding": given[0], "human": given[1], "order": np.arange(F)}
    arguments = {**arguments, "rng": np.random.default_rng(0), **changed}
    with pytest.raises(InputError, match=message):
        reweighting.reweighted(**arguments)
