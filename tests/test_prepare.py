from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
import tifffile
from basicsr.data import build_dataset
from basicsr.utils.color_util import rgb2ycbcr
from conftest import PHOTOS, run, run_python, write_photo
from filelock import FileLock
from mmengine.fileio import BaseStorageBackend, register_backend
from PIL import Image

from srsenet_plugin import cli
from srsenet_plugin.data import imresize
from srsenet_plugin.data.manifest import read_manifest, write_manifest
from srsenet_plugin.data.whole_files import MARK
from srsenet_plugin.prepare.benchmark_folders import benchmark_folders, make_benchmark
from srsenet_plugin.prepare.lmdb_writer import LmdbWriter, encode
from srsenet_plugin.prepare.packing import Packing, lmdb_folders, pack_images
from srsenet_plugin.prepare.staging import LOCK


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    write_photo('coffee.png', folder / 'coffee.png', (100, 100, 99, 133))
    write_photo('astronaut.png', folder / 'astronaut.png', (0, 150, 120, 80))
    grey = cv2.imread(str(folder / 'coffee.png'), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / 'grey.bmp'), grey[:64, :64])
    return folder


def pack(source: Path | str, out: Path, scales: Sequence[int] = (4,), **packing: Any) -> list[Path]:
    pack_images(source, out, 'photos', Packing(scales, **{'gt_size': 32, **packing}))
    return lmdb_folders(out, 'photos', scales)


