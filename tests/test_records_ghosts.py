"""What ghosts say, measured: against loops and made ghosts, computed once, interrupted and gone on with."""

import itertools

import numpy as np
import pytest
from oracles import ROUNDING, ghosts_score, mean_score, naive_auc, pca, sixteenths
from PIL import Image
from scipy import stats

from rarefire import embeddings, inference, networks, records, stimuli, store
from rarefire._engine import blocks
from rarefire.errors import InputError
from rarefire.judgments import Judgments
from rarefire.records.ghosts import LOOKS, Reading
from rarefire.records.record import VERSIONS
from rarefire.retrieval import QUERIES


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (7, [1, 2, 7]),  # 5 is more than 70 % of 7, and not of 8
        (8, [1, 2, 5, 8]),
        (10, [1, 2, 5, 10]),
        (92, [1, 2, 5, 10, 20, 50, 92]),
        (118, [1, 2, 5, 10, 20, 50, 118]),
        (1000, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
    ],
)
def test_steps(n, expected):
    assert records.ghosts.steps(n) == expected


def test_steps_of_no_images():
    with pytest.raises(InputError, match="at least one image; got 0"):
        records.ghosts.steps(0)


# --- what pictures look like -----------------------------------------------------------------------


def grey(plane):
    """A picture from one plane."""
    return np.stack([plane] * 3)[None]


