import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lazytorch.data.decoding import TURNS, Findings, decode, image_to_tensor

UPRIGHT = np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8)
# What a camera stores for each orientation: the inverse of the turn that shows it upright, by the EXIF standard.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: UPRIGHT.transpose(1, 0, 2)[::-1],
    7: UPRIGHT.transpose(1, 0, 2)[::-1, ::-1],
    8: UPRIGHT.transpose(1, 0, 2)[:, ::-1],
}


def pixels(array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)


def read(file, size=None):
    """The tensor, and what was said of one image."""
    findings, said = Findings(), []
    tensor = decode(str(file), size, findings)
    for finding, names in findings._names.items():
        assert list(names) == [str(file)]
        said.append(finding)
    return tensor, said


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"image.{kind}"
    options = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(file, exif=exif, **options)
    tensor, said = read(file)
    assert torch.equal(tensor, pixels(UPRIGHT))
    assert said == (["have an EXIF orientation, which is applied"] if orientation in TURNS else [])


@pytest.mark.parametrize("orientation", [0, 9, 3000])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(UPRIGHT).save(tmp_path / "image.png", exif=exif)
    tensor, said = read(tmp_path / "image.png")
    assert torch.equal(tensor, pixels(UPRIGHT)) and said == []


CORRUPT = [
    b"Exif\0\0II*\0\x08\0\0\0\x05\0",
    b"Exif\0\0garbage",
    b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0",
]


@pytest.mark.parametrize("exif", CORRUPT)
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_corrupt_exif_is_left_out(tmp_path, exif, kind):
    file = tmp_path / f"image.{kind}"
    Image.fromarray(UPRIGHT).save(file, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file) as image:
            expected = pixels(np.array(image))
    tensor, said = read(file)
    assert torch.equal(tensor, expected)
    assert said == ["have corrupt EXIF or other metadata, which is left out"]


def test_alpha_is_composited_on_black():
    colour = UPRIGHT.astype(int)
    alpha = np.random.default_rng(1).integers(256, size=(4, 6, 1))
    findings = Findings()
    image = Image.fromarray(np.concatenate([colour, alpha], axis=2).astype(np.uint8))
    tensor = image_to_tensor(image, findings=findings)
    assert ((tensor - pixels(colour * alpha / 255)).abs() <= 1).all()
    assert list(findings._names) == ["have an alpha channel, composited on black"]


def test_grey_with_alpha_stays_grey():
    grey, alpha = UPRIGHT[:, :, 0], UPRIGHT[:, :, 1]
    tensor = image_to_tensor(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]))
    assert tensor.shape == (1, 4, 6)
    assert ((tensor[0] - torch.from_numpy(grey / 255 * alpha)).abs() <= 1).all()


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_transparent_colour_of_the_palette_is_black(tmp_path, kind):
    image = Image.new("P", (2, 1))
    image.putpalette([250, 0, 0, 0, 0, 250] + [7] * 750)
    image.putpixel((1, 0), 1)
    image.save(tmp_path / f"image.{kind}", transparency=1)
    tensor, said = read(tmp_path / f"image.{kind}")
    assert tensor[:, 0].T.tolist() == [[250, 0, 0], [0, 0, 0]]
    assert said == ["have an alpha channel, composited on black"]


@pytest.mark.parametrize(("mode", "colour"), [("L", 9), ("RGB", (9, 8, 7))])
def test_one_transparent_colour_without_a_palette_is_black(tmp_path, mode, colour):
    Image.new(mode, (2, 2), colour).save(tmp_path / "image.png", transparency=colour)
    tensor, said = read(tmp_path / "image.png")
    assert tensor.shape == ((1 if mode == "L" else 3), 2, 2) and not tensor.any()
    assert said == ["have an alpha channel, composited on black"]


def test_an_opaque_alpha_channel_changes_nothing(tmp_path):
    Image.fromarray(UPRIGHT).convert("RGBA").save(tmp_path / "image.png")
    tensor, said = read(tmp_path / "image.png")
    assert torch.equal(tensor, pixels(UPRIGHT)) and said == []


