from __future__ import annotations

import random
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from conftest import PHOTOS, write_photo

from srsenet_plugin import cli
from srsenet_plugin.data.mapped_lmdb import MappedLmdb
from srsenet_plugin.prepare import lmdb_check
from srsenet_plugin.prepare.lmdb_check import check_lmdb
from srsenet_plugin.prepare.packing import Packing, pack_images


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_photo('coffee.png', tmp_path / 'photos/coffee.png', (100, 100, 99, 133))
    write_photo('astronaut.png', tmp_path / 'photos/astronaut.png', (0, 150, 120, 80))
    pack_images(tmp_path / 'photos', tmp_path, 'photos', Packing([4], gt_size=32))
    return tmp_path / 'photos_HR.lmdb'


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_sound_lmdbs(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lr = packed.with_name('photos_LR_bicubic_X4.lmdb')
    assert cli.main(['prepare', 'verify', str(packed), str(lr)]) == 0
    assert capsys.readouterr().out.splitlines() == [f'{path}: 2 images, as they should be' for path in (packed, lr)]


def test_every_changed_pixel_is_found(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = packed / 'data.mdb'
    sound = data.read_bytes()
    pixels = cv2.imread(str(packed.parent / 'photos/coffee.png'))[40, :128, ::-1].tobytes()
    start = sound.index(pixels)
    for offset in random.Random(0).sample(range(len(pixels)), 5):
        damaged = bytearray(sound)
        damaged[start + offset] ^= 1
        data.write_bytes(damaged)
        assert cli.main(['prepare', 'verify', str(packed)]) == 1
        printed = capsys.readouterr().err
        assert f'{packed} is damaged. Delete it and make it again.' in printed
        assert 'coffee is damaged: its checksum is another one' in printed


@pytest.fixture(scope='module')
def twelve_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('twelve')
    img = cv2.imread(str(PHOTOS / 'coffee.png'))
    (folder / 'photos').mkdir()
    for i in range(12):
        cv2.imwrite(str(folder / f'photos/{i}.png'), img[8 * i : 8 * i + 64, : 64 + 8 * i])
    pack_images(folder / 'photos', folder, 'photos', Packing([8], gt_size=32))
    return folder / 'photos_LR_bicubic_X8.lmdb'


PAGE = 4096


@pytest.mark.parametrize('name', ['data.mdb', 'meta_info.txt', 'manifest.json'])
def test_any_flipped_bit_is_harmless_or_found(twelve_images: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LMDB itself would follow it out of the file: a bus error."""
    monkeypatch.setattr(lmdb_check, 'tqdm', lambda iterable, *args, **kwargs: iterable)
    expected = images_of(twelve_images)
    file = twelve_images / name
    sound = file.read_bytes()
    rng = random.Random(0)
    places = [(rng.randrange(len(sound)), rng.randrange(8)) for _ in range(1000 if name == 'data.mdb' else 300)]
    if name == 'data.mdb':  # and where its pages begin, and are told of
        pages = range(0, len(sound), PAGE)
        begins = [page + offset for page in pages for offset in range(160 if page < 2 * PAGE else 60)]
        places += [(rng.choice(begins), rng.randrange(8)) for _ in range(1000)]
    messages = []
    for offset, bit in places:
        damaged = bytearray(sound)
        damaged[offset] ^= 1 << bit
        file.write_bytes(damaged)
        try:
            assert check_lmdb(twelve_images, 1) == 12
        except ValueError as error:
            messages.append(str(error))
        else:
            assert images_of(twelve_images) == expected, (offset, bit)
    assert len(messages) > 100
    assert all(str(twelve_images) in message for message in messages)
    file.write_bytes(sound)


def images_of(folder: Path) -> dict[str, bytes]:
    values = MappedLmdb(folder)
    return {f'{i}': values[f'{i}'].tobytes() for i in range(12)}


def test_damage_anywhere_never_kills_the_process(packed: Path) -> None:
    """LMDB itself reads beyond the end of a file that is cut off, which would be a bus error."""
    data = packed / 'data.mdb'
    sound = data.read_bytes()
    rng = random.Random(0)
    for size in (0, 100, 4096, 8192, *(rng.randrange(len(sound)) for _ in range(20))):
        data.write_bytes(sound[:size])
        with pytest.raises(ValueError, match=r'is cut off|is no LMDB, or damaged'):
            check_lmdb(packed)
    data.write_bytes(rng.randbytes(len(sound)))
    with pytest.raises(ValueError, match='is no LMDB, or damaged'):
        check_lmdb(packed)


@pytest.mark.parametrize(
    ('name', 'old', 'new', 'message'),
    [
        ('meta_info.txt', 'coffee.png', 'tea.png', r'tea is in meta_info\.txt and not in data\.mdb'),
        ('meta_info.txt', 'coffee.png', 'tea.png', r'coffee is in data\.mdb and not in meta_info\.txt'),
        ('meta_info.txt', '(96,132,3)', '(96,131,3)', r'coffee has shape \(96, 132, 3\), not that of meta_info\.txt'),
        (
            'meta_info.txt',
            '(96,132,3)',
            'large',
            r'meta_info\.txt, line 2: expected "name\.png \(height,width,channels',
        ),
        ('manifest.json', '"coffee"', '"tea"', r'coffee is in meta_info\.txt and not in manifest\.json'),
        ('manifest.json', '[96, 132, 3]', '[96, 131, 3]', r'coffee has shape'),
        ('manifest.json', '{', '', r'manifest\.json is damaged'),
    ],
)
def test_texts_that_do_not_fit(packed: Path, name: str, old: str, new: str, message: str) -> None:
    replace(packed / name, old, new)
    with pytest.raises(ValueError, match=message):
        check_lmdb(packed)


def test_an_lmdb_of_basicsr(packed: Path, tmp_path: Path) -> None:
    """It has no manifest; the images are decoded."""
    made = tmp_path / 'stock.lmdb'
    make_lmdb_from_imgs(str(tmp_path / 'photos'), str(made), ['astronaut.png', 'coffee.png'], ['astronaut', 'coffee'])
    assert check_lmdb(made) == 2
    with lmdb.open(str(made), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        value = transaction.get(b'coffee')
        transaction.put(b'coffee', value[: len(value) // 2])
        transaction.put(b'astronaut', cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    with pytest.raises(ValueError, match=r'(?s)astronaut has shape \(8, 8, 3\).*coffee is no image, or damaged'):
        check_lmdb(made)


def test_what_is_no_lmdb(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'is no LMDB of BasicSR: .*meta_info\.txt does not exist'):
        check_lmdb(tmp_path)
    (tmp_path / 'meta_info.txt').write_text('a.png (1,1,1) 0\n')
    with pytest.raises(ValueError, match=r'data\.mdb does not exist'):
        check_lmdb(tmp_path)
    assert not (tmp_path / 'data.mdb').exists()
