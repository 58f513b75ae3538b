"""Dimensions: exact neighbours, the estimators beside scikit-dimension, surfaces of known dimension."""

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest
import skdim
import torch
from scipy.optimize import minimize_scalar
from scipy.special import betaln
from sklearn.datasets import load_digits
from torch import nn

from rarefire import dimension, embeddings, networks
from rarefire._engine import neighbours
from rarefire.embeddings import Rows
from rarefire.errors import InputError, UnknownNameError

DIGITS = load_digits().data


def ball(rng, n, d):
    x = rng.normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / d)


def torus(rng, n, d):
    """A product of d circles."""
    angles = rng.uniform(0, 2 * np.pi, (n, d))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def without_ties(points):
    """The points whose first two neighbours are not equally far, so that nothing is dropped."""
    while True:
        found = plain(points, 2)
        tied = (found[:, 0] == 0) | (found[:, 1] - found[:, 0] <= 1e-9 * found[:, 1])
        if not tied.any():
            return points
        points = points[~tied]


def plain(points, k):
    """Distances, one point and one difference at a time."""
    x = np.asarray(points).astype(np.float64)
    found = np.empty((len(x), k))
    for i in range(len(x)):
        away = np.sqrt(((x - x[i]) ** 2).sum(axis=1))
        found[i] = np.sort(np.delete(away, i))[:k]
    return found


# --- neighbours ----------------------------------------------------------------------------------

