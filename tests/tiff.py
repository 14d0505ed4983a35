"""TIFF files, written tag by tag."""

import struct

# Types of tags (TIFF 6.0, section 2): bytes of one, and how it is packed.
SHORT, LONG = 3, 4


def tiff(pages, *, order="<", following=None):
    """A TIFF of uncompressed pages.

    Args:
        pages: for each, (width, height, data, {tag: (type, values)}); tags that are not given are those of 8-bit grey.
        order: "<" or ">".
        following: offset of the directory behind the last, 0 for none; negative counts directories from the end.
    """
    made = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 0))
    link = 4
    starts = []
    for width, height, data, tags in pages:
        start = len(made)
        made += data + bytes(len(data) % 2)
        standard = {
            256: (LONG, [width]),
            257: (LONG, [height]),
            258: (SHORT, [8]),
            259: (SHORT, [1]),
            262: (SHORT, [1]),
            273: (LONG, [start]),
            277: (SHORT, [1]),
            278: (LONG, [height]),
            279: (LONG, [len(data)]),
        }
        entries = []
        for tag, (kind, values) in sorted({**standard, **tags}.items()):
            packed = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
            if len(packed) > 4:
                packed, place = struct.pack(f"{order}I", len(made)), packed
                made += place + bytes(len(place) % 2)
            entries.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))
        struct.pack_into(f"{order}I", made, link, len(made))
        starts.append(len(made))
        made += struct.pack(f"{order}H", len(entries)) + b"".join(entries)
        link = len(made)
        made += bytes(4)
    if following is not None:
        struct.pack_into(f"{order}I", made, link, starts[following] if following < 0 else following)
    return bytes(made)
