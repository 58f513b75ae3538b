"""Gromov–Wasserstein between layers: what is known by heart, bounds in order, POT called directly."""

import itertools
import sys

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from rarefire import embeddings, transport
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.records import record

ot = transport._pot()  # compiling it warns


def gaussian(rng, n=30, d=5):
    return transport.distances(rng.normal(size=(n, d)))


def two_points(side):
    return np.array([[0.0, side], [side, 0.0]])


@pytest.fixture(scope="module")
def layers(request):
    """Distances of 40 digits in six layers of a trained LeNet, and its features."""
    network, images = request.getfixturevalue("trained")
    names = ["conv1", "relu1", "pool2", "relu3", "relu4", "fc3"]
    few = images.subset(np.arange(40))
    features = dict(embeddings.each(network, few, layers=names, spatial="keep"))
    return transport.layer_distances(network, few, layers=names, spatial="keep"), features


# --- distances -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 5), (6, 3, 4, 2), (9, 1)])
@pytest.mark.parametrize("scale", [1, 1e-200, 1e200])
def test_distances_are_euclidean_and_one_on_average(rng, shape, scale):
    features = rng.normal(size=shape)
    expected = pdist(features.reshape(len(features), -1))
    found = transport.distances(features * scale)
    np.testing.assert_allclose(found, squareform(expected / expected.mean()), rtol=1e-12)
    assert np.array_equal(found, found.T)


def test_wide_layers_are_gone_through_in_parts(rng, monkeypatch):
    features = rng.normal(size=(8, 50)).astype(np.float32)
    expected = transport.distances(features)
    monkeypatch.setattr(transport, "_STEP", 8 * 7)
    np.testing.assert_allclose(transport.distances(features), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones((3, 5)), r"at least 4 images; got \(3, 5\)"),
        (np.ones((5, 4, 3)), r"got \(5, 4, 3\)"),
        (np.ones((5, 0)), r"got \(5, 0\)"),
        (np.full((5, 4), 0.1), "all 5 images are equal in this layer"),
        (np.zeros((5, 4), dtype=bool), "all 5 images are equal in this layer"),
        (np.float32(0.3) + np.float32(3e-8) * np.eye(5, dtype=np.float32), "all 5 images are equal"),
        (np.full((5, 3), 0.3) + 1e-17 * np.arange(15).reshape(5, 3), "all 5 images are equal"),
        (np.where(np.eye(5), np.nan, 1.0), "5 of 5 images have NaN or infinite features"),
    ],
)
def test_layers_without_distances(features, message):
    with pytest.raises(InputError, match=message):
        transport.distances(features)


# --- brackets ------------------------------------------------------------------------------------


def test_two_points_have_a_closed_form(rng):
    """(a − b)²/2 in the unit of the sides: divided by their mean, as layers are, both would be 1."""
    for a, b in [(1, 3), (2, 2), (0.5, 7)]:
        found = transport.bracket(two_points(a), two_points(b), rng=rng, n_random=2)
        for value in (found.upper, found.lower, found.slb, found.identity, found.chance):
            assert value == pytest.approx((a - b) ** 2 / 2, abs=1e-15)
        assert found.distance == pytest.approx(abs(a - b) / np.sqrt(8))
        assert found.gap == 0


@pytest.mark.parametrize("d", [2, 20])
def test_a_permuted_copy_is_the_same(rng, d):
    features = rng.normal(size=(40, d))
    order = rng.permutation(40)
    found = transport.compare(features, features[order], rng=rng)
    assert found.upper == pytest.approx(0, abs=1e-25)
    assert found.distance < 1e-12
    # The solver gets there from the product, and from the lower bound; not from the identity.
    assert found.starts["product"] < 1e-12
    assert found.starts["lower bound"] < 1e-12
    assert found.starts["identity"] > 0.001
    assert found.relative < 1e-12
    assert np.array_equal(order[found.partner], np.arange(40))
    assert found.gap == found.identity > 0


def test_a_layer_and_itself_turned_moved_and_scaled(rng):
    features = rng.normal(size=(30, 6))
    turned = 3 * features @ np.linalg.qr(rng.normal(size=(9, 6)))[0].T + 5
    found = transport.compare(features, turned, rng=rng, n_random=0)
    assert found.identity < 1e-25
    assert found.upper <= found.identity
    assert found.start == "identity"


def ordered(found):
    assert 0 <= found.slb <= found.lower <= found.upper <= found.identity
    assert found.upper <= min(found.starts.values()) * (1 + 1e-12) + 1e-30
    np.testing.assert_allclose(found.coupling.sum(axis=0), 1 / len(found.coupling), rtol=1e-9)
    np.testing.assert_allclose(found.coupling.sum(axis=1), 1 / len(found.coupling), rtol=1e-9)


