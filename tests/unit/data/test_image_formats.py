from __future__ import annotations

import struct

import pytest
from PIL import Image

from labelaudit.data.image_formats import is_decodable, other_format
from support.encoded_images import encode


def _iso_file(*brands):
    body = brands[0] + struct.pack(">I", 0) + b"".join(brands[1:])
    return struct.pack(">I", 8 + len(body)) + b"ftyp" + body + b"\0" * 40


OTHERS = [
    (_iso_file(b"heic", b"mif1"), "HEIC"),
    (_iso_file(b"mif1", b"mif1", b"heic"), "HEIC"),
    (_iso_file(b"avif", b"mif1"), "AVIF"),
    (_iso_file(b"mif1", b"avif"), "AVIF"),
    (_iso_file(b"crx ", b"isom"), "camera raw"),
    (_iso_file(b"isom", b"mp42"), "video"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a\x00\x00", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51\x00", "JPEG 2000"),
    (b"\0" * 128 + b"DICM\x02\x00", "DICOM"),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn --><svg/>', "SVG"),
    (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "camera raw"),
    (b"FUJIFILMCCD-RAW 0201", "camera raw"),
    (b"IIU\x00\x18", "camera raw"),
    (b"8BPS\x00\x01", "Photoshop"),
]


@pytest.mark.parametrize(("data", "name"), OTHERS)
def test_formats_that_are_not_decoded_have_a_name(data, name):
    assert other_format(data) == name


@pytest.mark.parametrize(
    "data", [b"", b"GIF8", b"hello", b"<!DOCTYPE html><html></html>", b"<?xml version='1.0'?><a/>"]
)
def test_other_bytes_have_no_name(data):
    assert other_format(data) is None
    assert not is_decodable(data) or data == b"GIF8"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "MPO"])
def test_decoded_formats_are_known_by_their_first_bytes(format):
    data = encode(Image.new("RGB", (4, 4)), format)
    assert is_decodable(data)
    assert other_format(data) is None


def test_big_tiffs_are_tiffs():
    assert is_decodable(encode(Image.new("L", (4, 4)), "TIFF", big_tiff=True))
