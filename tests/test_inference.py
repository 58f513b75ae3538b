"""Uncertainty: against naive loops, scipy, rsatoolbox and closed forms."""

import itertools

import numpy as np
import pytest
from scipy import stats

from rarefire import curves, inference, poz, rdm, reliability
from rarefire.errors import InputError

STEPS = [2, 5, 8, 12, 20, 24]
ROUNDING = 1e-12  # correlations over 780 pairs, in double precision


@pytest.fixture
def late(embedding):
    """Rare features first, so that images come in one by one."""
    return embedding, poz.order(poz.poz(embedding), first="high")


@pytest.fixture
def human(rng, embedding):
    """Judgments with two missing, partly from the features."""
    values = rdm.rdm(embedding[:, :6] + 0.1 * rng.random((40, 6))) + rng.normal(size=780) * 0.5
    values[[5, 600]] = np.nan
    return values


def weighted(x, counts, human=None, whole=None, metric="correlation"):
    """Weighted Pearson r over pairs of different images, pair by pair."""
    unit, defined = rdm.unit_vectors(x, metric=metric)
    if whole is not None:
        reference, _ = rdm.unit_vectors(whole, metric=metric)
    found = []
    upper = np.triu_indices(len(x), 1)
    for p, (i, j) in enumerate(zip(*upper, strict=True)):
        b = -human[p] if human is not None else reference[i] @ reference[j]
        if defined[i] and defined[j] and np.isfinite(b):
            found.append((counts[i] * counts[j], unit[i] @ unit[j], b))
    w, a, b = np.array(found).T
    a, b = a - np.average(a, weights=w), b - np.average(b, weights=w)
    spread = np.average(a * a, weights=w) * np.average(b * b, weights=w)
    return np.average(a * b, weights=w) / np.sqrt(spread) if spread > 1e-20 else np.nan


def all_over(late, k, counts, human):
    """r of all features over the images that are defined at k."""
    embedding, order = late
    _, defined = rdm.unit_vectors(embedding[:, order[:k]])
    return weighted(embedding, counts * defined, human)


def test_jackknife_equals_leaving_each_image_out(late, human):
    embedding, order = late
    found = inference.jackknife(embedding, order, rdm=human, k=STEPS)
    np.testing.assert_allclose(found.r, curves.rdm_curve(embedding, human, order, k=STEPS).r, atol=1e-12)
    for i in (0, 11, 39):
        counts = np.ones(40)
        counts[i] = 0
        for step, k in list(enumerate(STEPS))[2:]:
            if np.isnan(found.draws[i, step]):
                assert np.ptp(embedding[i, order[:k]]) == 0
                continue
            expected = weighted(embedding[:, order[:k]], counts, human)
            assert found.draws[i, step] == pytest.approx(expected, abs=1e-10)
            assert found.draws_all[i, step] == pytest.approx(all_over(late, k, counts, human), abs=1e-10)
    assert (found.n_images < 40).any()


def test_jackknife_standard_error_and_t_are_the_textbook_s(late, human):
    found = inference.jackknife(*late, rdm=human, k=[20])
    d = (found.draws - found.draws_all)[:, 0]
    d = d[np.isfinite(d)]
    n = len(d)
    se = np.sqrt((n - 1) / n * np.sum((d - d.mean()) ** 2))
    result = found.estimate("difference", level=0.9)
    assert result.se[0] == pytest.approx(se, rel=1e-12)
    t = result.estimate[0] / se
    assert result.p[0] == pytest.approx(2 * stats.t.sf(abs(t), n - 1), rel=1e-9)
    margin = stats.t.ppf(0.95, n - 1) * se
    assert result.low[0] == pytest.approx(result.estimate[0] - margin)
    assert result.high[0] == pytest.approx(result.estimate[0] + margin)
    assert result.df[0] == n - 1
    assert result.n[0] == n
    assert (result.unit, result.level) == ("image", 0.9)
    assert result.table().shape == (1, 8)