def test_bounds_are_in_order_on_random_spaces(rng):
    for n, d, e in [(4, 1, 1), (12, 2, 9), (25, 3, 3), (25, 1, 40)]:
        for _ in range(3):
            found = transport.bracket(gaussian(rng, n, d), gaussian(rng, n, e), rng=rng, n_random=2)
            ordered(found)
            assert list(found.starts) == ["identity", "lower bound", "product", "random 1", "random 2"]


def test_bounds_are_in_order_on_real_layers(layers):
    spaces, _ = layers
    found = dict(transport.each_pair(spaces, n_random=2, jobs=1))
    assert len(found) == 15
    for one in found.values():
        ordered(one)
        assert 0 < one.relative < 1
    near, far = found["conv1", "relu1"], found["conv1", "fc3"]
    assert near.relative < far.relative / 3


def test_values_are_those_of_sums_over_four_images(rng):
    """GW² of a coupling, the bounds and chance, written out."""
    n = 5
    a, b = gaussian(rng, n, 2), gaussian(rng, n, 3)
    found = transport.bracket(a, b, rng=rng)
    every = itertools.product(range(n), repeat=4)
    t = found.coupling
    explicit = sum((a[i, k] - b[j, m]) ** 2 * t[i, j] * t[k, m] for i, j, k, m in every)
    assert found.upper == pytest.approx(explicit, abs=1e-14)
    orders = [np.array(order) for order in itertools.permutations(range(n))]
    of_orders = [((a - b[np.ix_(o, o)]) ** 2).mean() for o in orders]
    assert found.chance == pytest.approx(np.mean(of_orders), rel=1e-12)
    assert found.lower <= min(of_orders) <= max(of_orders[0], found.upper)
    rows = [[((np.sort(a[i]) - np.sort(b[j])) ** 2).mean() for j in range(n)] for i in range(n)]
    third = min(np.mean([rows[i][o[i]] for i in range(n)]) for o in orders)
    assert found.lower == pytest.approx(third, rel=1e-12)
    assert found.slb == pytest.approx(((np.sort(a.ravel()) - np.sort(b.ravel())) ** 2).mean(), rel=1e-12)


def test_a_coupling_that_is_no_permutation_costs_what_it_costs(rng):
    a, b = gaussian(rng, 6, 2), gaussian(rng, 6, 2)
    product = np.full((6, 6), 1 / 36)
    explicit = ((a[:, :, None, None] - b) ** 2).mean()
    assert transport._of_plan(a, b, product) == pytest.approx(explicit, rel=1e-12)


def test_it_agrees_with_pot(rng, layers):
    spaces, _ = layers
    for a, b in [(gaussian(rng, 30, 2), gaussian(rng, 30, 4)), (spaces["pool2"], spaces["fc3"])]:
        a, b = (b, a) if a[0, 1] > b[0, 1] else (a, b)  # as they are put in order
        found = transport.bracket(a, b, rng=np.random.default_rng(5), n_random=3)
        rng_of_starts, n = np.random.default_rng(5), len(a)
        starts = {"identity": np.eye(n) / n, "product": None}
        starts |= {f"random {i + 1}": np.eye(n)[rng_of_starts.permutation(n)] / n for i in range(3)}
        for name, start in starts.items():
            alone = ot.gromov.gromov_wasserstein2(a, b, G0=start)
            assert found.starts[name] == pytest.approx(alone, rel=1e-9)
        assert found.upper <= alone


@pytest.mark.parametrize(("d", "identity"), [(3, 0.32), (10, 0.12), (30, 0.034), (100, 0.011)])
def test_it_vanishes_with_dimension_alone(rng, d, identity):
    a, b = gaussian(rng, 60, d), gaussian(rng, 60, d)
    found = transport.bracket(a, b, rng=rng, n_random=2)
    assert found.identity == pytest.approx(identity, rel=0.25)
    # Of norms with d degrees of freedom: two times the squared coefficient of variation.
    from scipy.stats import chi

    expected = 2 * chi(d).var() / chi(d).mean() ** 2
    assert found.chance == pytest.approx(expected, rel=0.15)
    assert found.identity == pytest.approx(found.chance, rel=0.1)
    assert 0.1 * identity < found.upper < found.identity  # what moving images does, of nothing shared


