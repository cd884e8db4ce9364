"""From an image file, or one of Pillow's images, to a tensor."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")  # others may start programs, as EPS does
MAX_PIXELS = 1024**3 // 12  # Pillow's own bound: 256 MiB in three channels

GREY = ("1", "L", "LA", "La")
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
ORIENTATION = 0x0112  # EXIF: how the pixels are to be turned
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}

TURNED = "have an EXIF orientation, which is applied"
TRANSPARENT = "have an alpha channel, composited on black"
STRETCHED = "are not square, resized to a square without keeping the aspect ratio"
SEVERAL_FRAMES = "have several frames (animations, pages), of which the first is used"
CMYK = "are CMYK, converted to RGB without a colour profile"
CORRUPT = "have corrupt EXIF or other metadata, which is left out"


class Findings:
    """What is said once of the images of one load: what was found, in how many, the first of them."""

    def __init__(self):
        self._names: dict[str, dict[str, None]] = {}

    def note(self, finding: str, name: str) -> None:
        """``name`` shows the finding; noted twice it counts once."""
        self._names.setdefault(finding, {})[name] = None

    @contextlib.contextmanager
    def of_warnings(self, name: str) -> Iterator[None]:
        """Pillow's warnings inside are noted as corrupt metadata of ``name``, and of a decompression bomb raised."""
        from PIL import Image

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
        if any(issubclass(warning.category, UserWarning) for warning in caught):
            self.note(CORRUPT, name)

    def say(self, total: int) -> None:
        """Log one warning a finding, about ``total`` images."""
        for finding, names in self._names.items():
            log.warning("%d of %d images %s (first: %s)", len(names), total, finding, next(iter(names)))


def decode(file: str, size: int | None, findings: Findings) -> Tensor:
    """:func:`image_to_tensor` of the file.

    Raises:
        OSError: if the file system refuses to read it.
        ValueError: if it declares more than ``MAX_PIXELS`` pixels (before they are decoded), or is no readable image.
    """
    from PIL import Image

    try:
        with readable(file), findings.of_warnings(file), Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} allowed")
            return image_to_tensor(image, size, findings, file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"the image {file} is too large to decode ({error}): shrink or remove it") from error
    except Exception as error:  # damaged files make Pillow raise nearly anything
        if isinstance(error, Unreadable):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read the image {file}: {reason}: replace or remove the file") from error


class Unreadable(OSError):
    """The file system refuses to read a file or folder."""


@contextlib.contextmanager
def readable(path: object) -> Iterator[None]:
    """The file system's errors inside, in one line that names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the file system's
            raise
        raise Unreadable(f"cannot read {path}: {error.strerror}: make it readable for this user") from error


def image_to_tensor(
    image: Image, size: int | None = None, findings: Findings | None = None, name: str = "the image"
) -> Tensor:
    """An image of Pillow's as uint8 (1, H, W) if it is grey, else (3, H, W); with ``size`` H = W = size.

    Its EXIF orientation is applied; an alpha channel, or a transparent colour of the palette, is composited on black;
    of several frames it is the first; CMYK becomes RGB without a colour profile. Resizing is bilinear and antialiased
    and does not keep the aspect ratio. All that is noted in ``findings``.

    Raises:
        ValueError: if the image has more than eight bits a channel.
    """
    findings = findings or Findings()
    _check_depth(image)
    if getattr(image, "is_animated", False):
        findings.note(SEVERAL_FRAMES, name)
    image = _flatten(_upright(image, findings, name), findings, name)
    if size is not None:
        if image.width != image.height:
            findings.note(STRETCHED, name)
        image = image.resize((size, size), 2)  # Image.Resampling.BILINEAR
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def _check_depth(image: Image) -> None:
    # Pillow cuts 16-bit colours down in silence: only how the file packs them, as RGB;16B, tells.
    for codec, _, _, packing in getattr(image, "tile", []):
        mode, *rest = packing if isinstance(packing, tuple) else (packing,)
        if ";16" in str(mode) or (codec.startswith("ppm") and rest[0] > 255):
            raise ValueError(f"colours of mode {image.mode} have more than 8 bits a channel, save them with 8")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode} has more than 8 bits a channel, save it with 8")


def _upright(image: Image, findings: Findings, name: str) -> Image:
    from PIL.Image import Transpose

    declared = _orientation(image, findings, name)
    image.load()  # which turns a TIFF
    remaining = _orientation(image, findings, name)
    if declared in TURNS:
        findings.note(TURNED, name)
    return image.transpose(Transpose[TURNS[remaining]]) if remaining in TURNS else image


def _orientation(image: Image, findings: Findings, name: str) -> int | None:
    try:
        exif = image.getexif()
        if not exif and "exif" in image.info:
            type(exif)().load(image.info["exif"])  # of a JPEG, Pillow has hidden why there is none
        return exif.get(ORIENTATION)
    except Exception:  # corrupt EXIF makes Pillow raise nearly anything
        findings.note(CORRUPT, name)
        return None


def _flatten(image: Image, findings: Findings, name: str) -> Image:
    """The image in mode L or RGB."""
    from PIL.Image import new

    mode, mode_with_alpha = ("L", "LA") if image.mode in GREY else ("RGB", "RGBA")
    if image.mode == "CMYK":
        findings.note(CMYK, name)
    if image.mode not in WITH_ALPHA and "transparency" not in image.info:
        return image.convert(mode)
    image = image.convert(mode_with_alpha)
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image.convert(mode)
    findings.note(TRANSPARENT, name)
    canvas = new(mode, image.size)
    canvas.paste(image.convert(mode), mask=alpha)
    return canvas