def test_a_changed_aspect_ratio_is_said(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / "image.png")
    tensor, said = read(tmp_path / "image.png", size=5)
    expected = np.array(Image.fromarray(UPRIGHT).resize((5, 5), Image.Resampling.BILINEAR))
    assert torch.equal(tensor, pixels(expected))
    assert said == ["are not square, resized to a square without keeping the aspect ratio"]
    Image.fromarray(UPRIGHT[:, :4]).save(tmp_path / "image.png")
    assert read(tmp_path / "image.png", size=5)[1] == []


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_of_several_frames_it_is_the_first(tmp_path, kind):
    frames = [Image.new("RGB", (3, 3), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "webp" else {}
    frames[0].save(tmp_path / f"image.{kind}", save_all=True, append_images=frames[1:], **options)
    tensor, said = read(tmp_path / f"image.{kind}")
    assert tensor[:, 1, 1].tolist() == [255, 0, 0]
    assert said == ["have several frames (animations, pages), of which the first is used"]


def test_cmyk_is_converted(tmp_path):
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "image.tiff")
    tensor, said = read(tmp_path / "image.tiff")
    assert tensor[:, 0, 0].tolist() == [255, 0, 0]
    assert said == ["are CMYK, converted to RGB without a colour profile"]


def png(width, height, bits=8, colours=2, data=b""):
    """A PNG file by its standard, its pixels compressed as they are."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 50_000])  # Pillow warns of the first and refuses the second
@pytest.mark.parametrize("limit", [None, 1024**3 // 12])
def test_decompression_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch, side, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    (tmp_path / "bomb.png").write_bytes(png(side, side))
    with pytest.raises(
        ValueError, match=r"the image .*bomb\.png is too large to decode .*: shrink or remove it"
    ) as caught:
        read(tmp_path / "bomb.png")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("colours", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_a_channel_are_refused(tmp_path, colours, channels):
    (tmp_path / "deep.png").write_bytes(png(2, 2, 16, colours, (b"\0" + b"\x80" * 4 * channels) * 2))
    with pytest.raises(ValueError, match=r"deep\.png.*more than 8 bits a channel"):
        read(tmp_path / "deep.png")


@pytest.mark.parametrize("text", [b"P6 2 1 65535\n" + b"\x80" * 12, b"P3 2 1 4095\n0 1 2 3 4 5\n"])
def test_sixteen_bits_of_a_portable_pixmap_are_refused(tmp_path, text):
    (tmp_path / "deep.ppm").write_bytes(text)
    with pytest.raises(ValueError, match=r"deep\.ppm.*more than 8 bits a channel"):
        read(tmp_path / "deep.ppm")


def test_portable_pixmaps_of_eight_bits(tmp_path):
    (tmp_path / "image.ppm").write_bytes(b"P6 2 1 255\n" + bytes(range(6)))
    assert read(tmp_path / "image.ppm")[0][:, 0].T.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_other_formats_are_not_opened_whatever_their_name(tmp_path):
    """Pillow would start Ghostscript on an EPS file."""
    Image.new("RGB", (2, 2)).save(tmp_path / "image.eps")
    (tmp_path / "image.eps").rename(tmp_path / "image.png")
    with pytest.raises(ValueError, match=r"cannot read the image .*image\.png: .*identify"):
        read(tmp_path / "image.png")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_what_the_file_system_refuses_is_named(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(OSError, match=rf"^cannot read .*image\.png: {error.strerror}: make it readable") as caught:
        read(tmp_path / "image.png")
    assert "\n" not in str(caught.value)


def test_each_finding_is_said_once(caplog):
    findings = Findings()
    for name in ("a", "b", "b", "c"):
        findings.note("are striped", name)
    findings.note("are dotted", "d")
    findings.say(100)
    assert [(record.name.split(".")[0], record.levelname, record.getMessage()) for record in caplog.records] == [
        ("lazytorch", "WARNING", "3 of 100 images are striped (first: a)"),
        ("lazytorch", "WARNING", "1 of 100 images are dotted (first: d)"),
    ]