def test_arguments_change_places(rng):
    a, b = gaussian(rng, 20, 3), gaussian(rng, 20, 8)
    one, other = (transport.bracket(*pair, rng=np.random.default_rng(1)) for pair in ((a, b), (b, a)))
    assert one.starts == other.starts
    assert (one.upper, one.lower, one.identity, one.start) == (
        other.upper,
        other.lower,
        other.identity,
        other.start,
    )
    assert np.array_equal(one.coupling, other.coupling.T)


def test_what_is_kept(rng):
    found = transport.bracket(gaussian(rng), gaussian(rng), rng=rng, n_random=2)
    kept = found.arrays()
    assert kept["starts"][kept["start"]] == found.starts[found.start]
    assert kept["upper"] == found.upper
    assert np.array_equal(kept["partner"], found.coupling.argmax(axis=1))
    assert all(isinstance(value, np.ndarray) for value in kept.values())


def test_all_equal_distances_have_nothing_to_be_relative_to(rng):
    simplex = 1 - np.eye(5)
    found = transport.bracket(simplex, simplex, rng=rng, n_random=0)
    assert found.upper == 0
    assert np.isnan(found.relative)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (1 - np.eye(4), 1 - np.eye(5), "the same number of points; got 4 and 5"),
        (np.ones((3, 4)), 1 - np.eye(3), r"first: distances are a square matrix .*\(3, 4\)"),
        (1 - np.eye(3), np.ones((3, 3)), "second: distances are at least 0, and 0 on the diagonal"),
        (1 - np.eye(3), np.eye(3) - 1, "second: distances are at least 0"),
        (np.triu(np.ones((4, 4)), 1), 1 - np.eye(4), "not symmetric"),
        (np.where(np.eye(4), 0, np.nan), 1 - np.eye(4), "first: 12 distances are NaN or infinite"),
        (np.zeros((1, 1)), np.zeros((1, 1)), "at least two points"),
    ],
)
def test_matrices_that_are_not_distances(rng, first, second, message):
    with pytest.raises(InputError, match=message):
        transport.bracket(first, second, rng=rng)


def test_layers_that_cannot_be_compared(rng):
    with pytest.raises(InputError, match="the same number of points; got 6 and 5"):
        transport.compare(rng.normal(size=(6, 3)), rng.normal(size=(5, 3)), rng=rng)
    with pytest.raises(InputError, match="rng is a numpy.random.Generator; got int"):
        transport.compare(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), rng=1)
    with pytest.raises(InputError, match="n_random is a number of starts, at least 0; got -1"):
        transport.compare(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), rng=rng, n_random=-1)


def test_without_pot_it_says_what_to_install(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(DataError, match=r"need POT: pip install 'rarefire\[gw\]'"):
        transport.compare(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), rng=rng)
    with pytest.raises(DataError, match=r"pip install 'rarefire\[gw\]'"):
        transport.each_pair({"a": gaussian(rng), "b": gaussian(rng)})


# --- noise floor ---------------------------------------------------------------------------------


def test_two_samples_of_a_layer_differ_the_less_the_more_images_there_are(rng):
    features = rng.normal(size=(120, 3))
    few = transport.noise_floor(features, rng=rng, size=15, n_splits=4, n_random=2)
    many = transport.noise_floor(features, rng=rng, n_splits=2, n_random=2)
    assert [len(one.coupling) for one in few] == [15] * 4
    assert [len(one.coupling) for one in many] == [60] * 2
    assert np.mean([one.lower for one in many]) < np.mean([one.lower for one in few])
    assert 0 < np.mean([one.upper for one in many]) < np.mean([one.upper for one in few])
    for one in (*few, *many):
        ordered(one)


def test_samples_of_a_noise_floor_have_no_image_in_common(rng):
    """Of images in two far clusters, of which one has a single image, only one sample can see both."""
    features = rng.normal(size=(8, 2))
    features[0] += 1e6
    (found,) = transport.noise_floor(features, rng=rng)
    assert found.lower > 0.1


def test_noise_floors_that_cannot_be(rng):
    with pytest.raises(InputError, match=r"size lies between 4 and half of the 10 images; got 6"):
        transport.noise_floor(rng.normal(size=(10, 3)), rng=rng, size=6)
    with pytest.raises(InputError, match=r"half of the 7 images; got 3"):
        transport.noise_floor(rng.normal(size=(7, 3)), rng=rng)
    with pytest.raises(InputError, match="n_splits is at least 1; got 0"):
        transport.noise_floor(rng.normal(size=(10, 3)), rng=rng, n_splits=0)
    features = np.zeros((9, 2))
    features[0] = 1
    with pytest.raises(InputError, match="all 4 images of a sample are equal"):
        transport.noise_floor(features, rng=rng, n_splits=3)


# --- maps ----------------------------------------------------------------------------------------