def test_bootstrap_equals_its_samples_one_by_one(late, human):
    embedding, order = late
    found = inference.bootstrap(
        embedding, order, rdm=human, n_boot=6, rng=np.random.default_rng(5), k=STEPS, progress=True
    )
    samples = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=6)
    for b, counts in enumerate(samples):
        for step, k in list(enumerate(STEPS))[2:]:
            expected = weighted(embedding[:, order[:k]], counts, human)
            np.testing.assert_allclose(found.draws[b, step], expected, atol=1e-10)
            np.testing.assert_allclose(found.draws_all[b, step], all_over(late, k, counts, human), atol=1e-10)
    se = found.estimate("difference").se[-2]
    d = (found.draws - found.draws_all)[:, -2]
    n = found.n_images[-2]
    assert se == pytest.approx(d.std(ddof=1) * np.sqrt(n / (n - 1)), rel=1e-12)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_geometry_with_few_and_with_many_images(late, metric, monkeypatch):
    embedding, order = late
    options = {"k": STEPS, "metric": metric}
    few = inference.jackknife(embedding, order, **options)
    boot = inference.bootstrap(embedding, order, n_boot=5, rng=np.random.default_rng(1), **options)
    counts = np.ones(40)
    counts[7] = 0
    expected = weighted(embedding[:, order[:20]], counts, whole=embedding, metric=metric)
    assert few.draws[7, 4] == pytest.approx(expected, abs=1e-10)
    assert few.r[-1] == pytest.approx(1, abs=ROUNDING)
    monkeypatch.setattr(inference, "_PAIRS", 0)  # the way of many images, on few
    many = inference.jackknife(embedding, order, **options)
    boot_many = inference.bootstrap(embedding, order, n_boot=5, rng=np.random.default_rng(1), **options)
    for a, b in ((few, many), (boot, boot_many)):
        for name in ("r", "draws", "draws_all", "n_images"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-10)


def test_intervals_of_r_and_r2_stay_in_range_and_agree(late, rng):
    human = rdm.rdm(np.maximum(rng.normal(size=(40, 9)), 0.01))
    found = inference.jackknife(*late, rdm=human, k=[8, 12, 24])
    r, r2 = found.estimate("r"), found.estimate("r2")
    np.testing.assert_array_equal(r2.estimate, r.estimate**2)
    np.testing.assert_array_equal(r.p, r2.p)
    for step in range(3):
        ends = sorted([r.low[step] ** 2, r.high[step] ** 2])
        crosses = r.low[step] < 0 < r.high[step]
        np.testing.assert_allclose([r2.low[step], r2.high[step]], [0 if crosses else ends[0], ends[1]])
    geometry = inference.jackknife(*late, k=[20, 23, 24]).estimate("r2")
    assert (geometry.high <= 1).all()
    assert (geometry.low >= 0).all()
    assert [geometry.low[-1], geometry.high[-1]] == pytest.approx([1, 1], abs=ROUNDING)
    assert geometry.p[-1] == 0


def test_all_features_do_not_differ_from_themselves(late, human):
    result = inference.jackknife(*late, rdm=human, k=[12, 24]).estimate("difference")
    assert result.estimate[-1] == result.se[-1] == 0
    assert result.p[-1] == 1


