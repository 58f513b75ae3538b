"""J−, the jackknife that counts single pairs once: by hand, against naive loops, and against brute force."""

import numpy as np
import pytest
from scipy import stats

from rarefire import curves, inference, rdm, simulations
from rarefire._engine import influences
from rarefire.errors import InputError

ORDER = np.arange(24)


@pytest.fixture
def human(rng, embedding):
    return rdm.rdm(embedding[:, :6] + 0.1 * rng.random((40, 6))) + 0.5 * rng.normal(size=780)


def naive(x, y, h, n):
    """D, V_J and B of one comparison, pair by pair; NaN in x or h where there is no pair."""
    rows, columns = np.triu_indices(n, k=1)
    use = np.isfinite(x) & np.isfinite(h)

    def d(keep):
        return np.corrcoef(x[keep], h[keep])[0, 1] - np.corrcoef(y[keep], h[keep])[0, 1]

    images = sorted(set(rows[use]) | set(columns[use]))
    without = np.array([d(use & (rows != i) & (columns != i)) for i in images])
    m = len(images)
    v_j = (m - 1) / m * ((without - without.mean()) ** 2).sum()
    a, b, c = ((v[use] - v[use].mean()) / v[use].std() for v in (x, y, h))
    psi = (a - b) * c - (a @ c / len(a)) / 2 * (a**2 + c**2) + (b @ c / len(a)) / 2 * (b**2 + c**2)
    design = np.array([[i in pair for i in images] for pair in zip(rows[use], columns[use], strict=True)])
    effects, *_ = np.linalg.lstsq(design.astype(float), psi, rcond=None)
    e = psi - design @ effects
    return d(use), v_j, (e @ e) / (len(psi) - m) / len(psi), psi, e


def test_five_images_by_hand():
    """Worked out with pencil and paper: ten pairs, all of mean 0 and mean square 2.6.

    h is y with pairs 01 and 13 in each other's place, x is y with 02 and 23.
    """
    y = np.array([3, 1, 1, 1, 1, -1, -1, -1, -1, -3], float)
    h, x = y.copy(), y.copy()
    h[[0, 5]], x[[1, 7]] = h[[5, 0]], x[[7, 1]]
    found = influences.expand(x[None], np.ones((1, 5), bool), y, -h)
    assert found.r_all[0] == pytest.approx(10 / 26)
    assert found.r[0] == pytest.approx(6 / 26)
    # 67.6 ψ = 26 (x − y) h − 3 (x² + h²) + 5 (y² + h²), and its sums over the pairs of each image.
    psi = np.array([20, -48, 4, 4, 4, 20, 4, -48, 4, 36])
    sums = np.array([-20, 48, -88, 12, 48])
    # Image effects are a third of these sums; so 3 e = 3 ψ − S_i − S_j.
    residuals = np.array([32, -36, 20, -16, 52, 0, -84, -68, 52, 48]) / 3
    i, j = np.triu_indices(5, k=1)
    assert (3 * residuals == 3 * psi - sums[i] - sums[j]).all()
    _, v_j, b, by_pair, e = naive(x, y, h, 5)
    np.testing.assert_allclose(by_pair, psi / 67.6, atol=1e-12)
    np.testing.assert_allclose(e, residuals / 67.6, atol=1e-12)
    value, without, single = found.of("difference")
    spread = influences.spread(without, single, n=found.n_images)
    assert value[0] == pytest.approx(-4 / 26)
    assert spread.single[0] == pytest.approx(2 / (5 * 4) * (22368 / 9 / 67.6**2) / 5)  # B = 2 σ²/(n (n − 1))
    assert spread.single[0] == pytest.approx(b)
    assert spread.jackknife[0] == pytest.approx(v_j)
    assert spread.variance[0] == pytest.approx(max(v_j - 2 * b, 0) + b)


