"""The README's picture, taken anew: the explorer of the built landing page, at 40 % of the features.

``make picture`` builds the book and writes ``data/landing.png``. What the page said when it was taken stands
in the file, where a test reads it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

from PIL import Image, PngImagePlugin

ROOT = Path(__file__).resolve().parents[1]
SHARE, MARGIN = 0.4, 12
FINDING = "Description"  # the name of the text in the file


def said() -> dict[str, str]:
    """What the page said in the picture that stands."""
    with Image.open(ROOT / "data" / "landing.png") as picture:
        return json.loads(picture.text[FINDING])


def main(page: Path = ROOT / "_build" / "html" / "index.html") -> None:
    """Take it."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("RAREFIRE_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 740, "height": 1200}, device_scale_factor=1.5)
        tab.goto(page.as_uri())
        explorer = tab.locator("#figure-landing .rf-explorer")
        slider = explorer.locator("input[type=range]").first
        slider.wait_for()
        slider.evaluate(
            """(slider, share) => {
                slider.value = Math.round(share * slider.max);
                slider.dispatchEvent(new Event("input", { bubbles: true }));
            }""",
            SHARE,
        )
        tab.evaluate("new Promise(requestAnimationFrame)")
        result = explorer.locator(".rf-result").inner_text()
        images = explorer.get_by_role("combobox", name="Images").evaluate("e => e.selectedOptions[0].text")
        box = explorer.bounding_box()
        clip = {"x": box["x"] - MARGIN, "width": box["width"] + 2 * MARGIN}
        clip |= {"y": box["y"] - MARGIN, "height": box["height"] + 2 * MARGIN}
        taken = Image.open(io.BytesIO(tab.screenshot(clip=clip, full_page=True))).convert("RGB")
        browser.close()
    about = PngImagePlugin.PngInfo()
    about.add_text(FINDING, json.dumps({"images": images, "result": " ".join(result.split())}))
    target = ROOT / "data" / "landing.png"
    few = taken.quantize(160, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(target, optimize=True, pnginfo=about)
    print(f"{target}: {said()}")


if __name__ == "__main__":
    sys.exit(main())