def test_bootstrap_of_real_judgments_agrees_with_rsatoolbox(mur):
    import rsatoolbox
    from rsatoolbox.inference import eval_bootstrap_pattern, eval_dual_bootstrap

    features, people = mur
    order = poz.order(poz.poz(features))
    steps = [50, 512]
    models = []
    for k in steps:
        data = rsatoolbox.data.Dataset(features[:, order[:k]].astype(float))
        models.append(
            rsatoolbox.model.ModelFixed(str(k), rsatoolbox.rdm.calc_rdm(data, method="correlation"))
        )
    np.random.seed(0)  # noqa: NPY002 (rsatoolbox draws from the global generator)
    judged = rsatoolbox.rdm.RDMs(people.mean(axis=0)[None])
    theirs = eval_bootstrap_pattern(models, judged, N=1000, method="corr", boot_noise_ceil=False)
    rng = np.random.default_rng(0)
    ours = inference.bootstrap(features, order, rdm=people.mean(axis=0), n_boot=1000, rng=rng, k=steps)
    assert ours.draws.std(axis=0) == pytest.approx(np.nanstd(theirs.evaluations, axis=0), rel=0.1)
    assert np.corrcoef(ours.draws.T)[0, 1] == pytest.approx(np.corrcoef(theirs.evaluations.T)[0, 1], abs=0.05)

    subjects = rsatoolbox.rdm.RDMs(people)
    theirs = eval_dual_bootstrap(models, subjects, N=300, method="corr", k_pattern=1, k_rdm=1)
    both = inference.two_factor_bootstrap(features, order, rdms=people, n_boot=500, rng=rng, k=steps)
    assert both.r == pytest.approx(theirs.get_means(), abs=0.01)  # theirs: the mean of the samples
    assert both.estimate("r").se == pytest.approx(theirs.get_sem(), rel=0.2)


def test_two_factor_variance_is_combined_as_rsatoolbox_combines_it(embedding, rng):
    from rsatoolbox.util.inference_util import _dual_bootstrap

    people = np.stack([rdm.rdm(embedding + rng.random((40, 24))) + rng.normal(size=780) for _ in range(7)])
    found = inference.two_factor_bootstrap(
        embedding, np.arange(24), rdms=people, n_boot=50, rng=rng, k=[10, 20, 24]
    )
    differences = found.draws - found.draws_all
    expected = _dual_bootstrap(differences.var(axis=1, ddof=1), n_rdm=7, n_pattern=40)
    result = found.estimate("difference")
    np.testing.assert_allclose(result.se, np.sqrt(expected), atol=1e-12)
    assert result.df.tolist() == [6] * 3
    assert (result.unit, found.n_subjects) == ("subject and image", 7)
    # Each factor's draws, from their definition.
    subjects = [curves.rdm_curve(embedding, p, np.arange(24), k=[10]).r[0] for p in people]
    assert found.r[0] == pytest.approx(np.mean(subjects), abs=1e-12)
    assert found.draws[1].std(axis=0)[0] == pytest.approx(np.std(subjects) / np.sqrt(7), rel=0.35)


def test_missing_judgments_differ_between_subjects(embedding, rng):
    people = rng.random((3, 780))
    people[1, :50] = np.nan
    found = inference.two_factor_bootstrap(embedding, np.arange(24), rdms=people, n_boot=5, rng=rng, k=[12])
    expected = np.mean([curves.rdm_curve(embedding, p, np.arange(24), k=[12]).r[0] for p in people])
    assert found.r[0] == pytest.approx(expected, abs=1e-12)


def test_images_that_nobody_judged_are_no_replicates(embedding, rng):
    human = np.full((40, 40), np.nan)
    human[:12, :12] = rdm.square(rng.random(66))
    for options in ({"method": "jackknife"}, {"method": "bootstrap", "n_boot": 50}):
        found, few = (
            change(e, h, **options, **({"rng": np.random.default_rng(1)} if "n_boot" in options else {}))
            for e, h in ((embedding, human), (embedding[:12], human[:12, :12]))
        )
        assert (found.n, found.df) == (few.n, few.df)
        assert found.se == pytest.approx(few.se, rel=1e-9)


def test_a_replicate_that_is_missing_is_not_passed_over(rng):
    """Seven images alike and one apart: without that one nothing varies."""
    embedding = np.tile(rng.random(6), (8, 1))
    embedding[0] = rng.random(6)
    human = rdm.square(rng.random(28) * 0.1)
    human[0, 1:] = human[1:, 0] = 1
    found = inference.jackknife(embedding, np.arange(6), rdm=human, k=[5])
    assert np.isnan(found.draws[0, 0])
    assert np.isnan(found.estimate("r").se[0])


