"""You are the subject: what Python says, and what a real Chromium shows, keeps and saves."""

import csv
import math

import numpy as np
import pytest
import traitlets

from rarefire import multiarrange, ratings, rdm
from rarefire.errors import InputError
from rarefire.multiarrange import Arrangement
from rarefire.page.subject import Subject

N = 6
NAMES = [f"thing {letter}" for letter in "abcdef"]


def runs_of(seeds, *, n=N, noise=0.05, most=4):
    """Made-up runs of one and the same head."""
    true = np.random.default_rng(7).uniform(0.2, 1, n * (n - 1) // 2)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    return [multiarrange.simulate(true, noise=noise, most=most, rng=rng) for rng in rngs]


def travelling(run, *, done=True):
    return {
        "done": done,
        "trials": [{"images": t.images.tolist(), "places": t.places.tolist()} for t in run],
    }


@pytest.fixture
def given(rng):
    """Images, features and the rest."""
    images = rng.uniform(size=(N, 1, 8, 8))
    features = np.maximum(rng.normal(size=(N, 15)) + 0.8, 0)
    return {"images": images, "embedding": features, "names": NAMES, "simulated": runs_of([1, 2])}


@pytest.fixture
def page(given):
    return lambda **state: Subject(**{**given, **state})


def test_what_is_shown_is_what_the_arrangements_give(page, given):
    own = runs_of([3, 4, 5])
    widget = page(runs=[travelling(run) for run in own], who="you")
    each = [multiarrange.estimate(run, n_images=N).rdm for run in own]
    z = [(d - d.mean()) / d.std() for d in each]
    np.testing.assert_allclose(widget.human, np.mean(z, axis=0))
    widget.run = 2
    np.testing.assert_allclose(widget.human, each[1])
    r = np.mean([np.corrcoef(each[i], each[j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))])
    np.testing.assert_allclose(widget.agreement, (r, 3 * r / (1 + 2 * r)))
    widget.who = "simulated"
    made = [multiarrange.estimate(run, n_images=N).rdm for run in given["simulated"]]
    np.testing.assert_allclose(widget.human, made[1])


def test_the_curve_its_interval_and_chance_are_those_of_the_long_way(page, given):
    widget = page(fraction=0.6, order="high", run=1)
    features, human = given["embedding"], rdm.square(widget.human)
    order = np.argsort((features == 0).mean(axis=0), kind="stable")[::-1]
    rates = (features == 0).mean(axis=0)
    assert (np.diff(rates[widget._orders["high"]]) <= 0).all()
    assert sorted(order) == list(range(15))
    kept = features[:, widget._orders["high"][: widget.k]]
    assert widget.k == 9

    def r_of(images, other):
        pairs = np.triu_indices(len(images), 1)
        return np.corrcoef(1 - np.corrcoef(kept[images])[pairs], other[np.ix_(images, images)][pairs])[0, 1]

    every = list(range(N))
    assert widget.r == pytest.approx(r_of(every, human))
    without = np.array([r_of([i for i in every if i != out], human) for out in every])
    se = math.sqrt((N - 1) / N * ((without - without.mean()) ** 2).sum())
    low, high = widget.interval
    assert low == pytest.approx(max(-1, widget.r - 2.5706 * se), abs=1e-4)  # t with 5 degrees of freedom
    assert high == pytest.approx(min(1, widget.r + 2.5706 * se), abs=1e-4)
    chance = widget.chance()[widget.k - 1]
    r2 = np.array([r_of(every, human[np.ix_(to, to)]) ** 2 for to in widget._relabelled])
    assert (r2 < chance).sum() == 189  # of 199
    assert np.isclose(r2, chance).any()


def test_until_a_run_is_done_the_simulated_subject_stands_in(page):
    widget = page(who="you")
    assert widget.shown == "simulated"
    (run,) = runs_of([3])
    widget.runs = [travelling(run, done=False)]
    assert widget.shown == "simulated"
    widget.runs = [travelling(run)]
    assert widget.shown == "you"
    assert widget.agreement is None


def test_the_figure_without_scripts_calls_the_simulated_subject_no_person(page):
    figure = page()._repr_mimebundle_()[0]["text/html"]
    assert "RDM of a simulated subject, no person" in figure
    assert figure.count("<svg") == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"simulated": []}, "at least one run of a simulated subject"),
        ({"names": NAMES[:5]}, "names must be 6 different ones"),
        ({"names": ["a"] * 6}, "names must be 6 different ones"),
        (
            {"images": np.zeros((5, 1, 8, 8))},
            r"images must be \(6, 1 or 3, height, width\).*got \(5, 1, 8, 8\)",
        ),
        ({"images": np.full((6, 1, 8, 8), 255)}, r"images must lie in \[0, 1\]; got 255 to 255"),
        ({"poz": [0.5]}, r"poz must be \(15,\)"),
        ({"embedding": np.ones((3, 15))}, "4 to 40 images can be arranged here; got 3"),
        (
            {"simulated": [[Arrangement(np.arange(3), np.eye(3)[:, :2] / 2)]]},
            "begins with all 6 images; got 3",
        ),
        ({"runs": [{"done": True}]}, "a run has trials with images and places"),
    ],
)
def test_what_does_not_fit_is_refused(page, change, message):
    with pytest.raises(InputError, match=message):
        page(**change)


