"""Image files made for the tests, and EXIF as cameras and fools write it."""

import io
import struct

import numpy as np
from PIL import Image, ImageOps


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def blocks(height=48, width=48, seed=7):
    """An image of 8x8 blocks, which JPEG keeps nearly as it is."""
    colours = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype="uint8")
    return Image.fromarray(np.kron(colours, np.ones((8, 8, 1), "uint8")))


def exif(orientation, order="<", kind=3, count=1, before=()):
    """TIFF header, a directory with an orientation after other entries, and one of a thumbnail, which says 8."""
    value = struct.pack(order + "I", orientation or 0) if kind == 4 else struct.pack(order + "HH", orientation or 0, 0)
    entries = (
        [*before, struct.pack(order + "HHI", 0x0112, kind, count) + value] if orientation is not None else [*before]
    )
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries)
    thumbnail = struct.pack(order + "HHHI", 1, 0x0112, 3, 1) + struct.pack(order + "HH", 8, 0) + b"\0" * 4
    after = struct.pack(order + "I", 8 + len(directory) + 4)
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + directory + after + thumbnail


def segment(marker, content):
    """A segment of a JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(jpeg, *segments):
    """A JPEG with further segments before its own."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def turned(image, kind, orientation, order="<"):
    """An image as a file of a kind with an orientation in its EXIF, without loss but for JPEG."""
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(kind, {})
    return encode(image, kind, exif=b"Exif\0\0" + exif(orientation, order), **options)


def as_pillow_shows(encoded):
    """The pixels of a file, turned by Pillow."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"))
