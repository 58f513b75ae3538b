"""Several networks on several sets of judgments: against the functions that each number comes from."""

import numpy as np
import pytest
from torch import nn

from rarefire import (
    curves,
    embeddings,
    inference,
    judgments,
    networks,
    poz,
    rdm,
    reliability,
    selection,
    store,
    triplets,
)
from rarefire.embeddings import View
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.judgments import Judgments
from rarefire.records import people_across as across
from rarefire.records.people import COLUMNS, SHARES
from rarefire.stimuli import Gallery, Stimuli

N, F = 30, 20
AT = [curves.count(share, F) for share in SHARES]
READINGS = list(across.READINGS)


def images_of(rng, n=N):
    return Stimuli(
        "made", "test", rng.random((n, 3, 12, 12)).astype(np.float32), np.zeros(n, int), ("a",), "made"
    )


@pytest.fixture
def features(rng):
    """Rarely firing features at the end, three of them dead."""
    found = np.maximum(rng.normal(size=(N, 4)) @ rng.normal(size=(4, F)) - np.linspace(-1, 2, F), 0)
    found[:, -3:] = 0
    return found.astype(np.float32)


@pytest.fixture
def given(rng, features):
    people = np.stack([rdm.rdm(features) + rng.normal(size=N * (N - 1) // 2) * 0.3 for _ in range(4)])
    human, reliable = reliability.mean_of_subjects(people)
    names = tuple(f"i{i}" for i in range(N))
    return Judgments("made", human, people, None, reliable, images_of(rng), names, "c", "l", "s")


def view_of(features):
    return View("pooled", features, features == 0)


def test_every_reading_is_what_its_functions_give(given, features, rng):
    elsewhere = rng.permutation(np.linspace(0.1, 0.9, F))
    found = across.measure_view(view_of(features), given, poz_elsewhere=elsewhere)
    own = poz.order(poz.poz(features))
    scale = 1 / given.subject_ceiling.high
    firing = int((poz.poz(features) < 1).sum())
    cases = {
        "removed": (own, AT, {}),
        "cosine": (own, AT, {"metric": "cosine"}),
        "silenced": (own, AT, {"silenced": True}),
        "elsewhere": (poz.order(elsewhere), AT, {}),
        "elsewhere_silenced": (poz.order(elsewhere), AT, {"silenced": True}),
        "firing": (own, [curves.count(share, firing) for share in SHARES], {}),
    }
    assert list(cases) == READINGS
    for place, (order, at, options) in enumerate(cases.values()):
        expected = inference.corrected_jackknife(features, order, rdm=given.subjects, k=at, **options)
        test = expected.estimate("difference")
        columns = dict(zip(COLUMNS, found["tests"][place].T, strict=True))
        np.testing.assert_allclose(columns["estimate"], test.estimate * scale, atol=1e-10)
        np.testing.assert_allclose(columns["low"], test.low * scale, atol=1e-9)
        np.testing.assert_allclose(columns["p"], test.p, rtol=1e-6)
        np.testing.assert_allclose(columns["r_all"], expected.r_all * scale, atol=1e-10)
        np.testing.assert_allclose(found["skewness"][place], expected.skewness["difference"], atol=1e-9)
    # In units of r with the mean RDM, exactly where every subject judged every pair.
    r_all = curves.rdm_curve(features, given.human, own, k=[F]).r[0]
    assert found["tests"][0, 0, -1] == pytest.approx(r_all, abs=1e-9)
    assert (found["dead"], found["rare"]) == (3 / F, poz.rare_share(poz.poz(features)))
    assert found["dead_elsewhere"] == 0
    np.testing.assert_allclose(found["ceiling"], [given.ceiling.low, given.ceiling.high])


def test_the_curve_and_the_test_over_it(given, features):
    found = across.measure_view(view_of(features), given)
    own, steps = poz.order(poz.poz(features)), np.arange(1, F + 1)
    curve = curves.rdm_curve(features, given.human, own)
    enough = curves.enough(curve.n_images, N)
    last = np.searchsorted(found["fraction"], steps / F, side="right") - 1
    np.testing.assert_allclose(found["fraction"][last], steps / F)
    r, all_there = found["curves"][0][last], curve.n_images == N
    np.testing.assert_allclose(r[all_there], curve.r[all_there], atol=1e-9)
    assert (np.isfinite(r) == (enough & np.isfinite(curve.r))).all()
    most = inference.change_of_prediction(
        features,
        given.subjects,
        own,
        k=steps[enough].tolist(),
        method="maximum",
        alternative="greater",
        rng=np.random.default_rng(0),
    )
    p, share, d, low = found["maximum"][0]
    assert p == pytest.approx(most.p, abs=0.02)
    assert share == most.k / F
    scale = 1 / given.subject_ceiling.high
    assert d == pytest.approx(most.estimate * scale)
    assert low == pytest.approx(most.low * scale, abs=0.01)
    assert np.isnan(found["maximum"][READINGS.index("firing")]).all()
    nothing = [READINGS.index(name) for name in READINGS if name.startswith("elsewhere")]
    assert np.isnan(found["tests"][nothing]).all()  # no other images


def test_random_orders(given, features):
    """The same draws, one curve after the other."""
    found = across.measure_view(view_of(features), given)
    rng = np.random.default_rng([0, 2])
    orders = [poz.order(poz.poz(features)), *(rng.permutation(F) for _ in range(199))]
    r = np.array([curves.rdm_curve(features, given.human, order, k=[*AT, F]).r for order in orders])
    d = r[:, :-1] - r[:, -1:]
    np.testing.assert_allclose(found["random"], np.quantile(d[1:], [0.05, 0.5, 0.95], axis=0), atol=1e-9)
    above, below = (d[1:] >= d[0] - 1e-12).sum(axis=0), (d[1:] <= d[0] + 1e-12).sum(axis=0)
    np.testing.assert_allclose(found["chance"], np.minimum(1, 2 * (1 + np.minimum(above, below)) / 200))


def test_gaps_are_between_the_left_out_and_their_controls(given, features, rng):
    elsewhere = rng.permutation(np.linspace(0.1, 0.9, F))
    found = across.gaps_of_view(view_of(features), given, poz_elsewhere=elsewhere)
    every = across.measure_view(view_of(features), given, poz_elsewhere=elsewhere)
    d = dict(zip(READINGS, every["tests"][:, 1, 0], strict=True))
    for place, control in enumerate(("silenced", "elsewhere")):
        gap, low, high, p = found["gaps"][place]
        assert gap == pytest.approx(d["removed"] - d[control], abs=1e-9)
        assert low < gap < high
        assert 0 < p <= 1
    chosen = selection.cross_fitted(
        features, given.human, "low", k=[F // 2], rng=np.random.default_rng(0), silent=features == 0
    )
    np.testing.assert_allclose(found["other_half"], [chosen.estimate, chosen.low, chosen.high, chosen.p])
    alone = across.gaps_of_view(view_of(features), given)
    assert np.isnan(alone["gaps"][1]).all()


def test_a_subject_who_did_not_judge_an_image_is_not_taken_to_vary(given, features):
    people = given.subjects.copy()
    rows, columns = np.triu_indices(N, k=1)
    people[1, (rows == 3) | (columns == 3)] = np.nan
    human, reliable = reliability.mean_of_subjects(people)
    some = Judgments("made", human, people, None, reliable, given.images, given.names, "c", "l", "s")
    found = across.measure_view(view_of(features), some)
    own = poz.order(poz.poz(features))
    expected = inference.corrected_jackknife(features, own, rdm=human, k=AT).estimate("difference")
    np.testing.assert_allclose(found["tests"][0, :, :2], np.stack([expected.estimate, expected.low], axis=1))
    gap = across.gaps_of_view(view_of(features), some)["gaps"][0]
    assert gap[0] == pytest.approx(found["tests"][0, 1, 0] - found["tests"][2, 1, 0])


def test_triplets_are_agreement(features, rng):
    distance = rdm.square(rdm.rdm(features))
    rows = np.array([rng.choice(N, 3, replace=False) for _ in range(800)])
    swap = distance[rows[:, 0], rows[:, 1]] > distance[rows[:, 0], rows[:, 2]]
    swap ^= rng.random(len(rows)) < 0.3
    rows[swap] = rows[swap][:, [0, 2, 1]]
    votes, names = np.tile([3, 1], (len(rows), 1)), tuple(f"i{i}" for i in range(N))
    asked = triplets.Triplets("made", images_of(rng), names, rows, votes, "c", "l", "s")
    found = across.measure_view(view_of(features), asked)
    own = poz.order(poz.poz(features))
    for place, options in ((0, {}), (1, {"metric": "cosine"}), (2, {"silenced": True})):
        for s, k in enumerate(AT):
            test = triplets.change_of_agreement(features, asked, own, k=k, **options)
            np.testing.assert_allclose(found["tests"][place, s, :2], [test.estimate, test.low], atol=1e-9)
            assert found["tests"][place, s, COLUMNS.index("r_all")] == pytest.approx(test.r_all)
    assert found["maximum"][0, 0] <= 1
    np.testing.assert_allclose(found["ceiling"], triplets.ceiling(asked))


class Small(nn.Module):
    """A convolution and a ReLU6, as the last layer before a classifier."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 9, 5, stride=4), nn.ReLU6())
        self.fc = nn.Linear(9, 2)

    def forward(self, x):
        return self.fc(self.features(x).mean(dim=(2, 3)))


@pytest.fixture
def small():
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = Small().eval()
        network.features[0].weight.data *= 12
    return network


@pytest.fixture
def gallery(tmp_path, rng):
    from PIL import Image

    for i in range(40):
        pixels = (rng.random((16, 16, 3)) * 255).astype(np.uint8)
        (tmp_path / "g").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "g" / f"{i:02d}.png")
    files = tuple(sorted((tmp_path / "g").iterdir()))
    return Gallery(tmp_path / "g", files, 12, 12)


def test_poz_elsewhere_is_that_of_all_images_at_once(small, gallery):
    found = across.poz_elsewhere(small, gallery, layer="features")
    views = {v.name: v.poz for v in embeddings.views(small, gallery[:], layer="features")}
    assert set(found) == {"pooled", "channels", "positions"}
    for name, rates in views.items():
        np.testing.assert_allclose(found[name], rates, atol=1e-12)
    flat = across.poz_elsewhere(small, gallery)
    np.testing.assert_allclose(flat["features"], views["pooled"], atol=1e-12)


def test_a_network_of_one_s_own_is_measured_once(own_cache, small, gallery, given):
    options = {"name": "small", "layer": "features", "elsewhere": gallery, "progress": False}
    found = across.measure(given, small, **options)
    table = found.table()
    assert len(table) == 3 * len(READINGS) * len(SHARES)
    assert table["view"].drop_duplicates().tolist() == ["pooled", "channels", "positions"]
    assert np.isfinite(table["estimate"]).all()
    again = across.measure(given, small, **options)
    np.testing.assert_array_equal(again.tests, found.tests)
    head = found.headline()
    assert head[["set", "network"]].values.tolist() == [["made", "small"]]
    own = table[(table["view"] == "pooled") & (table["share"] == 0.5)].set_index("reading")
    assert head.loc[0, "estimate"] == own.loc["removed", "estimate"]
    assert head.loc[0, "holm"] == own.loc["removed", "p"]
    assert head.loc[0, "silenced"] == own.loc["silenced", "estimate"]
    whole = found.whole(reading="cosine")
    assert whole["p"].tolist() == pytest.approx(found.maximum[:, 1, 0].tolist())
    np.testing.assert_allclose(whole["holm"], inference.holm(whole["p"]))
    assert found.silence()["view"].tolist() == ["pooled", "channels", "positions"]
    assert (found.network, found.about) == ("small", "made")


def test_a_cap_leaves_poz_alone(own_cache, small, given):
    found = across.capped(given, small, name="small", layer="features")
    made = embeddings.extract(small, given.images, layer="features", spatial="keep")
    free = embeddings.extract(small, given.images, layer="features.0", spatial="keep").clip(min=0)
    assert found.zeros[0, 0] == found.zeros[0, 1] == (free == 0).mean()
    six = (made == 6).mean()
    assert six > 0.02
    np.testing.assert_allclose(found.saturated[0], [six, six / (made > 0).mean()])
    pooled = [rdm.rdm(a.mean(axis=(2, 3))) for a in (made, free)]
    assert found.rdms[0, 0] == pytest.approx(rdm.compare(*pooled, method="pearson"), abs=1e-6)
    assert found.rdms[0, 0] < 0.9999
    assert isinstance(small.features[1], nn.ReLU6)  # the network is as it was
    assert found.table()["network"].tolist() == ["small"]
    with pytest.raises(InputError, match="plain has no ReLU6: there is no cap to take away"):
        across.capped(given, nn.Sequential(nn.Flatten(), nn.Linear(432, 3)), name="plain")


def test_what_is_recorded():
    found = across.known()
    table = found.table()
    assert table["network"].drop_duplicates().tolist() == list(across.NETWORKS)
    assert set(table["set"]) == set(across.SETS)
    assert len(found.headline()) == len(across.NETWORKS) * len(across.SETS)
    assert found.recorded
    assert np.isfinite(table["estimate"]).all()
    kept = table.pivot_table(index=["set", "network", "view"], columns=["reading", "share"], values="r_all")
    silenced, removed = kept["silenced"][0.5], kept["removed"][0.5]
    np.testing.assert_allclose(silenced, removed, atol=1e-6)  # all features are all features
    # What the page on tests says of the letters, in words: one gain of 5 %, MobileNetV2's.
    letters = found.headline().query("set == 'letters'").set_index("network")
    gain = letters["estimate"] / letters["r_all"]
    assert gain.idxmax() == "mobilenet_v2"
    assert gain.max() == pytest.approx(0.05, abs=0.005)
    apart = across.known_gaps().table()
    assert apart[["set", "network"]].values.tolist() == found.headline()[["set", "network"]].values.tolist()
    d = table[(table["view"] == "pooled") & (table["share"] == 0.5)].pivot_table(
        index=["set", "network"], columns="reading", values="estimate", sort=False
    )
    for control in ("silenced", "elsewhere"):
        np.testing.assert_allclose(apart[control], (d["removed"] - d[control]).to_numpy(), atol=1e-4)
    caps = across.known_capped().table()
    assert caps["network"].tolist() == ["mobilenet_v2", "efficientnet_lite0"]
    assert (caps["RDM pooled"] > 0.98).all()
    np.testing.assert_array_equal(across.known_capped().zeros[:, 0], across.known_capped().zeros[:, 1])


@pytest.mark.parametrize("name", ["mobilenet_v2"])
def test_a_slice_of_what_is_recorded_comes_out_again(mirror, name):
    """The letters in one network, from its weights and pictures on; PoZ of other images left out."""
    where = across.place(name)
    network, given = networks.build(where.name), judgments.load("letters", size=where.size)
    (pooled, *_) = embeddings.views(network, given.images, layer=where.layer)
    found = across.measure_view(pooled, given)
    recorded = across.known()
    (row,) = [
        i
        for i, a in enumerate(recorded.answers)
        if (a.provenance["facts"]["network"], a.provenance["facts"]["judgments"]) == (name, "letters")
        and a.provenance["facts"]["view"] == "pooled"
    ]
    for reading in ("removed", "cosine", "silenced", "firing"):
        place = READINGS.index(reading)
        np.testing.assert_allclose(found["tests"][place], recorded.tests[row, place], atol=2e-3, rtol=2e-2)
    np.testing.assert_allclose(found["maximum"][:3, 0], recorded.maximum[row, :3, 0], atol=0.01)


def test_what_is_not_there_is_named(own_cache, monkeypatch, given, features, small):
    monkeypatch.delenv("RAREFIRE_MIRROR", raising=False)
    with pytest.raises(UnknownNameError, match="no network .vgg.. There are: .*squeezenet1_0"):
        across.place("vgg")
    with pytest.raises(
        DataError, match=r"googlenet needs networks/nets.py in the folder that RAREFIRE_MIRROR"
    ):
        across.place("googlenet")
    with pytest.raises(DataError, match=r"squeezenet1_0 needs weights/squeezenet1_0.pth"):
        across.place("squeezenet1_0")
    assert not across.ready("googlenet")
    with pytest.raises(DataError, match="no network of googlenet is on this machine"):
        across.measure_here(only=["googlenet"])
    with pytest.raises(UnknownNameError, match="no set .moon.. There are: .*letters"):
        across.measure_here(sets=["moon"])
    assert across.capped_here() is None
    with pytest.raises(InputError, match="the view has 29 images, the judgments 30"):
        across.measure_view(view_of(features[:29]), given)
    unseen = Judgments("made", given.human, None, None, None, None, given.names, "c", "l", "s")
    for call in (across.measure, across.gaps, across.capped):
        with pytest.raises(InputError, match="images of 'made' are not at hand"):
            call(unseen, small, name="small")
    with pytest.raises(UnknownNameError, match="no reading .gone.. There are: .*removed"):
        across.Across(()).whole(reading="gone")


def test_places_are_found_in_the_mirror(mirror):
    for name, where in across.NETWORKS.items():
        found = across.place(name)
        assert across.ready(name)
        assert found[1:] == where[1:]
        assert found.name == name or store.at_hand("networks/nets.py") == networks.own_file(found.name)
