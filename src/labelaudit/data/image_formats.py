"""The format of an image by its first bytes: which formats are decoded, and the names of those that are not."""

from __future__ import annotations

# Only formats that Pillow decodes by itself. Others start programs or read more files, or exist only in some builds.
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", *_TIFF)
# The first bytes of formats that are not decoded, and what people call them.
_OTHERS = {
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"%!PS": "PostScript",
    b"%PDF": "PDF",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"SIMPLE  =": "FITS",
    b"\x00\x00\x01\x00": "ICO",
    b"qoif": "QOI",
    b"DDS ": "DDS",
    b"IIRO": "camera raw",
    b"IIRS": "camera raw",
    b"IIU\x00": "camera raw",
    b"FUJIFILMCCD-RAW": "camera raw",
}
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "camera raw": (b"crx ",),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
}
_HEAD_BYTES = 1024


def is_decodable(data: bytes) -> bool:
    """Return whether the first bytes are those of a format that is decoded."""
    is_netpbm = data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace()
    return data.startswith(_MAGIC) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP") or is_netpbm


def is_tiff(data: bytes) -> bool:
    return data.startswith(_TIFF)


def other_format(data: bytes) -> str | None:
    """Return the name of a known format that is not decoded, such as HEIC; None for all other bytes."""
    for magic, name in _OTHERS.items():
        if data.startswith(magic):
            return name
    if data[128:132] == b"DICM":
        return "DICOM"
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    # A Canon raw file is a TIFF whose pages are previews.
    if is_tiff(data) and data[8:10] == b"CR":
        return "camera raw"
    head = data[:_HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    return "SVG" if head.startswith((b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg")) and b"<svg" in head else None


def _by_brand(data: bytes) -> str:
    """Return the format of a file of ISO boxes. The general brands of HEIC are also those of AVIF."""
    length = min(int.from_bytes(data[:4], "big"), _HEAD_BYTES)
    brands = {data[8:12], *(data[start : start + 4] for start in range(16, length, 4))}
    return next((name for name, known in _BRANDS.items() if not brands.isdisjoint(known)), "video")