def test_it_is_the_plain_jackknife_where_single_pairs_carry_nothing():
    without = np.random.default_rng(0).normal(size=(6, 2))
    spread = influences.spread(without, np.zeros((2, 15)), n=np.array([6, 6]), whole=True)
    expected = 5 / 6 * ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    np.testing.assert_allclose(spread.variance, expected)
    np.testing.assert_allclose(spread.variance, spread.jackknife)
    np.testing.assert_allclose(spread.covariance, 5 * np.cov(without.T) * 5 / 6)
    expected = -stats.skew(without, axis=0) / np.sqrt(6)
    np.testing.assert_allclose(spread.skewness, expected)


@pytest.mark.parametrize("k", [[5, 12], [3, 5, 8, 12, 20, 24]])  # one by one; and in one pass
@pytest.mark.parametrize("gaps", [0, 60])
def test_it_equals_naive_loops(embedding, human, k, gaps, rng):
    human = human.copy()
    human[rng.choice(780, gaps, replace=False)] = np.nan
    late = np.argsort((embedding == 0).mean(axis=0), kind="stable")[::-1]  # so that images come in one by one
    found = inference.corrected_jackknife(embedding, late, rdm=human, k=k)
    plain = inference.jackknife(embedding, late, rdm=human, k=k).estimate("difference")
    rows, columns = np.triu_indices(40, k=1)
    y = rdm.pair_similarities(embedding)
    for step, size in enumerate(k[:5]):
        unit, defined = rdm.unit_vectors(embedding[:, late[:size]])
        x = np.where(defined[rows] & defined[columns], (unit @ unit.T)[rows, columns], np.nan)
        if defined.sum() < 10:
            continue
        d, v_j, b, _, _ = naive(x, y, -human, 40)
        assert found.value("difference")[step] == pytest.approx(d, abs=1e-12)
        assert found.jackknife["difference"][step] == pytest.approx(v_j, rel=1e-8)
        assert found.single["difference"][step] == pytest.approx(b, rel=1e-8)
        expected = max(v_j - 2 * b, 0) + b
        assert found.estimate("difference").se[step] == pytest.approx(np.sqrt(expected), rel=1e-8)
        assert plain.se[step] == pytest.approx(np.sqrt(v_j), rel=1e-8)
    if k[-1] == 24:  # all features are all features
        last = found.estimate("difference")
        assert (last.estimate[-1], last.se[-1], last.p[-1]) == (0, 0, 1)
    assert (found.n_images < 40).any()


def test_subjects_vary_too(embedding, human, rng):
    people = np.stack([human + rng.normal(size=780) * s for s in (0.3, 0.6, 0.9)])
    found = inference.corrected_jackknife(embedding, ORDER, rdm=people, k=[8])
    x, y = rdm.pair_similarities(embedding[:, :8]), rdm.pair_similarities(embedding)
    rows, columns = np.triu_indices(40, k=1)
    each = [naive(x, y, -h, 40) for h in people]

    def d(h, keep):
        return np.corrcoef(x[keep], -h[keep])[0, 1] - np.corrcoef(y[keep], -h[keep])[0, 1]

    without = np.array([[d(h, (rows != i) & (columns != i)) for i in range(40)] for h in people])
    residuals = np.array([e / np.sqrt(780 * 740) for *_, e in each])

    def minus(draws, e):
        v_j, b = 39 / 40 * ((draws - draws.mean()) ** 2).sum(), e @ e
        return max(v_j - 2 * b, 0) + b

    v_i = minus(without.mean(axis=0), residuals.mean(axis=0))
    v_s = np.var([d for d, *_ in each], ddof=1) / 3
    v_si = np.mean(
        [minus(*part) for part in zip(without - without.mean(0), residuals - residuals.mean(0), strict=True)]
    )
    v = max(v_s + v_i - v_si / 2, v_s, v_i)
    df = max((v_s + v_i) ** 2 / (v_s**2 / 2 + v_i**2 / 39), 2)
    assert found.variance["difference"][0] == pytest.approx(v, rel=1e-8)
    assert found.df["difference"][0] == pytest.approx(df)
    assert (found.unit, found.n_subjects) == ("subject and image", 3)
    assert found.value("difference")[0] == pytest.approx(np.mean([d for d, *_ in each]))


