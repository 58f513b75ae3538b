"""The explorer in a running JupyterLab: a real server, a real kernel, a real browser."""

import os
import socket
import subprocess
import sys
import urllib.request

import nbformat
import numpy as np
import pytest
from conftest import PATIENCE, wait_until

from rarefire import curves, poz

pytestmark = pytest.mark.browser

MAKE = """
import numpy as np, ipywidgets
from pathlib import Path
from rarefire.page.explorer import Explorer, Scene
embedding = np.load("E.npy")
explorer = Explorer([Scene("made up", "features", embedding)], fraction=0.5, caption="The caption.")
explorer.observe(lambda c: Path("seen.txt").write_text(f"{explorer.fraction} {explorer.order} {explorer.r2}"))
slider = ipywidgets.FloatSlider(value=0.5, min=0, max=1, step=0.01, description="stock slider")
link = ipywidgets.jslink((slider, "value"), (explorer, "fraction"))
ipywidgets.VBox([slider, explorer])
"""


@pytest.fixture
def lab(tmp_path, rng):
    """JupyterLab on a folder with one notebook; its address."""
    np.save(tmp_path / "E.npy", np.maximum(rng.normal(size=(60, 40)) - np.linspace(-1, 1.5, 40), 0))
    another = "Explorer([Scene('made up', 'features', embedding)], name='another')"
    sources = (MAKE, "explorer.fraction = 0.25", another)
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "explore.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "RUNTIME")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--port-retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path}"]
    command += [
        "--LabApp.extension_manager=readonly",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=",
    ]
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{address}/api"), alive=lambda: server.poll() is None)
        yield address
    finally:
        server.terminate()
        server.wait(PATIENCE)


def answers(address):
    try:
        urllib.request.urlopen(address, timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def seen(folder, wanted):
    """What Python wrote last, once it begins with `wanted`."""
    file = folder / "seen.txt"

    def written():
        text = file.read_text() if file.exists() else ""
        return text.split() if text.startswith(wanted) else None

    return wait_until(written)


def test_slider_and_python_move_each_other(lab, browser, tmp_path):
    tab = browser.new_page(viewport={"width": 1400, "height": 1500})
    asked = []
    tab.on("request", lambda r: asked.append(r.url))
    tab.goto(f"{lab}/lab/tree/explore.ipynb?reset")
    tab.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    tab.get_by_text("(ipykernel) | Idle").wait_for()
    tab.locator(".jp-Notebook .jp-CodeCell").first.locator(".jp-InputArea-editor").click()
    tab.keyboard.press("Shift+Enter")
    explorer = tab.locator(".rf-explorer").first
    explorer.wait_for()
    handle, label = explorer.locator("input[type=range]"), explorer.locator(".rf-slider output")
    assert label.inner_text().startswith("20 of 40")
    assert explorer.get_by_text("The caption.").is_visible()

    # The mouse, and what Python says of it.
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] / 2, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.8 * box["width"], middle, steps=6)
    tab.mouse.up()
    k = int(handle.input_value())
    assert 29 < k < 35
    fraction, _, r2 = seen(tmp_path, str(k / 40))
    tab.evaluate("new Promise(requestAnimationFrame)")
    shown = float(explorer.locator(".rf-r2").get_attribute("data-r"))
    embedding = np.load(tmp_path / "E.npy")
    curve = curves.geometry_curve(embedding, poz.order(poz.poz(embedding)))
    assert float(fraction) == k / 40
    assert float(r2) == pytest.approx(curve.r2[k - 1], abs=1e-12)
    assert shown**2 == pytest.approx(curve.r2[k - 1], abs=1e-3)

    # The keyboard, which JupyterLab would take for itself.
    handle.focus()
    tab.keyboard.press("ArrowLeft")
    seen(tmp_path, str((k - 1) / 40))
    explorer.get_by_role("radio", name="high→low PoZ").check()
    assert seen(tmp_path, f"{(k - 1) / 40} high")

    # A stock slider, linked in the browser.
    stock = tab.locator(".widget-slider .noUi-target").bounding_box()
    tab.mouse.click(stock["x"] + 0.1 * stock["width"], stock["y"] + stock["height"] / 2)
    explorer.locator(".rf-slider output", has_text="4 of 40").wait_for()

    # Python sets it.
    tab.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".jp-InputArea-editor").click()
    tab.keyboard.press("Shift+Enter")
    explorer.locator(".rf-slider output", has_text="10 of 40").wait_for()
    # Another one beside it takes nothing away from the first.
    tab.keyboard.press("Shift+Enter")
    tab.locator(".rf-explorer").nth(1).wait_for()
    for i in range(2):
        assert tab.locator(".rf-explorer").nth(i).locator("input[type=radio]:checked").count() == 4
    assert [url for url in asked if not url.startswith((lab, "data:", "blob:"))] == []
    tab.close()
