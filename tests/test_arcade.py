"""The arcade: one study, by Python and by the page, from the same random numbers; and what is null in it."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import traitlets
from scipy import stats

from rarefire import curves, inference, naive, poz, simulations
from rarefire.errors import InputError
from rarefire.page import arcade
from rarefire.page.arcade import Arcade, Setting
from rarefire.rdm import pair_similarities

KINDS = [
    Setting(),
    Setting(images=24, folds=8, noise=3.0, effect=0.2),
    Setting(images=60, folds=2, splits=3, noise=0.25, effect=0.05),
]


def population(setting, n=2000):
    """R of the first k with what people share, over many images of the same world."""
    mixing, thresholds, weights = simulations.world().groups()
    rng = np.random.default_rng(7)
    own = [np.maximum(rng.normal(size=(n, 3)) @ m - t, 0) for m, t in zip(mixing, thresholds, strict=True)]
    people = sum(w * pair_similarities(features) for w, features in zip(weights, own, strict=True))
    if setting.effect:
        [strength] = simulations.world().decoys([setting.effect])
        own[-1] = strength * np.maximum(rng.normal(size=(n, 3)) @ mixing[-1] - thresholds[-1], 0)
    every = np.concatenate(own, axis=1)
    return np.array([np.corrcoef(pair_similarities(every[:, :k]), people)[0, 1] for k in range(8, 65, 8)])


def test_nothing_is_there_in_a_null_world_and_an_effect_where_one_is_planted():
    """By a sample of images of our own, whose pairs are gone through one by one."""
    null, there = population(Setting()), population(Setting(effect=0.3))
    np.testing.assert_allclose(null / null[-1], 1, atol=0.02)
    np.testing.assert_allclose(there[:-1] / there[-1], 1.3, atol=0.05)
    truth = arcade.truth(Setting(noise=1.0, effect=0.3))
    np.testing.assert_allclose(truth[:-1] / truth[-1], 1.3)
    np.testing.assert_allclose(truth[0], null.mean() / np.sqrt(2), rtol=0.03)


def test_decoys_are_of_null_worlds_of_groups():
    with pytest.raises(InputError, match=r"for a null world, with effects from above 0 to .5; got \[0.0\]"):
        simulations.world().decoys([0.0])
    other = dataclasses.replace(simulations.world(), name="other", population=None)
    with pytest.raises(InputError, match="the world 'other' is not made of groups"):
        other.groups()


def test_a_study_is_what_it_is_said_to_be():
    """Random numbers of numpy's own Mersenne Twister; the group that fires most rarely is the last."""
    setting = Setting(images=60, noise=0.25)
    embedding, human, rng = arcade.draw(setting, seed=3, index=5)
    assert embedding.shape == (60, 64)
    assert human.shape == (60 * 59 // 2,)
    first, second = np.random.RandomState([3, 5]).random_sample(2)
    mixing, thresholds, _ = simulations.world().groups()
    causes = [np.sqrt(-2 * np.log1p(-first)) * f(2 * np.pi * second) for f in (np.cos, np.sin)]
    drive = embedding[0, :8] + thresholds[0]
    fires = embedding[0, :8] > 0
    rest = (drive - causes @ mixing[0, :2])[fires] / mixing[0, 2, fires]
    np.testing.assert_allclose(rest, rest[0])  # the third cause
    silent = poz.poz(embedding).reshape(8, 8).mean(axis=1)
    assert silent[-1] > silent[0] + 0.1
    assert sorted(rng.permutation(60)) == list(range(60))
    again, said, _ = arcade.draw(Setting(images=60, noise=0.25, effect=0.3, folds=2), seed=3, index=5)
    np.testing.assert_allclose(again[:, :56], embedding[:, :56])  # planted in the rarest group alone
    np.testing.assert_allclose(said, human)
    assert not np.allclose(again[:, 56:], embedding[:, 56:])


@pytest.mark.parametrize("setting", KINDS)
def test_both_tests_are_those_of_the_package(setting):
    found = arcade.played(setting, 7, 2)
    embedding, human, rng = arcade.draw(setting, seed=7, index=2)
    order = np.arange(64)
    r = curves.rdm_curve(embedding, human, order, k=range(8, 65, 8)).r
    np.testing.assert_allclose(found.r, r)
    assert found.best == 8 * (1 + np.argmax(r[:7]))
    cut = {"k": found.best, "seeds": setting.splits, "folds": setting.folds, "rng": rng}
    assert found.naive_p == pytest.approx(naive.paired_t_over_folds(embedding, human, order, **cut))
    valid = inference.change_of_prediction(embedding, human, order, k=56, method="jackknife")
    assert (found.valid_d, found.valid_p) == pytest.approx((valid.estimate, valid.p))


def test_rates_and_their_interval():
    """Wilson's interval solves |share − p| = z √(p (1 − p) / n) for p."""
    share, low, high = arcade.share(13, 60)
    for bound in (low, high):
        assert abs(share - bound) == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / 60), rel=1e-5)
    table = arcade.rates(KINDS[0], n=20).set_index("test")
    p = np.array([[one.naive_p, one.valid_p] for one in (arcade.played(KINDS[0], 0, i) for i in range(20))])
    assert table["found"].tolist() == (p < 0.05).sum(axis=0).tolist()
    assert table.loc["naive", "high"] == pytest.approx(arcade.share(int(table.loc["naive", "found"]), 20)[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Setting(images=20), "images is a whole number from 24 to 60; got 20"),
        (lambda: Setting(noise=4), "noise is a number from 0.25 to 3; got 4"),
        (lambda: Setting(folds=2.5), "folds is a whole number from 2 to 8; got 2.5"),
        (lambda: Setting(effect=0.07), "effect is one of 0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3; got 0.07"),
        (
            lambda: arcade.draw(Setting(), seed=2**32, index=0),
            "seed is a whole number from 0 to 2³² − 1; got 4294967296",
        ),
        (lambda: arcade.rates(Setting(), n=0), "n is a number of studies from 1 to 5,000; got 0"),
        (lambda: arcade.share(3, 2), "of no more than there are; got 3 of 2"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.fixture(scope="module")
def played():
    """The widget, of few studies."""
    return Arcade(Setting(folds=4), studies=12, seed=2, drawn=12)


def test_the_widget_in_python(played):
    assert played.setting == Setting(folds=4)
    pd.testing.assert_frame_equal(played.rates, arcade.rates(Setting(folds=4), n=12, seed=2))
    world, study = played.words
    assert world.startswith("A world without an effect")
    assert "8 × 4 folds" in world
    assert re.search(
        r"Study 1\. This world has no effect\. The naive test: “.* p.*\. The valid test: “", study
    )
    for trait, value, message in [
        ("images", 20, "images is a whole number from 24 to 60; got 20"),
        ("effect", 0.07, "effect is one of"),
        ("drawn", 5001, "drawn"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(played, trait, value)
    figure = played._repr_mimebundle_()[0]["text/html"]
    assert "Share of 12 studies with p below .05" in figure
    assert figure.count("<svg") == 2


@pytest.mark.browser
def test_the_page_plays_the_studies_that_python_plays(tab, static_page, tmp_path):
    """P of both tests to 1e-6, in three worlds; what is said of a study and of how many light up."""
    widget = Arcade(studies=12, seed=7)
    tab.goto(static_page(widget))
    tab.locator("[data-widget][data-ready]").wait_for()
    height = "document.querySelector('.rf-arcade').offsetHeight"
    before = tab.evaluate(height)
    dials = {"images": "Images", "noise": "Noise", "folds": "Folds", "splits": "Splits into folds"}
    handles = {name: tab.get_by_role("slider", name=title, exact=True) for name, title in dials.items()}
    effect = tab.get_by_role("slider", name="Planted effect")
    for setting in KINDS:
        for name, handle in handles.items():
            if float(handle.input_value()) != getattr(setting, name):
                handle.fill(f"{getattr(setting, name):g}")
            setattr(widget, name, getattr(setting, name))
        effect.fill(str(arcade.EFFECTS.index(setting.effect)))
        widget.effect, widget.drawn, widget.shown = setting.effect, 11, 10
        tab.get_by_text("No study yet: draw one, ten or a hundred.").wait_for()
        assert ("The counts start over." in tab.locator(".rf-world").inner_text()) == (
            setting is not KINDS[0]
        )
        tab.get_by_role("button", name="Ten").click()
        tab.get_by_text("of 10 (").first.wait_for()
        tab.get_by_role("button", name="One study").click()
        tab.get_by_text("of 11 (").first.wait_for()
        world, study = widget.words
        tab.get_by_text(study).wait_for()
        assert tab.locator(".rf-world").text_content().startswith(world)
        for _, row in widget.rates.iterrows():
            board = tab.locator(f".rf-board.rf-{row['test']}")
            low, high = (f"{arcade.fixed(100 * row[end], 0)}" for end in ("low", "high"))
            said = f"{row['found']} of 11 (95 %: {low} to {high} %)"
            assert said in board.inner_text().replace("\xa0", " ")
            assert board.locator(".rf-lit").count() == row["found"]
            assert board.locator(".rf-dark").count() == 11 - row["found"]
        with tab.expect_download() as started:
            tab.get_by_role("link", name="Numbers (CSV)").first.click()
        started.value.save_as(tmp_path / "studies.csv")
        table = pd.read_csv(tmp_path / "studies.csv")
        every = [arcade.played(setting, 7, index) for index in range(11)]
        for column in ("naive_p", "naive_d", "valid_p", "valid_d"):
            np.testing.assert_allclose(table[column], [getattr(one, column) for one in every], atol=1e-9)
        assert table["naive_k"].tolist() == [one.best for one in every]
        np.testing.assert_allclose(table.filter(regex="^r_"), [one.r for one in every], atol=1e-9)
        if setting is KINDS[0]:
            assert tab.evaluate(height) == before
    assert tab.locator(".rf-worlds tbody tr").count() == 2
    # An earlier study, by its square and by the keyboard.
    tab.locator(".rf-board.rf-valid .rf-lights i").nth(3).click()
    widget.shown = 3
    tab.get_by_text(widget.words[1]).wait_for()
    tab.get_by_role("slider", name="Study", exact=True).press("ArrowLeft")
    widget.shown = 2
    tab.get_by_text(widget.words[1]).wait_for()
    tab.get_by_role("button", name="Start over").focus()
    tab.keyboard.press("Enter")
    tab.get_by_text("No study yet: draw one, ten or a hundred.").wait_for()
    assert tab.locator(".rf-lit, .rf-dark").count() == 0


@pytest.mark.browser
def test_p_of_t_in_the_page_is_scipys(tab, static_page):
    tab.goto(static_page(Arcade(studies=1)))
    tab.locator("[data-widget][data-ready]").wait_for()
    given = [(t, df) for t in (0.0, 0.3, -1.7, 2.2, 5.0) for df in (1, 2, 3, 4, 23, 39, 127)]
    source = Arcade._esm.replace("export default { render };", "export { tTest };")
    script = """async ([source, given]) => {
        const { tTest } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
        return given.map(([t, df]) => tTest(t, df));
    }"""
    found = tab.evaluate(script, json.loads(json.dumps([str(source), given])))
    np.testing.assert_allclose(found, [2 * stats.t.sf(abs(t), df) for t, df in given], atol=1e-12)
