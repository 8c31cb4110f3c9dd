"""Metadata of A in the fused image, read back by Pillow and tifffile, whose readers know nothing of ours."""

import io
from functools import cache

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from upfusion.cameras.embed import embed_metadata
from upfusion.cameras.metadata import Metadata, read_metadata, read_shot

GPS = {
    1: "S", 2: (47.0, 22.0, 11.5), 3: "W", 4: (8.0, 32.0, 1.25), 5: b"\1", 6: 31.25, 29: "2024:05:04",
}  # fmt: skip
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
    b'<rdf:Description tiff:Orientation="6" drone-dji:RelativeAltitude="+31.2">'
    b"<xmp:Thumbnails>abcdef</xmp:Thumbnails></rdf:Description></rdf:RDF></x:xmpmeta>"
)
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tiff"}


@cache  # it holds the time of its making
def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation=6):
    block = Image.Exif()
    block[ExifTags.Base.Make], block[ExifTags.Base.Model] = "DJI", "DJI M3T"
    block[ExifTags.Base.Orientation] = orientation
    block[ExifTags.IFD.Exif] = {
        0x9003: "2024:05:04 10:11:12", 0x9291: "345", 0x9011: "+02:00", 0x927C: b"maker" * 9, 0x920A: 9.1, 0xA002: 64,
    }  # fmt: skip
    block[ExifTags.IFD.GPSInfo] = GPS
    return block


def source(image_format="JPEG", **options):
    data = io.BytesIO()
    options = {"exif": exif().tobytes(), "xmp": XMP, "icc_profile": profile()} | options
    Image.new("RGB", (64, 48), (9, 99, 199)).save(data, image_format, **options)
    return data.getvalue()


def encoded(image_format, channels=3, dtype=np.uint8):
    shape = (48, 64, 3) if channels == 3 else (48, 64)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    return pixels, cv2.imencode(SUFFIXES[image_format], pixels)[1].tobytes()