def content(*folders: Path) -> dict[str, bytes]:
    """All files below some folders, by their paths from the folders' parents."""
    return {
        str(path.relative_to(folder.parent)): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def stored(folder: Path) -> dict[str, np.ndarray]:
    """The images of an LMDB, RGB or grey, by key."""
    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
        return {key.decode(): np.asarray(Image.open(io.BytesIO(value))) for key, value in transaction.cursor()}


def test_stock_dataset_reads_the_lmdb(photos: Path, tmp_path: Path) -> None:
    hr, lr, _ = pack(photos, tmp_path, [4, 6])
    dataset = build_dataset(
        {
            'name': 'photos',
            'type': 'PairedImageDataset',
            'dataroot_gt': str(hr),
            'dataroot_lq': str(lr),
            'io_backend': {'type': 'lmdb'},
            'phase': 'val',
            'scale': 4,
        }
    )
    assert [sample['gt_path'] for sample in dataset] == ['astronaut', 'coffee', 'grey']
    for sample, name in zip(dataset, ('astronaut.png', 'coffee.png', 'grey.bmp')):
        img = cv2.imread(str(photos / name))
        height, width = (side // 12 * 12 for side in img.shape[:2])
        img = img[:height, :width]
        for tensor, expected in ((sample['gt'], img), (sample['lq'], imresize(img, 1 / 4))):
            assert np.array_equal((tensor * 255).round().numpy().transpose(1, 2, 0)[..., ::-1], expected)


def test_what_an_lmdb_holds(photos: Path, tmp_path: Path) -> None:
    hr, _ = pack(photos, tmp_path, [8])
    assert (hr / 'meta_info.txt').read_text().splitlines() == [
        'astronaut.png (120,80,3) 0',
        'coffee.png (96,128,3) 0',
        'grey.png (64,64,1) 0',
    ]
    assert sorted(os.listdir(hr)) == ['data.mdb', 'manifest.json', 'meta_info.txt']
    assert sorted(os.listdir(tmp_path)) == ['photos', 'photos_HR.lmdb', 'photos_LR_bicubic_X8.lmdb']
    pixels = 120 * 80 * 3 + 96 * 128 * 3 + 64 * 64
    size = (hr / 'data.mdb').stat().st_size
    assert pixels < size < pixels + 60_000
    with lmdb.open(str(hr), readonly=True, lock=False, map_size=1) as env:
        assert size <= env.info()['map_size'] < size + 100_000  # a map is allocated on Windows


@pytest.mark.parametrize('archived', [False, True])
def test_a_zip_archive_is_as_good_as_a_folder(photos: Path, tmp_path: Path, archived: bool) -> None:
    source = photos
    if archived:
        source = tmp_path / 'photos.zip'
        with zipfile.ZipFile(source, 'w', zipfile.ZIP_DEFLATED) as archive:
            for path in photos.iterdir():
                archive.write(path, f'DIV2K/{path.name}')
            archive.writestr('__MACOSX/DIV2K/._coffee.png', b'no image')
            archive.writestr('DIV2K/readme.txt', b'text')
    (photos / '.hidden.png').write_bytes(b'no image')
    made = content(*pack(source, tmp_path / 'out'))
    (photos / '.hidden.png').unlink()
    assert made == content(*pack(photos, tmp_path / 'plain'))


def test_any_storage_of_mmengine_is_a_source(photos: Path, tmp_path: Path) -> None:
    files = {f'memory://photos/{path.name}': path.read_bytes() for path in photos.iterdir()}

    class MemoryBackend(BaseStorageBackend):
        def get(self, filepath: str) -> bytes:
            return files[filepath]

        def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
            return files[filepath].decode(encoding)

        def isdir(self, filepath: str) -> bool:
            return any(name.startswith(f'{filepath}/') for name in files)

        def list_dir_or_file(self, dir_path: str, list_dir: bool = True) -> Iterator[str]:
            return (name.removeprefix(f'{dir_path}/') for name in files)

        def join_path(self, *parts: str) -> str:
            return '/'.join(parts)

        def get_local_path(self, filepath: str) -> Any:
            path = tmp_path / 'fetched'
            path.write_bytes(files[filepath])
            return nullcontext(path)

    register_backend('memory', MemoryBackend, force=True, prefixes='memory')
    pack_images('memory://photos', tmp_path / 'out', 'photos', Packing([4], gt_size=32), workers=1)
    assert content(*lmdb_folders(tmp_path / 'out', 'photos', [4])) == content(*pack(photos, tmp_path / 'plain'))
    make_benchmark('memory://photos', tmp_path / 'benchmark', [4], workers=1)
    make_benchmark(photos, tmp_path / 'benchmark_plain', [4])
    assert content(*benchmark_folders(tmp_path / 'benchmark', [4])) == content(
        *benchmark_folders(tmp_path / 'benchmark_plain', [4])
    )


def test_neither_workers_nor_repeated_scales_change_a_byte(photos: Path, tmp_path: Path) -> None:
    expected = content(*pack(photos, tmp_path / 'once', [2, 4]))
    for workers in (1, 2, 5):
        pack_images(photos, tmp_path / str(workers), 'photos', Packing([4, 2, 4], gt_size=32), workers)
        assert content(*lmdb_folders(tmp_path / str(workers), 'photos', [2, 4])) == expected


def test_downsizes(photos: Path, tmp_path: Path) -> None:
    hr, lr = pack(photos, tmp_path, downsizes=[1, 0.7, 0.5])
    hrs, lrs = stored(hr), stored(lr)
    assert (
        sorted(hrs)
        == sorted(lrs)
        == [f'{name}{suffix}' for name in ('astronaut', 'coffee', 'grey') for suffix in ('', '/0p5', '/0p7')]
    )
    img = cv2.cvtColor(cv2.imread(str(photos / 'coffee.png')), cv2.COLOR_BGR2RGB)
    for suffix, downsize in (('', 1), ('/0p7', 0.7), ('/0p5', 0.5)):
        shrunk = imresize(img, downsize)
        expected = shrunk[: shrunk.shape[0] // 4 * 4, : shrunk.shape[1] // 4 * 4]
        assert np.array_equal(hrs[f'coffee{suffix}'], expected)
        assert np.array_equal(lrs[f'coffee{suffix}'], imresize(expected, 1 / 4))
    meta_info = (lr / 'meta_info.txt').read_text().splitlines()
    assert meta_info[:3] == [
        'astronaut.png (30,20,3) 0',
        'astronaut/0p7.png (21,14,3) 0',
        'astronaut/0p5.png (15,10,3) 0',
    ]


def test_downsizes_with_less_than_a_patch_are_left_out(photos: Path, tmp_path: Path) -> None:
    hr, lr = lmdb_folders(tmp_path, 'photos', [4])
    pack_images(photos, tmp_path, 'photos', Packing([4], [1, 0.7, 0.5], gt_size=50))
    sizes = {key: img.shape[:2] for key, img in stored(hr).items()}
    assert sizes['astronaut/0p7'] == (84, 56)
    assert 'astronaut/0p5' not in sizes  # (60, 40)
    assert sizes.keys() == stored(lr).keys()
    assert all(min(size) >= 50 for size in sizes.values())
    everything = Packing([4], [1, 0.7, 0.5], gt_size=1)
    with pytest.raises(FileExistsError, match='was made in another way: gt_size is 50, not 1'):
        pack_images(photos, tmp_path, 'photos', everything)
    pack_images(photos, tmp_path / 'all', 'photos', everything)
    every = stored(lmdb_folders(tmp_path / 'all', 'photos', [4])[0])
    assert {key for key, img in every.items() if min(img.shape[:2]) >= 50} == sizes.keys()


def test_colour_y(photos: Path, tmp_path: Path) -> None:
    """Against BasicSR's rgb2ycbcr, which is MATLAB's; LR images are those of the rounded Y."""
    hr, lr = pack(photos, tmp_path, colour='y')
    hrs, lrs = stored(hr), stored(lr)
    for name in ('astronaut.png', 'coffee.png', 'grey.bmp'):
        rgb = cv2.cvtColor(cv2.imread(str(photos / name)), cv2.COLOR_BGR2RGB)
        y = rgb2ycbcr(rgb, y_only=True)[: rgb.shape[0] // 4 * 4, : rgb.shape[1] // 4 * 4]
        assert np.array_equal(hrs[name.split('.')[0]], y)
        assert np.array_equal(lrs[name.split('.')[0]], imresize(y, 1 / 4))


def test_encoding_png(photos: Path, tmp_path: Path) -> None:
    ppm, png = (pack(photos, tmp_path / encoding, encoding=encoding) for encoding in ('ppm', 'png'))
    for one, other in zip(ppm, png):
        for (key, img), (other_key, other_img) in zip(stored(one).items(), stored(other).items(), strict=True):
            assert key == other_key
            assert np.array_equal(img, other_img)
    assert (png[0] / 'data.mdb').stat().st_size < 0.8 * (ppm[0] / 'data.mdb').stat().st_size


def test_map_grows(tmp_path: Path) -> None:
    """More than the map that the writer starts with, in one image and in several."""
    rng = np.random.default_rng(0)
    imgs = {f'{i}': rng.integers(0, 256, (3000, size, 3), np.uint8) for i, size in enumerate((4000, 9000, 100))}
    with LmdbWriter(tmp_path / 'big.lmdb', {}) as writer:
        for key, img in imgs.items():
            writer.put(key, encode(img, 'ppm'))
    for key, img in stored(tmp_path / 'big.lmdb').items():
        assert np.array_equal(img, imgs[key])


def test_benchmark_folders(photos: Path, tmp_path: Path) -> None:
    make_benchmark(photos, tmp_path / 'Photos', [3, 4])
    assert sorted(os.listdir(tmp_path / 'Photos')) == ['GTmod3', 'GTmod4', 'LRbicx3', 'LRbicx4']
    for scale in (3, 4):
        for name in ('astronaut', 'coffee', 'grey'):
            (source,) = photos.glob(f'{name}.*')
            img = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
            gt = img[: img.shape[0] // scale * scale, : img.shape[1] // scale * scale]
            for folder, expected in ((f'GTmod{scale}', gt), (f'LRbicx{scale}', imresize(gt, 1 / scale))):
                written = cv2.imread(str(tmp_path / 'Photos' / folder / f'{name}.png'), cv2.IMREAD_UNCHANGED)
                assert np.array_equal(written, expected)


def test_a_benchmark_gets_further_scales(photos: Path, tmp_path: Path) -> None:
    make_benchmark(photos, tmp_path / 'both', [2, 4])
    make_benchmark(photos, tmp_path / 'one', [2])
    make_benchmark(photos, tmp_path / 'one', [4, 2])
    assert len(content(tmp_path / 'one')) == 12
    assert {name.partition('/')[2]: value for name, value in content(tmp_path / 'one').items()} == {
        name.partition('/')[2]: value for name, value in content(tmp_path / 'both').items()
    }
    shutil.rmtree(tmp_path / 'one/GTmod2')
    with pytest.raises(FileExistsError, match=r'LRbicx2 exists already, but not .*GTmod2'):
        make_benchmark(photos, tmp_path / 'one', [2])


def test_again_leaves_what_is_there(photos: Path, tmp_path: Path) -> None:
    made = pack(photos, tmp_path, [2, 4])
    make_benchmark(photos, tmp_path, [2])
    made += benchmark_folders(tmp_path, [2])
    before = [path.stat().st_mtime_ns for path in made]
    pack(photos, tmp_path, [2, 4])
    pack(photos, tmp_path, [2])  # for which what was made for more serves as well
    make_benchmark(photos, tmp_path, [2])
    assert [path.stat().st_mtime_ns for path in made] == before
    with pytest.raises(FileExistsError, match=r'photos_HR\.lmdb exists already, but not .*X3\.lmdb'):
        pack(photos, tmp_path, [3])
    with pytest.raises(FileExistsError, match=r'photos_HR\.lmdb exists .* in another way: colour is rgb, not y'):
        pack(photos, tmp_path, [2], colour='y')
    shutil.copytree(tmp_path / 'photos_LR_bicubic_X2.lmdb', tmp_path / 'photos_LR_bicubic_X3.lmdb')
    with pytest.raises(FileExistsError, match='crop_multiple is 2, not 6'):
        pack(photos, tmp_path, [2, 3])


KINDS = ('folder', 'benchmark')


@pytest.mark.parametrize('kind', KINDS)
def test_again_says_what_is_left_alone(
    photos: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(kind, photos, tmp_path / 'out')
    assert cli.main(words) == 0
    made = capsys.readouterr().out.splitlines()
    assert cli.main(words) == 0
    printed = capsys.readouterr()
    assert printed.out == ''
    assert [line for line in printed.err.splitlines() if 'left alone' in line] == [
        f'{path} is there already: left alone.' for path in made
    ]


def change_an_image(photos: Path) -> None:
    Image.new('L', (64, 64)).save(photos / 'grey.bmp')  # of the same size as before


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (shutil.rmtree, 'is not a folder'),
        (change_an_image, 'changed'),
        (lambda photos: (photos / 'grey.bmp').unlink(), r'now there are 2|no image of that name'),
        (lambda photos: shutil.copy(photos / 'grey.bmp', photos / 'new.bmp'), r'now there are 4|missing'),
    ],
)
def test_a_changed_source_is_noticed(
    photos: Path,
    tmp_path: Path,
    kind: str,
    change: Callable[[Path], Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / 'out'
    words = arguments(kind, photos, out)
    assert cli.main(words) == 0
    before = content(out)
    change(photos)
    capsys.readouterr()
    assert cli.main(words) == 1
    assert re.search(message, capsys.readouterr().err)
    assert content(out) == before


@pytest.mark.parametrize('kind', KINDS)
def test_a_source_may_change_its_form(photos: Path, tmp_path: Path, kind: str) -> None:
    assert cli.main(arguments(kind, photos, tmp_path / 'out')) == 0
    shutil.make_archive(str(tmp_path / 'archive'), 'zip', photos)
    assert cli.main(arguments(kind, tmp_path / 'archive.zip', tmp_path / 'out')) == 0


def test_lmdbs_that_do_not_say_what_they_were_made_of(photos: Path, tmp_path: Path) -> None:
    """As those of earlier versions."""
    for folder in pack(photos, tmp_path):
        manifest = read_manifest(folder)
        del manifest['recipe']['source']
        write_manifest(folder, manifest['recipe'], manifest['images'])
    change_an_image(photos)
    pack(photos, tmp_path)


def test_div2k_whose_archive_has_been_deleted(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ['prepare', 'div2k', '--out', str(tmp_path), '--scales', '4', '--gt-size', '32']
    archive = Path(shutil.make_archive(str(tmp_path / 'DIV2K_train_HR'), 'zip', photos))
    assert cli.main(words) == 0
    archive.unlink()
    capsys.readouterr()
    assert cli.main(words) == 0
    assert capsys.readouterr().err.count('left alone') == 2
    assert cli.main([*words, '--colour', 'y']) == 1
    assert 'was made in another way' in capsys.readouterr().err


@pytest.mark.parametrize('kind', KINDS)
def test_folders_of_the_user_are_left_alone(
    photos: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    stem = 'x' if kind == 'folder' else 'benchmark'
    for name in (f'{stem}.tmp', f'{stem}.part', stem):
        (out / name / 'thesis').mkdir(parents=True)
        (out / name / 'thesis/chapter.txt').write_text('of the user')
        (out / name / 'complete').touch()
        (out / name / 'lock').touch()
    before = content(out)
    assert cli.main(arguments(kind, photos, out)) == 0
    assert {name: value for name, value in content(out).items() if name in before} == before
    shutil.rmtree(out)
    staging = out / f'{stem}.{MARK}'
    shutil.copytree(photos, staging / 'thesis')
    before = content(out)
    assert cli.main(arguments(kind, photos, out)) == 1
    assert f'{staging} holds something that was not put there by this command' in capsys.readouterr().err
    assert content(out) == before


@pytest.mark.parametrize('kind', KINDS)
def test_a_source_where_the_data_are_to_be_made(
    photos: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stem, target = ('x', 'x_HR.lmdb') if kind == 'folder' else ('benchmark', 'GTmod4')
    for place in (f'{stem}.{MARK}', f'{stem}.{MARK}/mine', target):
        shutil.copytree(photos, tmp_path / 'out' / place)
        (tmp_path / 'out' / place / LOCK).touch()
        before = content(tmp_path / 'out')
        assert cli.main(arguments(kind, tmp_path / 'out' / place, tmp_path / 'out')) == 1
        assert 'which is to be made. Move it' in capsys.readouterr().err
        assert content(tmp_path / 'out') == before
        shutil.rmtree(tmp_path / 'out')


def test_a_source_named_as_the_data(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The originals were deleted once."""
    photos.rename(tmp_path / 'photos.tmp')
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path / 'photos.tmp')
    words = ['prepare', 'folder', '--source', 'photos.tmp', '--name', 'photos', '--out', '.', '--gt-size', '32']
    assert cli.main(words) == 0
    assert content(tmp_path / 'photos.tmp') == before


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('../x', "'../x' is no start of a file name"),
        ('/x', "'/x' is no start"),
        ('a\\b', 'is no start'),
        ('a\nb', r"'a\nb' is no start"),
        ('..', "'..' is no start"),
        ('', "'' is no start"),
        pytest.param('n' * 600, 'nnn... is too long: names of 619 bytes would be made of it', id='letters'),
        pytest.param('超' * 80, 'is too long: names of 259 bytes', id='bytes'),
    ],
)
def test_names_that_are_none(
    photos: Path, tmp_path: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments('folder', photos, tmp_path / 'out')
    words[words.index('--name') + 1] = name
    assert cli.main(words) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert not list(tmp_path.glob('x*'))


def test_two_entries_of_one_name_in_a_zip_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        for name in ('a.png', 'b.png', 'a.png'):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # that of zipfile
                archive.writestr(name, (PHOTOS / 'coffee.png').read_bytes())
    assert cli.main(arguments('folder', tmp_path / 'a.zip', tmp_path)) == 1
    assert 'a.zip holds two files of one name, of which only the last can be read: a.png' in capsys.readouterr().err


def exif_rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path.parent / 'coffee.png').save(path, quality=95, exif=exif.tobytes())


def test_harmless_kinds_of_images(photos: Path, tmp_path: Path) -> None:
    """Palettes, one bit, opaque alpha channels and EXIF's rotations, as 8-bit grey or RGB."""
    rgb = Image.open(photos / 'coffee.png')
    exif_rotated(photos / 'rotated.jpg')
    rgb.quantize(64).save(photos / 'palette.png')
    rgb.convert('1').save(photos / 'bit.png')
    Image.merge('RGBA', (*rgb.split(), Image.new('L', rgb.size, 255))).save(photos / 'opaque.png')
    Image.merge('LA', (rgb.getchannel('G'), Image.new('L', rgb.size, 255))).save(photos / 'opaque_grey.png')
    imgs = stored(pack(photos, tmp_path, [3])[0])
    expected = {
        'palette': rgb.quantize(64).convert('RGB'),
        'bit': rgb.convert('1').convert('L'),
        'opaque': rgb,
        'opaque_grey': rgb.getchannel('G'),
        'rotated': Image.fromarray(cv2.cvtColor(cv2.imread(str(photos / 'rotated.jpg')), cv2.COLOR_BGR2RGB)),
    }
    for key, img in expected.items():
        crop = np.asarray(img)[: img.height // 3 * 3, : img.width // 3 * 3]
        assert np.array_equal(imgs[key], crop), key
    assert imgs['rotated'].shape == (132, 99, 3)


def truncated(path: Path) -> None:
    """Cut in the middle, where the header and much of the image are still there."""
    img = Image.open(path.parent / 'coffee.png')
    img.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def transparent(path: Path) -> None:
    Image.new('RGBA', (64, 64), (9, 9, 9, 254)).save(path)


def flipped_bit(path: Path) -> None:
    Image.open(path.parent / 'coffee.png').save(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


# Told by the headers or names alone, of all images at once.
def several_images(path: Path) -> None:
    first, *others = (Image.new('RGB', (64, 64), colour) for colour in ('red', 'green', 'blue'))
    first.save(path, save_all=True, append_images=others)


BAD_IMAGES = {
    'text.png': (lambda path: path.write_text('no image'), 'is not an image'),
    'empty.png': (lambda path: path.touch(), 'is not an image'),
    'deep.png': (lambda path: cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint16)), 'more than 8 bits'),
    'grey16.png': (lambda path: cv2.imwrite(str(path), np.zeros((64, 64), np.uint16)), 'more than 8 bits'),
    'tif16.tif': (lambda path: cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint16)), 'more than 8 bits'),
    'planar16.tif': (
        lambda path: tifffile.imwrite(
            path, np.zeros((3, 64, 64), np.uint16), photometric='rgb', planarconfig='separate'
        ),
        'more than 8 bits',
    ),
    'ppm16.ppm': (lambda path: path.write_bytes(b'P6\n64 64\n65535\n' + bytes(64 * 64 * 6)), 'more than 8 bits'),
    'float.tif': (lambda path: cv2.imwrite(str(path), np.zeros((64, 64, 3), np.float32)), ''),
    'short.webp': (truncated, 'is not an image|is truncated'),
    'cmyk.jpg': (lambda path: Image.new('CMYK', (64, 64)).save(path), 'is a CMYK image; convert it to RGB'),
    'tiny.png': (lambda path: Image.new('RGB', (3, 64)).save(path), ''),
    'pages.tif': (several_images, 'holds 3 images; save each as a file of its own'),
    'animated.webp': (several_images, 'holds 3 images; save each as a file of its own'),
    'coffee.b.png': (lambda path: Image.new('RGB', (64, 64)).save(path), 'has the key of .*coffee.* in BasicSR'),
}
# Told when an image is decoded.
BAD_PIXELS = {
    'truncated.png': (truncated, 'is truncated'),
    'cut.jpg': (truncated, 'is truncated'),
    'flipped_bit.png': (flipped_bit, 'is truncated or damaged'),
    'transparent.png': (transparent, 'is partly transparent'),
}


def arguments(kind: str, source: Path, out: Path) -> list[str]:
    others = ['--name', 'x', '--gt-size', '32'] if kind == 'folder' else []
    return ['prepare', kind, '--source', str(source), '--out', str(out), '--scales', '4', *others]


@pytest.mark.parametrize('name', [*BAD_IMAGES, *BAD_PIXELS])
@pytest.mark.parametrize('kind', ['folder', 'benchmark'])
def test_bad_images_are_refused_by_name(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str
) -> None:
    write, reason = (BAD_IMAGES | BAD_PIXELS)[name]
    write(photos / name)
    assert cli.main(arguments(kind, photos, tmp_path / 'out')) == 1
    printed = capsys.readouterr().err
    assert 'srsenet: ' in printed
    assert f'{name} ' in printed.split('srsenet: ')[1]
    assert not reason or re.search(reason, printed)
    assert '--skip-bad' in printed
    assert os.listdir(tmp_path / 'out') == []


@pytest.mark.parametrize('kind', ['folder', 'benchmark'])
def test_all_bad_images_are_listed_and_can_be_left_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    expected = tmp_path / 'expected/out'
    assert cli.main(arguments(kind, photos, expected)) == 0
    for name, (write, _) in (BAD_IMAGES | BAD_PIXELS).items():
        write(photos / name)
    out = tmp_path / 'out'
    capsys.readouterr()
    assert cli.main(arguments(kind, photos, out)) == 1
    printed = capsys.readouterr().err
    assert f'{len(BAD_IMAGES)} of {3 + len(BAD_IMAGES) + len(BAD_PIXELS)} images cannot be used' in printed
    assert all(name in printed for name in BAD_IMAGES)
    assert cli.main([*arguments(kind, photos, out), '--skip-bad']) == 0
    printed = capsys.readouterr().err
    assert f'Left out {len(BAD_IMAGES) + len(BAD_PIXELS)} images:' in printed
    assert all(f'{name} ' in printed for name in BAD_IMAGES | BAD_PIXELS)
    made, wanted = content(out), content(expected)
    assert made.keys() == wanted.keys()
    if kind == 'benchmark':
        # Of coffee.b.png and coffee.png, which have one key, the first is taken.
        assert {name for name in made if made[name] != wanted[name]} == {
            'out/GTmod4/coffee.png',
            'out/LRbicx4/coffee.png',
        }
    else:
        assert sorted(stored(out / 'x_HR.lmdb')) == ['astronaut', 'coffee', 'grey']


def test_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'bad').mkdir()
    for i in range(30):
        (tmp_path / f'bad/{i}.png').write_text('no image')
    for options in ([], ['--skip-bad']):
        assert cli.main([*arguments('folder', tmp_path / 'bad', tmp_path / 'out'), *options]) == 1
        assert 'and 10 more' in capsys.readouterr().err
    Image.new('RGBA', (64, 64)).save(tmp_path / 'bad/30.png')
    assert cli.main([*arguments('folder', tmp_path / 'bad', tmp_path / 'out'), '--skip-bad']) == 1
    assert 'None of the 31 images can be used' in capsys.readouterr().err
    assert os.listdir(tmp_path / 'out') == []


def test_sources_without_images(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='is not a folder'):
        pack(tmp_path / 'nowhere', out)
    with pytest.raises(ValueError, match='holds no images'):
        pack(tmp_path, out)
    with pytest.raises(ValueError, match='mmengine knows no storage gopher://'):
        pack('gopher://photos', out)
    with pytest.raises(ValueError, match=r'https:// cannot list folders\. Name a zip archive'):
        pack('https://example.org/photos', out)
    with pytest.raises(ValueError, match=r'nowhere\.zip does not exist'):
        pack(tmp_path / 'nowhere.zip', out)
    shutil.make_archive(str(tmp_path / 'photos'), 'zip', photos)
    archive = tmp_path / 'photos.zip'
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r'photos\.zip is no complete zip archive'):
        pack(archive, out)


def test_damage_within_a_zip_archive(photos: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / 'photos'), 'zip', photos)
    archive = tmp_path / 'photos.zip'
    damaged = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as members:
        member = members.getinfo('coffee.png')
    middle = member.header_offset + member.compress_size // 2
    damaged[middle : middle + 50] = bytes(50)
    archive.write_bytes(damaged)
    with pytest.raises(ValueError, match=r'coffee\.png is truncated or damaged'):
        pack(archive, tmp_path / 'out')


def test_too_little_space_is_told_first(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10))
    with pytest.raises(OSError, match=r'0\.00 GB are needed in .*; 0\.00 GB are free'):
        pack(photos, tmp_path / 'out')
    assert os.listdir(tmp_path / 'out') == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from srsenet_plugin import cli
if sys.argv[1] == 'limit':  # of a file's size, which LMDB meets as any other error of the disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_disk_fills_up(photos: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (500, 500, 3), np.uint8)).save(photos / f'noise{i}.png')
    out = tmp_path / 'out'
    out.mkdir()
    command = [sys.executable, '-c', FULL_DISK]
    printed = run([*command, 'limit', *arguments('folder', photos, out)], status=1)
    assert 'srsenet: ' in printed
    assert 'Input/output error' in printed
    assert 'Traceback' not in printed
    assert os.listdir(out) == []

    namespace = ['unshare', '-rm', 'bash', '-c']
    if subprocess.run([*namespace, f'mount -t tmpfs none {out}'], capture_output=True).returncode:
        pytest.skip('a small disk cannot be mounted here')
    for kind in ('folder', 'benchmark'):
        script = f'mount -t tmpfs -o size=3m none {out} && "$@"; status=$?; ls -A {out}; exit $status'
        png = ['--encoding', 'png'] if kind == 'folder' else []  # whose size is not known before
        words = [*namespace, script, 'bash', *command, 'none', *arguments(kind, photos, out), *png]
        message = f'srsenet: The disk of {out} is full. What was written there has been deleted again.'
        assert run(words, status=1).splitlines()[-1] == message


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """The most that a process ever held, its files' cache included."""
    code = (
        'import resource, sys; from pathlib import Path; from srsenet_plugin.prepare.packing import *;'
        'pack_images(sys.argv[1], Path(sys.argv[2]), "x", Packing(), 2);'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)'
    )
    peaks = []
    for count in (12, 120):
        source = tmp_path / f'{count}'
        source.mkdir()
        img = np.tile(cv2.imread(str(PHOTOS / 'coffee.png')), (2, 2, 1))
        for i in range(count):
            cv2.imwrite(str(source / f'{i}.ppm'), np.roll(img, i, 0))
        peaks.append(float(run_python(code, source, tmp_path / f'out{count}').splitlines()[-1]))
    stored_more = 108 * img.size * (1 + 1 / 4 + 1 / 16 + 1 / 64) / 2**20
    assert stored_more > 300
    assert peaks[1] - peaks[0] < 50


def test_two_at_once(photos: Path, tmp_path: Path) -> None:
    (tmp_path / 'photos.srsenet-part').mkdir()
    with (
        FileLock(tmp_path / 'photos.srsenet-part/srsenet-part.lock'),
        pytest.raises(FileExistsError, match=r'photos\.srsenet-part is in use: another process makes the same data'),
    ):
        pack(photos, tmp_path)
    pack(photos, tmp_path)


def test_manifest(photos: Path, tmp_path: Path) -> None:
    hr, lr = pack(photos, tmp_path, [8], downsizes=[1, 0.5])
    manifest = json.loads((lr / 'manifest.json').read_text())
    assert manifest['recipe'] == {
        'downsizes': [1, 0.5],
        'gt_size': 32,
        'colour': 'rgb',
        'encoding': 'ppm',
        'scale': 8,
        'crop_multiple': 8,
        'source': manifest['recipe']['source'],
    }
    assert manifest['recipe']['source']['images'] == 3
    assert manifest['images']['grey/0p5']['shape'] == [4, 4, 1]
    assert json.loads((hr / 'manifest.json').read_text())['recipe']['scale'] == 1


@pytest.mark.slow
def test_command_fails_with_a_sentence(tmp_path: Path) -> None:
    prepare = ['srsenet', 'prepare', 'div2k', '--out', 'out']
    printed = run([*prepare, '--source', 'nowhere'], tmp_path, status=1)
    assert printed.splitlines()[-1] == (
        'srsenet: nowhere is not a folder. Name the folder, or the zip archive, that holds the HR images.'
    )
    printed = run(prepare, tmp_path, status=1)
    assert printed.startswith(
        'srsenet: There is no out/DIV2K_train_HR.zip. --download fetches it; by hand, put https://'
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--scales', '1'], 'a scale is an integer of at least 2, not 1'),
        (['--downsizes', '1.5'], 'a downsize is greater than 0 and at most 1, not 1.5'),
        (['--scales', '2', '4', '4'], 'argument --scales: 4 is named twice'),
        (['--downsizes', '1', '1.0'], 'argument --downsizes: 1.0 is named twice'),
        (['--workers', '0'], 'an integer of at least 1 is expected, not 0'),
        (['--download'], 'not allowed with argument --source'),
    ],
)
def test_wrong_options(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(['prepare', 'div2k', '--source', 'x', '--out', 'y', *options])
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'repetitions'), [('pack', 20), ('benchmark', 5)])
def test_killed_at_any_moment(tmp_path: Path, kind: str, repetitions: int) -> None:
    """Around each step that can be seen from outside, and at random ones."""
    for i in range(4):
        write_photo('coffee.png', tmp_path / f'photos/{i}.png', (10 * i, 20 * i, 300, 300))
    script = Path(__file__).with_name('kill_prepare.py')
    printed = run([sys.executable, script, tmp_path / 'photos', tmp_path / 'out', kind, repetitions])
    match = re.search(r'killed (\d+) of', printed)
    assert match
    assert int(match[1]) >= 8
