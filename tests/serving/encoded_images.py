"""Image files of every kind that people have, made of one photograph-like image."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def photograph(width=50, height=40, seed=0):
    """Returns smooth random colours, an RGB image."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype("uint8")
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encode(image, kind, **options):
    """Returns an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def kinds():
    """Returns files by what they are."""
    image = photograph()
    with_alpha = image.copy()
    with_alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    deep = np.asarray(image.convert("L")).astype("uint16") * 257 + 100
    return {
        "jpeg": encode(image, "JPEG", quality=90),
        "png": encode(image, "PNG"),
        "bmp": encode(image, "BMP"),
        "gif": encode(image, "GIF"),
        "webp": encode(image, "WEBP"),
        "greyscale jpeg": encode(image.convert("L"), "JPEG"),
        "greyscale png": encode(image.convert("L"), "PNG"),
        "cmyk jpeg": encode(image.convert("CMYK"), "JPEG"),
        "alpha png": encode(with_alpha, "PNG"),
        "16-bit png": encode(Image.fromarray(deep), "PNG"),
        "palette png": encode(image.convert("P"), "PNG"),
        "exif-rotated jpeg": encode(image, "JPEG", exif=turned.tobytes()),
        "one pixel": encode(photograph(1, 1), "PNG"),
        "wide": encode(photograph(300, 20), "JPEG"),
        "the network's size": encode(photograph(16, 16), "PNG"),
    }


def huge_png(width=20_000, height=20_000):
    """Returns a small PNG whose header says that it is huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + encode(photograph(), "PNG")[33:]