def test_traits_are_checked(page):
    widget = page()
    with pytest.raises(traitlets.TraitError, match="runs: a run begins with all 6 images; got 3"):
        widget.runs = [
            {"done": True, "trials": [{"images": [0, 1, 2], "places": [[0, 0], [0.5, 0], [0, 0.5]]}]}
        ]
    with pytest.raises(traitlets.TraitError, match="who"):
        widget.who = "me"
    with pytest.raises(InputError, match="who is one of you, simulated; got 'me'"):
        widget.rdms("me")


# --- in a real browser ---------------------------------------------------------------------------


def opened(tab, address):
    tab.goto(address)
    tab.locator("figure[data-ready]").wait_for()


def saved(tab, folder, link="Save this RDM (CSV)"):
    with tab.expect_download() as download:
        tab.get_by_text(link).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


ALL = """async ([trials, n]) => {
    const state = JSON.parse(document.querySelector("script[type*=widget-state]").textContent).state;
    const source = Object.values(state).map(one => one.state._esm).find(Boolean);
    const inside = source.replace("export default { render };", "export { estimate, nextSubset };");
    const address = URL.createObjectURL(new Blob([inside], { type: "text/javascript" }));
    const { estimate, nextSubset } = await import(address);
    return trials.map((_, i) => {
        const found = estimate(trials.slice(0, i + 1), n);
        return { rdm: [...found.rdm], evidence: [...found.evidence], next: nextSubset(found, n) };
    });
}"""


@pytest.mark.browser
def test_page_and_python_give_the_same_numbers(tab, static_page, page, tmp_path):
    """Of a saved series of trials: RDM, evidence and next subset after each; R², interval and chance."""
    (series,) = runs_of([11], n=24, most=8)
    own = runs_of([3, 4])
    widget = page(runs=[travelling(run) for run in own], who="you", fraction=0.6)
    opened(tab, static_page(widget))
    for i, shown in enumerate(tab.evaluate(ALL, [travelling(series)["trials"], 24])):
        found = multiarrange.estimate(series[: i + 1], n_images=24)
        np.testing.assert_allclose(shown["rdm"], found.rdm, atol=1e-6)
        np.testing.assert_allclose(shown["evidence"], found.evidence, atol=1e-9)
        assert shown["next"] == multiarrange.next_subset(found).tolist()

    def check():
        number = tab.locator(".rf-r2[data-chance]")
        number.wait_for()
        shown = {key: float(value) for key, value in number.evaluate("n => ({ ...n.dataset })").items()}
        assert shown["r"] == pytest.approx(widget.r, abs=1e-6)
        assert shown["low"] == pytest.approx(widget.interval[0], abs=1e-6)
        assert shown["chance"] == pytest.approx(widget.chance()[widget.k - 1], abs=1e-6)

    check()
    assert "the mean of 2 runs" in tab.locator(".rf-badge").inner_text()
    assert f"r = {widget.agreement[0]:.2f}" in tab.locator(".rf-side dl").inner_text()
    read = ratings.read(saved(tab, tmp_path))
    assert read.names == tuple(NAMES)
    np.testing.assert_allclose(read.subjects, widget.rdms("you"), atol=1e-6)
    assert read.reliability == pytest.approx(widget.agreement[1], abs=1e-6)

    tab.get_by_role("radio", name="a simulated subject’s").check()
    tab.get_by_role("radio", name="high→low PoZ").check()
    tab.get_by_role("combobox", name="Run").select_option("run 2")
    widget.who, widget.order, widget.run = "simulated", "high", 2
    tab.get_by_text("No person arranged this").wait_for()
    check()
    path = saved(tab, tmp_path)
    assert path.name == "simulated-subject-run-2.csv"
    np.testing.assert_allclose(ratings.read(path).human, widget.human, atol=1e-6)
    with path.open() as lines:
        assert {line["source"] for line in csv.DictReader(lines)} == {"simulated, no person"}
    features = rdm.rdm(
        np.loadtxt(saved(tab, tmp_path, "features (CSV)"), delimiter=",", skiprows=1, usecols=range(1, 16))
    )
    np.testing.assert_allclose(features, rdm.rdm(widget._features), atol=1e-6)