def pixels_of(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("image_format", SUFFIXES)
@pytest.mark.parametrize("taken_from", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_gps_time_camera_and_profile_survive_into_every_format(image_format, taken_from):
    has_xmp = taken_from in ("JPEG", "WEBP")  # Pillow writes it into no other
    options = {} if has_xmp else {"xmp": None}
    metadata = read_metadata(source(taken_from, **options))
    _, plain = encoded(image_format)
    data = embed_metadata(plain, metadata, 3)
    np.testing.assert_array_equal(pixels_of(data), pixels_of(plain))
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif()
        gps = found.get_ifd(ExifTags.IFD.GPSInfo)
        inner = found.get_ifd(ExifTags.IFD.Exif)
        assert (gps[1], gps[3], gps[29]) == ("S", "W", "2024:05:04")
        np.testing.assert_allclose([float(value) for value in gps[2] + gps[4]], [47, 22, 11.5, 8, 32, 1.25])
        assert (inner[0x9003], inner[0x9291], inner[0x9011]) == ("2024:05:04 10:11:12", "345", "+02:00")
        assert float(inner[0x920A]) == 9.1
        assert found[ExifTags.Base.Model] == "DJI M3T"
        assert not {0x927C, 0xA002} & set(inner)
        assert found.get(ExifTags.Base.Orientation, 1) == 1
        assert not found.get_ifd(ExifTags.IFD.IFD1)
        assert image.info["icc_profile"] == profile()
        if has_xmp:
            xmp = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
            assert b"RelativeAltitude" in xmp
            assert b"Orientation" not in xmp
            assert b"Thumbnails" not in xmp


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_sixteen_bits_stay_as_they_are(image_format, channels):
    pixels, plain = encoded(image_format, channels, np.uint16)
    data = embed_metadata(plain, read_metadata(source()), channels)
    np.testing.assert_array_equal(pixels_of(data), pixels)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[ExifTags.Base.Make] == "DJI"
        assert ("icc_profile" in image.info) == (channels == 3)


def test_a_profile_of_any_size_and_a_lossless_webp_hold_metadata():
    large = bytearray(profile() + bytes(200_000))
    large[:4] = len(large).to_bytes(4, "big")
    metadata = read_metadata(source(icc_profile=bytes(large)))
    for image_format in ("jpeg", "png", "tiff"):
        with Image.open(io.BytesIO(embed_metadata(encoded(image_format)[1], metadata, 3))) as image:
            assert image.info["icc_profile"] == large
    lossless = cv2.imencode(".webp", encoded("png")[0], (cv2.IMWRITE_WEBP_QUALITY, 101))[1].tobytes()
    assert lossless[12:16] == b"VP8L"
    with Image.open(io.BytesIO(embed_metadata(lossless, metadata, 3))) as image:
        image.load()
        assert image.info["icc_profile"] == large


def geotiff(orientation=1):
    tags = [
        (33550, 12, 3, (0.5, 0.5, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 465_000.0, 5_247_000.0, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32632), True),
        (274, 3, 1, orientation, True),
    ]
    data = io.BytesIO()
    tifffile.imwrite(data, np.zeros((48, 64, 3), np.uint8), photometric="rgb", extratags=tags)
    return data.getvalue()


def test_a_tiff_keeps_the_georeference():
    data = embed_metadata(encoded("tiff", dtype=np.uint16)[1], read_metadata(geotiff()), 3)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].geotiff_tags
    assert tags["ProjectedCSTypeGeoKey"] == 32632
    assert tags["ModelPixelScale"] == [0.5, 0.5, 0.0]
    assert tags["ModelTiepoint"] == [0.0, 0.0, 0.0, 465_000.0, 5_247_000.0, 0.0]


def test_a_cropped_image_lies_where_it_did():
    metadata = read_metadata(geotiff()).cropped(10, 4)
    data = embed_metadata(encoded("tiff")[1], metadata, 3)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.pages[0].geotiff_tags["ModelTiepoint"][:2] == [-10.0, -4.0]


def test_turned_pixels_have_no_georeference():
    assert not read_metadata(geotiff(orientation=6)).geo


def test_a_shot_is_read():
    shot = read_shot(read_metadata(source()))
    assert shot.taken_at == "2024-05-04T10:11:12.345000+02:00"
    assert shot.camera == "DJI M3T"
    assert shot.latitude == pytest.approx(-(47 + 22 / 60 + 11.5 / 3600))
    assert shot.longitude == pytest.approx(-(8 + 32 / 60 + 1.25 / 3600))
    assert shot.altitude == -31.25
    assert shot.seconds == 1714817472.345


@pytest.mark.parametrize(
    ("taken", "gps"),
    [
        ("0000:00:00 00:00:00", {2: (91.0, 0.0, 0.0)}),
        ("    :  :     :  :  ", {2: (47.0,) * 9}),
        ("2024:05:04", {1: b""}),
        ("yesterday", {4: (200.0, 0.0, 0.0)}),
    ],
)
def test_what_makes_no_sense_is_none(taken, gps):
    block = Image.Exif()
    block[ExifTags.IFD.Exif] = {0x9003: taken}
    block[ExifTags.IFD.GPSInfo] = GPS | gps
    shot = read_shot(read_metadata(source(exif=block.tobytes())))
    assert (shot.taken_at, shot.camera) == (None, None)
    if 1 not in gps:
        assert (shot.latitude, shot.longitude) == (None, None)


def test_nothing_to_keep_changes_no_byte():
    _, plain = encoded("jpeg")
    assert embed_metadata(plain, read_metadata(plain), 3) is plain
    assert read_metadata(b"no image") == Metadata()


def test_damaged_metadata_is_left_out_and_never_raises():
    files = [source(name, **({"xmp": None} if name == "PNG" else {})) for name in ("JPEG", "PNG", "WEBP", "TIFF")]
    files.append(geotiff())
    dice = np.random.default_rng(0)
    _, plain = encoded("png")
    kept = 0
    for turn in range(1000):
        data = bytearray(files[turn % len(files)])
        for place in dice.integers(0, min(len(data), int(dice.choice([64, 600, len(data)]))), 4):
            data[place : place + 1] = dice.bytes(dice.integers(0, 5))
        metadata = read_metadata(bytes(data))
        read_shot(metadata)
        written = embed_metadata(plain, metadata, 3)
        kept += len(written) > len(plain)
        np.testing.assert_array_equal(pixels_of(written).shape, (48, 64, 3))
    assert kept > 250