def test_a_replicate_that_does_not_vary_is_missing_however_its_sums_are_rounded(rng):
    """One image fires for another feature than all the others, which are alike in direction."""
    for _ in range(30):
        embedding = np.zeros((12, 3))
        embedding[:, 0], embedding[0, 1] = rng.random(12) + 0.1, rng.random()
        embedding[:, 2] = rng.random(12)
        human = rng.random(66)
        found = inference.jackknife(embedding, np.arange(3), rdm=human, k=[2], metric="cosine")
        assert np.isnan(found.draws[0, 0])
        assert np.isfinite(found.draws[1:, 0]).all()


def test_dead_features_change_nothing_at_all(embedding):
    order = poz.order(poz.poz(embedding))
    alive = int((poz.poz(embedding) < 1).sum())
    assert alive < 24
    human = np.random.default_rng(0).random(780)
    found = inference.change_of_prediction(
        embedding, human, order, k=alive, method="jackknife", metric="cosine"
    )
    assert (found.estimate, found.p) == (0, 1)


# --- over the whole curve ------------------------------------------------------------------------


@pytest.mark.parametrize("more", [-1e-13, 0, 1e-13])
def test_the_largest_of_equals_is_at_the_smallest_k(rng, more):
    """As where a feature that is dead comes in: the curve and its draws stay, but for rounding."""
    r, draws = np.array([0.2, 0.5, 0.5 + more]), 0.1 * rng.normal(size=(50, 3))
    draws[:, 2] = draws[:, 1]
    k, nothing = np.array([2, 4, 6]), np.zeros((50, 3))
    boot = inference.Replicates("bootstrap", k, r, nothing[0], draws + r, nothing, np.full(3, 20))
    assert boot.maximum().best == 4


def test_maximum_is_adjusted_for_the_search(embedding, human):
    order = np.arange(24)
    boot = inference.bootstrap(
        embedding, order, rdm=human, n_boot=999, rng=np.random.default_rng(2), k=[4, 8, 12, 16, 20, 24]
    )
    every, one = boot.maximum(), boot.estimate("difference")
    t = np.abs(one.estimate / np.where(one.se > 0, one.se, np.nan))
    assert every.best == boot.k[np.nanargmax(t)]
    assert every.p == np.nanmin(every.p_at)
    assert np.isnan(every.p_at[-1])  # all features against themselves
    assert (every.p_at[:-1] >= one.p[:-1] - 0.02).all()
    assert (every.low[:-1] < one.low[:-1]).all()
    assert (every.high[:-1] > one.high[:-1]).all()
    band = boot.maximum("r")
    assert (band.low <= boot.r).all()
    assert (boot.r <= band.high).all()
    assert (np.abs([band.low, band.high]) <= 1).all()
    assert "largest |t| over 5 numbers of features" in every.method


def test_random_orders_are_the_curves_of_random_orders(embedding, human):
    order = poz.order(poz.poz(embedding))
    found = inference.random_orders(
        embedding, order, rdm=human, rng=np.random.default_rng(4), n_orders=30, k=[6, 12], progress=True
    )
    rng = np.random.default_rng(4)
    for i in range(3):
        expected = curves.rdm_curve(embedding, human, rng.permutation(24), k=[6, 12]).r
        np.testing.assert_allclose(found.null[i], expected, atol=1e-12)
    np.testing.assert_allclose(found.r, curves.rdm_curve(embedding, human, order, k=[6, 12]).r, atol=1e-12)
    more = (found.null[:, 0] >= found.r[0]).sum(), (found.null[:, 0] <= found.r[0]).sum()
    assert found.p[0] == min(1, 2 * (1 + min(more)) / 31)
    geometry = inference.random_orders(embedding, order, rng=np.random.default_rng(4), n_orders=2, k=[12])
    first = np.random.default_rng(4).permutation(24)
    assert geometry.null[0, 0] == pytest.approx(
        curves.geometry_curve(embedding, first, k=[12]).r[0], abs=1e-12
    )


