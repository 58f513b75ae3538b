"""A picture file as a person sees it: upright, on a ground, in 8 bits of red, green and blue."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from rarefire.errors import InputError

if TYPE_CHECKING:
    from PIL import Image, ImageCms

__all__ = ["as_seen", "changes", "check_background", "described"]

_ROUNDING = 4  # of 255: copies of sRGB differ by so much
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF
#: What can be done to a picture, and how a warning says so.
_SAID = {
    "turned": "turned upright (EXIF)",
    "transparent": "transparent, laid on {background}",
    "deep": "of more than 8 bits, scaled to 8",
    "print": "in the colours of print (CMYK), turned into RGB without their profile",
    "frames": "of several frames, of which the first is taken",
    "profile": "with a colour profile, turned into sRGB by it",
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
    profile = _profile(image)
    found = {
        "turned": image.getexif().get(_ORIENTATION, 1) in range(2, 9),
        "transparent": _is_transparent(image),
        "deep": image.mode in _DEEP,
        "print": image.mode == "CMYK" and profile is None,
        "profile": profile is not None,
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

    transparent, profile = _is_transparent(image), _profile(image)
    kind, tags = image.format, dict(getattr(image, "tag_v2", {}))  # a turned copy has none
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        image = _in_eight_bits(image, kind, tags)
    alpha = image.convert("RGBA").getchannel("A") if transparent else None
    if profile is not None:
        image = profile.apply(image.convert(profile.input_mode))
    image = image.convert("RGB")
    if alpha is None:
        return image
    image.putalpha(alpha)
    ground = Image.new("RGBA", image.size, check_background(background))
    return Image.alpha_composite(ground, image).convert("RGB")


def described(kinds: Iterable[tuple[str, ...]], *, background: str) -> str:
    """How many of the pictures were changed, and how; empty where none was."""
    changed = [each for each in kinds if each]
    counts = {kind: sum(kind in each for each in changed) for kind in _SAID}
    return "; ".join(
        f"{count} {_SAID[kind].format(background=background)}" for kind, count in counts.items() if count
    )


def _profile(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """What turns an image of another colour space into sRGB, by the profile in its file.

    None where there is no profile, it is a copy of sRGB's, or it is of no use.
    """
    from PIL import Image, ImageCms

    mode = {"LA": "L", "RGBA": "RGB", "P": "RGB", "PA": "RGB"}.get(image.mode, image.mode)
    if not image.info.get("icc_profile") or mode not in ("RGB", "L", "CMYK"):
        return None
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        turn = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, ValueError, OSError):
        return None
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(36, 6, 3)
    if mode != "CMYK":
        sample = Image.fromarray(colours).convert(mode)
        moved = np.asarray(turn.apply(sample), int) - np.asarray(sample.convert("RGB"), int)
        if np.abs(moved).max() <= _ROUNDING:
            return None
    return turn


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