def test_silenced_features_are_there_and_0(embedding, human):
    steps = [4, 9, 15, 20, 24]
    found = inference.corrected_jackknife(embedding, ORDER, rdm=human, k=steps, silenced=True)
    for step, k in enumerate(steps):
        kept = embedding * (k > ORDER)
        expected = curves.rdm_curve(kept, human, ORDER, k=[24])
        assert found.r[step] == pytest.approx(expected.r[0], abs=1e-12)
        assert found.n_images[step] == expected.n_images[0]
    few = inference.corrected_jackknife(embedding, ORDER, rdm=human, k=[9], silenced=True)
    assert few.r[0] == pytest.approx(found.r[1], abs=1e-12)
    assert few.variance["difference"][0] == pytest.approx(found.variance["difference"][1], rel=1e-9)


def test_covariances_between_numbers_of_features_are_naive_sums(embedding, human, rng):
    """V_J and B between every two k, and what subjects add, from replicates and residuals one by one."""
    k = [12, 16, 20]
    rows, columns = np.triu_indices(40, k=1)
    y = rdm.pair_similarities(embedding)
    people = np.stack([human + rng.normal(size=780) * s for s in (0.2, 0.7, 0.4)])

    def parts(h):
        """Replicates (40, 3), scaled residuals (3, 780), and D (3,)."""
        each = [naive(rdm.pair_similarities(embedding[:, :size]), y, -h, 40) for size in k]
        x = [rdm.pair_similarities(embedding[:, :size]) for size in k]
        keeps = [(rows != i) & (columns != i) for i in range(40)]
        without = [
            [np.corrcoef(a[s], -h[s])[0, 1] - np.corrcoef(y[s], -h[s])[0, 1] for a in x] for s in keeps
        ]
        return np.array(without), np.array([e for *_, e in each]) / np.sqrt(780 * 740), [d for d, *_ in each]

    def minus(without, e):
        apart = without - without.mean(axis=0)
        v_j, b = 39 / 40 * apart.T @ apart, e @ e.T
        values, vectors = np.linalg.eigh(v_j - 2 * b)
        return vectors @ np.diag(np.maximum(values, 0)) @ vectors.T + b

    without, e, _ = parts(human)
    found = inference.corrected_jackknife(embedding, ORDER, rdm=human, k=k).covariance["difference"]
    np.testing.assert_allclose(found, minus(without, e), rtol=1e-6)
    assert np.abs(found - np.diag(np.diag(found))).max() > 0.1 * found.max()  # they are correlated
    all_parts = [parts(h) for h in people]
    mean, e_mean = (np.mean([p[i] for p in all_parts], axis=0) for i in (0, 1))
    d = np.array([p[2] for p in all_parts])
    both = sum(minus(p[0] - mean, p[1] - e_mean) for p in all_parts) / 6
    expected = np.cov(d.T) / 3 + minus(mean, e_mean) - both
    values, vectors = np.linalg.eigh(expected)
    expected = vectors @ np.diag(np.maximum(values, 0)) @ vectors.T
    found = inference.corrected_jackknife(embedding, ORDER, rdm=people, k=k).covariance["difference"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_two_models_are_compared_as_two_slices_are(embedding, human, rng):
    kept, whole = rdm.rdm(embedding[:, :8]), rdm.rdm(embedding)
    for said in (human, np.stack([human, human + rng.normal(size=780), rng.random(780)])):
        slices = inference.corrected_jackknife(embedding, ORDER, rdm=said, k=[8])
        found = inference.compare(kept, rdm.square(whole), said)
        test = slices.estimate("difference")
        for name in ("estimate", "low", "high", "se", "df", "p"):
            assert getattr(found, name) == pytest.approx(getattr(test, name)[0], rel=1e-8), name
        assert (found.first, found.second) == pytest.approx((slices.r[0], slices.r_all[0]))
        assert (found.n, found.n_subjects) == (40, slices.n_subjects)
        other_way = inference.compare(whole, kept, said)
        assert other_way.estimate == pytest.approx(-found.estimate)
        assert other_way.p == pytest.approx(found.p)
    gaps = kept.copy()
    gaps[[3, 77]] = np.nan
    some = inference.compare(gaps, whole, human)
    missing = np.where(np.isnan(gaps), np.nan, human)
    assert some.estimate == pytest.approx(inference.compare(kept, whole, missing).estimate)
    same = inference.compare(whole, whole, human)
    assert (same.estimate, same.se, same.p) == (0, 0, 1)


def test_one_sided_intervals_have_one_end(embedding, human):
    two, one = (
        inference.change_of_prediction(
            embedding, human, ORDER, k=8, method="jackknife", alternative=a, level=level
        )
        for a, level in (("two-sided", 0.9), ("greater", 0.95))
    )
    assert one.high == np.inf
    assert one.low == pytest.approx(two.low)


def test_what_is_exactly_alike_has_no_interval_but_its_value(embedding):
    found = inference.corrected_jackknife(embedding, ORDER, rdm=rdm.rdm(embedding), k=[24]).estimate("r")
    assert (found.low[0], found.high[0]) == pytest.approx((1, 1))
    assert found.p[0] == 0


def test_the_band_of_r_stays_below_1(embedding, rng):
    people = rdm.rdm(embedding) + 0.01 * rng.normal(size=780)
    found = inference.corrected_jackknife(embedding, ORDER, rdm=people, k=[8, 16, 24]).maximum("r", rng=rng)
    assert (found.high < 1).all()
    assert (found.low < found.high).all()
    assert found.p < 0.001


def test_few_images_at_one_k_do_not_widen_the_others(embedding, human, rng):
    """A k at which fewer than half of the images have a similarity does not count by default."""
    late = np.argsort((embedding == 0).mean(axis=0), kind="stable")[::-1]
    counts = curves.rdm_curve(embedding, human, late).n_images
    few = int(np.flatnonzero(counts < 20)[-1]) + 1
    some = inference.corrected_jackknife(embedding, late, rdm=human, k=[few, 20, 22])
    draws = {"n_draws": 4000}
    found = some.maximum(rng=np.random.default_rng(1), **draws)
    assert np.isnan(found.p_at[0])
    alone = inference.corrected_jackknife(embedding, late, rdm=human, k=[20, 22])
    assert found.p == pytest.approx(alone.maximum(rng=np.random.default_rng(1), **draws).p, abs=0.02)


def test_an_image_that_no_feature_tells_apart_is_left_out(embedding, human):
    constant = embedding.copy()
    constant[2] = 1
    found = inference.corrected_jackknife(constant, ORDER, rdm=human, k=[8], silenced=True)
    rest = np.arange(40) != 2
    said = rdm.condensed(rdm.square(human)[np.ix_(rest, rest)])
    without = inference.corrected_jackknife(embedding[rest], ORDER, rdm=said, k=[8], silenced=True)
    assert found.n_images[0] == 39
    assert found.value("difference")[0] == pytest.approx(without.value("difference")[0])


@pytest.mark.long
def test_the_variance_is_that_of_studies_drawn_anew():
    """Brute force: a thousand studies. The plain jackknife believes in much more than there is."""
    world, d, v, v_j = simulations.world(), [], [], []
    for seed in range(1000):
        given = world.sample(np.random.default_rng([11, seed]), n_images=60)
        found = inference.corrected_jackknife(given.embedding, given.order, rdm=given.human, k=[given.kept])
        d.append(found.value("difference")[0])
        v.append(found.variance["difference"][0])
        v_j.append(found.jackknife["difference"][0])
    assert np.mean(v) / np.var(d) == pytest.approx(1, abs=0.15)  # Monte-Carlo error 4.5 %
    assert np.mean(v_j) / np.var(d) > 1.3


def test_the_maximum_over_one_k_is_the_test_at_that_k(embedding, human, rng):
    found = inference.corrected_jackknife(embedding, ORDER, rdm=human, k=[8])
    single = found.estimate("difference")
    draws = {"rng": rng, "n_draws": 40_000}
    p = single.p[0]
    assert found.maximum(**draws).p == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 40_000) + 1e-4)
    one_sided = p / 2 if single.estimate[0] > 0 else 1 - p / 2
    largest = found.maximum(alternative="greater", **draws)
    assert largest.p == pytest.approx(one_sided, abs=4 * np.sqrt(p / 40_000) + 1e-4)
    assert largest.high[0] == np.inf
    width = stats.t.ppf(0.95, 39) * single.se[0]
    assert largest.low[0] == pytest.approx(single.estimate[0] - width, abs=0.05 * width)


