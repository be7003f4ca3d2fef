# SPDX-License-Identifier: Apache-2.0
"""Picture files of every kind, made with Pillow: what their pixels become, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tepal.cli.pictures import PICTURES, read_picture
from tepal.quant import NetworkError

HEIGHT, WIDTH = 5, 7
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
ALPHA = RNG.choice(np.array([0, 0, 100, 255], np.uint8), (HEIGHT, WIDTH))
COLOURS = RNG.integers(0, 256, (4, 3), np.uint8)
PLACES = RNG.integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint8)

COLOUR = Image.fromarray(RGB)
SHADES = Image.fromarray(GREY)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(height, width, channels) of ``colours`` with ``alpha`` on white, rounded."""
    share = alpha[..., None] / 255
    return np.rint(colours * share + 255 * (1 - share))


def repeated(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def with_alpha(picture: Image.Image) -> Image.Image:
    picture.putalpha(Image.fromarray(ALPHA))
    return picture


def palette(mode: str = "RGB") -> Image.Image:
    picture = Image.fromarray(PLACES).convert("L")
    picture.putpalette(COLOURS.tobytes(), mode)
    return picture


def saved(picture: Image.Image, kind: str, **how) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def png(bits: int, colour: int, rows: bytes, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG of uncompressed ``rows``, for what Pillow doesn't write."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(bits: int, data: bytes, *, photometric: int = 1, sample_format: int = 1) -> bytes:
    """A grey little-endian TIFF, for what Pillow doesn't write."""
    tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: HEIGHT, 279: len(data),
            339: sample_format}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + data


def packed(values: np.ndarray) -> bytes:
    """Rows of 12-bit ``values``, each filled to whole bytes."""
    bits = (values[..., None].astype(int) >> np.arange(11, -1, -1)) & 1
    return np.packbits(bits.reshape(HEIGHT, -1), axis=1).tobytes()


# More bits than eight: each byte twice is the same shade in sixteen.
DEEP = GREY.astype(np.uint16) * 257
PNG_ROWS = np.concatenate([np.zeros((HEIGHT, 1), np.uint8), np.repeat(RGB, 2, axis=2).reshape(HEIGHT, -1)], axis=1)
# L* 54, a* 38, b* 46, in Pillow's bytes.
LAB = Image.new("LAB", (WIDTH, HEIGHT), (138, 128 + 38, 128 + 46))
TIMES_ALPHA = np.rint(RGB * (ALPHA[..., None] / 255)).astype(np.uint8)
KEYED = np.where((RGB[0, 0] == RGB).all(axis=2, keepdims=True), 255, RGB)
THREE = np.array([0, 128, 255], np.uint8)[PLACES % 3]

READ = {
    "rgb.png": (saved(COLOUR, "PNG"), RGB, 0),
    "grey.png": (saved(SHADES, "PNG"), repeated(GREY), 0),
    "1-bit.png": (saved(Image.fromarray(GREY > 99), "PNG"), repeated(255 * (GREY > 99)), 0),
    "1-bit.tif": (saved(Image.fromarray(GREY > 99), "TIFF"), repeated(255 * (GREY > 99)), 0),
    "1-bit.bmp": (saved(Image.fromarray(GREY > 99), "BMP"), repeated(255 * (GREY > 99)), 0),
    "4-bit.png": (png(4, 0, HEIGHT * b"\0\x5A\x5A\x5A\x5A"), repeated(np.tile([0x55, 0xAA], (HEIGHT, 4))[:, :7]), 0),
    "16-bit.png": (saved(Image.fromarray(DEEP), "PNG"), repeated(GREY), 0),
    "16-bit.tif": (saved(Image.fromarray(DEEP), "TIFF"), repeated(GREY), 0),
    "16-bit big-endian.tif": (saved(Image.fromarray(DEEP.astype(">u2")), "TIFF"), repeated(GREY), 0),
    "16-bit.pgm": (b"P5 7 5 65535\n" + DEEP.astype(">u2").tobytes(), repeated(GREY), 0),
    "10-bit.pgm": (b"P5 7 5 1023\n" + np.rint(GREY * (1023 / 255)).astype(">u2").tobytes(), repeated(GREY), 1),
    "12-bit.tif": (tiff(12, packed(np.rint(GREY * (4095 / 255)))), repeated(GREY), 0),
    "white is zero.tif": (tiff(16, (65535 - DEEP).astype("<u2").tobytes(), photometric=0), repeated(GREY), 0),
    "white is zero 8.tif": (tiff(8, (255 - GREY).tobytes(), photometric=0), repeated(GREY), 0),
    "16-bit rgb.png": (png(16, 2, PNG_ROWS.tobytes()), RGB, 0),
    "alpha.png": (saved(with_alpha(COLOUR.copy()), "PNG"), on_white(RGB, ALPHA), 1),
    "grey alpha.png": (saved(with_alpha(SHADES.copy()), "PNG"), on_white(repeated(GREY), ALPHA), 1),
    "alpha.tif": (saved(with_alpha(COLOUR.copy()), "TIFF"), on_white(RGB, ALPHA), 1),
    "alpha.webp": (saved(with_alpha(COLOUR.copy()), "WEBP", lossless=True, exact=True), on_white(RGB, ALPHA), 1),
    "premultiplied.tif": (saved(with_alpha(Image.fromarray(TIMES_ALPHA)), "TIFF").replace(
        struct.pack("<HHIH", 338, 3, 1, 2), struct.pack("<HHIH", 338, 3, 1, 1)), on_white(RGB, ALPHA), 3),
    "palette.png": (saved(palette(), "PNG"), COLOURS[PLACES], 0),
    "palette.gif": (saved(palette(), "GIF"), COLOURS[PLACES], 0),
    "transparent index.png": (saved(palette(), "PNG", transparency=2),
                              on_white(COLOURS[PLACES], np.where(PLACES == 2, 0, 255)), 0),
    "transparent indices.png": (saved(palette(), "PNG", transparency=bytes([255, 100, 0, 255])),
                                on_white(COLOURS[PLACES], np.array([255, 100, 0, 255])[PLACES]), 1),
    "transparent.gif": (saved(palette(), "GIF", transparency=2),
                        on_white(COLOURS[PLACES], np.where(PLACES == 2, 0, 255)), 0),
    "transparent colour.png": (saved(COLOUR, "PNG", transparency=tuple(map(int, RGB[0, 0]))), KEYED, 0),
    "transparent grey.png": (saved(SHADES, "PNG", transparency=int(GREY[0, 0])),
                             repeated(np.where(GREY[0, 0] == GREY, 255, GREY)), 0),
    "cmyk.tif": (saved(COLOUR.convert("CMYK"), "TIFF"), RGB, 1),
    "cmyk.jpg": (saved(Image.new("CMYK", (WIDTH, HEIGHT), (0, 200, 100, 50)), "JPEG", quality=100),
                 np.broadcast_to([205, 44, 125], RGB.shape), 3),
    "ycbcr.tif": (saved(COLOUR.convert("YCbCr"), "TIFF"), RGB, 3),
    "lab.tif": (saved(LAB, "TIFF"), np.broadcast_to([200, 100, 50], RGB.shape), 3),
    "colour.jpg": (saved(Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50)), "JPEG", quality=100),
                   np.broadcast_to([200, 100, 50], RGB.shape), 3),
    "one frame.gif": (saved(Image.fromarray(THREE), "GIF"), repeated(THREE), 0),
    "telephone.mpo": (saved(Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50)), "MPO", quality=100, save_all=True,
                            append_images=[Image.new("RGB", (2, 2))]), np.broadcast_to([200, 100, 50], RGB.shape), 3),
}


