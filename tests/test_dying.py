"""Features that die: the page's network against torch, and what the page counts against what Python does."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
import traitlets
from torch import nn

from rarefire import curves, poz, stimuli
from rarefire.errors import DataError, InputError
from rarefire.page import dying, widgets

PARAMETERS = 1258 + 75 * 16


@pytest.fixture(scope="module")
def courses():
    """A tame and a wild network, two epochs each."""
    return dying.train([(0.03, 0.0, 0), (1.0, 0.0, 0)], width=16, epochs=2)


@pytest.fixture(scope="module")
def widget(courses):
    return dying.DyingFeatures(courses, width=16, epochs=3, learning_rate=0.07, caption="A caption.")


# --- in Python -------------------------------------------------------------------------------------


def test_the_digits_are_the_book_s():
    given, test = dying.digits(), stimuli.load("digits", "test")
    assert given.images.shape == (1797, 8, 8)
    assert given.images.max() == 16
    assert given.n_train == 1297
    np.testing.assert_array_equal(given.labels[given.n_train :], test.labels)
    images, labels = given.tensors()
    large = nn.functional.interpolate(images[given.n_train :], size=(32, 32), mode="bilinear")
    np.testing.assert_allclose(large.numpy(), test.images, atol=1e-6)
    assert labels.dtype == torch.int64


def test_the_generator_is_mulberry32():
    """Step by step, in whole numbers of Python."""
    state, drawn = (7 * 1000003 + 2) % 2**32, []
    for _ in range(50):
        state = (state + 0x6D2B79F5) % 2**32
        t = (state ^ state >> 15) * (state | 1) % 2**32
        t ^= (t + (t ^ t >> 7) * (t | 61)) % 2**32
        drawn.append((t ^ t >> 14) / 2**32)
    np.testing.assert_array_equal(dying.epoch_order(50, seed=7, epoch=1), np.argsort(drawn))


def test_networks_start_as_he_et_al_say():
    made = dying.network(dying.initial(128, seed=1))
    for layer, inputs in ((made.conv2, 72), (made.fc1, 64), (made.fc2, 128)):
        weights = layer.weight.detach().numpy()
        assert weights.std() == pytest.approx(np.sqrt(2 / inputs), rel=0.1)
        assert abs(weights.mean()) < 0.1 * weights.std() + 3 * weights.std() / np.sqrt(weights.size)
        assert not layer.bias.any()
    assert not np.array_equal(dying.initial(16, seed=0), dying.initial(16, seed=1))


def test_training_is_torch_s_own():
    """All networks at once, against a loop with torch.optim.SGD over one of them."""
    settings = [(0.05, 0.01, 3), (0.01, 0.0, 4)]
    found = dying.train(settings, width=16, epochs=1)
    data = dying.digits()
    images, labels = data.tensors()
    for (rate, decay, seed), course in zip(settings, found, strict=True):
        made = dying.network(dying.initial(16, seed=seed)).train()
        optimizer = torch.optim.SGD(made.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
        order = dying.epoch_order(data.n_train, seed=seed)
        assert sorted(order) == list(range(data.n_train))
        for rows in np.split(order, range(64, data.n_train, 64)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(made(images[rows]), labels[rows]).backward()
            optimizer.step()
        weights = nn.utils.parameters_to_vector(made.parameters()).detach().numpy()
        np.testing.assert_allclose(course.weights, weights, atol=5e-3)
        assert (course.learning_rate, course.weight_decay, course.seed) == (rate, decay, seed)


def test_a_course_says_what_its_network_does(courses):
    tame, wild = courses
    data = dying.digits()
    images, labels = data.tensors()
    made = dying.network(tame.weights)
    with torch.no_grad():
        features = made[:-1](images).numpy()
        right = (made(images).argmax(1) == labels).numpy()
    rates = poz.poz(features[: data.n_train])
    np.testing.assert_allclose(tame.poz[-1], rates, atol=2 / data.n_train)
    assert tame.accuracy[-1] == pytest.approx(right[data.n_train :].mean(), abs=0.005)
    shown = features[data.n_train :][: dying.SHOWN]
    curve = curves.geometry_curve(shown, poz.order(tame.poz[-1]))
    defined = np.isfinite(tame.r2)
    assert defined[-1]
    np.testing.assert_allclose(tame.r2[defined], curve.r2[defined], atol=1e-3)
    assert tame.share("dead")[-1] == pytest.approx((rates == 1).mean())
    assert tame.poz.shape == (3, 16)
    assert len(tame.loss) == 2
    assert 0 <= tame.revived() <= (tame.poz[0] == 1).sum()
    # A rate far too high: whatever the processor, nothing is learned, and most features are dead.
    assert wild.accuracy[-1] < 0.3
    assert wild.share("dead")[-1] > 0.5


def test_a_silent_feature_has_no_gradient():
    weights = dying.initial(16, seed=0)
    layer = dying.network(weights)
    with torch.no_grad():
        layer.fc1.bias[3] = -100.0
    images, labels = dying.digits().tensors()
    vector = nn.utils.parameters_to_vector(layer.parameters()).detach().numpy()
    _, gradient = dying.loss(vector, images[:200], labels[:200])
    into = gradient[1248 : 1248 + 64 * 16].reshape(16, 64)
    assert not into[3].any()
    assert np.abs(into).sum(axis=1).max() > 0


def test_errors(courses, widget, tmp_path):
    with pytest.raises(InputError, match="width is a number of features, at least 1; got 0"):
        dying.initial(0)
    with pytest.raises(InputError, match=r"weights are 1258 \+ 75 × width finite numbers.*\(5,\)"):
        dying.network(np.zeros(5))
    with pytest.raises(InputError, match="a network and an epoch; got 0 and 15"):
        dying.train([])
    with pytest.raises(InputError, match=r"settings are \(learning_rate > 0"):
        dying.train([(0.0, 0.0, 0)])
    with pytest.raises(InputError, match="needs at least one course"):
        dying.DyingFeatures([])
    for trait, value, message in [
        ("learning_rate", 0.04, r"learning_rate is one of 0\.003, 0\.005.* 1; got 0\.04"),
        ("weight_decay", 1.0, "weight_decay is one of 0, 0.0001"),
        ("width", 50, "width is one of 16, 32"),
        ("epochs", 0, "epochs"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(widget, trait, value)
    file = tmp_path / "w.csv"
    file.write_text("parameter,value\nconv1.weight,1\n")
    with pytest.raises(DataError, match="has 1 weights, not those of the page's network"):
        dying.read(file)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is no table of weights"):
        dying.read(file)


def test_weights_come_back_to_python(widget, courses):
    """As a kernel gets them: a memoryview."""
    start = nn.utils.parameters_to_vector(widget.network().parameters()).detach().numpy()
    np.testing.assert_array_equal(start, dying.initial(16))
    widget.set_state({"weights": memoryview(courses[0].weights.tobytes())})
    got = nn.utils.parameters_to_vector(widget.network().parameters()).detach().numpy()
    np.testing.assert_array_equal(got, courses[0].weights)
    widget.weights = b""


def test_without_scripts_there_is_a_figure(widget):
    still = widget._repr_mimebundle_()[0]["text/html"]
    assert "learning rate 0.03" in still
    assert "By learning rate, at the end: 0.03: " in still
    assert 'class="rf-numbers"' in still


# --- in the page -----------------------------------------------------------------------------------

CORE = widgets.script("geometry", "convnet")
IN_PAGE = """([source, images, labels, rows, weights]) => {
  const names = "{ Convnet, initial, epochOrder }";
  const { Convnet, initial, epochOrder } = new Function(`${source}; return ${names}`)();
  const width = (weights.length - 1258) / 75, net = new Convnet(width, Float32Array.from(weights));
  const logits = rows.map(row => { net.forward(Uint8Array.from(images), row); return [...net.logits]; });
  const loss = net.loss(Uint8Array.from(images), Uint8Array.from(labels), rows);
  const start = [...initial(width, 5)], order = epochOrder(1297, 5, 2);
  return { logits, loss, gradient: [...net.gradient], start, order };
}"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [16, 48])
def test_forward_and_gradient_are_torch_s(tab, width):
    """The same weights, the same batch: every logit and derivative, to 1e-4 of the largest of its layer."""
    weights = dying.initial(width, seed=5)
    weights += np.random.default_rng(0).normal(0, 0.05, len(weights)).astype(np.float32)  # biases too
    data, rows = dying.digits(), np.arange(40)
    small = [data.images[rows].ravel().tolist(), data.labels[rows].tolist(), rows.tolist(), weights.tolist()]
    found = tab.evaluate(IN_PAGE, [CORE, *small])
    images, labels = (t[rows] for t in data.tensors())
    with torch.no_grad():
        logits = dying.network(weights)(images).numpy()
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4 * np.abs(logits).max())
    value, gradient = dying.loss(weights, images, labels)
    assert found["loss"] == pytest.approx(value, rel=1e-5)
    ends = np.cumsum([p.numel() for p in dying.network(weights).parameters()])[:-1]
    layers = zip(np.split(found["gradient"], ends), np.split(gradient, ends), strict=True)
    for got, expected in layers:
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(found["start"], dying.initial(width, seed=5), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found["order"], dying.epoch_order(1297, seed=5, epoch=2))