@pytest.mark.browser
def test_a_reader_arranges_by_mouse_keys_and_finger_stops_and_goes_on(tab, static_page, page, tmp_path):
    address = static_page(page(required=100.0, most=2))
    opened(tab, address)
    stage, tokens = tab.locator(".rf-stage"), tab.locator(".rf-token")
    go_on = tab.get_by_role("button", name="Next")
    assert tokens.count() == N
    assert tab.locator("input[value=you]").is_disabled()

    def middle(token):
        box = token.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def at(token):
        """In arena diameters from the middle."""
        area, (x, y) = stage.bounding_box(), middle(token)
        return [1.3 * ((x - area["x"]) / area["width"] - 0.5), 1.3 * ((y - area["y"]) / area["height"] - 0.5)]

    def drag(token, x, y, pointer):
        area, (a, b) = stage.bounding_box(), middle(token)
        to = area["x"] + area["width"] * (x / 1.3 + 0.5), area["y"] + area["height"] * (y / 1.3 + 0.5)
        if pointer == "mouse":
            tab.mouse.move(a, b)
            tab.mouse.down()
            tab.mouse.move(*to, steps=3)
            tab.mouse.up()
            return
        finger = tab.context.new_cdp_session(tab)
        send = lambda kind, *points: finger.send(  # noqa: E731
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": u, "y": v} for u, v in points]}
        )
        send("touchStart", (a, b))
        send("touchMove", ((a + to[0]) / 2, (b + to[1]) / 2))
        send("touchMove", to)
        send("touchEnd")

    for i, (x, y) in enumerate([(-0.3, 0.1), (0.3, 0.1)]):
        drag(tokens.nth(i), x, y, "mouse")
        np.testing.assert_allclose(at(tokens.nth(i)), (x, y), atol=0.01)
    for i, (x, y) in enumerate([(0.1, -0.3), (0.2, 0.3)], start=2):
        drag(tokens.nth(i), x, y, "finger")
        np.testing.assert_allclose(at(tokens.nth(i)), (x, y), atol=0.01)
    tab.get_by_text("2 of 6 still outside the circle").wait_for()
    opened(tab, address)  # another day
    tab.get_by_text("2 of 6 still outside the circle").wait_for()
    np.testing.assert_allclose(at(tokens.nth(3)), (0.2, 0.3), atol=0.01)
    assert go_on.is_disabled()
    for i in (4, 5):
        tokens.nth(i).focus()
        tab.keyboard.press("Enter")
    before = at(tokens.nth(5))
    to = [-1 if v > 0 else 1 for v in before]  # towards the middle
    tab.keyboard.press("Shift+ArrowLeft" if to[0] < 0 else "Shift+ArrowRight")
    tab.keyboard.press("ArrowUp" if to[1] < 0 else "ArrowDown")
    np.testing.assert_allclose(
        at(tokens.nth(5)), [before[0] + 0.1 * to[0], before[1] + 0.02 * to[1]], atol=0.01
    )
    assert "thing f: " in tab.locator(".rf-stage-box [role=status]").inner_text()
    first = [at(tokens.nth(i)) for i in range(N)]
    go_on.click()
    tab.get_by_text("Now only these").wait_for()
    assert tab.locator("input[value=you]").is_disabled()  # not before the run is done
    found = multiarrange.estimate([Arrangement(np.arange(N), np.array(first))], n_images=N)
    assert [i for i in range(N) if tokens.nth(i).is_visible()] == multiarrange.next_subset(found).tolist()
    tab.get_by_role("button", name="Back to the trial before").click()
    tab.get_by_text("All are inside").wait_for()
    np.testing.assert_allclose([at(tokens.nth(i)) for i in range(N)], first, atol=1e-6)
    go_on.click()
    tab.get_by_role("button", name="End this run here").click()
    tab.get_by_text("Yours: run 1. One person, 6 images, 15 pairs").wait_for()
    path = saved(tab, tmp_path)
    assert path.name == "you-run-1.csv"
    np.testing.assert_allclose(ratings.read(path).human, found.rdm, atol=0.02)  # pixels were measured

    tab.get_by_role("button", name="Begin another run").click()
    for i in range(N):
        tokens.nth(i).focus()
        tab.keyboard.press("Enter")
    go_on.click()
    tab.get_by_role("button", name="End this run here").click()
    tab.get_by_text("Yours: the mean of 2 runs").wait_for()
    assert "two runs correlate" in tab.locator(".rf-side dl").inner_text()
    opened(tab, address)
    tab.get_by_text("Yours: the mean of 2 runs").wait_for()
    tab.get_by_role("button", name="Delete all my runs").click()
    tab.get_by_role("button", name="Really delete all your runs?").click()
    tab.get_by_text("No person arranged this").wait_for()
    opened(tab, address)
    tab.get_by_text("6 of 6 still outside the circle").wait_for()


@pytest.mark.browser
def test_where_a_browser_keeps_nothing_that_is_said(tab, static_page, page):
    tab.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'no'); } });"
    )
    opened(tab, static_page(page()))
    tab.get_by_text("This browser keeps nothing for this page").wait_for()
    tab.locator(".rf-token").first.focus()
    tab.keyboard.press("Enter")
    tab.get_by_text("5 of 6 still outside the circle").wait_for()
