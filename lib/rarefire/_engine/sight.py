"""A picture file as a person sees it: upright, on a ground, in 8 bits of red, green and blue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from rarefire.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["as_seen", "changes", "check_background", "described"]

_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF
#: What can be done to a picture, and how a warning says so.
_SAID = {
    "turned": "turned upright (EXIF)",
    "transparent": "transparent, laid on {background}",
    "deep": "of more than 8 bits, scaled to 8",
    "print": "in the colours of print (CMYK), turned into RGB without their profile",
    "frames": "of several frames, of which the first is taken",
}


def check_background(background: str) -> tuple[int, int, int]:
    """A colour by name or number, as red, green and blue from 0 to 255."""
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(background)[:3]
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            f"background is a colour such as white, grey or #808080; got {background!r}."
        ) from None


def changes(image: Image.Image) -> tuple[str, ...]:
    """What has to be done to an opened picture; nothing for one of plain red, green and blue, or grey."""
    found = {
        "turned": image.getexif().get(_ORIENTATION, 1) in range(2, 9),
        "transparent": _is_transparent(image),
        "deep": image.mode in _DEEP,
        "print": image.mode == "CMYK",
        # The second frame of a camera's MPO is for another eye, or a map of depth.
        "frames": getattr(image, "n_frames", 1) > 1 and image.format != "MPO",
    }
    return tuple(kind for kind, so in found.items() if so)


def as_seen(image: Image.Image, *, background: str) -> Image.Image:
    """An opened picture, upright and in RGB; where it is transparent, on a ground of a colour.

    Raises
    ------
    ValueError
        If it is not known which of its values is white.
    """
    from PIL import Image, ImageOps

    transparent = _is_transparent(image)
    kind, tags = image.format, dict(getattr(image, "tag_v2", {}))  # a turned copy has none
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        image = _in_eight_bits(image, kind, tags)
    if not transparent:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, check_background(background))
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def described(kinds: Iterable[tuple[str, ...]], *, background: str) -> str:
    """How many of the pictures were changed, and how; empty where none was."""
    changed = [each for each in kinds if each]
    counts = {kind: sum(kind in each for each in changed) for kind in _SAID}
    return "; ".join(
        f"{count} {_SAID[kind].format(background=background)}" for kind, count in counts.items() if count
    )


def _is_transparent(image: Image.Image) -> bool:
    """Whether anything shows through; an alpha channel alone does not say so."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        return bool((np.asarray(image.getchannel(image.mode[-1])) < 255).any())
    if "transparency" not in image.info:
        return False
    if image.mode in _DEEP:
        return bool((np.asarray(image) == image.info["transparency"]).any())
    return bool((np.asarray(image.convert("RGBA").getchannel("A")) < 255).any())


def _in_eight_bits(image: Image.Image, kind: str | None, tags: dict[int, Any]) -> Image.Image:
    from PIL import Image

    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        unit = low >= 0 and high <= 1
        if not unit and not (low >= 0 and high <= 255 and not (values % 1).any()):  # bytes, kept as floats
            raise ValueError(
                f"its floating-point values run from {low:.3g} to {high:.3g}, so that white is not known; "
                "save it with values from 0 to 1"
            )
        white = 1 if unit else 255
    elif image.mode == "I" and kind not in ("PNG", "PPM"):  # these have 16 bits at most
        raise ValueError(
            "its values are integers of 32 bits, so that white is not known; save it with 16 or 8"
        )
    else:
        white = 2 ** int(tags.get(_BITS, (16,))[0]) - 1
    scaled = np.rint(values.astype(np.float64) * (255 / white))
    if tags.get(_PHOTOMETRIC) == 0:  # 0 is white
        scaled = 255 - scaled
    grey = Image.fromarray(scaled.astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(
            Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8))
        )
    return grey