CLOUDS = {
    "double": lambda rng: rng.normal(size=(1200, 30)),
    "single": lambda rng: rng.normal(size=(1100, 60)).astype(np.float32),
    "half": lambda rng: rng.normal(size=(400, 60)).astype(np.float16),
    "a large common offset": lambda rng: rng.normal(size=(500, 20)) + 1e9,
    "near-duplicates": lambda rng: (
        np.repeat(rng.normal(size=(150, 50)), 4, axis=0) + 1e-9 * rng.normal(size=(600, 50))
    ),
    "near-duplicates, single": lambda rng: (
        np.repeat(rng.normal(size=(150, 50)), 4, axis=0) + 1e-6 * rng.normal(size=(600, 50))
    ).astype(np.float32),
    "exact duplicates": lambda rng: np.repeat(rng.normal(size=(150, 50)), 4, axis=0),
    "integers with ties": lambda rng: rng.integers(0, 3, (1100, 6)),
    "bits": lambda rng: rng.integers(0, 2, (600, 300)).astype(bool),
    "half of them silent": lambda rng: rng.normal(size=(1100, 9)) * (np.arange(1100) % 2)[:, None],
    "all equal": lambda rng: np.full((1100, 7), 0.1),
    "tight clusters far apart": lambda rng: (
        (np.arange(600) % 2)[:, None] * 1e4 + 1e-6 * rng.normal(size=(600, 8))
    ),
    "one far away": lambda rng: np.concatenate([rng.normal(size=(600, 8)), np.full((1, 8), 1e12)]),
    "more features than a product": lambda rng: (
        rng.normal(size=(60, 5000)) @ np.diag(np.logspace(0, 4, 5000))
    ),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_distances_are_those_of_differences(rng, name):
    points = CLOUDS[name](rng)
    expected = plain(points, 5)
    found = neighbours.distances(points, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.array_equal(found == 0, expected == 0)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_distances_of_very_small_and_very_large_numbers(rng, scale):
    points = rng.normal(size=(300, 8))
    np.testing.assert_allclose(neighbours.distances(points * scale, 3), plain(points, 3) * scale, rtol=1e-12)


def test_bounds_are_below_the_distances(rng):
    """The proof, tried: no pair's lower bound is above its distance, in single nor in double precision."""
    for points in (
        rng.normal(size=(300, 3000)),
        1e6 + rng.random((300, 40)),
        CLOUDS["near-duplicates"](rng)[:300],
    ):
        of = neighbours._Points(points.astype(np.float32))
        every = np.arange(300)
        exact = np.stack([of.squares(every[i : i + 1], every[None])[0] for i in range(300)])
        for precision in (np.float32, np.float64):
            products, norms = of.products(every, every, precision), of.norms(precision)
            share, amount = of.slack(precision)
            assert ((1 - share) * (norms[:, None] + norms) - 2 * products - amount <= exact).all()


def test_points_may_lie_on_disk_or_be_rows_of_others(rng, tmp_path):
    points = rng.normal(size=(300, 40)).astype(np.float32)
    np.save(tmp_path / "E.npy", points)
    mapped = np.load(tmp_path / "E.npy", mmap_mode="r")
    expected = dimension.two_nn(points)
    assert dimension.two_nn(mapped) == dimension.two_nn(torch.from_numpy(points)) == expected
    rows = rng.permutation(300)[:200]
    assert dimension.two_nn(Rows(mapped, rows)) == dimension.two_nn(points[rows])
    assert dimension.pc_id(Rows(mapped, rows)) == dimension.pc_id(points[rows])


# --- beside scikit-dimension ---------------------------------------------------------------------

SETS = {
    "digits": lambda rng: without_ties(DIGITS),
    "ball": lambda rng: ball(rng, 700, 5),
    "many features": lambda rng: torus(rng, 600, 4) @ rng.normal(size=(8, 300)),
}


@pytest.mark.parametrize("name", SETS)
def test_two_nn_is_that_of_scikit_dimension(rng, name):
    points = SETS[name](rng)
    n = len(points)
    peer = skdim.id.TwoNN().fit(points).dimension_
    assert dimension.two_nn(points).dimension == pytest.approx(peer, rel=1e-6)
    for discard in (0, 0.1, 0.3):
        with np.errstate(divide="ignore"):  # it takes the logarithm of 0 too, and leaves it aside
            peer = skdim.id.TwoNN(method="mle", discard_fraction=discard).fit(points).dimension_
        found = dimension.two_nn(points, method="ml", discard=discard)
        assert found.dimension == pytest.approx(peer, rel=1e-6)
        assert (found.n, sum(found.dropped.values())) == (n, 0)
        assert found.scale == pytest.approx(plain(points, 2)[:, 1].mean(), rel=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_gride_is_that_of_scikit_dimension(rng, name):
    points = SETS[name](rng)
    peer = skdim.id.GRIDE(multiscale=True).fit(points)
    found = dimension.gride(points)
    assert [one.estimator for one in found] == [f"gride-{n}" for n in peer.scales_]
    np.testing.assert_allclose([one.dimension for one in found], peer.dimension_scales_, rtol=1e-6)
    np.testing.assert_allclose([one.se for one in found], peer.error_scales_, rtol=1e-6)
    np.testing.assert_allclose([one.scale for one in found], peer.radius_scales_, rtol=1e-9)
    by_ml = dimension.two_nn(points, method="ml")
    assert found[0].dimension == pytest.approx(by_ml.dimension, rel=1e-12)


def test_gride_maximises_its_density(rng):
    points, n = ball(rng, 1500, 3), 4
    distances = plain(points, 8)
    log_mu = np.log(distances[:, 7] / distances[:, 3])

    def minus_likelihood(d):
        rise = (n - 1) * np.log(np.expm1(d * log_mu)).sum() - ((2 * n - 1) * d + 1) * log_mu.sum()
        return -(len(log_mu) * (np.log(d) - betaln(n, n)) + rise)

    best = minimize_scalar(minus_likelihood, bounds=(0.5, 20), method="bounded", options={"xatol": 1e-9}).x
    assert dimension.gride(points, largest=4)[-1].dimension == pytest.approx(best, rel=1 / len(points))


@pytest.mark.parametrize("shape", [(300, 40), (40, 300)])
def test_linear_dimensions_are_those_of_scikit_dimension_and_numpy(rng, shape):
    points = rng.normal(size=shape) @ np.diag(np.logspace(0, -2, shape[1])) + 1e3
    ratio = dimension.participation_ratio(points).dimension
    assert ratio == pytest.approx(skdim.id.lPCA(ver="participation_ratio").fit(points).dimension_, rel=1e-6)
    for standardised in (False, True):
        scaled = points / points.std(axis=0) if standardised else points
        variances = np.linalg.svd(scaled - scaled.mean(axis=0), compute_uv=False) ** 2
        expected = 1 + np.searchsorted(np.cumsum(variances) / variances.sum(), 0.9)
        assert dimension.pc_id(points, standardised=standardised).dimension == expected


def test_components_of_digits():
    found = dimension.pc_id(DIGITS, standardised=False)
    with np.errstate(divide="ignore", invalid="ignore"):  # of its other rules
        assert found.dimension == skdim.id.lPCA(ver="ratio", alphaRatio=0.9).fit(DIGITS).dimension_ == 21
    found = dimension.pc_id(DIGITS)
    assert (found.dimension, found.dropped, found.n) == (31, {"constant features": 3}, 1797)
    assert dimension.pc_id(DIGITS, variance=1).dimension == 61


@pytest.mark.parametrize("shape", [(200, 60), (60, 200)])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_rank_is_that_of_numpy(rng, shape, kind):
    for rank in (1, 7, 40):
        x = rng.normal(size=(shape[0], rank)) @ np.diag(np.logspace(0, -4, rank))
        points = (x @ rng.normal(size=(rank, shape[1]))).astype(kind)
        expected = np.linalg.matrix_rank(points - points.mean(axis=0))
        assert dimension.numerical_rank(points).dimension == expected == rank
    sizes = np.linalg.svd(points - points.mean(axis=0, dtype=np.float64), compute_uv=False)
    tolerance = float(np.sqrt(sizes[9] * sizes[10]))
    assert dimension.numerical_rank(points, tolerance=tolerance).dimension == 10
    # Squared in products, this one would drown.
    faint = np.concatenate([rng.normal(size=(100, 3)), 1e-11 * rng.normal(size=(100, 1))], axis=1) + 5
    assert dimension.numerical_rank(np.concatenate([faint, faint], axis=1)).dimension == 4


# --- known dimensions ----------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "expected"), [(2, 2.04), (5, 4.97), (10, 9.04), (20, 16.3)])
def test_balls(rng, d, expected):
    """What another implementation read of other balls; within four standard errors of both."""
    points = ball(rng, 2000, d)
    for method in ("fit", "ml"):
        found = dimension.two_nn(points, method=method)
        assert found.dimension == pytest.approx(expected, abs=4 * np.sqrt(2) * found.se)
    assert 0.02 < found.se / found.dimension < 0.03


@pytest.mark.parametrize("d", [1, 2, 5])
def test_tori_in_more_features_than_they_have_dimensions(rng, d):
    points = torus(rng, 1500, d) @ np.linalg.qr(rng.normal(size=(40, 40)))[0][: 2 * d]
    found = dimension.two_nn(points)
    assert found.dimension == pytest.approx(d, abs=4 * found.se + 0.03 * d)
    assert dimension.pc_id(points, variance=1 - 1e-9, standardised=False).dimension == 2 * d
    assert dimension.participation_ratio(points).dimension == pytest.approx(2 * d, rel=0.02)


@pytest.mark.parametrize(("d", "expected"), [(10, 9.6), (30, 21), (100, 44), (200, 67)])
def test_many_dimensions_saturate(rng, d, expected):
    read = [dimension.two_nn(rng.normal(size=(450, d))).dimension for _ in range(8)]
    assert np.mean(read) == pytest.approx(expected, rel=0.1)
    assert np.mean(read) < d


def test_noise_goes_with_the_number_of_points(rng):
    """A noisy plane: of all points the noise is what is seen, of few the plane."""
    points = np.concatenate([rng.random((3000, 2)), np.zeros((3000, 8))], axis=1)
    points += 0.02 * rng.normal(size=points.shape)
    found = dimension.decimation(points, rng=rng)
    assert [one.n for one in found] == [3000, 1500, 750, 375, 188, 94]
    sizes = [one.dimension for one in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] + 1
    assert found[0].dimension == dimension.two_nn(points).dimension
    scales = [one.scale for one in found]
    assert scales == sorted(scales)
    assert dimension.gride(points)[-1].dimension < dimension.gride(points)[0].dimension - 1


def test_parts_have_no_point_in_common(rng):
    """Of points that are there twice no half has both, unless they are drawn so: none is drawn twice."""
    points = rng.normal(size=(400, 3))
    found = dimension.decimation(points, rng=np.random.default_rng(3), smallest=100, method="ml")
    order = np.random.default_rng(3).permutation(400)
    parts = [dimension.two_nn(points[rows], method="ml") for rows in np.array_split(order, 4)]
    assert found[2].dimension == pytest.approx(np.mean([one.dimension for one in parts]))
    assert [sum(one.dropped.values()) for one in found] == [0, 0, 0]


# --- errors --------------------------------------------------------------------------------------


def test_the_error_of_independent_ratios(rng):
    """Of exponential log μ, as often drawn: ``se`` is how much the estimate varies."""
    for method, discard in (("fit", 0.1), ("fit", 0.3), ("ml", 0.0), ("ml", 0.3)):
        drawn = rng.exponential(1 / 4, size=(600, 300))
        found = [
            dimension._two_nn(np.stack([np.ones(300), np.exp(one)], axis=1), method, discard) for one in drawn
        ]
        spread = np.std([one.dimension for one in found], ddof=1)
        assert np.mean([one.se for one in found]) == pytest.approx(spread, rel=0.12)
        assert np.mean([one.dimension for one in found]) == pytest.approx(4, rel=0.02)


def test_halves_know_the_error_and_resamples_of_ninety_per_cent_do_not(rng):
    """Over new points from the same torus."""
    estimates, errors, resampled = (np.empty(80) for _ in range(3))
    for i in range(80):
        points = torus(rng, 200, 2)
        estimates[i] = dimension.two_nn(points).dimension
        errors[i] = dimension.halves_error(points, rng=rng)
        some = (points[rng.permutation(200)[:180]] for _ in range(10))
        resampled[i] = np.std([dimension.two_nn(one).dimension for one in some], ddof=1)
    true = np.std(estimates, ddof=1)
    assert 0.8 < np.sqrt(np.mean(errors**2)) / true < 1.45
    assert np.mean(resampled) < 0.6 * true
    off = np.abs(estimates - estimates.mean())
    assert (off < 1.96 * resampled).mean() < 0.85 < (off < 1.96 * errors).mean()  # which should be 0.95


def test_the_error_of_parts(rng):
    found = [dimension.decimation(torus(rng, 400, 2), rng=rng) for _ in range(40)]
    for i in (0, 1):
        spread = np.std([one[i].dimension for one in found], ddof=1)
        assert 0.7 < np.mean([one[i].se for one in found]) / spread < 1.5
    one = found[0][0]
    assert (one.low, one.high) == pytest.approx(
        (one.dimension - 1.96 * one.se, one.dimension + 1.96 * one.se)
    )


# --- nothing to measure, and bad input -----------------------------------------------------------


def test_duplicates_and_ties_are_dropped_and_counted(rng):
    points = rng.normal(size=(300, 4))
    twice = np.concatenate([points, points[:50]])
    found = dimension.two_nn(twice)
    # Whose nearest point is there twice has two neighbours that are equally far.
    tied = np.isin(
        np.argmin(np.linalg.norm(points[:, None] - points, axis=2) + 99 * np.eye(300), axis=1), range(50)
    )
    assert found.dropped == {"duplicates": 100, "ties": tied[50:].sum()}
    assert found.n == 250 - tied[50:].sum() < 250
    assert found.dimension == pytest.approx(4, rel=0.25)
    grid = np.stack(np.meshgrid(range(6), range(6)), axis=-1).reshape(-1, 2)
    found = dimension.two_nn(grid)
    assert (found.n, found.dropped) == (0, {"duplicates": 0, "ties": 36})
    assert np.isnan(found.dimension)
    # Equal distances stay equal where rounding says otherwise.
    assert dimension.two_nn(grid * 0.1 @ np.array([[0.8, 0.6], [-0.6, 0.8]])).dropped["ties"] == 36
    found = dimension.two_nn(DIGITS)
    assert found.dropped == {"duplicates": 0, "ties": 18}


ALL = {
    "two_nn": dimension.two_nn,
    "gride": lambda points: dimension.gride(points)[0],
    "decimation": lambda points: dimension.decimation(points, rng=np.random.default_rng(0))[0],
    "pc_id": dimension.pc_id,
    "participation_ratio": dimension.participation_ratio,
    "numerical_rank": dimension.numerical_rank,
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [0, 0.1, 7])
def test_a_constant_layer_has_no_dimension(name, value):
    found = ALL[name](np.full((120, 6), value))
    if name == "numerical_rank":
        assert found.dimension == 0
        return
    assert np.isnan([found.dimension, found.low, found.high]).all()
    if name == "pc_id":
        assert found.dropped == {"constant features": 6}
    elif name != "participation_ratio":
        assert (found.n, found.dropped) == (0, {"duplicates": 120, "ties": 0})


def test_the_error_of_a_constant_layer_is_undefined(rng):
    assert np.isnan(dimension.halves_error(np.zeros((50, 3)), rng=rng))


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_set_of_points_is_refused(name, rng):
    of = ALL[name]
    with pytest.raises(
        InputError, match=r"a dimension needs at least 20 points; got 19\. Show the network mo"
    ):
        of(rng.normal(size=(19, 5)))
    with pytest.raises(InputError, match=r"an embedding is \(n_images, n_features\); got \(30, 2, 2\)"):
        of(rng.normal(size=(30, 2, 2)))
    for bad in (np.nan, np.inf):
        points = rng.normal(size=(30, 5))
        points[3, 2] = bad
        with pytest.raises(InputError, match="1 of 30 images have NaN or infinite features"):
            of(points)
    with pytest.raises(InputError, match=r"points holds real numbers; got text \(<U1\)"):
        of(np.full((30, 5), "a"))
    assert of(rng.integers(0, 255, (60, 5)).astype(np.uint8)).dimension > 0


def test_other_arguments_that_make_no_sense(rng):
    points = rng.normal(size=(60, 5))
    for call, message in (
        (lambda: dimension.two_nn(points, method="mle"), "method is 'fit' or 'ml'; got 'mle'"),
        (lambda: dimension.two_nn(points, discard=0), r"discard is a share in \(0, 1\): the largest ratio"),
        (lambda: dimension.two_nn(points, method="ml", discard=1), r"discard is a share in \[0, 1\); got 1"),
        (lambda: dimension.gride(points, largest=0), "largest is a whole number of neighbours, at least 1"),
        (lambda: dimension.decimation(points, rng=3), "rng is a numpy.random.Generator; got int"),
        (lambda: dimension.decimation(points, rng=rng, smallest=5), "smallest is at least 20 points; got 5"),
        (lambda: dimension.halves_error(points, rng=3), "rng is a numpy.random.Generator; got int"),
        (lambda: dimension.halves_error(points, rng=rng, n_splits=0), "n_splits is at least 1; got 0"),
        (
            lambda: dimension.halves_error(points[:30], rng=rng),
            "halves of 20 points need at least 40 points; got 30",
        ),
        (lambda: dimension.pc_id(points, variance=0), r"variance is a share in \(0, 1\]; got 0"),
        (lambda: dimension.numerical_rank(points, tolerance=-1), "tolerance is a singular value, at least 0"),
        (lambda: dimension.two_nn(np.sign(points) * 1.5e308), "too far apart for double precision"),
    ):
        with pytest.raises(InputError, match=message):
            call()


# --- rank of Jacobians ---------------------------------------------------------------------------

LENET = ("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "relu3", "fc2", "relu4", "fc3")


def chain(rng, ranks, width=12):
    """Linear layers with a kernel and an image of their own, of known ranks."""
    steps = OrderedDict(flatten=nn.Flatten())
    for i, rank in enumerate(ranks):
        steps[f"fc{i}"] = linear = nn.Linear(width if i else 2 * 4 * 5, width)
        weight = rng.normal(size=(width, rank)) @ rng.normal(size=(rank, linear.in_features))
        linear.weight.data = torch.from_numpy(weight).float()
    return nn.Sequential(steps)


def test_the_rank_of_a_chain_is_that_of_its_narrowest_layer_so_far(rng):
    model, image = chain(rng, (10, 7, 9, 3, 5)).double(), rng.random((2, 4, 5))
    for i, rank in enumerate((10, 7, 9, 3, 5)):  # in double precision too, not what rounding makes of them
        with torch.no_grad():
            left, sizes, right = torch.linalg.svd(model[1 + i].weight, full_matrices=False)
            model[1 + i].weight.copy_(left[:, :rank] * sizes[:rank] @ right[:rank])
    names = [f"fc{i}" for i in range(5)]
    found = dimension.jacobian_ranks(model, image, layers=names, size=None)
    assert list(found.values()) == [10, 7, 7, 3, 3]
    assert dimension.jacobian_ranks(model, image, layers=names, size=2) == dict(
        zip(names, [8, 7, 7, 3, 3], strict=True)  # two channels of 2 × 2 pixels
    )
    assert dimension.jacobian_ranks(model, image, layers=["fc3"], size=1, tolerance=0.99)["fc3"] == 1


@pytest.mark.parametrize("kind", ["trained", "untrained", "wide"])
def test_rank_never_grows_and_is_at_most_what_fires(trained, kind):
    network, test = trained
    if kind != "trained":
        name = "lenet5" if kind == "untrained" else "lenet5-half"
        network = networks.build(name, input_shape=test.input_shape, mean=test.mean, std=test.std, seed=3)
    layers = [name for name, _ in network.named_children() if name != "flatten"]
    assert tuple(layers) == LENET
    for image in test.images[:4]:
        found = dimension.jacobian_ranks(network, image, layers=layers)
        ranks = list(found.values())
        assert ranks == sorted(ranks, reverse=True)
        assert ranks[0] == 256
        for layer, values in embeddings.each(network, image[None], layers=["relu3", "relu4"]):
            assert 0 < found[layer] <= np.count_nonzero(values)


def test_jacobians_are_those_of_backward_passes(trained):
    """Row by row, by another way through the network, and all of the image's pixels."""
    network, test = trained
    found = dimension._jacobians(network, test.images[0].astype(float), ["pool2", "fc3"], 9)
    model = copy.deepcopy(network).double()
    x = torch.from_numpy(test.images[:1].astype(float)).requires_grad_()
    expected = torch.autograd.functional.jacobian(lambda x: model(x)[0], x)[:, 0, 0, 11:20, 11:20]
    np.testing.assert_allclose(found["fc3"], expected.reshape(10, -1).numpy(), rtol=1e-9, atol=1e-12)
    assert found["pool2"].shape == (400, 81)
    step = np.zeros_like(test.images[0], dtype=float)
    step[0, 15, 13] = 1e-7
    up, down = (pooled(model, x.detach().numpy()[0] + sign * step) for sign in (1, -1))
    slope = (up - down) / 2e-7
    np.testing.assert_allclose(found["pool2"][:, 4 * 9 + 2], slope, atol=1e-5)


def pooled(model, image):
    """The layer pool2 and those before it, alone."""
    until = list(model).index(model.pool2) + 1
    with torch.no_grad():
        return model[:until](networks.normalised(model, torch.from_numpy(image)[None])).flatten().numpy()


def test_a_network_is_left_as_it_was_and_works_in_its_place(rng):
    layers = OrderedDict(
        conv=nn.Conv2d(1, 3, 3), relu=nn.ReLU(inplace=True), flatten=nn.Flatten(), fc=nn.Linear(108, 4)
    )
    model = nn.Sequential(layers).train()
    generator = torch.Generator().manual_seed(0)  # by chance nearly all of its units might be silent
    with torch.no_grad():
        for values in model.parameters():
            values.copy_(0.2 * torch.randn(values.shape, generator=generator))
    image = rng.random((1, 8, 8))
    found = dimension.jacobian_ranks(model, image, layers=["conv", "relu", "fc"])
    assert found["fc"] == 4
    with torch.no_grad():
        fires = int((model[:2](torch.from_numpy(image)[None].float()) > 0).sum())
    assert found["relu"] <= min(fires, 64)
    assert model.training
    assert model.conv.weight.dtype == torch.float32
    assert not model.conv._forward_hooks
    model.conv.bias.data.fill_(-99)
    silent = dimension.jacobian_ranks(model, image, layers=["conv", "relu", "fc"])
    assert silent == {"conv": 64, "relu": 0, "fc": 0}


def test_what_has_no_jacobian(trained):
    network, test = trained
    image = test.images[0]
    for options, error, message in (
        ({"layers": ["fc9"]}, UnknownNameError, "no layer 'fc9'"),
        ({"size": 0}, InputError, "size is a whole number, at least 1; got 0"),
        ({"size": 2.5}, InputError, r"size is a whole number, at least 1; got 2\.5"),
        (
            {"tolerance": 1},
            InputError,
            r"tolerance is a share of the largest singular value, in \[0, 1\); got",
        ),
        ({"tolerance": np.nan}, InputError, "tolerance is a finite number; got nan"),
    ):
        with pytest.raises(error, match=message):
            dimension.jacobian_ranks(network, image, **{"layers": ["fc3"], **options})
    for wrong in (test.images[:1], np.full((1, 32, 32), np.nan)):
        with pytest.raises(InputError, match=r"image is one of \(channels, height, width\), finite; got"):
            dimension.jacobian_ranks(network, wrong, layers=["fc3"])
    idle = nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(4, 2)))
    idle.fc.spare = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"the layer 'fc\.spare' exists but is not used in a forward pass"):
        dimension.jacobian_ranks(idle, np.ones((1, 2, 2)), layers=["fc", "fc.spare"])


# --- orthogonality -------------------------------------------------------------------------------


def cosines(vectors):
    """Root mean square over pairs, one pair at a time."""
    found = []
    for i, a in enumerate(vectors):
        for b in vectors[:i]:
            found.append(float(a @ b) ** 2 / float(a @ a) / float(b @ b))
    return math.sqrt(np.mean(found))


@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_orthogonality_is_that_of_loops(rng, shape, kind):
    points = (rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])) + 3).astype(kind)
    points[:, 4] = 0.7
    centred = points.astype(float) - points.astype(float).mean(axis=0)
    found = dimension.quasi_orthogonality(points)
    assert found.cosine == pytest.approx(cosines(np.delete(centred, 4, axis=1).T), rel=1e-6)
    assert (found.n, found.dropped) == (shape[1] - 1, 1)
    assert found.chance == pytest.approx(1 / math.sqrt(shape[0] - 1))
    found = dimension.quasi_orthogonality(points, of="images")
    assert found.cosine == pytest.approx(cosines(centred), rel=1e-6)
    assert (found.n, found.dropped, found.chance) == (shape[0], 0, shape[1] ** -0.5)