def test_each_pair_in_processes_is_each_pair_alone(layers):
    spaces, features = layers
    alone = dict(transport.each_pair(spaces, seed=3, n_random=1, jobs=1))
    together = dict(transport.each_pair(spaces, seed=3, n_random=1, jobs=2))
    assert set(alone) == set(together) == set(itertools.combinations(spaces, 2))
    for pair, one in alone.items():
        assert one.starts == together[pair].starts
        assert np.array_equal(one.coupling, together[pair].coupling)
    rng = np.random.default_rng(3)
    by_hand = transport.compare(features["pool2"], features["fc3"], rng=rng, n_random=1)
    assert by_hand.starts == alone["pool2", "fc3"].starts
    distances = transport.square_map(alone, list(spaces))
    assert distances.shape == (6, 6)
    assert distances[2, 5] == distances[5, 2] == by_hand.distance
    turned = transport.square_map(alone, list(spaces)[::-1], quantity="relative")
    assert turned[3, 0] == alone["pool2", "fc3"].relative


def test_a_map_goes_on_where_it_was_interrupted(rng):
    spaces = {name: gaussian(rng, 12) for name in "abc"}
    every = transport.each_pair(spaces, n_random=1, jobs=1)
    first = dict([next(every)])
    every.close()
    left = [pair for pair in itertools.combinations("abc", 2) if pair not in first]
    rest = dict(transport.each_pair(spaces, n_random=1, pairs=left, jobs=1, progress=True))
    assert [*rest] == left
    whole = dict(transport.each_pair(spaces, n_random=1, jobs=1))
    both = first | rest
    assert {pair: one.starts for pair, one in both.items()} == {p: one.starts for p, one in whole.items()}
    assert list(transport.each_pair(spaces, pairs=[])) == []


def test_records_keep_each_pair_as_it_is_done(rng, own_cache):
    """Interrupted after the first of three; the second time only the others are computed."""
    spaces = {name: gaussian(rng, 12) for name in "abc"}
    own = {pair: {"pair": list(pair)} for pair in itertools.combinations("abc", 2)}
    asked = []

    def compute(missing, stop=None):
        asked.append(missing)
        for i, (pair, one) in enumerate(transport.each_pair(spaces, n_random=1, pairs=missing, jobs=1)):
            if i == stop:
                raise KeyboardInterrupt
            yield pair, one.arrays()

    with pytest.raises(KeyboardInterrupt):
        record.answer_each("layers", {"seed": 0}, own, lambda missing: compute(missing, stop=1))
    answers = record.answer_each("layers", {"seed": 0}, own, compute)
    assert [len(missing) for missing in asked] == [3, 2]
    whole = dict(transport.each_pair(spaces, n_random=1, jobs=1))
    assert {pair: float(answer.arrays["upper"]) for pair, answer in answers.items()} == {
        pair: one.upper for pair, one in whole.items()
    }


def test_maps_that_cannot_be(rng):
    a = gaussian(rng, 10)
    with pytest.raises(InputError, match=r"the same images; got \{'a': 10, 'b': 12\}"):
        transport.each_pair({"a": a, "b": gaussian(rng, 12)})
    with pytest.raises(InputError, match="at least two layers; got 1"):
        transport.each_pair({"a": a})
    with pytest.raises(InputError, match="layers without distances: c"):
        transport.each_pair({"a": a, "b": a}, pairs=[("a", "c")])
    with pytest.raises(InputError, match="b: 1 of 10|b: 90 distances are NaN"):
        transport.each_pair({"a": a, "b": np.where(np.eye(10), 0, np.nan)})
    found = dict(transport.each_pair({"a": a, "b": gaussian(rng, 10)}, n_random=0, jobs=1))
    with pytest.raises(InputError, match="2 of 3 pairs are missing, such as a and c"):
        transport.square_map(found, ["a", "b", "c"])
    with pytest.raises(InputError, match="quantity is one of distance, upper.*got 'chance'"):
        transport.square_map(found, ["a", "b"], quantity="chance")


def test_layers_of_a_network_are_named_where_they_are_constant(trained, layers):
    network, images = trained
    spaces, features = layers
    assert list(spaces) == list(features)
    np.testing.assert_array_equal(spaces["pool2"], transport.distances(features["pool2"]))
    same = np.repeat(images.images[:1], 5, axis=0)
    with pytest.raises(InputError, match="relu3: all 5 images are equal in this layer"):
        transport.layer_distances(network, same, layers=["relu3"])
    with pytest.raises(UnknownNameError, match="no layer 'relu9'"):
        transport.layer_distances(network, images, layers=["relu9"])
