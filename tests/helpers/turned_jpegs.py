"""JPEGs, and WebPs, with an EXIF orientation, as phones write them."""

import struct

import cv2

ORIENTATION = 0x0112


def encode(pixels, orientation=None, order=">", before=b""):
    """Bytes of a JPEG that stores RGB `pixels`; `before` stands between its start and the EXIF segment."""
    ok, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert ok
    data = encoded.tobytes()
    segment = b"" if orientation is None else exif_segment(orientation, order)
    return data[:2] + before + segment + data[2:]


def encode_webp(pixels, orientation):
    """Bytes of a lossless WebP that stores RGB `pixels`."""
    ok, encoded = cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert ok
    height, width = pixels.shape[:2]
    has_exif = bytes([8, 0, 0, 0])
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    metadata = exif(orientation)
    metadata += bytes(len(metadata) % 2)
    chunks = b"VP8X" + struct.pack("<I", 10) + has_exif + sides + encoded.tobytes()[12:]
    chunks += b"EXIF" + struct.pack("<I", len(metadata)) + metadata
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def exif(orientation, order=">"):
    """EXIF with a software's name and the orientation."""
    start = b"MM" if order == ">" else b"II"
    entries = struct.pack(f"{order}HHI4s", 0x0131, 2, 4, b"cam\0")
    entries += struct.pack(f"{order}HHIHH", ORIENTATION, 3, 1, orientation, 0)
    return start + struct.pack(f"{order}HIH", 42, 8, 2) + entries + bytes(4)


def exif_segment(orientation, order=">"):
    body = b"Exif\0\0" + exif(orientation, order)
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def store(upright, orientation):
    """The pixels that a camera stores with this orientation, so that viewers show `upright`."""
    turned = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: cv2.rotate(p, cv2.ROTATE_90_COUNTERCLOCKWISE),
        7: lambda p: cv2.rotate(p.transpose(1, 0, 2), cv2.ROTATE_180),
        8: lambda p: cv2.rotate(p, cv2.ROTATE_90_CLOCKWISE),
    }
    return turned[orientation](upright)
