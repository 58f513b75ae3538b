"""``rarefire people`` and ``rarefire rdm``, of one's own tables: what is read as what, said, and kept."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rarefire import cli, ratings, rdm, records

N, F = 26, 12
NAMES = [f"item{i + 1}" for i in range(N)]  # item10 comes after item9


def run(*arguments):
    return CliRunner().invoke(cli.app, [*map(str, arguments)])


@pytest.fixture
def world(own_cache, tmp_path, monkeypatch):
    """An embedding, and five people who see its geometry and use the scale differently; few random orders."""
    for what, few in (("ORDERS", 9), ("BAND", 3), ("RIDGE_SHARES", (0.5, 1.0))):
        monkeypatch.setattr(records.people, what, few)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(8)
    features = np.maximum(rng.normal(size=(N, F)) - np.linspace(-1, 1, F), 0) + 0.01 * (np.arange(F) == 0)
    features[:, 0] += rng.random(N)
    features = features.astype(np.float32)
    np.save("E.npy", features)
    (tmp_path / "E.names.txt").write_text("".join(f"{name}.png\n" for name in NAMES))
    distances = rdm.square(rdm.rdm(features))
    rows = [
        (f"p{s}", NAMES[i], NAMES[j], round(shift + gain * distances[i, j] + rng.normal(0, 0.05 * gain), 2))
        for s, (gain, shift) in enumerate(((8, 1), (2, 7), (8, 1), (2, 1), (1, 5)))
        for i, j in itertools.combinations(range(N), 2)
    ]
    pd.DataFrame(rows, columns=["sub", "image1", "image2", "rating"]).to_csv("ratings.csv", index=False)
    return distances


def trials(distances, total, *, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for t in range(total):
        a, b, c = rng.choice(N, 3, replace=False)
        odd = int(np.argmin([distances[b, c], distances[a, c], distances[a, b]]))
        rows.append((f"p{t % 3}", NAMES[a], NAMES[b], NAMES[c], odd + 1, rng.integers(300, 900)))
    return pd.DataFrame(rows, columns=["subject", "image1", "image2", "image3", "response", "rt"])


def test_an_embedding_in_place_of_a_network(world):
    done = run("people", "ratings.csv", "--embedding", "E.npy", "--out", "o.csv", "--plot", "o.svg")
    assert done.exit_code == 0, done.output
    said = "read as ratings: image1 is 'image1', image2 is 'image2', rating is 'rating', subject is 'sub'."
    assert said in done.stdout
    assert "Images and judgments: aligned by name, whatever the extension." in done.stdout
    for words in (*records.people.VERDICTS.values(), *records.people.CURVES.values()):
        assert words in done.stdout
    curves = pd.read_csv("o.csv")
    assert curves.k.tolist() == list(range(1, F + 1))
    given = ratings.read("ratings.csv")
    (found,) = records.people.measure_embedding(given, np.load("E.npy"), name="E.npy", progress=False)
    np.testing.assert_allclose(curves.low, found["low"])
    own = rdm.rdm(np.load("E.npy"))
    assert curves.low.iloc[-1] == pytest.approx(np.corrcoef(own, given.human)[0, 1])
    assert curves.low.iloc[-1] > 0.95
    drawn = Path("o.svg").read_text(encoding="utf-8")
    for said in ("features kept (%)", "r with people (−1 to 1)", "random orders (5–95 %)"):
        assert said in drawn


def test_rows_in_another_order_are_found_by_name(world, tmp_path):
    before = run("people", "ratings.csv", "--embedding", "E.npy", "--out", "o.csv")
    order = np.random.default_rng(1).permutation(N)
    np.save("P.npy", np.load("E.npy")[order])
    (tmp_path / "P.names.txt").write_text("".join(f"{NAMES[i]}.jpg\n" for i in order))
    after = run("people", "ratings.csv", "--embedding", "P.npy", "--out", "p.csv")
    assert (before.exit_code, after.exit_code) == (0, 0), after.output
    pd.testing.assert_frame_equal(pd.read_csv("o.csv"), pd.read_csv("p.csv"))
    (tmp_path / "P.names.txt").unlink()
    refused = run("people", "ratings.csv", "--embedding", "P.npy")
    assert refused.exit_code == 1
    assert "ratings.csv names its images, P.npy does not" in refused.stderr
    forced = run("people", "ratings.csv", "--embedding", "P.npy", "--by-position", "--out", "f.csv")
    assert "Images and judgments: by position, as asked for." in forced.stdout
    assert pd.read_csv("f.csv").low.iloc[-1] < 0.5


@pytest.mark.parametrize("name", ["Participant Private ID", "ppt", "pid", "user", "PROLIFIC_PID"])
def test_people_under_other_names_give_the_same(world, name):
    assert run("rdm", "ratings.csv", "--out", "a.npy").exit_code == 0
    pd.read_csv("ratings.csv").rename(columns={"sub": name}).to_csv("other.csv", index=False)
    done = run("rdm", "other.csv", "--out", "b.npy")
    assert f"subject is {name!r}" in done.stdout
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))


def test_an_rdm_of_ratings(world, tmp_path):
    done = run("rdm", "ratings.csv", "--out", "people.npy")
    assert done.exit_code == 0, done.output
    assert (
        "in standard deviations from that person's mean. 0 of 325 pairs were judged by nobody." in done.stdout
    )
    assert (tmp_path / "people.names.txt").read_text().split() == NAMES
    np.testing.assert_array_equal(rdm.read("people.npy"), ratings.read("ratings.csv").human)
    assert np.corrcoef(rdm.read("people.npy"), rdm.condensed(world))[0, 1] > 0.95
    assert run("rdm", "ratings.csv", "--out", "people.csv").exit_code == 0
    values, above, before = rdm.read_named("people.csv")
    assert above == before == NAMES
    np.testing.assert_allclose(values, rdm.read("people.npy"))
    trials(world, 3000).to_csv("trials.csv", index=False)
    done = run("rdm", "trials.csv", "--out", "t.npy")
    assert "read as odd-one-out: image1 is 'image1'" in done.stdout
    assert "not used: 'rt'" in done.stdout
    assert np.corrcoef(rdm.read("t.npy"), rdm.condensed(world))[0, 1] > 0.7


def test_trials_are_read_as_what_they_are(world):
    trials(world, 3000).to_csv("trials.csv", index=False)
    done = run("people", "trials.csv", "--embedding", "E.npy", "--out", "o.csv")
    assert done.exit_code == 0, done.output
    assert "all subjects counted together" in done.stdout
    agreed = pd.read_csv("o-agreement.csv")
    whole = agreed[agreed.k == F]
    assert (whole["agreement"] == 1).all()  # they answer by its geometry
    assert (whole["odd one out"] == 1).all()
    assert (agreed[agreed.k < F]["odd one out"].dropna() < 1).all()
    assert pd.read_csv("o.csv").low.iloc[-1] > 0.7
    # Too few for an RDM: agreement alone, and why.
    trials(world, 60).to_csv("few.csv", index=False)
    done = run("people", "few.csv", "--embedding", "E.npy", "--out", "few-o.csv", "--by-position")
    assert done.exit_code == 0, done.output
    assert "No curves: " in done.stdout
    assert "pairs of images were never shown together in the 60 odd-one-out trials" in done.stdout
    assert (pd.read_csv("few-o.csv").query(f"k == {F}")["odd one out"] == 1).all()
    assert run("people", "few.csv", "--embedding", "E.npy", "--plot", "p.png").exit_code == 1


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            lambda t: t.rename(columns={"sub": "code"}),
            [],
            "1,300 of 1,625 ratings in r.csv repeat a pair, and 'code', not used, would tell the repeats",
        ),
        (
            lambda t: t.assign(image3="item1"),
            [],
            "has a third column of images, 'image3', and none that says",
        ),
        (
            lambda t: t.rename(columns={"rating": "mark"}),
            [],
            "not understood: found 'sub', 'image1', 'image2', 'mark'",
        ),
        (lambda t: t.assign(user=t["image1"]), [], "several columns for the subject: 'sub' and 'user'"),
        (lambda t: t, ["--subject", "who"], "subject names one column of r.csv; it has 0 called 'who'"),
        (lambda t: t, ["--rating", "mark"], "rating names one column of r.csv; it has 0 called 'mark'"),
    ],
)
def test_what_is_not_certain_is_asked_for(world, tmp_path, change, arguments, message):
    change(pd.read_csv("ratings.csv")).to_csv("r.csv", index=False)
    for command in (["rdm", "r.csv", "--out", "x.npy"], ["people", "r.csv", "--embedding", "E.npy"]):
        done = run(*command, *arguments)
        assert done.exit_code == 1
        assert message in done.stderr
        assert "Traceback" not in done.output
    assert not (tmp_path / "x.npy").exists()


def test_columns_that_are_named(world):
    assert run("rdm", "ratings.csv", "--out", "a.npy").exit_code == 0
    table = pd.read_csv("ratings.csv").rename(columns={"sub": "code", "rating": "mark"})
    table.to_csv("r.csv", index=False)
    done = run("rdm", "r.csv", "--subject", "code", "--rating", "mark", "--out", "b.npy")
    assert "rating is 'mark', subject is 'code'" in done.stdout
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))
    pooled = run("rdm", "r.csv", "--subject", "none", "--rating", "mark", "--out", "c.npy")
    assert "no column of subjects; not used: 'code'" in pooled.stdout
    expected = table.groupby(["image1", "image2"])["mark"].mean()
    assert np.load("c.npy")[0, 1] == pytest.approx(expected["item1", "item2"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["people", "ratings.csv", "--embedding", "E.npy", "--weights", "w.pth"],
            "--embedding stands for a network",
        ),
        (["people", "ratings.csv", "--embedding", "E.npy", "--out", "E.npy"], "E.npy is named twice"),
        (["people", "ratings.csv", "--embedding", "E.npy", "--plot", "o.pdf"], "--plot writes .png or .svg"),
        (
            ["people", "ratings.csv", "--embedding", "S.npy"],
            "S.npy has 3 images; the judgments are of 26, and need a row of features for each",
        ),
        (["people", "ratings.csv", "--embedding", "none.npy"], "there is no file none.npy"),
        (
            ["people", "mur", "--embedding", "E.npy", "--subject", "a"],
            "are for a file of ratings; mur has its own",
        ),
        (
            ["people", "ratings.csv"],
            "a network needs the images that were judged: name their folder (--images",
        ),
        (["rdm", "ratings.csv", "--out", "x.txt"], "--out is a .npy or .csv file; got 'x.txt'"),
        (["rdm", "x.names.txt", "--out", "x.npy"], "x.names.txt is named twice"),
    ],
)
def test_errors(world, arguments, message):
    np.save("S.npy", np.load("E.npy")[:3])
    done = run(*arguments)
    assert done.exit_code == 1
    assert message in done.stderr


STOPPED = """
import os, signal, sys
from rarefire import cli, records, store
people = records.people
people.ORDERS, people.BAND, people.RIDGE_SHARES = 9, 3, (0.5, 1.0)
steps, keep, done = int(sys.argv.pop(1)), store.keep, []
def counted(question, *given):
    if question == "prediction-step":
        done.append(given[0]["step"])
        if len(done) > steps > 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return keep(question, *given)
