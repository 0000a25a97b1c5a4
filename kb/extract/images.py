"""Pages as pixels, written as PNG or as the plain format that OCR reads, without an imaging library."""

from __future__ import annotations

import struct
import zlib
from typing import Any

__all__ = ["pgm", "png", "render"]

_MOST_PIXELS = 40_000_000  # a page of 200 x 200 inches is legal


def render(page: Any, *, scale: float, grayscale: bool = False) -> tuple[bytes, int, int]:
    """The page's pixels in rows from the top, RGB or grey, with width and height; smaller where it would be huge."""
    width, height = page.get_size()
    fitting = min(scale, (_MOST_PIXELS / max(width * height, 1.0)) ** 0.5)
    bitmap = page.render(scale=fitting, grayscale=grayscale, rev_byteorder=True, prefer_bgrx=False)
    try:
        row = bitmap.width * bitmap.n_channels
        buffer = memoryview(bitmap.buffer).cast("B")
        rows = [bytes(buffer[start : start + row]) for start in range(0, bitmap.height * bitmap.stride, bitmap.stride)]
        return b"".join(rows), bitmap.width, bitmap.height
    finally:
        bitmap.close()


def png(pixels: bytes, width: int, height: int) -> bytes:
    """RGB pixels as a PNG file."""
    row = width * 3
    filtered = b"".join(b"\0" + pixels[start : start + row] for start in range(0, row * height, row))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def pgm(pixels: bytes, width: int, height: int) -> bytes:
    """Grey pixels as a portable graymap."""
    return b"P5 %d %d 255\n" % (width, height) + pixels


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
