"""TIFF in all the layouts that photographs come in: read right, or refused by name."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from srsenet_plugin.inference import tiff_files
from srsenet_plugin.inference.image_files import read_photo, write_photo
from srsenet_plugin.inference.photo import BadPhotoError, Photo

MAX_PIXELS = 10**6
EXPOSURE, EXIF, GPS, LATITUDE = 0x829A, 0x8769, 0x8825, 2


def random_pixels(channels: int, bits: int) -> NDArray:
    shape = (9, 7, channels) if channels > 1 else (9, 7)
    pixels = np.random.default_rng(0).integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
    if channels in (2, 4):
        pixels[0, :2, -1] = 0, 2**bits - 1
    return pixels


def read(path: Path, pixels: NDArray, **options: object) -> NDArray:
    tifffile.imwrite(path, pixels, **options)
    return read_photo(path, MAX_PIXELS).pixels


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize(
    'layout', [{}, {'rowsperstrip': 2}, {'tile': (16, 16)}, {'compression': 'zlib', 'predictor': True}], ids=str
)
def test_layouts(tmp_path: Path, bits: int, channels: int, planar: str, layout: dict[str, object]) -> None:
    pixels = random_pixels(channels, bits)
    planes = pixels
    if channels > 1:
        layout = {**layout, 'planarconfig': planar}
        planes = np.moveaxis(pixels, -1, 0) if planar == 'separate' else pixels
    photometric = 'rgb' if channels > 2 else 'minisblack'
    extra = ['unassalpha'] if channels in (2, 4) else None
    for byteorder in '<>':
        options = {'photometric': photometric, 'extrasamples': extra, 'byteorder': byteorder, **layout}
        result = read(tmp_path / 'x.tif', planes, **options)
        assert result.dtype == pixels.dtype
        assert np.array_equal(result, pixels)


@pytest.mark.parametrize('bits', [8, 16])
def test_white_is_zero(tmp_path: Path, bits: int) -> None:
    pixels = random_pixels(1, bits)
    assert np.array_equal(read(tmp_path / 'x.tif', ~pixels, photometric='miniswhite'), pixels)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [2, 4])
@pytest.mark.parametrize('planar', ['contig', 'separate'])
def test_associated_alpha_is_divided_out(tmp_path: Path, bits: int, channels: int, planar: str) -> None:
    pixels, white = random_pixels(channels, bits), 2**bits - 1
    alpha = pixels[..., -1:] / white
    stored = pixels.copy()
    stored[..., :-1] = np.round(pixels[..., :-1] * alpha)
    result = read(
        tmp_path / 'x.tif',
        np.moveaxis(stored, -1, 0) if planar == 'separate' else stored,
        photometric='rgb' if channels == 4 else 'minisblack',
        planarconfig=planar,
        extrasamples=['assocalpha'],
    )
    assert np.array_equal(result[..., -1], pixels[..., -1])
    assert result[0, 0].tolist() == [0] * channels
    seen = alpha[..., 0] > 0
    # Rounding while stored is enlarged by the division, and the result is rounded once more.
    error = np.abs(result[..., :-1].astype(float) - pixels[..., :-1])[seen]
    assert (error <= 0.5 / alpha[seen] + 0.5 + 1e-6).all()


@pytest.mark.parametrize('bits', [8, 16])
def test_an_unspecified_sample_is_no_alpha(tmp_path: Path, bits: int) -> None:
    pixels = random_pixels(4, bits)
    result = read(tmp_path / 'x.tif', pixels, photometric='rgb', extrasamples=['unspecified'])
    assert np.array_equal(result, pixels[..., :3])


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('compression', ['none', 'lzw'])
def test_orientation_is_undone_once(tmp_path: Path, bits: int, orientation: int, compression: str) -> None:
    pixels = random_pixels(3, bits)
    path = tmp_path / 'x.tif'
    if compression == 'none':
        tifffile.imwrite(path, pixels, photometric='rgb', extratags=[(274, 'H', 1, orientation, True)])
    else:
        write_lzw(path, pixels, orientation)
    upright = Image.new('L', (7, 9))
    upright.putdata(range(63))
    upright.getexif()[274] = orientation
    places = np.asarray(ImageOps.exif_transpose(upright))
    assert np.array_equal(read_photo(path, MAX_PIXELS).pixels, pixels.reshape(63, 3)[places])


def write_lzw(path: Path, pixels: NDArray, orientation: int = 1) -> None:
    """As OpenCV does, but for the orientation, which takes the place of a tag that says nothing here."""
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_XDPI, 72, cv2.IMWRITE_TIFF_YDPI, 72]
    data = bytearray(cv2.imencode('.tif', cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1].tobytes())
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert tiff.pages[0].compression == tifffile.COMPRESSION.LZW
        entries = {entry.code: entry.offset for entry in tiff.pages[0].tags}
    # Tags stand in ascending order; 274 fits where 273 (StripOffsets) ends and 277 begins, so the whole is moved.
    start = min(entries.values()) - 2
    count = struct.unpack('<H', data[start : start + 2])[0]
    table = [bytes(data[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    table.append(struct.pack('<HHII', 274, 3, 1, orientation))
    table.sort(key=lambda entry: struct.unpack('<H', entry[:2])[0])
    data += bytes(len(data) % 2)
    data[4:8] = struct.pack('<I', len(data))
    data += struct.pack('<H', len(table)) + b''.join(table) + bytes(4)
    path.write_bytes(data)


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_lzw_of_sixteen_bits(tmp_path: Path, channels: int) -> None:
    pixels = random_pixels(channels, 16)
    bgr = pixels if channels == 1 else pixels[..., [2, 1, 0, 3][:channels]]
    assert cv2.imwrite(str(tmp_path / 'x.tif'), bgr, [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert np.array_equal(read_photo(tmp_path / 'x.tif', MAX_PIXELS).pixels, pixels)


@pytest.mark.parametrize(
    ('compression', 'mode'),
    [
        *(
            (name, mode)
            for name in ('tiff_lzw', 'packbits', 'tiff_adobe_deflate')
            for mode in ('L', 'LA', 'RGB', 'RGBA')
        ),
        ('jpeg', 'L'),
        ('jpeg', 'RGB'),
    ],
)
def test_pillows_compressions(tmp_path: Path, mode: str, compression: str) -> None:
    img = Image.fromarray(random_pixels(4, 8)).convert(mode)
    img.save(tmp_path / 'x.tif', compression=compression)
    with Image.open(tmp_path / 'x.tif') as stored:
        expected = np.asarray(stored)
    assert np.array_equal(read_photo(tmp_path / 'x.tif', MAX_PIXELS).pixels, expected)


@pytest.mark.parametrize(
    ('pixels', 'options', 'reason'),
    [
        (
            random_pixels(2, 16),
            {'photometric': 'miniswhite', 'extrasamples': ['unassalpha']},
            'is a TIFF of a rare layout',
        ),
        (np.zeros((9, 7, 5), np.uint16), {'photometric': 'rgb', 'extrasamples': [2, 0]}, 'is a TIFF of a rare layout'),
        (np.zeros((9, 7), np.float32), {'photometric': 'minisblack'}, 'is a F image'),
        (np.zeros((9, 7, 4), np.uint16), {'photometric': 'separated'}, 'is a CMYK image'),
        (np.zeros((9, 7), np.int16), {'photometric': 'minisblack'}, 'is a I image'),
        (np.zeros((2, 9, 7), np.uint16), {'photometric': 'minisblack'}, 'holds 2 images'),
        (np.zeros((2000, 2000), np.uint16), {'photometric': 'minisblack'}, 'has 2000x2000 pixels, more than 1000000'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_other_layouts_are_refused(tmp_path: Path, pixels: NDArray, options: dict[str, object], reason: str) -> None:
    with pytest.raises(BadPhotoError, match=reason):
        read(tmp_path / 'x.tif', pixels, **options)


def change_tag(path: Path, name: str, value: int) -> None:
    with tifffile.TiffFile(path, mode='r+b') as tiff:
        tiff.pages[0].tags[name].overwrite(value)


def test_planes_compressed_by_lzw_are_refused(tmp_path: Path) -> None:
    planes = np.moveaxis(random_pixels(3, 16), -1, 0)
    tifffile.imwrite(tmp_path / 'x.tif', planes, photometric='rgb', planarconfig='separate')
    change_tag(tmp_path / 'x.tif', 'Compression', 5)
    with pytest.raises(BadPhotoError, match='compressed by LZW, which needs imagecodecs'):
        read_photo(tmp_path / 'x.tif', MAX_PIXELS)


def test_twelve_bits_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / 'x.tif', random_pixels(1, 16), photometric='minisblack')
    change_tag(tmp_path / 'x.tif', 'BitsPerSample', 12)
    with pytest.raises(BadPhotoError, match='has 12 bits a channel; convert it to 16 bits'):
        read_photo(tmp_path / 'x.tif', MAX_PIXELS)


@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('planar', ['contig', 'separate'])
def test_truncated_files_are_refused(tmp_path: Path, planar: str, compression: str | None) -> None:
    pixels = random_pixels(3, 16)
    planes = np.moveaxis(pixels, -1, 0) if planar == 'separate' else pixels
    path = tmp_path / 'x.tif'
    tifffile.imwrite(path, planes, photometric='rgb', planarconfig=planar, compression=compression, rowsperstrip=2)
    data = path.read_bytes()
    for length in (8, 50, 200, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(BadPhotoError):
            read_photo(path, MAX_PIXELS)


def test_missing_strips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'x.tif'
    tifffile.imwrite(path, random_pixels(3, 16), photometric='rgb', compression='zlib', rowsperstrip=2)
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags['StripByteCounts']
    data = bytearray(path.read_bytes())
    data[tag.valueoffset : tag.valueoffset + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(BadPhotoError, match='a part of the pixels is missing'):
        read_photo(path, MAX_PIXELS)


def photo_with_metadata(pixels: NDArray) -> Photo:
    exif = Image.Exif()
    exif[0x010F] = 'Camera'
    exif[EXIF] = {EXPOSURE: 0.25}
    exif[GPS] = {LATITUDE: (48.0, 51.0, 29.0)}
    return Photo(pixels, b'profile', exif.tobytes(), b'<x:xmpmeta/>', (300.0, 150.0))


def as_for_four_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_files, 'LARGEST_CLASSIC_TIFF', 0)


NEEDS_BIG_TIFF = pytest.mark.skipif(not tiff_files.PILLOW_WRITES_BIG_TIFF, reason='Pillow before 11.1 has no BigTIFF')


@pytest.mark.parametrize('is_big', [False, pytest.param(True, marks=NEEDS_BIG_TIFF)])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_written_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, bits: int, is_big: bool) -> None:
    if is_big:
        as_for_four_gigabytes(monkeypatch)
    photo = photo_with_metadata(random_pixels(channels, bits))
    path = tmp_path / 'x.tif'
    write_photo(photo, path)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff == is_big
        assert np.array_equal(tiff.asarray(), photo.pixels)
        tags = tiff.pages[0].tags
        assert tags['Make'].value == 'Camera'
        assert tags['ExifTag'].value['ExposureTime'] == 0.25
        assert tags['GPSTag'].value['GPSLatitude'] == (48, 1, 51, 1, 29, 1)
        assert tags['InterColorProfile'].value == b'profile'
        assert tags['XMP'].value == b'<x:xmpmeta/>'
        assert (tags['XResolution'].value, tags['YResolution'].value) == ((300, 1), (150, 1))
    again = read_photo(path, MAX_PIXELS)
    assert np.array_equal(again.pixels, photo.pixels)
    assert (again.icc_profile, again.xmp, again.dpi) == (photo.icc_profile, photo.xmp, photo.dpi)
    assert b'Camera' in again.exif


def test_pillow_without_big_tiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_for_four_gigabytes(monkeypatch)
    monkeypatch.setattr(tiff_files, 'PILLOW_WRITES_BIG_TIFF', False)
    with pytest.raises(BadPhotoError, match=r'more than 4 GB, which needs Pillow 11\.1 \(pip install -U pillow\)'):
        write_photo(Photo(random_pixels(3, 8)), tmp_path / 'x.tif')
    assert not list(tmp_path.iterdir())


def test_pillow_reads_written_files(tmp_path: Path) -> None:
    photo = photo_with_metadata(random_pixels(4, 8))
    write_photo(photo, tmp_path / 'x.tif')
    with Image.open(tmp_path / 'x.tif') as img:
        assert np.array_equal(np.asarray(img), photo.pixels)
        assert img.getexif().get_ifd(EXIF)[EXPOSURE] == 0.25
        assert img.getexif().get_ifd(GPS)[LATITUDE] == (48.0, 51.0, 29.0)
        assert img.info['icc_profile'] == b'profile'


@pytest.mark.parametrize(
    'description', ['A photograph', '{"shape": [9, 7]}', '{"a": 1, "shape": [9, 7]}', 'shape=(9,7)']
)
def test_descriptions_of_the_file_do_not_travel(tmp_path: Path, description: str) -> None:
    """Each version of tifffile has its own."""
    tifffile.imwrite(tmp_path / 'x.tif', random_pixels(1, 8), description=description, metadata=None)
    exif = Image.Exif()
    exif.load(read_photo(tmp_path / 'x.tif', MAX_PIXELS).exif)
    assert exif.get(270) == (description if 'photo' in description else None)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif'])
@pytest.mark.parametrize('bits', [8, 16])
def test_tags_of_the_file_do_not_travel(tmp_path: Path, bits: int, suffix: str) -> None:
    tifffile.imwrite(
        tmp_path / 'x.tif',
        random_pixels(3, bits),
        photometric='rgb',
        metadata={'the shape of the image': 'is among it'} if bits == 8 else None,
        extratags=[(271, 's', 0, 'Camera', True)],
    )
    write_photo(read_photo(tmp_path / 'x.tif', MAX_PIXELS), tmp_path / f'y{suffix}')
    again = read_photo(tmp_path / f'y{suffix}', MAX_PIXELS)
    exif = Image.Exif()
    exif.load(again.exif)
    assert exif[271] == 'Camera'
    resolution = {282, 283, 296}
    assert set(exif) - resolution == {271, 305}  # tifffile writes its name as that of the software
    if suffix != '.tif':
        with Image.open(tmp_path / f'y{suffix}') as img:
            assert set(img.getexif()) - resolution == {271, 305}