store.keep = counted
try:
    cli.app(standalone_mode=False)
finally:
    print("steps:", len(done), file=sys.stderr)
"""


def test_a_stopped_run_goes_on_with_what_it_has(world, tmp_path):
    """Killed after nine steps: the rest is done, and all is the same."""

    def people(steps, out, cache):
        command = [sys.executable, "-c", STOPPED, str(steps), "people", "ratings.csv", "--embedding", "E.npy"]
        environment = {**os.environ, "RAREFIRE_CACHE": str(tmp_path / cache), "OMP_NUM_THREADS": "1"}
        return subprocess.run([*command, "--out", out], capture_output=True, text=True, env=environment)

    whole = people(0, "whole.csv", "one")
    assert whole.returncode == 0, whole.stderr
    total = int(whole.stderr.rsplit("steps:", 1)[1])
    stopped = people(9, "again.csv", "other")
    assert stopped.returncode == -signal.SIGKILL
    assert not (tmp_path / "again.csv").exists()
    last = people(0, "again.csv", "other")
    assert last.returncode == 0, last.stderr
    assert int(last.stderr.rsplit("steps:", 1)[1]) == total - 9 == 11
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert last.stdout.replace("again.csv", "whole.csv") == whole.stdout
    kept = [[*(tmp_path / cache / "results").glob("*.npz")] for cache in ("one", "other")]
    assert [len(files) for files in kept] == [1, 1]  # the steps are not kept beside the whole
    one, other = (np.load(files[0]) for files in kept)
    for name in set(one.files) - {"provenance"}:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