def test_orders_that_differ_by_rounding_alone_are_as_extreme_as_each_other():
    """The largest deviation is that of two of four, but for a last digit; the order in question has it."""
    null = np.array([[0.5, 0.1 + 0.2], [0.1, 0.6], [0.4, 0.5]])
    found = inference.RandomOrders(np.array([1, 2]), np.array([0.5, 0.3]), null)
    turned = inference.RandomOrders(np.array([1, 2]), null[0], np.array([[0.5, 0.3], *null[1:]]))
    assert null[0, 1] != 0.3
    assert found.maximum() == turned.maximum()
    assert found.p.tolist() == turned.p.tolist()


def test_an_order_that_matters_is_found_and_one_that_does_not_is_not(rng):
    signal = np.abs(rng.normal(size=(50, 6)))
    features = np.hstack([signal, np.maximum(rng.normal(size=(50, 30)), 0)])
    people = rdm.rdm(signal) + 0.1 * rng.normal(size=1225)
    options = {"rdm": people, "rng": rng, "n_orders": 99, "k": [6, 12]}
    found = inference.random_orders(features, np.arange(36), **options)
    assert found.p[0] == found.maximum() * 2 == 0.02
    every = inference.random_orders(features, rng.permutation(36), **{**options, "k": [36]})
    assert every.p[0] == 1  # all features are all features, in any order
    chance = inference.random_orders(features, rng.permutation(36), **options)
    assert chance.p[0] > 0.05
    assert chance.maximum() > 0.05


# --- ensembles, families, ceilings ---------------------------------------------------------------


def test_seed_interval_is_scipy_s(rng):
    values = rng.normal(0.3, 1, size=(12, 3))
    values[:4, 1] = np.nan
    values[:11, 2] = np.nan
    found = inference.seed_interval(values, level=0.9, k=[5, 6, 7])
    for step, n in ((0, 12), (1, 8)):
        own = values[12 - n :, step]
        test = stats.ttest_1samp(own, 0)
        assert found.p[step] == pytest.approx(test.pvalue)
        interval = test.confidence_interval(0.9)
        assert (found.low[step], found.high[step]) == pytest.approx((interval.low, interval.high))
        assert (found.n[step], found.df[step]) == (n, n - 1)
    assert np.isnan([found.estimate[2], found.low[2], found.p[2]]).all()
    assert found.unit == "seed"
    assert found.k.tolist() == [5, 6, 7]


def test_flipped_signs_are_all_that_there_are(rng):
    values = np.array([0.4, -0.1, 0.3, 0.7, 0.2, 0.05])
    means = np.array([(values * signs).mean() for signs in itertools.product((1, -1), repeat=6)])
    greater = (means >= values.mean() - 1e-12).mean()
    both = (np.abs(means) >= abs(values.mean()) - 1e-12).mean()
    assert inference.sign_flip(values, rng=rng, alternative="greater") == pytest.approx(greater)
    assert inference.sign_flip(values, rng=rng) == pytest.approx(both)
    assert inference.sign_flip(values - values.mean(), rng=rng, alternative="greater") > 0.4
    assert inference.sign_flip(np.ones(5), rng=rng, alternative="greater") == 2**-5
    many = rng.normal(size=40) + 0.3  # drawn, not gone through
    t = stats.ttest_1samp(many, 0, alternative="greater").pvalue
    assert inference.sign_flip(many, rng=rng, alternative="greater") == pytest.approx(t, abs=0.02)


def test_flipped_signs_reject_at_the_nominal_rate(rng):
    p = [inference.sign_flip(rng.laplace(size=7), rng=rng) for _ in range(300)]
    assert np.mean(np.array(p) <= 0.05) <= stats.binom(300, 0.05).ppf(0.999) / 300


