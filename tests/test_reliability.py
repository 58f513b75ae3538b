"""How far people agree: against rsatoolbox, by hand, and on real people."""

import numpy as np
import pytest

from rarefire import judgments, rdm, reliability
from rarefire.errors import InputError


def test_noise_ceiling_is_rsatoolbox_s(rng):
    import rsatoolbox
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling

    shared = rng.random(190)
    people = shared + rng.random((5, 190)) * np.array([[0.2], [0.5], [1], [2], [3]])
    ceiling = reliability.noise_ceiling(people)
    low, high = boot_noise_ceiling(rsatoolbox.rdm.RDMs(people), method="corr")
    assert (ceiling.low, ceiling.high) == pytest.approx((low, high), abs=1e-12)
    assert ceiling.by_subject.mean() == pytest.approx(ceiling.low)
    raw = reliability.noise_ceiling(people, standardise=False)
    expected = [np.corrcoef(p, np.delete(people, s, axis=0).mean(axis=0))[0, 1] for s, p in enumerate(people)]
    np.testing.assert_allclose(raw.by_subject, expected)
    square = np.stack([rdm.square(p) for p in people])
    assert reliability.noise_ceiling(square).low == pytest.approx(ceiling.low)


def test_noise_ceiling_of_real_people(mirror, monkeypatch):
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    people = judgments.load("mur").subjects
    raw = reliability.noise_ceiling(people, standardise=False)
    assert raw.low == pytest.approx(0.57, abs=0.01)
    assert raw.low < raw.high


def test_split_half_and_spearman_brown(rng):
    assert reliability.spearman_brown(0.913) == pytest.approx(0.955, abs=5e-4)
    assert reliability.spearman_brown(0.5, length=1) == 0.5
    assert reliability.spearman_brown(0.5, length=3) == pytest.approx(0.75)
    truth = rng.normal(size=4950)
    people = truth + rng.normal(size=(8, 4950))
    found = reliability.split_half(people, n_splits=20, rng=rng)
    # Means of four have noise variance 1/4: r = 1 / (1 + 1/4); of eight 1 / (1 + 1/8).
    assert found.r == pytest.approx(0.8, abs=0.02)
    assert found.corrected == pytest.approx(8 / 9, abs=0.02)


def test_mean_rdm_of_what_was_judged():
    rdms = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(reliability.mean_rdm(rdms), [2, 5, np.nan])


def test_on_one_scale_is_standardised_over_what_was_judged(rng):
    people = rng.normal(size=(3, 40)) * [[1], [5], [0.1]] + [[0], [7], [-2]]
    people[0, :4] = np.nan
    found = reliability.on_one_scale(people)
    for own, scaled in zip(people, found, strict=True):
        known = np.isfinite(own)
        np.testing.assert_allclose(scaled[known], (own[known] - own[known].mean()) / own[known].std())
        assert np.isnan(scaled[~known]).all()
    np.testing.assert_allclose(reliability.on_one_scale(3 * people + 1), found, atol=1e-12)


def test_subjects_in_either_shape(rng):
    people = rng.random((3, 10))
    square = np.stack([rdm.square(p) for p in people])
    for given in (people, square):
        np.testing.assert_array_equal(reliability.check_subjects(given), people)
        np.testing.assert_array_equal(reliability.check_subjects(given, 5), people)


def test_reliability_of_parts_is_stepped_up_to_all(rng):
    parts = rng.normal(size=500) + rng.normal(size=(3, 500))
    r = np.mean([np.corrcoef(parts[i], parts[j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))])
    assert reliability.of_parts(parts) == pytest.approx(3 * r / (1 + 2 * r))
    assert reliability.of_parts(np.stack([parts[0], -parts[0]])) is None  # they contradict one another
    assert reliability.of_parts(np.full((2, 500), np.nan)) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h, g: reliability.noise_ceiling(h), r"at least two subjects; got \(780,\)"),
        (lambda h, g: reliability.check_subjects([h, h], 41), "of 40 images; the embedding has 41 images"),
        (lambda h, g: reliability.split_half([h, h], rng=g, n_splits=0), "n_splits must be at least 1"),
        (lambda h, g: reliability.split_half([h, h], rng=3), "Generator; got int"),
        (lambda h, g: reliability.spearman_brown(-0.5, length=3), "above"),
        (lambda h, g: reliability.spearman_brown(-1.0), r"lies in \(−1, 1\], .*; got -1"),
        (lambda h, g: reliability.spearman_brown(1.1), r"lies in \(−1, 1\], .*; got 1.1"),
        (lambda h, g: reliability.mean_of_subjects(np.stack([h, 0 * h])), "subject '2' has the same rating"),
    ],
)
def test_errors(rng, call, message):
    with pytest.raises(InputError, match=message):
        call(rng.random(780), rng)
