from __future__ import annotations

import os
import re
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from conftest import run, write_photo

from srsenet_plugin import cli
from srsenet_plugin.data import imresize
from srsenet_plugin.data.lmdb_writer import LmdbWriter
from srsenet_plugin.data.prepare import make_benchmark, pack_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    write_photo('coffee.png', folder / 'coffee.png', (100, 100, 99, 133))
    write_photo('astronaut.png', folder / 'astronaut.png', (0, 150, 120, 80))
    grey = cv2.imread(str(folder / 'coffee.png'), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / 'grey.bmp'), grey[:64, :64])
    return folder


def test_stock_dataset_reads_the_lmdb(photos: Path, tmp_path: Path) -> None:
    hr, lr, _ = pack_folder(photos, tmp_path, 'photos', [4, 6])
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


def test_meta_info_and_size(photos: Path, tmp_path: Path) -> None:
    hr, _ = pack_folder(photos, tmp_path, 'photos', [8])
    assert (hr / 'meta_info.txt').read_text().splitlines() == [
        'astronaut.png (120,80,3) 0',
        'coffee.png (96,128,3) 0',
        'grey.png (64,64,1) 0',
    ]
    assert sorted(os.listdir(hr)) == ['data.mdb', 'meta_info.txt']
    pixels = 120 * 80 * 3 + 96 * 128 * 3 + 64 * 64
    assert pixels < (hr / 'data.mdb').stat().st_size < pixels + 60_000


def test_a_scale_named_twice_is_one(photos: Path, tmp_path: Path) -> None:
    expected = [path.read_bytes() for out in pack_folder(photos, tmp_path, 'once', [2, 4]) for path in out.iterdir()]
    twice = pack_folder(photos, tmp_path, 'twice', [4, 2, 4])
    assert [path.read_bytes() for out in twice for path in out.iterdir()] == expected


def test_map_grows(tmp_path: Path) -> None:
    """More than the map that the writer starts with, in one image and in several."""
    rng = np.random.default_rng(0)
    imgs = {f'{i}': rng.integers(0, 256, (3000, size, 3), np.uint8) for i, size in enumerate((4000, 9000, 100))}
    with LmdbWriter(tmp_path / 'big.lmdb') as writer:
        for key, img in imgs.items():
            writer.put(key, img)
    with lmdb.open(str(tmp_path / 'big.lmdb'), readonly=True, lock=False) as env, env.begin() as transaction:
        for key, img in imgs.items():
            value = np.frombuffer(transaction.get(key.encode()), np.uint8)
            assert np.array_equal(cv2.imdecode(value, cv2.IMREAD_COLOR), img)


def test_benchmark_folders(photos: Path, tmp_path: Path) -> None:
    make_benchmark(photos, tmp_path / 'Photos', [3, 4])
    for scale in (3, 4):
        for name in ('astronaut', 'coffee', 'grey'):
            (source,) = photos.glob(f'{name}.*')
            img = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
            gt = img[: img.shape[0] // scale * scale, : img.shape[1] // scale * scale]
            for folder, expected in ((f'GTmod{scale}', gt), (f'LRbicx{scale}', imresize(gt, 1 / scale))):
                written = cv2.imread(str(tmp_path / 'Photos' / folder / f'{name}.png'), cv2.IMREAD_UNCHANGED)
                assert np.array_equal(written, expected)


def test_again_leaves_what_is_there(photos: Path, tmp_path: Path) -> None:
    out = [*pack_folder(photos, tmp_path, 'photos', [2]), *make_benchmark(photos, tmp_path, [2])]
    before = [path.stat().st_mtime_ns for path in out]
    (photos / 'coffee.png').unlink()
    pack_folder(photos, tmp_path, 'photos', [2])
    make_benchmark(photos, tmp_path, [2])
    assert [path.stat().st_mtime_ns for path in out] == before
    with pytest.raises(FileExistsError, match=r'photos_HR\.lmdb exists already, but not .*X3\.lmdb'):
        pack_folder(photos, tmp_path, 'photos', [3])


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('broken.png', b'no image', r'broken\.png is not an image'),
        ('empty.png', b'', r'empty\.png is not an image'),
        ('deep.png', np.zeros((64, 64, 3), np.uint16), r'deep\.png is uint16'),
        ('rgba.png', np.zeros((64, 64, 4), np.uint8), r'rgba\.png is uint8 of shape \(64, 64, 4\)'),
        ('tiny.png', np.zeros((64, 3, 3), np.uint8), r'tiny\.png is smaller than 4x4'),
        ('coffee.b.png', np.zeros((64, 64, 3), np.uint8), r'have one key in BasicSR'),
    ],
)
@pytest.mark.parametrize('kind', ['folder', 'benchmark'])
def test_bad_images_are_refused_by_name(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    name: str,
    content: bytes | np.ndarray,
    message: str,
) -> None:
    if isinstance(content, bytes):
        (photos / name).write_bytes(content)
    else:
        cv2.imwrite(str(photos / name), content)
    out = tmp_path / 'out'
    arguments = ['--source', str(photos), '--out', str(out), '--scales', '4']
    assert cli.main(['prepare', kind, *arguments, *(['--name', 'x'] if kind == 'folder' else [])]) == 1
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith('srsenet: ')
    assert re.search(message, printed)
    assert not [path for path in out.glob('*') if not path.name.endswith('.tmp')]


def test_sources_that_are_no_folders_of_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='is not a folder'):
        pack_folder(tmp_path / 'nowhere', tmp_path, 'x', [2])
    with pytest.raises(ValueError, match='holds no images'):
        pack_folder(tmp_path, tmp_path, 'x', [2])


@pytest.mark.slow
def test_command_fails_with_a_sentence(tmp_path: Path) -> None:
    printed = run(['srsenet', 'prepare', 'div2k', '--source', 'nowhere', '--out', 'out'], tmp_path, status=1)
    assert printed.splitlines() == ['srsenet: nowhere is not a folder. Name the folder that holds the HR images.']
    printed = run(['srsenet', 'prepare', 'div2k', '--source', '.', '--out', 'out', '--scales', '1'], tmp_path, status=2)
    assert 'a scale is an integer of at least 2, not 1' in printed
