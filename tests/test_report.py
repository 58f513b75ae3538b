"""``rarefire report``: what is measured, what the page says, that it resumes, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from rarefire import cli, curves, embeddings, inference, judgments, networks, poz, rdm, removal, store
from rarefire.errors import InputError, UnknownNameError
from rarefire.records import report

OWN = """
import torch
from torch import nn

def own():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 20), nn.ReLU(), nn.Linear(20, 3),
    )
"""
N = 42


def run(*arguments):
    return CliRunner().invoke(cli.app, ["report", *map(str, arguments)])


def said_wrong(*arguments):
    """The one line of an error; there is no page."""
    done = run(*arguments, "--out", "page")
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.strip().splitlines()
    assert not Path("page").exists()
    return line


@pytest.fixture
def folder(tmp_path, monkeypatch, own_cache, rng):
    """Three categories of small pictures, a network, features, people; the place is the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(OWN)
    for i in range(N):
        base = rng.uniform(0, 90, (4, 4, 3)) + 120 * (np.arange(3) == i % 3)
        place = Path("pictures", ("cats", "dogs", "fish")[i % 3], f"{i:02d}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(base.astype(np.uint8)).resize((24, 24), Image.Resampling.BICUBIC).save(place)
    thresholds = np.concatenate([rng.uniform(-1, 1.5, 22), [50.0, 50.0]])
    e = np.maximum(
        rng.normal(size=(N, 4)) @ rng.normal(size=(4, 24)) + rng.normal(size=(N, 24)) - thresholds, 0
    )
    np.save("E.npy", e)
    people = np.stack(
        [rdm.square(rdm.condensed(rdm.rdm(e)) + rng.normal(0, 0.3, N * (N - 1) // 2)) for _ in "abc"]
    )
    np.save("people.npy", people)
    return tmp_path


NETWORK = ["pictures", "--network", "nets.py:own", "--size", "24", "--jobs", "1"]


def given(folder, **options):
    model = networks.build("nets.py:own")
    from rarefire import stimuli

    gallery = stimuli.gallery("pictures", size=24)
    labels = np.repeat([0, 1, 2], N // 3)
    own = {"images": gallery, "network": model, "labels": labels, "categories": ("cats", "dogs", "fish")}
    return report.Given("own", **{**own, **options})


def stamp(place="page"):
    return json.loads(Path(place, "report.json").read_text())


def sections(place="page"):
    return {section["name"]: section for section in stamp(place)["sections"]}


def test_a_network_its_pictures_and_people_make_a_whole_page(folder):
    done = run(*NETWORK, "--human", "people.npy", "--by-position", "--out", "page")
    assert done.exit_code == 0, done.stderr
    made = sections()
    assert [*made] == [*report.SECTIONS]
    assert not any(section["missing"] for section in made.values())
    page = Path("page/index.html").read_text()
    assert "42 images of pictures in 3 categories, judged by 3 people" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    for section in made.values():
        assert f'<section id="{section["name"]}">' in page
        assert section["finding"]
    written = stamp()
    assert written["files"] == {
        path.relative_to("page").as_posix(): store.file_digest(path)
        for path in Path("page").rglob("*")
        if path.is_file() and path.name != "report.json"
    }
    assert written["inputs"]["nets.py"] == store.file_digest("nets.py")
    assert {"rarefire", "torch"} <= set(written["versions"])
    assert written["facts"]["seed"] == 0
    assert written["warnings"] == []
    relus = pd.read_csv("page/tables/relus.csv")
    assert relus["layer"].tolist() == [1, 4, 8]
    assert not list(Path().glob(".page*"))
    # Where a report is, another takes its place; where something else is, none does.
    assert run(*NETWORK, "--sections", "histogram,silence", "--out", "page").exit_code == 0
    assert [*sections()] == ["silence", "histogram"]
    assert sorted(path.name for path in Path("page/tables").iterdir()) == [
        "features.csv",
        "poz.csv",
        "relus.csv",
    ]
    Path("page/notes.txt").write_text("mine")
    done = run(*NETWORK, "--out", "page")
    assert done.exit_code == 1
    assert "page is there, and not from rarefire report" in done.stderr
    assert Path("page/notes.txt").read_text() == "mine"


def test_what_is_measured_is_what_the_functions_say(folder):
    model = networks.build("nets.py:own")
    found = report.measure(given(folder), sections=["curves", "ghosts", "dimension", "pruning"], jobs=1)
    assert found.missing == {}
    shown = found.given.pictures(np.arange(N))
    e = embeddings.extract(model, shown)
    np.testing.assert_allclose(found.features["penultimate"], e, atol=1e-5)
    rates = poz.poz(e)
    own = found.curves["penultimate"]
    low = poz.order(rates, first="low")
    whole = curves.geometry_curve(e.astype(float), low, k=own["k"].tolist())
    np.testing.assert_allclose(own["low"], np.where(whole.n_images >= N / 2, whole.r2, np.nan), atol=1e-4)
    firing = np.flatnonzero(rates < 1)
    assert own["firing_k"][-1] == len(firing)
    ghosts = poz.ghosts(e, found.given.labels)
    for category, mask in zip(found.given.categories, ghosts, strict=True):
        assert found.ghosts["penultimate"][category]["ghosts"][-1] == mask.sum()
        top = found.ghosts["penultimate"][category]["top"]
        inside = found.given.categories.index(category)
        assert (found.given.labels[top[top >= 0]] != inside).all()  # rows of all images
    with torch.inference_mode():
        answers = model(torch.from_numpy(shown)).argmax(1).numpy()
    np.testing.assert_array_equal(found.pruned["answers"][0, -1], answers)
    assert found.pruned["right"][0, -1] == pytest.approx((answers == found.given.labels).mean())
    kept = np.zeros(20, dtype=bool)
    kept[low[: curves.count(0.5, 20)]] = True
    with torch.inference_mode():
        half = model[-1](torch.from_numpy(e * kept)).argmax(1).numpy()
    place = found.pruned["left"].tolist().index(0.5)
    np.testing.assert_array_equal(found.pruned["answers"][0, place], half)
    alike = curves.geometry_curve(e.astype(float), low, k=[curves.count(0.5, 20)]).r2[0]
    assert found.pruned["geometry"][0, place] == pytest.approx(alike, abs=1e-4)
    assert found.pruned["geometry"][0, -1] == pytest.approx(1)


def test_answers_with_some_units_set_to_0(folder):
    from rarefire import stimuli

    model = networks.build("nets.py:own")
    shown = given(folder).pictures(np.arange(6))
    images = stimuli.Stimuli("some", "all", shown, np.zeros(6, dtype=np.int64), ("",), "")
    kept = np.array([[True] * 20, [False] * 20])
    found = removal.answers(model, images, kept=kept)
    with torch.inference_mode():
        np.testing.assert_array_equal(found[0], model(torch.from_numpy(shown)).argmax(1))
    assert (found[1] == int(model[-1].bias.argmax())).all()
    np.testing.assert_array_equal(removal.answers(model, images), found[0])
    with pytest.raises(InputError, match=r"kept must say of each of the 20 units"):
        removal.answers(model, images, kept=np.ones(3, dtype=bool))


def test_people_are_tested_as_by_the_headline_test(folder):
    e, human = np.load("E.npy"), np.load("people.npy")
    names = tuple(map(str, range(N)))
    condensed = np.stack([rdm.condensed(one) for one in human])
    words = {"name": "p", "halves": None, "reliability": None, "images": None, "names": names}
    words |= {"citation": "", "licence": "", "source": "made up"}
    people = judgments.Judgments(human=condensed.mean(axis=0), subjects=condensed, **words)
    found = report.measure(report.Given("E", embedding=e, human=people), sections=["people"])
    arrays = found.people["E"]
    order = poz.order(poz.poz(e), first="low")
    for row, share in zip(arrays["tests_low"], report.SHARES, strict=True):
        test = inference.change_of_prediction(
            e, condensed, order, k=curves.count(share, 24), method="subjects-and-images"
        )
        np.testing.assert_allclose(row[:4], [test.estimate, test.low, test.high, test.p], atol=1e-8)
    ceiling = people.ceiling
    np.testing.assert_allclose(arrays["ceiling"], [ceiling.low, ceiling.high])


def test_an_embedding_alone_says_what_the_rest_needs(folder):
    done = run("--embedding", "E.npy", "--out", "page")
    assert done.exit_code == 0, done.stderr
    made = sections()
    missing = {name: section["finding"] for name, section in made.items() if section["missing"]}
    assert sorted(missing) == ["ghosts", "layers", "people", "pruning"]
    assert "--labels" in missing["ghosts"]
    assert "--human" in missing["people"]
    assert "--network" in missing["layers"]
    assert "--network" in missing["pruning"]
    assert "2 of them never fire for these 42 images" in made["histogram"]["finding"]
    assert "24 features of 42 images" in Path("page/index.html").read_text()
    poz_table = pd.read_csv("page/tables/poz.csv")
    np.testing.assert_allclose(poz_table["poz"], poz.poz(np.load("E.npy")), atol=1e-6)


def test_categories_of_images_come_from_a_text(folder):
    Path("labels.txt").write_text("\n".join("ab"[i % 2] for i in range(N)))
    done = run("--embedding", "E.npy", "--labels", "labels.txt", "--sections", "ghosts", "--out", "page")
    assert done.exit_code == 0, done.stderr
    table = pd.read_csv("page/tables/ghosts.csv")
    labels = np.array(["ab"[i % 2] for i in range(N)])
    expected = poz.ghosts(np.load("E.npy"), (labels == "b").astype(int)).sum(axis=1)
    assert table.set_index("category")["ghosts"].to_dict() == dict(zip("ab", expected, strict=True))
    # Each image its own category: too few images in each.
    Path("labels.txt").write_text("\n".join(map(str, range(N))))
    assert run("--embedding", "E.npy", "--labels", "labels.txt", "--out", "page").exit_code == 0
    assert "None of the 42 categories has 3 images" in sections()["ghosts"]["finding"]


def test_pictures_of_an_embedding_are_found_by_name(folder):
    names = sorted(path.relative_to("pictures").as_posix() for path in Path("pictures").rglob("*.png"))
    Path("E.names.txt").write_text("\n".join(names[::-1]))
    options = ["--embedding", "E.npy", "--size", "24", "--sections", "explorer,ghosts", "--out", "page"]
    done = run("pictures", *options)
    assert done.exit_code == 0, done.stderr
    assert "aligned by name" in done.stdout
    labels = np.array([name.split("/")[0] for name in names[::-1]])
    expected = poz.ghosts(np.load("E.npy"), np.unique(labels, return_inverse=True)[1]).sum(axis=1)
    assert pd.read_csv("page/tables/ghosts.csv")["ghosts"].tolist() == expected.tolist()


def test_of_a_network_without_categories(folder):
    flat = Path("flat")
    flat.mkdir()
    for path in Path("pictures").rglob("*.png"):
        path.rename(flat / path.name)
    layers = ["--layer", "1", "--layer", "penultimate", "--layer", "4"]
    done = run(
        "flat", *NETWORK[1:], *layers, "--sections", "histogram,ghosts,layers,pruning", "--out", "page"
    )
    assert done.exit_code == 0, done.stderr
    made = sections()
    assert "--labels" in made["ghosts"]["finding"]
    assert "answered as before" in made["pruning"]["finding"]
    assert "Accuracy is not shown: the network has 3 outputs" in Path("page/index.html").read_text()
    pairs = pd.read_csv("page/tables/layer_pairs.csv")
    assert [*dict.fromkeys(pairs["first"].astype(str))] == ["1", "penultimate"]  # in the order given
    assert set(pairs["sample"]) == {1, 2}
    assert pd.read_csv("page/tables/poz.csv")["apoz"].notna().any()  # before pooling


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            [*NETWORK, "--sections", "silence,curve"],
            "there is no section 'curve'. There are: curves, silence",
        ),
        (["pictures"], "a report is of a network (--network, with images) or of features (--embedding)"),
        (["--network", "nets.py:own"], "a network needs images"),
        (["nowhere", "--network", "nets.py:own"], "Nor is there a folder nowhere"),
        (["empty", "--network", "nets.py:own"], "empty and its folders hold no pictures"),
        (["--embedding", "E.npy", "--network", "nets.py:own"], "leave --network out"),
        ([*NETWORK, "--layer", "9"], "negative"),
        ([*NETWORK, "--layer", "nothing"], "there is no layer 'nothing'"),
        ([*NETWORK, "--array", "E"], "name one with --embedding"),
        (["--embedding", "E.npy", "--similarity"], "name one with --human"),
        (["--embedding", "E.npy", "--human", "few.npy"], "is of 5 images, and there are 42"),
        (["--embedding", "minus.npy"], "negative"),
    ],
)
def test_what_is_refused(folder, arguments, said):
    Path("empty").mkdir()
    np.save("few.npy", np.ones((5, 5)) - np.eye(5) + np.diag([0.5] * 4, 1) + np.diag([0.5] * 4, -1))
    np.save("minus.npy", np.load("E.npy") - 1)
    assert said in said_wrong(*arguments)


def test_what_does_not_fit_is_refused_in_python(rng):
    e = np.maximum(rng.normal(size=(6, 5)), 0)
    with pytest.raises(InputError, match="of a network or of an embedding"):
        report.Given("none")
    with pytest.raises(InputError, match="needs images"):
        report.Given("none", network=nn.Linear(3, 3))
    with pytest.raises(InputError, match="labels must be 6, one for each image; got 5"):
        report.Given("E", embedding=e, labels=np.zeros(5, dtype=int), categories=("a",))
    with pytest.raises(InputError, match="places among the 1 categories"):
        report.Given("E", embedding=e, labels=np.arange(6), categories=("a",))
    with pytest.raises(InputError, match="at least three images; got 2"):
        report.Given("E", embedding=e[:2])
    with pytest.raises(UnknownNameError, match="There are: ghosts"):
        report.check_sections(["ghost"])
    with pytest.raises(InputError, match="at least one section"):
        report.measure(report.Given("E", embedding=e), sections=[])


STOPPED = """
import sys
from rarefire import store
real, left = store.keep, [int(sys.argv.pop(1))]
def keep(*arguments):
    if not left[0]:
        print("stopped", flush=True)
        import time
        time.sleep(1000)
    left[0] -= 1
    return real(*arguments)
store.keep = keep
from rarefire.cli import run
run()
"""


def test_killed_it_goes_on_and_writes_the_same(folder):
    """At three points, one after the other: in the pass, between stages, and among pairs of layers."""
    arguments = [*NETWORK, "--sections", "silence,histogram,ghosts,dimension,layers,pruning"]
    done = run(*arguments, "--out", "whole")
    assert done.exit_code == 0, done.stderr
    environment = {**os.environ, "RAREFIRE_CACHE": str(folder / "second")}
    there = 0
    for after in (1, 4, 14):
        command = [sys.executable, "-c", STOPPED, str(after), "report", *arguments, "--out", "page"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        while "stopped" not in process.stdout.readline():
            assert process.poll() is None, "it ended before that"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        there += after
        assert not Path("page").exists()
        assert len(list((folder / "second" / "results").glob("*.npz"))) == there
    os.environ["RAREFIRE_CACHE"] = str(folder / "second")
    assert run(*arguments, "--out", "page").exit_code == 0
    first, second = (stamp(place)["files"] for place in ("whole", "page"))
    assert first == second


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_is_alive(folder, tab, width, scheme):
    done = run(*NETWORK, "--human", "people.npy", "--by-position", "--out", "page")
    assert done.exit_code == 0, done.stderr
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    tab.goto(Path("page/index.html").absolute().as_uri())
    figures = tab.locator("[data-widget]")
    assert figures.count() == 4
    tab.wait_for_function("document.querySelectorAll('[data-widget][data-ready]').length === 4")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme
    tab.locator(".rf-threshold input[type=range]").fill("100")
    tab.wait_for_function("document.querySelector('.rf-threshold .rf-r2').innerText.startsWith('0 of 20')")
    kept = tab.locator(".rf-explorer input[type=range]")
    before = tab.locator(".rf-explorer .rf-result").inner_text()
    kept.fill(kept.get_attribute("min"))
    tab.wait_for_function(
        "before => document.querySelector('.rf-explorer .rf-result').innerText !== before", arg=before
    )
    for link in tab.locator('a[href^="tables/"]').all():
        assert Path("page", link.get_attribute("href")).is_file()