def test_vectors_without_relation_are_as_orthogonal_as_chance(rng):
    for of in ("features", "images"):
        found = [dimension.quasi_orthogonality(rng.normal(size=(200, 60)), of=of) for _ in range(40)]
        squares = np.mean([one.cosine**2 for one in found])
        assert squares == pytest.approx(found[0].chance ** 2, rel=0.02)


def test_orthogonal_features_and_equal_ones(rng):
    hadamard = np.array([[1]])
    for _ in range(6):
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    found = dimension.quasi_orthogonality(hadamard)  # all columns but the first, which is constant, sum to 0
    assert found.cosine == pytest.approx(0, abs=1e-7)
    assert (found.n, found.dropped) == (63, 1)
    line = rng.normal(size=(50, 1)) * rng.normal(size=8)
    for of in ("features", "images"):
        assert dimension.quasi_orthogonality(line + 5, of=of).cosine == pytest.approx(1)


def test_orthogonality_is_a_participation_ratio_in_other_terms(rng):
    points = rng.gamma(1, size=(90, 20)) @ rng.normal(size=(20, 20))
    z = (points - points.mean(axis=0)) / points.std(axis=0)
    p = dimension.participation_ratio(z).dimension
    found = dimension.quasi_orthogonality(points).cosine ** 2
    assert found == pytest.approx((20 / p - 1) / 19, rel=1e-9)


def test_what_has_no_direction(rng):
    points = rng.normal(size=(30, 6))
    points[3] = points[np.arange(30) != 3].mean(axis=0)  # at the mean of all
    found = dimension.quasi_orthogonality(points, of="images")
    assert (found.n, found.dropped) == (29, 1)
    for of in ("features", "images"):
        found = dimension.quasi_orthogonality(np.full((25, 5), 0.3), of=of)
        assert np.isnan(found.cosine)
        assert found.n == 0
    single = np.concatenate([points[:, :1], np.ones((30, 3))], axis=1)
    assert np.isnan(dimension.quasi_orthogonality(single).cosine)
    with pytest.raises(InputError, match="of is 'features' or 'images'; got 'rows'"):
        dimension.quasi_orthogonality(points, of="rows")
    with pytest.raises(InputError, match="a dimension needs at least 20 points; got 19"):
        dimension.quasi_orthogonality(points[:19])