def test_signs_that_cannot_be_flipped(rng):
    for values in ([1.0], [1, np.nan], [[1, 2], [3, 4]]):
        with pytest.raises(InputError, match="at least two finite numbers"):
            inference.sign_flip(values, rng=rng)
    with pytest.raises(InputError, match="alternative is one of two-sided, greater; got 'less'"):
        inference.sign_flip([1, 2], rng=rng, alternative="less")
    with pytest.raises(InputError, match="n_draws is at least 1; got 0"):
        inference.sign_flip([1, 2], rng=rng, n_draws=0)


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04 times 4 3 2 1, made monotone.
    np.testing.assert_allclose(inference.holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(inference.holm([0.6, np.nan, 0.5]), [1.0, np.nan, 1.0])
    np.testing.assert_allclose(inference.holm([0.2]), [0.2])


def test_holm_never_rejects_more_than_stepping_down(rng):
    for _ in range(50):
        p = rng.random(6) ** 3
        rejected, bar = set(), 6
        for i in np.argsort(p):
            if p[i] > 0.05 / bar:
                break
            rejected.add(int(i))
            bar -= 1
        assert set(np.flatnonzero(inference.holm(p) <= 0.05)) == rejected


# --- the one function ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ("jackknife", "J−, delete-one-image jackknife that counts single pairs once, t with n − 1 df"),
        ("plain-jackknife", "delete-one-image jackknife, t with n − 1 df"),
    ],
)
def test_change_of_prediction_says_everything(embedding, human, method, named):
    order = np.arange(24)
    found = inference.change_of_prediction(embedding, human, order, k=8, method=method)
    made = inference.corrected_jackknife if method == "jackknife" else inference.jackknife
    expected = made(embedding, order, rdm=human, k=[8]).estimate("difference")
    assert (found.estimate, found.p) == pytest.approx((expected.estimate[0], expected.p[0]), rel=1e-9)
    assert found.estimate == pytest.approx(found.r_kept - found.r_all)
    assert found.df == expected.df[0]
    assert (found.k, found.n, found.unit, found.level) == (8, 40, "image", 0.95)
    assert found.method == named
    text = str(found)
    assert text.startswith(f"D = {found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}], p = ")
    assert f"df = 39\nr = {found.r_kept:.3f} with 8 features, {found.r_all:.3f} with all\n" in text
    assert text.endswith("unit of replication: image (n = 40)")
    better = inference.change_of_prediction(
        embedding, human, order, k=8, method=method, alternative="greater"
    )
    assert found.estimate > 0
    assert better.p == found.p / 2
    worse = inference.change_of_prediction(
        embedding, -human, order, k=8, method=method, alternative="greater"
    )
    assert worse.p == pytest.approx(1 - found.p / 2)


def test_change_of_prediction_by_other_methods(embedding, human, rng):
    order = np.arange(24)
    boot = inference.change_of_prediction(
        embedding, human, order, k=8, method="bootstrap", n_boot=200, rng=rng, metric="cosine"
    )
    assert boot.method == "bootstrap over images, 200 samples, SE × √(n/(n − 1)), t with n − 1 df"
    people = np.stack([human, human[::-1], rng.random(780)])
    both = inference.change_of_prediction(
        embedding, people, order, k=8, method="two-factor-bootstrap", n_boot=100, rng=rng
    )
    assert (both.unit, both.df, both.n, both.n_subjects) == ("subject and image", 2, 40, 3)
    assert str(both).endswith("subject and image (3 subjects, 40 images)")
    exact = inference.change_of_prediction(embedding, people, order, k=8, method="subjects-and-images")
    assert exact.estimate == pytest.approx(both.estimate, abs=1e-12)
    assert exact.se == pytest.approx(both.se, rel=0.5)
    assert (exact.unit, exact.n, exact.n_subjects) == ("subject and image", 40, 3)
    assert 2 <= exact.df <= 41
    for said in (human, people):
        most = inference.change_of_prediction(
            embedding, said, order, k=[4, 8, 16, 24], method="maximum", rng=rng
        )
        assert most.k in (4, 8, 16)
        assert np.isnan(most.df)
        assert "df" not in str(most).splitlines()[0]
        assert "largest |t| over 3 numbers" in most.method
        best = inference.change_of_prediction(
            embedding, said, order, k=most.k, method="jackknife" if said is human else "subjects-and-images"
        )
        assert best.estimate == pytest.approx(most.estimate, abs=1e-12)
        assert best.p <= most.p + 0.01  # it was looked for