def test_the_maximum_of_independent_k_has_a_closed_form(rng):
    """Many degrees of freedom: max |z| of m independent ones exceeds c with 1 − (1 − 2Φ(−c))^m."""
    m, c = 6, 2.5
    named = [{"difference": v} for v in (*np.ones((3, m)), np.full(m, 1e6), np.zeros(m), np.eye(m))]
    r = np.array([c, *np.zeros(m - 1)])
    found = inference.Corrected(np.arange(m), r, np.zeros(m), np.full(m, 99), 0, *named)
    expected = 1 - (1 - 2 * stats.norm.sf(c)) ** m
    assert found.maximum(rng=rng, n_draws=100_000).p == pytest.approx(expected, abs=0.003)
    one_sided = 1 - (1 - stats.norm.sf(c)) ** m
    found = found.maximum(rng=rng, n_draws=100_000, alternative="greater")
    assert found.p == pytest.approx(one_sided, abs=0.003)
    assert found.best == 0


def test_it_finds_what_the_plain_jackknife_does_not():
    """The same study, the same estimate; the noise of single ratings is most of the plain variance."""
    given = simulations.world(effect=0.1).sample(np.random.default_rng(4), n_images=92)
    arguments = given.embedding, given.human, given.order
    j, plain = (
        inference.change_of_prediction(*arguments, k=given.kept, method=m)
        for m in ("jackknife", "plain-jackknife")
    )
    assert j.estimate == pytest.approx(plain.estimate, abs=1e-12)
    assert j.se < 0.9 * plain.se
    assert (j.unit, j.n) == ("image", 92)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, e, h, g: c(e, ORDER, rdm=h[:9]), "9 pairs, which no number"),
        (lambda c, e, h, g: c(e, ORDER, rdm=h, metric="cosine", silenced=True), "the same: silenced=False"),
        (lambda c, e, h, g: c(e, ORDER, rdm=h).estimate("z"), "r, r2, difference; got 'z'"),
        (lambda c, e, h, g: c(e, ORDER, rdm=h).maximum("r2", rng=g), "r or difference; got 'r2'"),
        (lambda c, e, h, g: c(e, ORDER, rdm=h).maximum(rng=3), "Generator; got int"),
        (lambda c, e, h, g: c(e, ORDER, rdm=h).maximum(rng=g, alternative="less"), "greater; got 'less'"),
        (lambda c, e, h, g: c(e, ORDER, rdm=h, k=[24]).maximum(rng=g), "undefined, or always 0"),
        (lambda c, e, h, g: c(np.tile(e, 30), np.arange(720), rdm=h).maximum(rng=g), "Pass fewer k"),
        (lambda c, e, h, g: c(e, ORDER, rdm=np.stack([h])), "at least two subjects"),
        (lambda c, e, h, g: inference.compare(h, h[:9], h), "9 pairs, which no number"),
        (lambda c, e, h, g: inference.compare(h, e, h), "square, or condensed"),
        (
            lambda c, e, h, g: inference.compare(h, h, np.stack([h, 0 * h])),
            "values of the RDM are equal",
        ),
    ],
)
def test_errors(embedding, human, rng, call, message):
    with pytest.raises(InputError, match=message):
        call(inference.corrected_jackknife, embedding, human, rng)