def table(tab, name):
    """What a link of the widget gives when it is clicked."""
    with tab.expect_download() as waiting:
        tab.get_by_role("link", name=name).click()
    return waiting.value.path()


@pytest.mark.browser
def test_a_short_training_in_the_page(tab, static_page, courses):
    """It learns; and what it counts is what Python counts with the weights that it gives away."""
    tab.emulate_media(reduced_motion="reduce")
    made = dying.DyingFeatures(courses, width=48, epochs=5, learning_rate=0.05)
    tab.goto(static_page(made))
    page = tab.locator(".rf-dying[data-epoch='0']")
    page.wait_for()
    assert "Press Train" in tab.locator(".rf-said").inner_text()
    assert tab.locator(".rf-dying circle").count() == 48
    tab.get_by_role("button", name="Train").click()
    tab.get_by_text("Done. After 5 epochs").wait_for()
    course = pd.read_csv(table(tab, "course"))
    assert course["epoch"].iloc[-1] == 5
    assert course["loss"].iloc[-1] < course["loss"].iloc[1]
    assert course["accuracy"].iloc[-1] > 0.85

    ranked = pd.read_csv(table(tab, "features"))
    features = ranked.sort_values("feature")
    made = dying.read(table(tab, "weights"))
    data = dying.digits()
    images, labels = data.tensors()
    with torch.no_grad():
        before = made[:-2](images).double().numpy()
        right = (made(images).argmax(1) == labels).numpy()[data.n_train :].mean()
    assert ranked["feature"].tolist() == poz.order(features["poz"], first="low").tolist()
    shown = np.maximum(before[data.n_train :][: dying.SHOWN], 0)
    curve, r2 = curves.geometry_curve(shown, ranked["feature"].to_numpy()), ranked["r2"].to_numpy()
    assert np.isfinite(r2[len(r2) // 2 :]).all()
    np.testing.assert_allclose(r2[np.isfinite(r2)], curve.r2[np.isfinite(r2)], atol=2e-3)
    # A sum that is 0 but for rounding may fall on either side of it.
    least, most = ((before[: data.n_train] <= limit).mean(axis=0) for limit in (-1e-5, 1e-5))
    counted = features["poz"].to_numpy()
    assert (least - 1e-9 <= counted).all()
    assert (counted <= most + 1e-9).all()
    assert features["kind"].tolist() == poz.kinds(counted).tolist()
    assert course["accuracy"].iloc[-1] == pytest.approx(right, abs=0.004)
    for kind in poz.KINDS:
        expected = int((features["kind"] == kind).sum())
        assert tab.locator(f".rf-dying circle.rf-{kind}").count() == expected == course[kind].iloc[-1]
    said = tab.locator(".rf-dying .rf-result").inner_text()
    assert f"{course['dead'].iloc[-1]} of 48 dead" in said
    # Python, from the same seed and by the same rule, gets about as far.
    (twin,) = dying.train([(0.05, 0.0, 0)], width=48, epochs=1)
    assert course["loss"].iloc[1:5].mean() == pytest.approx(twin.loss[0], rel=0.1)


@pytest.mark.browser
def test_the_page_says_at_once_what_a_slider_does(tab, static_page, widget):
    tab.emulate_media(reduced_motion="reduce")
    tab.goto(static_page(widget))
    tab.locator(".rf-dying[data-epoch='0']").wait_for()
    sliders = tab.locator("input[type=range]")
    sliders.nth(0).fill("10")
    tab.get_by_text("learning rate 0.3: train to see.").wait_for()
    sliders.nth(1).fill("5")
    tab.get_by_text("weight decay 0.01: train to see.").wait_for()
    sliders.nth(2).fill("1")
    tab.get_by_text("width 32: a new network.").wait_for()
    tab.wait_for_function("document.querySelectorAll('.rf-dying circle').length == 32")
    tab.get_by_role("button", name="Train").click()
    tab.get_by_role("button", name="Pause").click()
    tab.get_by_text("Paused. After").wait_for()
    epoch, dead = re.search(
        r"After ([\d.]+) epochs? (\d+) of 32", tab.locator(".rf-said").inner_text()
    ).groups()
    shown = tab.locator(".rf-dying .rf-result").inner_text()
    assert f"{dead} of 32 dead" in shown
    assert f"epoch {float(epoch):.2f}" in shown
    tab.get_by_role("button", name="Start again").click()
    tab.get_by_text("Untrained again, seed 0").wait_for()


@pytest.mark.browser
def test_the_first_training_starts_when_it_is_seen(tab, static_page, courses):
    """Where nobody asked for less motion."""
    tab.goto(static_page(dying.DyingFeatures(courses, width=16, epochs=1)))
    tab.get_by_text("Done. After 1 epoch ").wait_for()
    assert tab.get_by_role("button", name="Train on").is_visible()