def test_a_planted_change_is_found_with_its_sign(rng):
    signal, noise = (np.maximum(rng.normal(size=(80, 12)), 0) for _ in range(2))
    people = rdm.rdm(signal) + 0.2 * rng.normal(size=3160)
    found = inference.change_of_prediction(
        np.hstack([signal, 2 * noise]), people, np.arange(24), k=12, method="jackknife"
    )
    assert found.low > 0
    assert found.p < 1e-4


def test_same_seed_same_answer_and_the_global_generator_is_left_alone(embedding, human):
    def draw():
        rng = np.random.default_rng(3)
        boot = inference.bootstrap(embedding, np.arange(24), rdm=human, n_boot=20, rng=rng, k=[9])
        orders = inference.random_orders(embedding, np.arange(24), rdm=human, n_orders=5, rng=rng, k=[9])
        return np.concatenate([boot.draws.ravel(), orders.null.ravel()])

    state = str(np.random.get_state())  # noqa: NPY002
    np.testing.assert_array_equal(draw(), draw())
    assert str(np.random.get_state()) == state  # noqa: NPY002


def test_inputs_are_not_modified(embedding, human, rng):
    before, judged = embedding.copy(), human.copy()
    inference.jackknife(embedding, np.arange(24), rdm=human)
    inference.bootstrap(embedding, np.arange(24), rdm=human, n_boot=3, rng=rng)
    people = np.stack([human, human])
    reliability.noise_ceiling(people)
    np.testing.assert_array_equal(embedding, before)
    np.testing.assert_array_equal(human, judged)
    np.testing.assert_array_equal(people[0], judged)


def change(e, h, **options):
    return inference.change_of_prediction(e, h, np.arange(24), **{"k": 8, "method": "jackknife", **options})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e, h, g: change(e, h, method="t"), "method is one of jackknife, .*; got 't'"),
        (lambda e, h, g: change(e, h, k=[4, 8]), r"Got k=\[4, 8\] with 'jackknife'"),
        (lambda e, h, g: change(e, h, method="maximum", rng=g, n_boot=9), "needs the list of all k"),
        (
            lambda e, h, g: change(e, h, method="maximum", k=[4, 8]),
            r"multivariate t .*say from where \(rng\)",
        ),
        (lambda e, h, g: change(e, h, alternative="less"), "two-sided, greater; got 'less'"),
        (lambda e, h, g: change(e, h, method="bootstrap"), r"say how many \(n_boot\) and from where \(rng\)"),
        (lambda e, h, g: change(e, np.stack([h, h])), "takes one RDM; got several"),
        (
            lambda e, h, g: change(e, h, method="subjects-and-images", rng=g, n_boot=9),
            "takes one RDM for each subject",
        ),
        (lambda e, h, g: change(0 * e + 1, h), "difference at k = 8 is undefined: 0 images"),
        (lambda e, h, g: change(e[:39], h), "is of 40 images; the embedding has 39"),
        (lambda e, h, g: change(e, h, level=1.5), r"level lies in \(0, 1\); got 1.5"),
        (lambda e, h, g: change(e, h, method="bootstrap", rng=g, n_boot=1), "n_boot must be at least 2"),
        (
            lambda e, h, g: change(e, h, method="bootstrap", rng=7, n_boot=9),
            "numpy.random.Generator; got int",
        ),
        (
            lambda e, h, g: inference.jackknife(e, np.arange(24)).estimate("difference"),
            "the embedding itself",
        ),
        (
            lambda e, h, g: inference.jackknife(e, np.arange(24), rdm=h).estimate("z"),
            "r, r2, difference; got",
        ),
        (
            lambda e, h, g: inference.jackknife(e, np.arange(24), rdm=h).maximum(),
            "needs bootstrap replicates",
        ),
        (
            lambda e, h, g: inference.bootstrap(e, np.arange(24), rdm=h, n_boot=9, rng=g).maximum("r2"),
            "quantity is r or difference; got 'r2'",
        ),
        (
            lambda e, h, g: inference.bootstrap(e, np.arange(24), rdm=h, n_boot=9, rng=g, k=[24]).maximum(),
            "undefined, or always 0, at every k",
        ),
        (lambda e, h, g: inference.random_orders(e, np.arange(24), rng=g, n_orders=0), "at least 1; got 0"),
        (
            lambda e, h, g: inference.random_orders(e, np.arange(24), rng=g, n_orders=3, k=[24]).maximum(),
            "no k at which all orders are defined and differ",
        ),
        (lambda e, h, g: inference.jackknife(e, np.arange(24), rdm=[h, h]), r"square, .*got \(2, 780\)"),
        (lambda e, h, g: inference.bootstrap(e, np.arange(24), rdm=h[:9], rng=g), "9 pairs, which no number"),
        (lambda e, h, g: inference.two_factor_bootstrap(e, np.arange(24), rdms=[h], rng=g), "two subjects"),
        (lambda e, h, g: inference.seed_interval(np.ones((1, 4))), r"at least two instances; got \(1, 4\)"),
        (lambda e, h, g: inference.seed_interval(np.ones((2, 4)), k=[1]), "k has 1 entries, values 4 steps"),
        (lambda e, h, g: inference.holm([0.2, 1.2]), r"numbers in \[0, 1\]"),
        (lambda e, h, g: inference.random_orders(e, np.arange(24), rng=3), "Generator; got int"),
        (
            lambda e, h, g: inference.bootstrap(e, np.arange(24), rdm=h, n_boot=9, rng=g).maximum(level=2),
            r"level lies in \(0, 1\); got 2",
        ),
    ],
)
def test_errors(embedding, human, rng, call, message):
    with pytest.raises(InputError, match=message):
        call(embedding, human, rng)


