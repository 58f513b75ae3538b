"""Standard output and error of the program: any encoding, nobody who reads, no room, closed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rarefire.cli import streams

PROGRAM = Path(sys.executable).with_name("rarefire")
CURVE = ["curve", "E.npy", "--out", "c.csv"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An embedding in the current folder."""
    monkeypatch.chdir(tmp_path)
    np.save("E.npy", np.maximum(np.random.default_rng(0).normal(size=(20, 12)), 0))


def shell(line, *arguments, **environment):
    """What a shell says of a line in which the program is "$@"."""
    command = ["bash", "-c", line, "bash", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, env=os.environ | environment)


def whole():
    """Whether the curve is there, whole."""
    return pd.read_csv("c.csv").k.tolist() == list(range(1, 13))


@pytest.mark.parametrize(
    ("encoding", "environment"),
    [
        ("ascii", {"PYTHONIOENCODING": "ascii"}),
        ("ascii", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
        ("latin-1", {"PYTHONIOENCODING": "latin-1"}),
        ("utf-8", {"PYTHONIOENCODING": "utf-8"}),
    ],
)
def test_a_terminal_shows_what_it_can(encoding, environment):
    done = shell('"$@"', *CURVE, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert whole()
    said = {
        "ascii": "20 images x 12 features, low->high PoZ",
        "latin-1": "20 images × 12 features, low->high PoZ",
        "utf-8": "20 images × 12 features, low→high PoZ",
    }
    lines = done.stdout.decode(encoding).splitlines()
    assert lines[0].startswith(said[encoding])
    assert lines[1].startswith("R2 of" if encoding == "ascii" else "R² of")


def test_errors_are_as_readable():
    done = shell('"$@"', "poz", "Bär…×.npy", "--out", "p.csv", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (1, b"rarefire: there is no file Bar...x.npy.\n")


@pytest.mark.parametrize(
    ("sign", "plain"),
    [
        *(("R²", "R2"), ("3 × 4", "3 x 4"), ("1–2", "1-2"), ("…", "..."), ("−1", "-1"), ("≤", "<=")),
        *(("±", "+/-"), ("a\udcffb", "a\\xffb"), ("√", "?"), ("ﬁ", "fi"), ("“é”", '"e"'), ("語", "?")),
    ],
)
def test_signs_in_plain_ones(sign, plain):
    streams.codecs.register_error("rarefire-plain", streams._plain)
    assert sign.encode("ascii", "rarefire-plain").decode() == plain


def test_names_that_are_no_utf8():
    os.rename("E.npy", b"E\xff.npy")
    done = shell('"$@"', "curve", b"E\xff.npy", "--out", b"c\xff.csv")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"Written: c\\xff.csv\n")
    assert os.path.getsize(b"c\xff.csv")
    done = shell('"$@"', "poz", b"F\xff.npy", "--out", "p.csv")
    assert (done.returncode, done.stderr) == (1, b"rarefire: there is no file F\\xff.npy.\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nobody_reads(unbuffered):
    """The files are written all the same, and nothing is said of it."""
    done = shell('set -o pipefail; "$@" | true', *CURVE, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (141, b"")
    assert whole()
    done = shell(
        'set -o pipefail; "$@" | true', "poz", "nothing.npy", "--out", "p.csv", PYTHONUNBUFFERED=unbuffered
    )
    assert (done.returncode, done.stderr) == (1, b"rarefire: there is no file nothing.npy.\n")
    done = shell('set -o pipefail; "$@" | true', "--help", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (141, b"")


def test_nobody_reads_a_table():
    done = shell('set -o pipefail; "$@" | true', "poz", "E.npy", "--out", "/dev/stdout")
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [CURVE, ["--help"], ["record", "--help"], ["--version"]])
def test_no_room_for_what_is_said(arguments, unbuffered):
    done = shell('"$@" > /dev/full', *arguments, PYTHONUNBUFFERED=unbuffered)
    said = b"could not write to standard output: No space left on device. The command itself is done."
    assert (done.returncode, done.stderr) == (1, b"rarefire: " + said + b"\n")
    assert arguments != CURVE or whole()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_no_room_for_what_went_wrong():
    done = shell('"$@" 2> /dev/full', *CURVE)
    assert (done.returncode, done.stderr) == (0, b"")
    done = shell('"$@" > /dev/full', "poz", "nothing.npy", "--out", "p.csv")
    assert (done.returncode, done.stderr) == (1, b"rarefire: there is no file nothing.npy.\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed(closed):
    done = shell(f'"$@" {closed}', *CURVE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert whole()
    assert shell(f'"$@" {closed}', "--help").returncode == 0


def test_closed_is_no_file_to_write():
    before = Path("E.npy").read_bytes()
    done = shell('"$@" >&-', "poz", "E.npy", "--out", "/dev/stdout")
    expected = b"rarefire: could not write /dev/stdout: Bad file descriptor.\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert Path("E.npy").read_bytes() == before


def test_bars_in_plain_signs():
    """A bar of progress, as a terminal in ASCII shows it."""
    code = (
        "from rarefire.cli import streams; streams.prepare(); from tqdm import tqdm; "
        "list(tqdm(range(3), desc='1…3 × 4'))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"1...3 x 4: 100%" in done.stderr
    assert b"#" in done.stderr
