"""The command line: what it prints, and that errors are one readable message."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from rarefire import store, studies, training

PROGRAM = Path(sys.executable).with_name("rarefire")


def run(*arguments, **options):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, **options)


def test_help_lists_the_commands():
    done = run("--help")
    assert done.returncode == 0
    assert re.search(r"study .*Train and measure", done.stdout)
    assert re.search(r"book .*Execute the chapters", done.stdout)


def test_study_of_a_folder_of_real_digits(own_cache, tmp_path):
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for c in range(3):
        for i in np.flatnonzero(digits.target == c)[:40]:
            path = tmp_path / "digits" / str(c) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[i] * 15).astype("uint8")).resize((32, 32)).save(path)
    done = run(
        "study", f"folder:{tmp_path / 'digits'}", "--instances", "1", "--ship", str(tmp_path / "out.npz")
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"1 instances, 1 computed now", done.stdout)
    assert float(re.search(r"median ([\d.]+)%", done.stdout)[1]) > 90
    arrays, stamp = store._read(tmp_path / "out.npz")
    assert arrays["poz_test"].shape == (1, 84)
    assert stamp["facts"][0]["seed"] == 0
    assert stamp["versions"]["torch"]


def test_errors_are_one_message_and_no_traceback(own_cache, tmp_path):
    for arguments, message in [
        (("study", "minst"), "no image set 'minst'. There are: mnist"),
        (("study", "digits", "--network", "lenet6"), "no network 'lenet6'"),
        (("book", str(tmp_path)), "holds no _toc.yml"),
    ]:
        done = run(*arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr + done.stdout


def test_ship_writes_what_find_finds(own_cache, tmp_path, monkeypatch):
    recipe = training.Recipe(batch_size=64, max_epochs=1)
    monkeypatch.setitem(training.RECIPES, "digits", recipe)
    studies._ensemble_facts.cache_clear()
    study = studies.run("digits", seeds=[4, 5], progress=False)
    studies.ship(study, tmp_path / "data" / "results" / "digits.npz")
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "none"))
    found = studies.find("digits", seeds=range(10))
    assert found.seeds == (4, 5)
    assert found.sources == {"shipped": 2}
    np.testing.assert_allclose(found["low"], study["low"], atol=1e-7)
    studies._ensemble_facts.cache_clear()
