"""Pictures of pages against goldens. What is compared is a quarter of the size, so that how letters are drawn doesn't
matter and where things are does. POIREAU_RECORD_GOLDENS=1 (scripts/record-goldens) writes what there is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tests.browser.browsers import Page

GOLDENS = Path(__file__).with_name("goldens")
RECORD = os.environ.get("POIREAU_RECORD_GOLDENS", "0") not in ("", "0")
SMALLER = 4
APART = 20  # of 255, in any channel
SHARE = 0.01  # of all points that may be so far apart


def looks_as_before(page: Page, name: str, directory: Path) -> None:
    """`directory`: where the whole picture is left."""
    whole = page.screenshot(directory / f"{name}.png")
    seen, golden = _small(whole), GOLDENS / f"{name}.png"
    if RECORD:
        GOLDENS.mkdir(exist_ok=True)
        seen.save(golden, optimize=True)
        return
    assert golden.is_file(), f"{golden} is missing: scripts/record-goldens, and look at it"
    before = Image.open(golden).convert("RGB")
    assert before.size == seen.size, (golden, before.size, seen.size)
    apart = np.abs(np.asarray(before, np.int16) - np.asarray(seen, np.int16)).max(axis=2) > APART
    share = float(apart.mean())
    if share > SHARE:
        kept = directory / f"{name}-apart.png"
        Image.fromarray((apart * 255).astype(np.uint8)).resize((4 * seen.width, 4 * seen.height)).save(kept)
        raise AssertionError(f"{share:.1%} of {whole} is not as {golden.name}; {kept} shows where")


def _small(path: Path) -> Image.Image:
    whole = Image.open(path).convert("RGB").filter(ImageFilter.BoxBlur(SMALLER / 2))
    return whole.resize((whole.width // SMALLER, whole.height // SMALLER), Image.Resampling.BOX)


def of_colour(path: Path, wanted: tuple[int, int, int], apart: int = 6) -> float:
    """The share of its points that have this colour."""
    points = np.asarray(Image.open(path).convert("RGB"), np.int16)
    return float((np.abs(points - np.array(wanted, np.int16)).max(axis=2) <= apart).mean())
