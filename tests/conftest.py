"""Shared by all tests: a cache of their own, and a browser."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import socket
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Seconds. Nothing takes so long that does not hang: a busy machine is slow, not wrong.
PATIENCE = 600


def wait_until(moment: Callable[[], Any], *, alive: Callable[[], bool] = lambda: True) -> Any:
    """Wait until something is so, for as long as that lives which is to bring it about."""
    deadline = time.monotonic() + PATIENCE
    while not (found := moment()):
        assert alive(), "it ended before that"
        assert time.monotonic() < deadline, f"not within {PATIENCE} seconds"
        time.sleep(0.001)
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20231)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no mirror."""
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAREFIRE_MIRROR", "")
    return tmp_path / "cache"


@pytest.fixture
def in_time() -> Iterator[None]:
    """What waits for ever fails, and does not hold up the other tests."""

    def stop(*_: Any) -> None:
        pytest.fail("it waits for something that does not come")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def no_file() -> Iterator[Callable[[Path, str], Any]]:
    """Makes a folder, pipe, socket or device of one's own; of a device it returns the other end."""
    with contextlib.ExitStack() as opened:

        def make(path: Path, kind: str) -> Any:
            if kind == "folder":
                path.mkdir()
            elif kind == "pipe":
                os.mkfifo(path)
            elif kind == "socket":
                with contextlib.chdir(path.parent):  # the whole name may be too long for a socket
                    opened.enter_context(socket.socket(socket.AF_UNIX)).bind(path.name)
            else:  # a terminal is a device that needs no rights to make
                master, slave = (opened.enter_context(os.fdopen(end, "rb", 0)) for end in pty.openpty())
                tty.setraw(slave)
                path.symlink_to(os.ttyname(slave.fileno()))
                return master
            return None

        yield make


@pytest.fixture
def embedding(rng: np.random.Generator) -> np.ndarray:
    """Post-ReLU features of 40 images: some active, some rare, two dead."""
    thresholds = np.concatenate([rng.uniform(-1, 2.0, 22), [50.0, 50.0]])
    shared = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 24))
    return np.maximum(shared + rng.normal(size=(40, 24)) - thresholds, 0)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The local mirror of real data sets; tests that need it are skipped where there is none."""
    named = os.environ.get("RAREFIRE_MIRROR")
    if not named:
        pytest.skip("set RAREFIRE_MIRROR to a folder with the real data sets to run this")
    return Path(named)


@pytest.fixture(scope="session")
def objects(mirror: Path) -> tuple[Any, Any, list[Any]]:
    """Mur et al. (2013): 92 photographs and what 16 people say; the real SqueezeNet; its views."""
    from rarefire import embeddings, judgments, networks

    given = judgments.load("mur", size=227)
    weights = networks.local_weights("squeezenet1_0")
    assert weights is not None, f"no weights/squeezenet1_0.pth in {mirror}"
    network = networks.build("squeezenet1_0", input_shape=(3, 227, 227), weights=weights)
    return given, network, embeddings.views(network, given.images, layer="features")


@pytest.fixture(scope="session")
def mur(objects: tuple[Any, Any, list[Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Pooled SqueezeNet features of the 92 images, and 16 people's condensed RDMs."""
    given, _, (pooled, *_) = objects
    return pooled.embedding, given.subjects


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A real Chromium, the machine's own or Playwright's."""
    from playwright.sync_api import Error, sync_playwright

    found = os.environ.get("RAREFIRE_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(
                executable_path=found, args=["--no-sandbox", "--disable-gpu"], timeout=1000 * PATIENCE
            )
        except Error as error:
            if os.environ.get("RAREFIRE_REQUIRE_BROWSER"):
                raise
            pytest.skip(f"no browser: install chromium, or run `playwright install chromium` ({error})")
        for make in ("new_context", "new_page"):
            setattr(started, make, patient(getattr(started, make)))
        yield started
        started.close()


def patient(make: Callable[..., Any]) -> Callable[..., Any]:
    """Contexts and pages that wait for as long as it takes."""

    def made(**options: Any) -> Any:
        found = make(**options)
        found.set_default_timeout(1000 * PATIENCE)
        return found

    return made


@pytest.fixture(scope="session")
def trained() -> tuple[Any, Any]:
    """A LeNet-5 trained on real digits for four epochs, and 150 test images.

    Training amplifies rounding, so every processor would test another network: this one was trained once
    (seed 0, ``Recipe(batch_size=64, max_epochs=4)``), and its weights are kept in half precision.
    """
    from rarefire import networks, stimuli

    test, weights = stimuli.load("digits", "test"), ROOT / "tests" / "lenet5-digits.pth"
    options = {"input_shape": test.input_shape, "n_classes": 10, "mean": test.mean, "std": test.std}
    return networks.build("lenet5", weights=weights, **options), test.subset(np.arange(150))


@pytest.fixture
def static_page(tmp_path: Path) -> Callable[..., str]:
    """Widgets saved as a page of their own; its address on the disk."""
    from rarefire.page import widgets

    def write(*shown: Any) -> str:
        widgets.save(tmp_path / "page.html", *shown, title="A <page>")
        return (tmp_path / "page.html").as_uri()

    return write


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab that tolerates no error and no request to another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, has_touch=True)
    tab = context.new_page()
    trouble: list[str] = []
    tab.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda e: trouble.append(str(e)))
    local = ("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:")
    tab.on("request", lambda r: None if r.url.startswith(local) else trouble.append(f"asks {r.url}"))
    yield tab
    context.close()
    assert trouble == []