def test_t_interval_by_hand():
    # Of 22 degrees of freedom, t = √2 has p = .1713; of one, t = 1 has 1 − 2 arctan(1) / π.
    low, high, p = inference.t_interval([np.sqrt(2), -1, 0], [1, 1, 0], [22, 1, 5])
    np.testing.assert_allclose(p, [0.1713, 0.5, 1], atol=5e-5)
    np.testing.assert_allclose(low[:2], [np.sqrt(2) - 2.0739, -1 - 12.7062], atol=1e-4)
    np.testing.assert_allclose(high[:2], [np.sqrt(2) + 2.0739, -1 + 12.7062], atol=1e-4)
    assert (low[2], high[2]) == (0, 0)
    assert np.isnan(inference.t_interval(1, 1, 0)).all()
    with pytest.raises(InputError, match=r"level lies in \(0, 1\); got 95"):
        inference.t_interval(1, 1, 5, level=95)


def test_an_estimate_is_tested_by_its_interval():
    found = inference.with_interval(np.sqrt(2), 1.0, 22.0, level=0.9)
    low, high, p = map(float, inference.t_interval(np.sqrt(2), 1, 22, level=0.9))
    assert found == pytest.approx(
        {"estimate": np.sqrt(2), "low": low, "high": high, "level": 0.9, "se": 1, "df": 22, "p": p}
    )
    assert found["p"] == pytest.approx(0.1713, abs=5e-5)
    with pytest.raises(InputError, match=r"level lies in \(0, 1\); got 95"):
        inference.with_interval(1, 1, 5, level=95)


def test_random_orders_as_a_table():
    null = np.array([[0.1, np.nan, 0.9], [0.3, np.nan, 0.7], [0.2, np.nan, 0.8]])
    found = inference.RandomOrders(np.array([1, 2, 3]), np.array([0.2, np.nan, 0.95]), null)
    table = found.table()
    assert list(table) == ["k", "r", "median", "p"]
    np.testing.assert_allclose(table["median"], [0.2, np.nan, 0.8])
    np.testing.assert_allclose(table["p"], [1, np.nan, 0.5])