@pytest.mark.parametrize("name", READ)
def test_kinds(tmp_path, name):
    """8-bit red, green and blue of the size that the network takes, as a person sees them."""
    content, expected, tolerance = READ[name]
    path = tmp_path / name
    path.write_bytes(content)
    pixels = read_picture(path, (HEIGHT, WIDTH, 3), "rgb")
    assert (pixels.dtype, pixels.shape) == (np.uint8, RGB.shape)
    assert abs(pixels - expected.astype(int)).max() <= tolerance
    assert (read_picture(path, (HEIGHT, WIDTH, 3), "bgr") == pixels[..., ::-1]).all()
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    grey = read_picture(path, (HEIGHT, WIDTH, 1), "grey")
    assert abs(grey[..., 0] - luma).max() <= 1
    assert (read_picture(path, (HEIGHT, WIDTH, 3), "grey") == grey).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, mode, kind, orientation):
    """A dark upper left corner, wherever the file keeps it; with each mode that the format has."""
    shown = np.full((32, 48), 220, np.uint8)
    shown[:16, :16] = 30
    # How a camera that is held this way stores it.
    turned = {1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: np.transpose,
              6: lambda x: np.rot90(x), 7: lambda x: np.rot90(x, 2).T, 8: lambda x: np.rot90(x, -1)}
    stored = np.ascontiguousarray(turned[orientation](shown))
    picture = (Image.fromarray(stored.astype(np.uint16) * 257) if mode == "I;16"
               else Image.fromarray(stored).convert(mode))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "picture"
    if (mode, kind) == ("I;16", "WEBP"):
        pytest.skip("Pillow clips it when it writes")
    try:
        picture.save(path, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    except OSError:
        pytest.skip(f"{kind} has no {mode}")
    pixels = read_picture(path, (32, 48, 1), "grey")[..., 0]
    assert abs(pixels.astype(int) - shown).max() <= 12


def test_resized(tmp_path):
    """To the network's size, bilinear, over whole pixels of the original."""
    path = tmp_path / "x.png"
    Image.fromarray(np.kron(GREY, np.ones((4, 2), np.uint8))).save(path)
    pixels = read_picture(path, (HEIGHT, WIDTH, 1), "grey")[..., 0]
    expected = Image.open(path).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    assert (pixels == np.asarray(expected)).all()
    assert np.corrcoef(pixels.ravel(), GREY.ravel())[0, 1] > 0.95


FRAMES = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
REFUSED = {
    "real.tif": (saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "has pixels that are real numbers, of which"),
    "real.pfm": (saved(Image.fromarray(GREY.astype(np.float32)), "PPM"), "has pixels that are real numbers, of which"),
    "32-bit.tif": (saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "has pixels that are signed or 32-bit int"),
    "signed.tif": (tiff(16, DEEP.astype("<i2").tobytes(), sample_format=2), "has pixels that are signed or 32-bit int"),
    "key.png": (saved(Image.fromarray(DEEP), "PNG", transparency=7), "has a transparent shade of 16-bit grey"),
    "moving.gif": (saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "has 2 frames: give one of them"),
    "moving.png": (saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "has 2 frames: give one of them"),
    "moving.webp": (saved(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "has 2 frames: give one of"),
    "pages.tif": (saved(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), "has 2 frames: give one of them"),
    "huge.png": (png(8, 0, b"", 10_000, 10_000), r"has more than 89,478,485 pixels: make it smaller"),
    "bomb.png": (png(8, 0, b"", 60_000, 60_000), r"has more than 89,478,485 pixels: make it smaller"),
    "none.png": (png(8, 0, b"", 0, 5), r"has no pixels \(0 x 5\)|nor a picture that can be read"),
    "flat.png": (png(8, 0, b"", 5, 0), r"has no pixels \(5 x 0\)|nor a picture that can be read"),
    "none.gif": (b"GIF89a" + struct.pack("<HHBBB", 0, 0, 0, 0, 0) + b";", "nor a picture that can be read"),
    "empty.png": (b"", "nor a picture that can be read"),
    "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "nor a picture that can be read"),
    "program.eps": (saved(COLOUR, "EPS"), "nor a picture that can be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    """One sentence with the file's name."""
    content, sentence = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=sentence) as error:
        read_picture(path, (HEIGHT, WIDTH, 3), "rgb")
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "JPEG2000", "PPM", "TGA", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated(tmp_path, kind, share):
    """No part of a picture is taken for the whole."""
    content = saved(Image.fromarray(RNG.integers(0, 256, (40, 50, 3), np.uint8)), kind)
    path = tmp_path / "x"
    path.write_bytes(content[:int(share * len(content))])
    with pytest.raises(NetworkError, match=r"can't be read|damaged picture|nor a picture that can be read"):
        read_picture(path, (HEIGHT, WIDTH, 3), "rgb")
    path.write_bytes(content)
    assert read_picture(path, (HEIGHT, WIDTH, 3), "rgb").any()


def test_channels(tmp_path):
    (tmp_path / "x.png").write_bytes(READ["rgb.png"][0])
    with pytest.raises(NetworkError, match="a picture has 1 or 3 channels, and the network takes 2"):
        read_picture(tmp_path / "x.png", (HEIGHT, WIDTH, 2), "rgb")


def test_names():
    """Those of a folder are the names that Pillow itself gives the formats that are read."""
    Image.init()
    assert Image.registered_extensions().keys() >= PICTURES