STRIPES = (np.arange(20) // 5 % 2).astype(float)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (grey(np.full((20, 20), 0.4)), [0.4, 0, 0, 0, 0.5, 1]),
        # Three borders, at each two pixels with a slope of a half; of these columns, 8 of 20 rows and of
        # all pixels 256 of 400 lie outside.
        (grey(np.tile(STRIPES, (20, 1))), [0.5, 0.5, 0, 0.15, 1, (6 * 8 * 0.5 / 256) / 0.15]),
        (grey(np.tile(STRIPES[:, None], (1, 20))), [0.5, 0.5, 0, 0.15, 0, (6 * 8 * 0.5 / 256) / 0.15]),
        # A slope in both directions.
        (grey(np.add.outer(np.arange(20), np.arange(20)) / 38), [0.5, None, 0, 2**0.5 / 38, 0.5, 1]),
        # Pure red, green and blue.
        (np.ones((1, 3, 6, 6)) * np.array([1, 0, 0])[:, None, None], [0.299, 0, 1, 0, 0.5, 1]),
        (np.ones((1, 3, 6, 6)) * np.array([0, 1, 0])[:, None, None], [0.587, 0, 1, 0, 0.5, 1]),
        (np.ones((1, 3, 6, 6)) * np.array([0, 0, 1])[:, None, None], [0.114, 0, 1, 0, 0.5, 1]),
        # Half red, half white: a quarter of the range on average between channels, of luminance .701.
        (np.stack([np.ones((8, 8)), *[np.tile(np.arange(8) // 4, (8, 1))] * 2])[None] * 1.0, None),
    ],
)
def test_looks_of_pictures_made_by_hand(picture, expected):
    found = records.ghosts.looks(picture.astype(np.float32))
    assert found.shape == (1, len(LOOKS)) == (1, 6)
    if expected is None:
        light, contrast, colour = found[0, :3]
        assert (light, contrast, colour) == pytest.approx(((1 + 0.299) / 2, 0.701 / 2, 0.5), abs=1e-6)
        return
    for got, wanted in zip(found[0], expected, strict=True):
        assert wanted is None or got == pytest.approx(wanted, abs=1e-6)


def test_an_object_on_a_plain_ground_has_a_low_frame(rng):
    texture = rng.random((40, 40))
    inside = np.zeros((40, 40), dtype=bool)
    inside[12:28, 12:28] = True
    pictures = np.concatenate([grey(p) for p in (np.where(inside, texture, 0.5), texture)])
    pictures = np.concatenate([pictures, grey(np.where(inside, 0.5, texture))])
    alone, everywhere, around = records.ghosts.looks(pictures)[:, LOOKS.index("frame")]
    assert alone == 0
    assert everywhere == pytest.approx(1, abs=0.1)
    assert around > 1.1


def test_rounding_is_no_detail():
    """A plain picture whose luminance differs in its last digit from pixel to pixel has no edges."""
    plain = np.full((16, 16), 0.4) + np.spacing(0.4) * (np.arange(256).reshape(16, 16) % 3)
    assert np.ptp(plain) > 0
    found = dict(zip(LOOKS, records.ghosts.looks(plain[None, None])[0], strict=True))
    assert (found["detail"], found["upright"], found["frame"]) == (0, 0.5, 1)


def test_images_that_show_no_ghost_have_the_same_rank():
    """However their scores are rounded: Spearman's r with ranks that many images share."""
    gallery, seen = np.zeros((200, 60)), np.random.default_rng(2).random((200, 6))
    gallery[:, 20:] = np.random.default_rng(3).random((200, 40))
    gallery[:9, :20] = np.linspace(1, 2, 9)[:, None] * np.linspace(0.3, 1, 20)
    category = np.ones((5, 60))
    category[:, :20] = 0
    found = records.ghosts.read(category, gallery, at=[5], seen=seen, draws=0)
    shown = np.r_[np.linspace(1, 2, 9), np.zeros(191)]
    expected = [stats.spearmanr(shown, look).statistic for look in seen.T]
    np.testing.assert_allclose(found["looks"][0, 0], expected, atol=ROUNDING)
    assert found["top"][0, 0].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]


def test_looks_of_one_channel_are_those_of_three_that_are_the_same(rng):
    plane = rng.random((5, 1, 11, 14), dtype=np.float32)
    np.testing.assert_allclose(
        records.ghosts.looks(plane), records.ghosts.looks(plane.repeat(3, axis=1)), rtol=1e-6, atol=1e-7
    )


def test_looks_are_of_each_picture(rng):
    pictures = rng.random((4, 3, 12, 10), dtype=np.float32)
    each = np.concatenate([records.ghosts.looks(picture[None]) for picture in pictures])
    np.testing.assert_allclose(records.ghosts.looks(pictures), each)
    assert len({*each[:, 0]}) == 4


# --- one category and a gallery --------------------------------------------------------------------

BEST = [5, 17, 40, 2, 8, 33, 21, 50]


@pytest.fixture
def world(rng):
    """Twelve images of a category and sixty others: 30 features of both, eight ghosts, two dead.

    The ghosts follow one factor, which is largest in the images BEST.
    """
    category, gallery = (np.maximum(rng.normal(size=(n, 40)), 0) for n in (12, 60))
    factor = rng.random(60) * 0.2
    factor[BEST] = np.linspace(6, 3, 8)
    category[:, 30:] = 0
    gallery[:, 30:38] = factor[:, None] * rng.uniform(0.5, 1.5, 8) + rng.uniform(0, 0.05, (60, 8))
    gallery[:, 38:] = 0
    assert (category[:, :30] > 0).any(axis=0).all()
    return category, gallery


def test_what_the_ghosts_of_a_made_category_say(world, rng):
    category, gallery = world
    seen = rng.random((60, 6))
    at = [1, 3, 12]
    found = records.ghosts.read(category, gallery, at=at, seen=seen)
    assert found["m"].tolist() == at
    assert found["top"][2, 0].tolist() == BEST
    assert found["explained"][2, 0] > 0.99
    assert found["dead"] == 2
    shapes = {name: values.shape for name, values in found.items()}
    assert shapes == {
        "m": (3,),
        "ghosts": (3,),
        "expected": (3,),
        "explained": (3, 10),
        "top": (3, 10, 8),
        "control": (3, 10),
        "ceiling": (3, 10),
        "looks": (3, 10, 6),
        "dead": (),
        "chance": (3,),
    }
    for i, m in enumerate(at):
        ghosts = [f for f in range(38) if not any(image[f] for image in category[:m])]
        assert found["ghosts"][i] == len(ghosts)
        scores, explained = pca(gallery[:, ghosts])
        k = len(explained)
        np.testing.assert_allclose(found["explained"][i, :k], explained, atol=1e-12)
        np.testing.assert_array_equal(found["top"][i, :k], np.argsort(-scores, axis=0)[:8].T)
        for c, look in itertools.product(range(k), range(6)):
            r = stats.spearmanr(scores[:, c], seen[:, look]).statistic
            assert found["looks"][i, c, look] == pytest.approx(r, abs=1e-12)
        assert ((found["control"][i, :k] >= 0) & (found["control"][i, :k] <= 1)).all()
        for name in ("explained", "control", "looks"):
            assert np.isnan(found[name][i, k:]).all()
        assert (found["top"][i, k:] == -1).all()
    assert found["ghosts"][2] == 8 == k


def test_how_many_ghosts_to_expect_and_how_sure_they_are(world):
    category, gallery = world
    gallery[:, 0] = 0  # of the category alone
    found = records.ghosts.read(category, gallery, at=[1, 3, 12], draws=0)
    alive = [f for f in range(40) if category[:, f].any() or gallery[:, f].any()]
    for i, m in enumerate([1, 3, 12]):
        counts = [
            sum(not category[list(looked), f].any() for f in alive)
            for looked in itertools.combinations(range(12), m)
        ]
        assert found["expected"][i] == pytest.approx(np.mean(counts))
    shares = []
    for i in range(12):
        others = np.delete(category, i, axis=0)
        silent = [f for f in alive if not others[:, f].any()]
        shares.append(np.mean([category[i, f] > 0 for f in silent]))
    high = stats.beta.ppf(0.95, sum(shares) + 1, 12 - sum(shares))
    np.testing.assert_allclose(found["chance"], [np.mean(shares), high, 1 - (0.05 / 40) ** (1 / 12)])


def test_a_category_without_ghosts_has_nothing_to_say(world):
    category, gallery = world
    category[7:] += 0.1  # everything fires from the eighth image on
    found = records.ghosts.read(
        category, gallery, at=[7, 8, 12], seen=np.random.default_rng(0).random((60, 6))
    )
    assert found["ghosts"].tolist()[1:] == [0, 0]
    assert found["ghosts"][0] >= 10
    assert found["expected"][2] == 0
    for name in ("explained", "control", "looks"):
        assert np.isfinite(found[name][0, 0]).all()
        assert np.isnan(found[name][1:]).all()
    assert (found["top"][0, 0] >= 0).all()
    assert (found["top"][1:] == -1).all()


def test_ghosts_that_nothing_in_the_gallery_shows(world, rng):
    """Features that only the last images of the category make fire."""
    category, gallery = world
    category[:, :4], category[7:, 4:] = 1, 0.5
    category[:7, 4:] = 0
    gallery[:, 4:] = 0
    found = records.ghosts.read(category, gallery, at=[7, 12], seen=rng.random((60, 6)))
    assert found["ghosts"].tolist() == [36, 0]
    for name in ("explained", "control", "looks"):
        assert np.isnan(found[name]).all()
    assert (found["top"] == -1).all()


def test_a_small_gallery_has_fewer_best_images(world):
    category, gallery = world
    found = records.ghosts.read(category, gallery[:5], at=[12])
    scores, explained = pca(gallery[:5, 30:38])
    np.testing.assert_allclose(found["explained"][0, :4], explained, atol=1e-12)
    np.testing.assert_array_equal(found["top"][0, :4, :5], np.argsort(-scores, axis=0).T)
    assert (found["top"][0, :, 5:] == -1).all()
    assert (found["top"][0, 4:] == -1).all()


def test_no_random_features_are_left_where_all_are_ghosts(world):
    """A category for which nothing fires: there is nothing to compare its ghosts with."""
    category, gallery = world
    found = records.ghosts.read(np.zeros_like(category), gallery, at=[1, 12])
    assert found["ghosts"].tolist() == [38, 38]
    assert np.isnan(found["control"]).all()
    assert np.isnan(found["ceiling"]).all()


def test_the_control_tells_what_only_ghosts_say(rng):
    """Six ghosts that follow a factor, among 600 features that follow it too, or do not."""
    factor = rng.random(300)
    category = rng.uniform(0.1, 1, (5, 606))
    category[:, :6] = 0
    for shared in (0, 1):
        gallery = rng.random((300, 606)) * 0.2 + shared * factor[:, None]
        gallery[:, :6] = factor[:, None] + rng.random((300, 6)) * 0.01
        first, again, other = (
            records.ghosts.read(category, gallery, at=[5], draws=1, seed=seed)["control"][0, 0]
            for seed in (0, 0, 1)
        )
        assert abs(first - shared) < 0.05
        assert abs(other - shared) < 0.05
        assert first == again != other


def adjusted(wanted, given):
    """R² of each column of scores (their means are 0) from others, adjusted for how many these are."""
    fitted = given @ np.linalg.lstsq(given, wanted, rcond=None)[0]
    missed = ((wanted - fitted) ** 2).sum(axis=0) / (wanted**2).sum(axis=0)
    n, k = given.shape
    return np.maximum(0, 1 - missed * (n - 1) / (n - 1 - k))


@pytest.mark.parametrize("seed", range(3))
def test_the_control_of_features_that_all_say_the_same(world, rng, seed):
    """Three factors make every feature that is no ghost: whichever are drawn, they explain as much."""
    category, gallery = world
    factors = rng.random((60, 3))
    gallery[:, :30] = factors @ rng.random((3, 30))
    found = records.ghosts.read(category, gallery, at=[12], seed=seed)
    expected = adjusted(pca(gallery[:, 30:38])[0], factors - factors.mean(axis=0))
    np.testing.assert_allclose(found["control"][0, :8], expected, atol=1e-9)
    np.testing.assert_allclose(found["ceiling"][0, :3], 1, atol=1e-9)
    assert np.isnan(found["ceiling"][0, 3:]).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_control_is_a_mean_over_draws_without_a_common_feature(rng, seed):
    """Of 24 features that are no ghosts one says what the eight ghosts say: a draw of three has it."""
    factor = rng.random(600)
    category = rng.uniform(0.1, 1, (5, 32))
    category[:, :8] = 0
    gallery = rng.random((600, 32))
    gallery[:, :8] = factor[:, None] + rng.random((600, 8)) * 0.01
    gallery[:, 20] = 10 * factor
    found = records.ghosts.read(category, gallery, at=[5], seed=seed)
    assert found["control"][0, 0] == pytest.approx(1 / 3, abs=0.03)
    assert found["ceiling"][0, 0] < 0.1  # another draw says something else
    # Of nine features, any two draws of eight share seven or more.
    few = [*range(8), 20, *range(24, 32)]
    found = records.ghosts.read(category[:, few], gallery[:, few], at=[5], seed=seed)
    assert found["ceiling"][0, 0] > 0.6


def test_without_draws_and_pictures_nothing_is_compared(world):
    found = records.ghosts.read(*world, at=[12], draws=0)
    assert np.isnan(found["control"]).all()
    assert np.isnan(found["looks"]).all()
    assert found["top"][0, 0].tolist() == BEST


def test_a_reading_that_is_lightness(world, rng):
    category, gallery = world
    pictures = rng.random((60, 3, 10, 10)) * rng.random((60, 1, 1, 1))
    seen = records.ghosts.looks(pictures)
    gallery[:, 30:38] = seen[:, :1] * rng.uniform(0.5, 1.5, 8)
    found = records.ghosts.read(category, gallery, at=[12], seen=seen)
    assert found["looks"][0, 0, LOOKS.index("light")] == pytest.approx(1)
    assert found["explained"][0, 0] == pytest.approx(1)
    gallery[:, 30:38] = gallery[:, 30:38].max() - gallery[:, 30:38]
    found = records.ghosts.read(category, gallery, at=[12], seen=seen)
    assert found["looks"][0, 0, LOOKS.index("light")] == pytest.approx(-1)


# --- how well ghosts separate ----------------------------------------------------------------------


@pytest.fixture
def apart(rng):
    """Twenty images for which 190 features fire, ten never do; thirty others for which all do."""
    category, outside = rng.uniform(0.1, 1, (20, 200)), rng.uniform(0.1, 1, (30, 200))
    category[:, 190:] = 0
    return category, outside


def test_ghosts_that_separate(apart):
    category, outside = apart
    found = records.ghosts.separate(category, {"others": outside}, n_splits=10)
    assert {name: values.shape for name, values in found.items()} == {"auc": (1, 5), "difference": (1, 4, 5)}
    assert found["auc"][0, 0] == 1
    random = list(QUERIES).index("random")
    assert found["auc"][0, random] < 1
    estimate, low, high, se, p = found["difference"][0, random - 1]
    assert 0 < low < estimate < high
    assert se > 0
    assert p < 0.05


def same(rng, n):
    """Images of one kind, with rare features."""
    return np.maximum(rng.normal(size=(n, 60)) - 1.5, 0)


def test_ghosts_of_the_same_kind_do_not_separate(rng):
    found = records.ghosts.separate(same(rng, 40), {"a": same(rng, 200), "b": same(rng, 150)})
    np.testing.assert_allclose(found["auc"], 0.5, atol=0.12)
    assert found["auc"].shape == (2, 5)
    assert found["difference"][..., 4].min() > 0.2
    assert (found["difference"][..., 1] < 0).all()
    assert (found["difference"][..., 2] > 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_separation_is_that_of_some_three_halves_by_loops(rng, seed):
    """The ghosts' query and the mean's, which draw nothing at random, for each three of the ten halves."""
    images = sixteenths(rng.normal(size=(30, 30)) - 0.7)
    category, outside = images[:5], images[5:]
    halves = []
    for chosen in itertools.combinations(range(5), 3):
        defining, held = category[[*chosen]], np.delete(category, chosen, axis=0)
        (own, own_mean), (other, other_mean) = (
            (ghosts_score(defining, images), mean_score(defining, images)) for images in (held, outside)
        )
        areas = [naive_auc(own, other), naive_auc(own_mean, other_mean)]
        inside = [naive_auc([own[i]], other) - naive_auc([own_mean[i]], other_mean) for i in range(2)]
        beyond = [naive_auc(own, [other[i]]) - naive_auc(own_mean, [other_mean[i]]) for i in range(25)]
        variance = np.var(inside, ddof=1) / 2 + np.var(beyond, ddof=1) / 25
        halves.append((*areas, areas[0] - areas[1], variance))
    expected = []
    for three in itertools.combinations_with_replacement(halves, 3):
        ghosts, mean, differences, variances = np.transpose(three)
        estimate = np.median(differences)
        se = np.sqrt(np.median(variances + (differences - estimate) ** 2))
        margin = stats.t.ppf(0.95, 1) * se  # two held-out images
        p = 2 * stats.t.sf(abs(estimate) / se, 1)
        row = [np.median(ghosts), np.median(mean), estimate, estimate - margin, estimate + margin, se, p]
        expected.append(row)
    found = records.ghosts.separate(category, {"x": outside}, n_splits=3, level=0.9, seed=seed)
    found = [*found["auc"][0, [0, 4]], *found["difference"][0, 3]]
    off = np.abs(np.array(expected) - found).max(axis=1)
    assert off.min() < 1e-9
    assert np.median(off) > 1e-3


def test_features_that_are_not_alive_do_not_count(apart, rng):
    category, outside = apart
    alive = np.zeros(250, dtype=bool)
    alive[rng.permutation(250)[:200]] = True
    wide = [rng.random((len(x), 250)) for x in apart]
    for x, y in zip(wide, apart, strict=True):
        x[:, alive] = y
    narrow = records.ghosts.separate(category, {"others": outside}, n_splits=4)
    found = records.ghosts.separate(wide[0], {"others": wide[1]}, alive=alive, n_splits=4)
    for name, values in narrow.items():
        np.testing.assert_allclose(found[name], values, atol=1e-9)


def test_four_images_are_the_fewest(apart):
    category, outside = apart
    assert records.ghosts.separate(category[:4], {"x": outside}, n_splits=2)["auc"][0, 0] == 1
    with pytest.raises(InputError, match="needs at least four images; got 3"):
        records.ghosts.separate(category[:3], {"x": outside})


# --- judged photographs, a gallery and a network -----------------------------------------------------

CLASSES = (
    "human face",
    "nonhuman face",
    "human bodypart",
    "nonhuman bodypart",
    "natural inanimate",
    "artificial inanimate",
)
#: Images of each category among the judged photographs, eight of each class.
ROWS = {
    "faces": range(16),
    "bodies": range(16, 32),
    "animals": [*range(8, 16), *range(24, 32)],
    "natural objects": range(32, 40),
    "artificial objects": range(40, 48),
    "all 92 images": range(48),
}
DOGS = range(3, 11)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """48 judged photographs, a gallery of 30 pictures with eight dogs and two birds, a small network."""
    rng = np.random.default_rng(5)

    def coarse(hue, size):
        small = Image.fromarray((rng.random((8, 8, 3)) * hue * 255).astype(np.uint8))
        return small.resize((size, size), Image.Resampling.BILINEAR)

    hues = rng.random((6, 3))
    pixels = np.stack([np.asarray(coarse(hues[i // 8], 64)).transpose(2, 0, 1) for i in range(48)])
    images = stimuli.in_categories(
        (pixels / 255).astype(np.float32), [CLASSES[i // 8] for i in range(48)], name="made", source="made"
    )
    given = Judgments(
        "made", rng.random(48 * 47 // 2), None, None, None, images, tuple(map(str, range(48))), "c", "l", "s"
    )
    root = tmp_path_factory.mktemp("gallery")
    kinds = ["n01440764_tench", "n02002556_stork", "n02058221_x", *(f"n02{86000 + i:06d}_dog" for i in DOGS)]
    for i in range(30):
        folder = root / (kinds[i] if i < len(kinds) else f"n03{i:06d}_thing")
        folder.mkdir()
        coarse(rng.random(3), 70).save(folder / "x.png")
    gallery = stimuli.gallery(root, size=64)
    return given, gallery, networks.build("squeezenet1_0", input_shape=(3, 64, 64))


def measure(made, **options):
    return records.ghosts.measure(*made, name="SqueezeNet", layer="features", progress=False, **options)


@pytest.fixture(scope="module")
def measured(made, tmp_path_factory):
    """What a run that nothing disturbs gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAREFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return measure(made)


def forward(network):
    """A list that grows with each forward pass, by how many images it is for, and the end of that."""
    sizes = []
    return sizes, network.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))


def test_every_category_is_read(made, measured):
    given, gallery, _ = made
    assert gallery.within("birds").sum() == 2  # too few to be halved
    assert (
        [r.category for r in measured]
        == [*records.ghosts.CATEGORIES, "all 92 images", "dogs"]
        == [*ROWS, "dogs"]
    )
    assert [r.from_gallery for r in measured] == [False] * 6 + [True]
    assert {r.network for r in measured} == {"SqueezeNet"}
    assert {r.n_features for r in measured} == {512 * 9}
    assert [r.n_images for r in measured] == [16, 16, 16, 8, 8, 48, 8]
    for r in measured:
        assert r["m"].tolist() == records.ghosts.steps(r.n_images)
        assert len(r.arrays["m"]) == 16
        steps = len(r["m"])
        for name in ("ghosts", "expected", "explained", "top", "control", "ceiling", "looks"):
            assert len(r[name]) == steps
        assert r["names"].tolist() == list(gallery.names)
        judged, other = np.isnan(r["auc"]).all(axis=1)
        assert judged == (r.category in ("all 92 images", "dogs"))
        assert not other
        assert np.isfinite(r["difference"][int(judged) :]).all()
        assert r["auc"].shape == (2, 5)
        facts = r.facts
        assert (facts["judgments"], facts["gallery"]) == ("made", gallery.root.name)
        assert (facts["images_digest"], facts["gallery_digest"]) == (given.images.digest, gallery.digest)
        assert VERSIONS["reading"].items() <= facts.items()


def test_readings_equal_loops(made, measured):
    given, gallery, network = made
    shown = embeddings.extract(network, gallery[:], layer="features").astype(float)
    judged = embeddings.extract(network, given.images, layer="features", batch_size=32).astype(float)
    seen, own = records.ghosts.looks(gallery[:]), records.ghosts.looks(given.images.images)
    for r in measured:
        members, looks = (shown, seen) if r.from_gallery else (judged, own)
        rows = [*(DOGS if r.from_gallery else ROWS[r.category])]
        kept = [i for i in range(30) if not (r.from_gallery and i in DOGS)]
        assert len({*r["first"]}) == 8
        assert {*r["first"]} <= {*rows}
        alive = (members[rows] > 0).any(axis=0) | (shown[kept] > 0).any(axis=0)
        assert r["dead"] == (~alive).sum()
        for i, m in enumerate(r["m"]):
            if m > 8 and m < r.n_images:
                continue  # which images is known of the first eight, and of all
            looked = members[r["first"][:m] if m <= 8 else rows]
            ghosts = np.flatnonzero(alive & ~(looked > 0).any(axis=0))
            assert r["ghosts"][i] == len(ghosts) > 20
            scores, explained = pca(shown[np.ix_(kept, ghosts)])
            np.testing.assert_allclose(r["explained"][i], explained, atol=1e-6)
            by_row = dict(zip(kept, scores, strict=True))  # no dogs where the category is theirs
            for c, top in enumerate(r["top"][i]):
                best = [by_row[row][c] for row in top]
                np.testing.assert_allclose(best, -np.sort(-scores[:, c])[:8], atol=1e-6)
                assert len({*top}) == 8
        mean = members[rows].mean(axis=0)
        likeness = {j: members[j] @ mean / np.linalg.norm(members[j]) for j in rows}
        assert r["typical"].tolist() == sorted(rows, key=lambda j: -likeness[j])[:8]
        plain = [np.mean(seen[kept, look] < np.median(looks[rows, look])) for look in range(6)]
        np.testing.assert_allclose(r["plain"], plain)


@pytest.mark.long
def test_read_once_and_then_from_the_cache(made, measured, own_cache):
    _, _, network = made
    sizes, handle = forward(network)
    first = measure(made)
    assert sizes == [30, 32, 16]
    assert list((own_cache / "embeddings").iterdir()) == []
    assert len(list((own_cache / "results").iterdir())) == 7
    again = measure(made)
    assert sizes == [30, 32, 16]
    assert {r.answers[0].source for r in first} == {"computed"}
    assert {r.answers[0].source for r in again} == {"cache"}
    for one, two, three in zip(first, again, measured, strict=True):
        for name, values in one.arrays.items():
            np.testing.assert_array_equal(two.arrays[name], values)
            np.testing.assert_array_equal(three.arrays[name], values)
    other = measure(made, seed=1)
    handle.remove()
    assert {r.answers[0].source for r in other} == {"computed"}
    assert (other[0]["first"] != first[0]["first"]).any()


@pytest.mark.long
def test_an_interrupted_reading_goes_on(made, measured, own_cache, monkeypatch):
    separate, asked = records.ghosts.separate, []

    def interrupted(*given, **options):
        asked.append(len(given[0]))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return separate(*given, **options)

    monkeypatch.setattr(records.ghosts, "separate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(made)
    assert {p.suffix for p in (own_cache / "embeddings").iterdir()} == {".npy", ".txt"}
    sizes, handle = forward(made[2])
    resumed = measure(made)
    handle.remove()
    assert sizes == [32, 16]  # the judged photographs; the gallery's embedding is there
    assert asked[3:] == [16, 8, 8, 48, 8]  # from the third category on
    assert [r.answers[0].source for r in resumed] == ["cache"] * 2 + ["computed"] * 5
    assert list((own_cache / "embeddings").iterdir()) == []
    for one, two in zip(resumed, measured, strict=True):
        for name, values in one.arrays.items():
            np.testing.assert_array_equal(two.arrays[name], values)


def test_shipped_readings_are_found_without_a_network(made, measured, own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    assert records.ghosts.known() == []
    store.pack(tmp_path / "data" / "results" / "r.npz", [r.answers[0] for r in measured])
    found = records.ghosts.known()
    assert [r.category for r in found] == [r.category for r in measured]
    for one, two in zip(found, measured, strict=True):
        assert one.answers[0].source == "shipped"
        assert (one.n_images, one.n_features) == (two.n_images, two.n_features)
        np.testing.assert_array_equal(one["top"], two["top"])
        np.testing.assert_array_equal(one["names"], two["names"])
        np.testing.assert_allclose(one["difference"], two["difference"], rtol=1e-5, atol=1e-6)
    sizes, handle = forward(made[2])
    assert {r.answers[0].source for r in measure(made)} == {"shipped"}
    assert sizes == []
    assert {r.answers[0].source for r in measure(made, use_shipped=False)} == {"computed"}
    handle.remove()
    monkeypatch.setitem(VERSIONS, "reading", {"reading_version": 99})
    assert records.ghosts.known() == []


@pytest.mark.long
def test_progress_and_missing_images(made, own_cache, capsys):
    given, gallery, network = made
    records.ghosts.measure(given, gallery, network, name="SqueezeNet", layer="features")
    shown = capsys.readouterr().err
    assert "SqueezeNet: ghosts: 100%" in shown
    fields = {name: getattr(given, name) for name in Judgments.__dataclass_fields__}
    blind = Judgments(**{**fields, "images": None})
    with pytest.raises(InputError, match="the images of 'made' are not at hand"):
        records.ghosts.measure(blind, gallery, network, name="SqueezeNet")


# --- how well ghosts separate, as a table ----------------------------------------------------------


def test_the_table_has_every_comparison(measured):
    table = records.ghosts.retrieved(measured)
    both = ["faces", "bodies", "animals", "natural objects", "artificial objects"]
    places = [*((c, p) for c in both for p in ("judged", "gallery")), ("all 92 images", "gallery")]
    expected = [(*place, query) for place in [*places, ("dogs", "gallery")] for query in [*QUERIES][1:]]
    assert [*zip(table.category, table.place, table["query"], strict=True)] == expected
    by_name = {r.category: r for r in measured}
    for _, row in table.iterrows():
        place, query = ("judged", "gallery").index(row.place), [*QUERIES].index(row["query"])
        r = by_name[row.category]
        assert (row.ghosts, row.other) == (r["auc"][place, 0], r["auc"][place, query])
        estimate, low, high, _, p = r["difference"][place, query - 1]
        assert (row.D, row.low, row.high, row.p) == (estimate, low, high, p)
    np.testing.assert_array_equal(table.holm, inference.holm(table.p))


def test_holm_over_all_rows_by_hand():
    found = []
    for category, p in (("dogs", [0.01, 0.5, 0.002, 0.03]), ("faces", [0.02, 0.004, 0.3, 0.6])):
        auc, difference = np.full((2, 5), np.nan), np.full((2, 4, 5), np.nan)
        auc[1], difference[1, :, 4] = [0.9, 0.8, 0.7, 0.6, 0.5], p
        stamp = store.provenance("reading", {"category": category, "network": "made"})
        found.append(Reading((store.Answer({"auc": auc, "difference": difference}, stamp, "cache"),)))
    table = records.ghosts.retrieved(found)
    assert table.category.tolist() == ["dogs"] * 4 + ["faces"] * 4
    assert set(table.place) == {"gallery"}
    assert table.ghosts.tolist() == [0.9] * 8
    assert table.other.tolist() == [0.8, 0.7, 0.6, 0.5] * 2
    # In rising order .002 · 8, .004 · 7, .01 · 6, .02 · 5, .03 · 4, .3 · 3, then 1.
    by_hand = [0.06, 1, 0.016, 0.12, 0.1, 0.028, 0.9, 1]
    np.testing.assert_allclose(table.holm, by_hand)


def test_nothing_to_tabulate():
    with pytest.raises(InputError, match="there are no readings"):
        records.ghosts.retrieved([])


def test_a_large_category_and_a_small_one_are_kept_alike(rng):
    gallery = blocks.Rows(np.maximum(rng.normal(size=(30, 20)) - 0.5, 0), np.arange(30))
    members = np.maximum(rng.normal(size=(500, 20)) - 2, 0)
    seen, own = rng.uniform(size=(30, len(LOOKS))), rng.uniform(size=(500, len(LOOKS)))
    found = [
        records.ghosts._reading(members, np.arange(500) < n, None, gallery, seen, own, seed=0)
        for n in (4, 400)
    ]
    for name, values in found[0].items():
        assert values.shape == found[1][name].shape
    small = Reading((store.Answer(found[0], {}, "computed"),))
    assert small["m"].tolist() == [1, 2, 4]
    assert len(small["first"]) == len(small["typical"]) == 4


def test_too_many_images_and_ghosts_are_counted_but_not_read(world, monkeypatch):
    category, gallery = world[:2]
    monkeypatch.setattr(records.ghosts.ghosts, "MOST", 0)
    found = records.ghosts.read(category, gallery, at=[1, len(category)], draws=0)
    assert (found["ghosts"] > 0).any()
    assert np.isnan(found["explained"]).all()
    assert (found["top"] == -1).all()


# --- what is shipped -----------------------------------------------------------------------------


def test_shipped_readings_and_ensembles_need_no_data(own_cache):
    found = records.ghosts.known()
    assert [r.category for r in found] == [*records.ghosts.CATEGORIES, records.ghosts.EVERY, *stimuli.WORDNET]
    assert [r.n_images for r in found] == [24, 24, 24, 23, 21, 92, 118, 59]
    assert {r.n_features for r in found} == {86_528}
    for r in found:
        assert r["m"].tolist() == records.ghosts.steps(r.n_images)
        assert (np.diff(r["ghosts"]) < 0).all()
        assert r["expected"][-1] == pytest.approx(r["ghosts"][-1])
        assert (r["top"] >= 0).all()
        assert np.isfinite(r["control"]).all()
        assert np.isfinite(r["ceiling"][2 * r["ghosts"] < r.n_features]).all()
        assert len(r["first"]) == len(r["typical"]) == records.ghosts.TOP
    for images in ("mnist", "cifar10-jpg"):
        ensemble = records.ghosts_by_class.known(images)
        assert len(ensemble) == 50
        assert np.isfinite(ensemble["auc"]).all()
    assert records.ghosts_by_class.known("digits") is None


def test_shipped_ghosts_are_those_of_the_raw_photographs(objects):
    """The real network and the real 92 photographs: as many features are silent as recorded."""
    given, _, views = objects
    positions = views[-1].embedding
    names = np.array(given.images.class_names)[given.images.labels]
    for r in records.ghosts.known():
        if not r.from_gallery:
            inside = np.isin(names, records.ghosts.CATEGORIES.get(r.category, names))
            silent = (positions[inside] == 0).all(axis=0)
            assert silent.sum() == pytest.approx(int(r["ghosts"][-1] + r["dead"]), rel=1e-3)
            assert inside[r["first"]].all()
            assert inside[r["typical"]].all()


def test_shipped_images_make_the_ghosts_of_the_raw_photographs_fire(objects):
    """The images recorded as scoring highest, embedded again, against every fiftieth of the gallery."""
    given, network, views = objects
    gallery = stimuli.gallery(size=227)
    names = np.array(given.images.class_names)[given.images.labels]
    (r,) = [r for r in records.ghosts.known() if r.category == "artificial objects"]
    assert list(gallery.names) == r["names"].tolist()
    ghosts = (views[-1].embedding[np.isin(names, records.ghosts.CATEGORIES[r.category])] == 0).all(axis=0)
    best, others = r["top"][-1, 0], np.arange(7, len(gallery), 50)
    fires = [
        embeddings.extract(network, gallery[i], layer="features")[:, ghosts].sum(axis=1)
        for i in (best, others)
    ]
    assert fires[0].min() > np.median(fires[1])
    assert fires[0].mean() > 1.3 * fires[1].mean()
