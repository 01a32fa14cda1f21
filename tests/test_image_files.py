"""Photographs on disk: what they hold is kept, and what is no photograph is refused in a sentence."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
import tifffile
from conftest import PHOTOS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from srsenet_plugin.inference import image_files
from srsenet_plugin.inference.image_files import FORMAT_OF_SUFFIX, read_photo, write_photo
from srsenet_plugin.inference.photo import BadPhotoError, Photo, TooManyPixelsError

MAX_PIXELS = 10**6
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
LOSSLESS = ['.png', '.tif', '.tiff']


@pytest.fixture(scope='module')
def colour() -> NDArray[np.uint8]:
    return np.asarray(Image.open(PHOTOS / 'coffee.png'))[50:74, 100:131]


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = 'Camera'
    return exif.tobytes()


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'LA'])
@pytest.mark.parametrize('suffix', LOSSLESS)
def test_eight_bits(tmp_path: Path, colour: NDArray[np.uint8], suffix: str, mode: str) -> None:
    img = Image.fromarray(colour).convert('RGBA')
    img.putalpha(Image.fromarray(colour[..., 0]))
    img.convert(mode).save(tmp_path / f'in{suffix}', icc_profile=PROFILE)
    photo = read_photo(tmp_path / f'in{suffix}', MAX_PIXELS)
    assert np.array_equal(photo.pixels, np.asarray(img.convert(mode)))
    assert photo.icc_profile == PROFILE
    write_photo(photo, tmp_path / f'out{suffix}')
    again = read_photo(tmp_path / f'out{suffix}', MAX_PIXELS)
    assert np.array_equal(again.pixels, photo.pixels)
    assert again.icc_profile == PROFILE


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('suffix', LOSSLESS)
def test_sixteen_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 7, channels), np.uint16).squeeze()
    if suffix == '.png':
        bgr = pixels if channels == 1 else pixels[..., [2, 1, 0, 3][:channels]]
        assert cv2.imwrite(str(tmp_path / 'in.png'), bgr)
    else:
        tifffile.imwrite(tmp_path / f'in{suffix}', pixels, photometric='rgb' if channels > 1 else 'minisblack')
    photo = read_photo(tmp_path / f'in{suffix}', MAX_PIXELS)
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, pixels)
    photo = Photo(photo.pixels, PROFILE, exif_of(1))
    write_photo(photo, tmp_path / f'out{suffix}')
    again = read_photo(tmp_path / f'out{suffix}', MAX_PIXELS)
    assert np.array_equal(again.pixels, pixels)
    assert again.icc_profile == PROFILE
    if suffix == '.png':
        with Image.open(tmp_path / 'out.png') as img:
            assert img.getexif()[0x010F] == 'Camera'
    if channels < 4:
        write_photo(photo, tmp_path / 'out.bmp')
        eight = read_photo(tmp_path / 'out.bmp', MAX_PIXELS).pixels
        assert np.abs(eight - pixels / 257).max() <= 0.5


@pytest.mark.parametrize('suffix', ['.jpg', '.jpeg', '.webp', '.bmp'])
def test_other_formats(tmp_path: Path, colour: NDArray[np.uint8], suffix: str) -> None:
    write_photo(Photo(colour, PROFILE, exif_of(1)), tmp_path / f'out{suffix}')
    with Image.open(tmp_path / f'out{suffix}') as img:
        assert img.format == FORMAT_OF_SUFFIX[suffix]
    photo = read_photo(tmp_path / f'out{suffix}', MAX_PIXELS)
    assert np.abs(photo.pixels.astype(int) - colour).mean() < 4
    assert photo.icc_profile == (b'' if suffix == '.bmp' else PROFILE)


@pytest.mark.parametrize(('suffix', 'package'), [('.avif', 'PIL.AvifImagePlugin'), ('.heic', 'pillow_heif')])
@pytest.mark.parametrize('channels', [3, 4])
def test_formats_of_telephones(
    tmp_path: Path, colour: NDArray[np.uint8], suffix: str, package: str, channels: int
) -> None:
    pytest.importorskip(package)
    pixels = np.dstack([colour, colour[..., 0]])[..., :channels]
    write_photo(Photo(pixels, PROFILE, exif_of(1)), tmp_path / f'x{suffix}')
    photo = read_photo(tmp_path / f'x{suffix}', MAX_PIXELS)
    assert photo.pixels.shape == pixels.shape
    assert np.abs(photo.pixels.astype(int) - pixels).mean() < 4
    assert photo.icc_profile == PROFILE
    assert b'Camera' in photo.exif
    turned = exif_of(6)
    Image.fromarray(colour).save(tmp_path / f'y{suffix}', exif=turned, quality=95)
    assert read_photo(tmp_path / f'y{suffix}', MAX_PIXELS).pixels.shape == (31, 24, 3)


def test_formats_that_pillow_lacks(tmp_path: Path, colour: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    has = image_files._pillow_has
    monkeypatch.setattr(image_files, '_pillow_has', lambda file_format: file_format != 'HEIF' and has(file_format))
    with pytest.raises(BadPhotoError, match=r'as \.heic, which needs pillow-heif .*pip install pillow-heif'):
        write_photo(Photo(colour), tmp_path / 'x.heic')
    (tmp_path / 'x.heic').write_bytes(b'\0\0\0\x18ftypheic' + bytes(100))
    with pytest.raises(BadPhotoError, match='pip install pillow-heif'):
        read_photo(tmp_path / 'x.heic', MAX_PIXELS)


@pytest.mark.parametrize('quality', [20, 30, 49, 50, 60, 75, 85, 92, 97, 100])
def test_quality_of_jpeg_files(tmp_path: Path, colour: NDArray[np.uint8], quality: int) -> None:
    Image.fromarray(colour).save(tmp_path / 'x.jpg', quality=quality)
    stated = read_photo(tmp_path / 'x.jpg', MAX_PIXELS).jpeg_quality
    assert stated == pytest.approx(quality, abs=1)
    Image.fromarray(colour).save(tmp_path / 'x.png')
    assert read_photo(tmp_path / 'x.png', MAX_PIXELS).jpeg_quality is None


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(tmp_path: Path, colour: NDArray[np.uint8], orientation: int) -> None:
    Image.fromarray(colour).save(tmp_path / 'in.png', exif=exif_of(orientation))
    photo = read_photo(tmp_path / 'in.png', MAX_PIXELS)
    with Image.open(tmp_path / 'in.png') as img:
        assert np.array_equal(photo.pixels, np.asarray(ImageOps.exif_transpose(img)))
    write_photo(photo, tmp_path / 'out.png')
    with Image.open(tmp_path / 'out.png') as img:
        assert 0x0112 not in img.getexif()
        assert img.getexif()[0x010F] == 'Camera'


def test_palettes(tmp_path: Path, colour: NDArray[np.uint8]) -> None:
    palette = Image.fromarray(colour).quantize(16)
    palette.save(tmp_path / 'p.png')
    assert np.array_equal(read_photo(tmp_path / 'p.png', MAX_PIXELS).pixels, np.asarray(palette.convert('RGB')))
    palette.save(tmp_path / 't.png', transparency=3)
    pixels = read_photo(tmp_path / 't.png', MAX_PIXELS).pixels
    assert np.array_equal(pixels[..., 3] == 0, np.asarray(palette) == 3)
    Image.fromarray(colour[..., 0]).convert('1').save(tmp_path / '1.png')
    assert set(np.unique(read_photo(tmp_path / '1.png', MAX_PIXELS).pixels)) == {0, 255}


@pytest.mark.parametrize('suffix', ['.jpg', '.bmp'])
def test_formats_without_alpha(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(BadPhotoError, match='holds no alpha'):
        write_photo(Photo(np.zeros((4, 4, 4), np.uint8)), tmp_path / f'x{suffix}')
    assert not list(tmp_path.iterdir())


def test_images_too_large_for_a_format(tmp_path: Path) -> None:
    with pytest.raises((BadPhotoError, OSError)):
        write_photo(Photo(np.zeros((2, 17000, 3), np.uint8)), tmp_path / 'x.webp')
    assert not list(tmp_path.iterdir())


def encoded(pixels: NDArray, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def png_of(width: int, height: int, bits: int, colour_type: int, data: bytes) -> bytes:
    chunks = (
        (b'IHDR', struct.pack('>IIBBBBB', width, height, bits, colour_type, 0, 0, 0)),
        (b'IDAT', data),
        (b'IEND', b''),
    )
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
        for name, content in chunks
    )


def hostile_files(colour: NDArray[np.uint8]) -> Iterator[tuple[str, bytes]]:
    """Files that are no image that can be upscaled."""
    formats = ('PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP')
    images = {name: encoded(colour, name) for name in formats}
    for name, data in images.items():
        for share in (0.05, 0.3, 0.6, 0.9):
            yield f'{name} cut off at {share}', data[: int(share * len(data))]
        yield f'{name} without its start', data[7:]
        yield f'{name} of zeros after its start', data[:24] + bytes(len(data) - 24)
        yield f'{name} in front of which is text', b'text ' + data
    yield 'nothing', b''
    yield 'a byte', b'\x89'
    yield 'text', b'This is not an image.'
    yield 'zeros', bytes(4096)
    yield 'noise', random.Random(0).randbytes(4096)
    yield 'a zip archive', b'PK\x03\x04' + bytes(100)
    yield 'a pickle', b'cos\nsystem\n(S"touch canary"\ntR.'
    yield 'HTML', b'<!DOCTYPE html><html><body>404</body></html>'
    yield 'SVG', b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    yield 'PDF', b'%PDF-1.7\n1 0 obj\n<<>>\nendobj\n'
    yield 'PostScript', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n'
    yield 'GIF', encoded(colour[..., 0], 'GIF')
    yield 'ICO', encoded(colour, 'ICO')
    yield 'PPM', encoded(colour, 'PPM')
    rows = zlib.compress(bytes(4 * (1 + 3 * 4)))
    yield 'PNG of no width', png_of(0, 4, 8, 2, rows)
    yield 'PNG of no height', png_of(4, 0, 8, 2, rows)
    yield 'PNG of no size', png_of(0, 0, 8, 2, rows)
    yield 'PNG of a bit depth that there is not', png_of(4, 4, 3, 2, rows)
    yield 'PNG of colours that there are not', png_of(4, 4, 8, 5, rows)
    yield 'PNG without pixels', png_of(4, 4, 8, 2, b'')
    yield 'PNG of noise', png_of(4, 4, 8, 2, random.Random(0).randbytes(99))
    yield 'PNG of 2000x2000 in a few bytes', png_of(2000, 2000, 8, 2, rows)
    yield 'PNG of 50000x50000', png_of(50000, 50000, 8, 2, rows)
    yield 'PNG of four billion pixels a side', png_of(2**32 - 1, 2**32 - 1, 8, 2, rows)
    yield 'PNG whose size is negative', png_of(2**31, 2**31, 8, 2, rows)
    yield 'PNG that expands a thousandfold', png_of(9000, 9000, 8, 0, zlib.compress(bytes(9001 * 9000), 9))
    yield 'CMYK JPEG', encoded_mode(colour, 'CMYK', 'JPEG')
    yield 'CMYK TIFF', encoded_mode(colour, 'CMYK', 'TIFF')
    yield 'LAB TIFF', encoded_mode(colour, 'LAB', 'TIFF')
    yield 'TIFF of 32-bit integers', encoded(np.zeros((4, 4), np.int32), 'TIFF')
    yield 'TIFF of floating point', encoded(np.zeros((4, 4), np.float32), 'TIFF')
    frames = [Image.fromarray(colour[..., channel]) for channel in range(3)]
    for name in ('TIFF', 'WEBP', 'PNG'):
        yield f'{name} of three images', encoded(colour[..., 0], name, save_all=True, append_images=frames[1:])
    tiff = images['TIFF']
    yield 'TIFF whose directory is beyond its end', tiff[:4] + struct.pack('<I', 2**31) + tiff[8:]
    yield 'TIFF whose directory is its start', tiff[:4] + struct.pack('<I', 0) + tiff[8:]
    bmp = images['BMP']
    yield 'BMP of a million rows', bmp[:22] + struct.pack('<i', 10**6) + bmp[26:]
    yield 'BMP of a negative width', bmp[:18] + struct.pack('<i', -31) + bmp[22:]
    yield 'BMP of 5 bits', bmp[:28] + struct.pack('<H', 5) + bmp[30:]
    webp = images['WEBP']
    yield 'WebP with a lying length', webp[:4] + struct.pack('<I', 9) + webp[8:30]


def encoded_mode(colour: NDArray[np.uint8], mode: str, file_format: str) -> bytes:
    file = io.BytesIO()
    img = Image.fromarray(colour)
    (Image.merge('LAB', img.split()) if mode == 'LAB' else img.convert(mode)).save(file, file_format)
    return file.getvalue()


def test_hostile_files_are_refused_in_a_sentence(tmp_path: Path, colour: NDArray[np.uint8]) -> None:
    files = dict(hostile_files(colour))
    assert len(files) >= 60
    wrong = {}
    for name, data in files.items():
        path = tmp_path / 'file.png'
        path.write_bytes(data)
        try:
            read_photo(path, MAX_PIXELS)
            reason = 'accepted'
        except BadPhotoError as error:
            reason = str(error)
        if reason == 'accepted' or '\n' in reason.strip():
            wrong[name] = reason
    assert not wrong


@pytest.mark.parametrize('file_format', ['PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP'])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_raise_anything_else(
    tmp_path: Path, colour: NDArray[np.uint8], file_format: str, data: st.DataObject
) -> None:
    content = bytearray(encoded(colour, file_format))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / 'damaged'
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        photo = read_photo(path, MAX_PIXELS)
    except BadPhotoError:
        return
    assert photo.pixels.dtype in (np.uint8, np.uint16)
    assert 0 < photo.pixels.size <= 4 * MAX_PIXELS


def test_transparency_of_sixteen_bit_grey(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 7), np.uint16)
    pixels[2, 3] = pixels[5, 1] = 1234
    png = cv2.imencode('.png', pixels)[1].tobytes()
    chunk = b'tRNS' + struct.pack('>H', 1234)
    chunk = struct.pack('>I', 2) + chunk + struct.pack('>I', zlib.crc32(chunk))
    (tmp_path / 'x.png').write_bytes(png[:33] + chunk + png[33:])
    photo = read_photo(tmp_path / 'x.png', MAX_PIXELS)
    expected = np.dstack([pixels, np.where(pixels == 1234, 0, 65535)])
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, expected)
    write_photo(photo, tmp_path / 'y.png')  # as RGBA: OpenCV writes no grey with alpha
    assert np.array_equal(read_photo(tmp_path / 'y.png', MAX_PIXELS).pixels, expected[..., [0, 0, 0, 1]])


def exif_of_a_camera() -> bytes:
    exif = Image.Exif()
    exif[0x0100], exif[0x0101] = 4000, 3000  # the sizes that some telephones write
    exif[0x0103], exif[0x0111] = 6, 1234  # compression, and where the pixels begin
    exif[0x010F] = 'Camera'
    exif[0x8769] = {0x829A: 0.25, 0xA002: 4000, 0xA003: 3000}
    return exif.tobytes()


@pytest.mark.parametrize('target', ['.png', '.jpg', '.webp', '.tif'])
@pytest.mark.parametrize('bits', [8, 16])
def test_exif_of_the_photograph_travels_and_that_of_the_file_does_not(
    tmp_path: Path, colour: NDArray[np.uint8], target: str, bits: int
) -> None:
    Image.fromarray(colour).save(tmp_path / 'x.jpg', exif=exif_of_a_camera())
    photo = read_photo(tmp_path / 'x.jpg', MAX_PIXELS)
    if bits == 16:
        photo = replace(photo, pixels=photo.pixels.astype(np.uint16) * 257)
    write_photo(photo, tmp_path / f'y{target}')
    with Image.open(tmp_path / f'y{target}') as img:
        exif = img.getexif()
        assert exif[0x010F] == 'Camera'
        assert exif.get_ifd(0x8769) == {0x829A: 0.25}
        assert exif.get(0x0100, img.width) == img.width
        assert exif.get(0x0103, 1) == 1
        assert target == '.tif' or not {0x0100, 0x0103, 0x0111}.intersection(exif)


def test_damaged_exif_does_not_cost_the_image(tmp_path: Path, colour: NDArray[np.uint8]) -> None:
    exif = exif_of_a_camera()
    for damaged in (b'Exif\0\0' + bytes(50), exif[:-20], exif[:20], exif[:6] + b'XX' + exif[8:]):
        Image.fromarray(colour).save(tmp_path / 'x.png', exif=damaged)
        assert np.array_equal(read_photo(tmp_path / 'x.png', MAX_PIXELS).pixels, colour)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:creator="Me"/></x:xmpmeta>'
NEEDS_XMP = pytest.mark.skipif(
    int(PIL.__version__.partition('.')[0]) < 11, reason='Pillow before 11 neither finds XMP in JPEG nor writes it'
)


@NEEDS_XMP
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif'])
def test_xmp_and_resolution(tmp_path: Path, colour: NDArray[np.uint8], suffix: str, bits: int) -> None:
    Image.fromarray(colour).save(tmp_path / 'x.jpg', xmp=XMP, dpi=(300, 150))
    photo = read_photo(tmp_path / 'x.jpg', MAX_PIXELS)
    assert photo.dpi == (300, 150)
    if bits == 16:
        photo = replace(photo, pixels=photo.pixels.astype(np.uint16) * 257)
    write_photo(photo, tmp_path / f'y{suffix}')
    with Image.open(tmp_path / f'y{suffix}') as img:
        assert img.info['xmp'].replace(b'\0', b'') == XMP.replace(b'"6"', b'"1"')
        if suffix != '.webp':
            assert np.allclose([float(value) for value in img.info['dpi']], (300, 150), atol=0.1)


@NEEDS_XMP
def test_xmp_of_further_images_is_left_out(tmp_path: Path, colour: NDArray[np.uint8]) -> None:
    xmp = XMP.replace(b'dc:', b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:')
    Image.fromarray(colour).save(tmp_path / 'x.jpg', xmp=xmp)
    assert read_photo(tmp_path / 'x.jpg', MAX_PIXELS).xmp == b''


def test_pillows_limit_is_left_as_it_was(tmp_path: Path, colour: NDArray[np.uint8]) -> None:
    before = Image.MAX_IMAGE_PIXELS
    Image.fromarray(colour).save(tmp_path / 'x.png')
    read_photo(tmp_path / 'x.png', MAX_PIXELS)
    for max_pixels in (colour.size, 2):  # the second is beyond Pillow's own limit as well
        with pytest.raises(TooManyPixelsError) if max_pixels == 2 else nullcontext():
            read_photo(tmp_path / 'x.png', max_pixels)
        assert before == Image.MAX_IMAGE_PIXELS


def test_telephones_add_images_of_their_own(tmp_path: Path, colour: NDArray[np.uint8]) -> None:
    img = Image.fromarray(colour)
    img.save(tmp_path / 'x.jpg', 'MPO', save_all=True, append_images=[img.resize((9, 9))], quality=100, subsampling=0)
    photo = read_photo(tmp_path / 'x.jpg', MAX_PIXELS)
    assert np.abs(photo.pixels.astype(int) - colour).mean() < 2
