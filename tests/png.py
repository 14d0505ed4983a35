"""PNG files, written chunk by chunk."""

import struct
import zlib


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(lines, width, height, *, depth=8, colour=0, interlaced=0, palette=b"", pieces=1):
    """A PNG of unfiltered scan lines, its pixel data in so many chunks."""
    rows = b"".join(b"\0" + line for line in lines)
    packed = zlib.compress(rows)
    cut = -(-len(packed) // pieces)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", palette) if palette else b"")
        + b"".join(chunk(b"IDAT", packed[start : start + cut]) for start in range(0, len(packed), cut))
        + chunk(b"IEND", b"")
    )


# PNG specification, section 8.2: pass of each pixel of an 8x8 block.
ADAM7 = """
1 6 4 6 2 6 4 6
7 7 7 7 7 7 7 7
5 6 5 6 5 6 5 6
7 7 7 7 7 7 7 7
3 6 4 6 3 6 4 6
7 7 7 7 7 7 7 7
5 6 5 6 5 6 5 6
7 7 7 7 7 7 7 7
"""
PASS = [[int(number) for number in line.split()] for line in ADAM7.strip().splitlines()]


def interlaced_rows(pixels):
    """The scan lines of a grey 8-bit picture in Adam7 order."""
    lines = []
    for wanted in range(1, 8):
        for y in range(pixels.shape[0]):
            line = [int(pixels[y, x]) for x in range(pixels.shape[1]) if PASS[y % 8][x % 8] == wanted]
            if line:
                lines.append(bytes(line))
    return lines
