from __future__ import annotations

import io
import itertools
import multiprocessing
import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils import bgr2ycbcr, set_random_seed
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from conftest import PHOTOS, write_photo
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from srsenet_plugin.data.colour import rgb_to_y
from srsenet_plugin.data.draws import Draw, random_of
from srsenet_plugin.data.jpeg import JpegPatches
from srsenet_plugin.data.mapped_lmdb import MappedLmdb, _map
from srsenet_plugin.prepare.lmdb_writer import LmdbWriter, encode
from srsenet_plugin.prepare.packing import Packing, lmdb_folders, pack_images

SCALE = 4
JPEG = {'quality': [30, 95], 'clean': 0.2, 'noise': [0, 3], 'noisy': 0.5}


@pytest.fixture(scope='module')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('photos')
    write_photo('coffee.png', folder / 'coffee.png', (100, 100, 99, 133))
    write_photo('astronaut.png', folder / 'astronaut.png', (0, 150, 120, 80))
    write_photo('camera.png', folder / 'camera.png', (50, 100, 64, 300))
    grey = cv2.imread(str(folder / 'coffee.png'), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / 'grey.png'), grey)
    return folder


@pytest.fixture(scope='module')
def lmdbs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return pack(photos, tmp_path_factory.mktemp('packed'))


def pack(photos: Path, out: Path, **packing: Any) -> list[Path]:
    pack_images(photos, out, 'photos', Packing([SCALE], gt_size=32, **packing))
    return lmdb_folders(out, 'photos', [SCALE])


def options(lmdbs: Sequence[Path], **others: Any) -> dict[str, Any]:
    gt, lq = lmdbs
    return {
        'name': 'photos',
        'type': 'PairedLmdbDataset',
        'dataroot_gt': str(gt),
        'dataroot_lq': str(lq),
        'io_backend': {'type': 'lmdb'},
        'phase': 'train',
        'scale': SCALE,
        'gt_size': 32,
        'use_hflip': True,
        'use_rot': True,
        **others,
    }


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype
            assert torch.equal(value, other[key])
        else:
            assert value == other[key]


@pytest.mark.parametrize('color', [None, 'y'])
@pytest.mark.parametrize('phase', ['train', 'val'])
@pytest.mark.parametrize('normalized', [False, True])
def test_samples_are_those_of_the_stock_dataset(
    lmdbs: Sequence[Path], color: str | None, phase: str, normalized: bool
) -> None:
    opt = options(lmdbs, phase=phase, color=color)
    if normalized:
        opt['mean'], opt['std'] = ([0.5], [0.2]) if color == 'y' else ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    ours, stock = (build_dataset({**opt, 'type': kind}) for kind in ('PairedLmdbDataset', 'PairedImageDataset'))
    assert len(ours) == len(stock) == 4
    for repetition in range(25 if phase == 'train' else 1):
        for index in range(len(ours)):
            samples = []
            for dataset in (ours, stock):
                random.seed(repetition)
                samples.append(dataset[index])
            assert_equal(*samples)


def test_y_of_every_colour_is_basicsrs() -> None:
    blue_green = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1).astype(np.uint8)
    for red in range(256):
        bgr = np.dstack([blue_green, np.full((256, 256), red, np.uint8)])
        expected = bgr2ycbcr(bgr.astype(np.float32) / 255.0, y_only=True)
        assert np.array_equal(rgb_to_y(bgr[..., ::-1]).astype(np.float32), expected)


def test_lmdbs_of_y(photos: Path, tmp_path: Path) -> None:
    gt, lq = pack(photos, tmp_path, colour='y')
    dataset = build_dataset(options([gt, lq], phase='val', color='y'))
    for sample in dataset:
        with lmdb.open(str(gt), readonly=True, lock=False) as env, env.begin() as transaction:
            value = np.frombuffer(transaction.get(sample['gt_path'].encode()), np.uint8)
        expected = cv2.imdecode(value, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        assert np.array_equal(sample['gt'], expected[None])
        assert sample['lq'].shape == (1, expected.shape[0] // SCALE, expected.shape[1] // SCALE)
    cropped = build_dataset(options([gt, lq], color='y'))[0]
    assert (cropped['gt'].shape, cropped['lq'].shape) == ((1, 32, 32), (1, 8, 8))


def test_lmdbs_of_y_are_not_taken_for_grey_images(photos: Path, lmdbs: Sequence[Path], tmp_path: Path) -> None:
    gt, lq = pack(photos, tmp_path, colour='y')
    with pytest.raises(ValueError, match='LMDBs of Y come in pairs and need color: y'):
        build_dataset(options([gt, lq]))
    with pytest.raises(ValueError, match='LMDBs of Y come in pairs'):
        build_dataset(options([gt, lmdbs[1]], color='y'))


def test_other_encodings_are_decoded(photos: Path, lmdbs: Sequence[Path], tmp_path: Path) -> None:
    """An LMDB that BasicSR made, of PNGs, against ours; a multiple of the scale, which BasicSR does not see to."""
    gt = tmp_path / 'gt'
    for path in photos.iterdir():
        height, width = (side // SCALE * SCALE for side in cv2.imread(str(path)).shape[:2])
        (gt / path.name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(gt / path.name), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:height, :width])
    names = sorted(path.name for path in gt.iterdir())
    make_lmdb_from_imgs(str(gt), str(tmp_path / 'gt.lmdb'), names, [name.split('.')[0] for name in names])
    pngs = build_dataset(options([tmp_path / 'gt.lmdb', lmdbs[1]], phase='val'))
    for one, other in zip(pngs, build_dataset(options(lmdbs, phase='val')), strict=True):
        assert_equal(one, other)


def epochs(
    lmdbs: Sequence[Path], rank: int = 0, ranks: int = 1, jpeg: dict[str, Any] | None = None, **loader: Any
) -> list[dict[str, Any]]:
    """Two epochs of six samples each, all fields in lists, as BasicSR's train.py draws them."""
    torch.manual_seed(7 + rank)
    dataset = build_dataset(options(lmdbs, jpeg=jpeg))
    sampler = EnlargedSampler(dataset, ranks, rank, ratio=3)
    batches = DataLoader(dataset, batch_size=2, sampler=sampler, **loader)
    samples = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in batches:
            samples += [{key: values[i] for key, values in batch.items()} for i in range(2)]
    return samples


@pytest.mark.parametrize(
    'loader',
    [
        {'num_workers': 1},
        {'num_workers': 2, 'multiprocessing_context': 'fork'},
        {'num_workers': 2, 'multiprocessing_context': 'fork', 'persistent_workers': True},
        pytest.param({'num_workers': 2, 'multiprocessing_context': 'spawn'}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_draws_do_not_depend_on_workers(lmdbs: Sequence[Path], loader: dict[str, Any]) -> None:
    expected = epochs(lmdbs, jpeg=JPEG)
    random.seed(99)
    np.random.seed(99)
    found = epochs(lmdbs, jpeg=JPEG, **loader)
    assert len(found) == len(expected) == 24
    for one, other in zip(found, expected):
        assert_equal(one, other)


def test_draws_do_not_depend_on_ranks(lmdbs: Sequence[Path]) -> None:
    one = epochs(lmdbs, jpeg=JPEG)
    both = [epochs(lmdbs, rank, 2, JPEG) for rank in range(2)]
    for i, sample in enumerate(one):
        assert_equal(sample, both[i % 2][i // 2])


def test_every_draw_has_a_crop_of_its_own(lmdbs: Sequence[Path]) -> None:
    crops = {(sample['gt_path'], sample['gt'].numpy().tobytes()) for sample in epochs(lmdbs)}
    assert len(crops) == 24
    assert len({path for path, _ in crops}) == 4


def photo() -> NDArray[np.uint8]:
    return np.asarray(Image.open(PHOTOS / 'chelsea.png'))[60:187, 90:195]


def through_pillow(img: NDArray[np.uint8], quality: int, subsampling: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(img).save(buffer, 'JPEG', quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(buffer))


# Of 127x105 pixels, also with a patch that ends where a square does.
PLACES = [*itertools.product((0, 1, 16, 48 - 37, 126 - 37), (0, 7, 33, 64 - 37, 104 - 37)), (127 - 37, 105 - 37)]


def test_jpeg_patches_are_those_of_the_whole_image_as_jpeg() -> None:
    """Compressed by Pillow: each quality with both samplings, wherever the blocks' edges lie in the patch."""
    img = photo()
    expected = [through_pillow(img, quality, sampling) for quality in (30, 31, 32) for sampling in (0, 2)]
    rng = random.Random(0)
    seen = set()
    for top, left in PLACES * 3:
        patch = JpegPatches([30, 32]).cut(img, top, left, 37, False, rng)
        equal = [np.array_equal(patch, whole[top : top + 37, left : left + 37]) for whole in expected]
        assert sum(equal) == 1
        seen.add(equal.index(True))
    assert len(seen) == 6


def test_jpeg_patches_of_y_are_those_of_a_grey_photograph() -> None:
    """Whose values from 0 to 255 JPEG sees, and not Y's from 16 to 235."""
    grey = photo()[..., 1]
    y = np.repeat(np.round(16 + grey * (219 / 255)).astype(np.uint8)[..., None], 3, 2)
    whole = through_pillow(np.round((y[..., 0] - 16.0) * 255 / 219).astype(np.uint8), 40, 0)
    assert np.abs(whole.astype(int) - grey).max() > 20
    for top, left in PLACES:
        patch = JpegPatches([40, 40]).cut(y, top, left, 37, True, random.Random(0))
        assert patch.shape == (37, 37, 3)
        expected = (16 + whole[top : top + 37, left : left + 37] * (219 / 255)) / 255
        assert np.allclose(patch, expected[..., None], rtol=0, atol=1e-12)


def test_shares_of_clean_and_of_noisy_patches() -> None:
    img, rng = np.full((64, 64, 3), 128, np.uint8), random.Random(0)

    def deviations(**options: Any) -> NDArray[np.float64]:
        patches = JpegPatches([100, 100], **options)
        return np.array([patches.cut(img, 8, 8, 48, False, rng)[..., 0].std() for _ in range(400)])

    assert (
        deviations().max()
        == deviations(noise=[5, 9], noisy=0).max()
        == deviations(clean=1, noise=[5, 9], noisy=1).max()
        == 0
    )
    for clean, noisy in ((0, 1), (0.5, 1), (0.2, 0.5)):
        found = deviations(clean=clean, noise=[5, 9], noisy=noisy)
        assert np.mean(found > 0) == pytest.approx((1 - clean) * noisy, abs=0.08)
        # JPEG stores the noise, in 4:2:0 without half of that in colour
        assert 3 < found[found > 0].min() < found.max() < 10
        assert found.std() > 1


@pytest.mark.parametrize('colour', ['rgb', 'y'])
def test_jpeg_changes_lq_alone(photos: Path, tmp_path: Path, colour: str) -> None:
    lmdbs = pack(photos, tmp_path, colour=colour)
    plain, jpeg = (
        build_dataset(options(lmdbs, color='y', jpeg=jpeg))
        for jpeg in (None, {'quality': [30, 90], 'clean': 0.5, 'noise': None})
    )
    changed = []
    for place in range(60):
        draw = Draw(place % 4, (0, 0, place))
        one, other = plain[draw], jpeg[draw]
        assert torch.equal(one['gt'], other['gt'])
        difference = (one['lq'] - other['lq']).abs()
        assert other['lq'].dtype == torch.float32
        assert difference.mean() < 0.06
        changed.append(bool(difference.max() > 0))
    assert 15 < sum(changed) < 45


def test_jpeg_is_for_training(lmdbs: Sequence[Path]) -> None:
    clean, ours = (build_dataset(options(lmdbs, phase='val', jpeg=jpeg)) for jpeg in (None, JPEG))
    for one, other in zip(clean, ours, strict=True):
        assert_equal(one, other)


def test_seed_matters_and_the_global_state_stays() -> None:
    random.seed(0)
    before = random.getstate()
    values = []
    for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)):
        values.append(random_of(Draw(5, key)).random())
    assert len(set(values)) == 4
    assert values[0] == values[-1]
    assert random.getstate() == before
    assert random_of(5).random() == random.Random(0).random()


def test_draws_are_integers_that_travel() -> None:
    draw = pickle.loads(pickle.dumps(Draw(3, (1, 2, 4))))
    assert draw == 3
    assert ['a', 'b', 'c', 'd'][draw] == 'd'
    assert draw.key == (1, 2, 4)


def test_stock_datasets_take_draws(lmdbs: Sequence[Path]) -> None:
    dataset = build_dataset({**options(lmdbs), 'type': 'PairedImageDataset'})
    assert len(list(DataLoader(dataset, sampler=EnlargedSampler(dataset, 1, 0, 2), num_workers=1))) == 8


def read_all(dataset: Any) -> list[str]:
    return [sample['lq_path'] for sample in dataset]


def test_survives_fork_after_reading(lmdbs: Sequence[Path]) -> None:
    dataset = build_dataset(options(lmdbs))
    expected = read_all(dataset)
    with multiprocessing.get_context('fork').Pool(2) as pool:
        assert pool.map(read_all, [dataset] * 4) == [expected] * 4
    assert read_all(dataset) == expected


def sums(lmdbs: Sequence[Path]) -> list[tuple[float, float]]:
    set_random_seed(0)
    return [(sample['lq'].sum().item(), sample['gt'].sum().item()) for sample in build_dataset(options(lmdbs))]


def test_many_processes_read_one_lmdb(lmdbs: Sequence[Path]) -> None:
    """LMDB's own table of readers has 126 places, and a process may open an LMDB once."""
    expected = sums(lmdbs)
    with multiprocessing.get_context('fork').Pool(16) as pool:
        assert pool.map(sums, [lmdbs] * 160) == [expected] * 160


def test_other_backends_are_refused(lmdbs: Sequence[Path]) -> None:
    with pytest.raises(
        ValueError, match=r"reads io_backend: type: lmdb; got 'disk'\. PairedImageDataset reads folders"
    ):
        build_dataset(options(lmdbs, io_backend={'type': 'disk'}))


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (None, "has no value for 'key', which its meta_info.txt lists"),
        (b'P6\n4 4\n255\n' + bytes(47), 'key is damaged: 47 bytes for 4x4x3 pixels'),
        (b'\x89PNG\r\n', 'key is no image, or damaged'),
    ],
)
def test_damaged_lmdbs(tmp_path: Path, value: bytes | None, message: str) -> None:
    path = tmp_path / 'damaged.lmdb'
    with lmdb.open(str(path), map_size=1 << 20) as env, env.begin(write=True) as transaction:
        if value is not None:
            transaction.put(b'key', value)
    (path / 'meta_info.txt').write_text('key.png (4,4,3) 0\n')
    with pytest.raises(ValueError, match=message):
        build_dataset(options([path, path]))[0]


def test_values_are_views_of_the_file(tmp_path: Path) -> None:
    """Of every size around a page and around those that LMDB keeps inside of its tree's pages."""
    rng = np.random.default_rng(0)
    expected = {f'{size}': rng.bytes(size) for size in (*range(1, 8200, 37), 50_000, 1_000_000)}
    with lmdb.open(str(tmp_path), map_size=1 << 25) as env, env.begin(write=True) as transaction:
        for key, value in expected.items():
            transaction.put(key.encode(), value)
    values = MappedLmdb(tmp_path)
    for key, value in expected.items():
        found = values[key]
        assert found.tobytes() == value
        assert not found.flags.owndata
        assert not found.flags.writeable


@pytest.mark.parametrize(
    ('lq_shape', 'message'),
    [((8, 9), r'has shape \(32, 32\), which is not 4 times that of its LQ'), ((8, 8), 'less than gt_size: 64')],
)
def test_sizes_that_do_not_fit(tmp_path: Path, lq_shape: tuple[int, int], message: str) -> None:
    with LmdbWriter(tmp_path / 'gt.lmdb', {}) as gt, LmdbWriter(tmp_path / 'lq.lmdb', {}) as lq:
        gt.put('key', encode(np.zeros((32, 32, 3), np.uint8), 'ppm'))
        lq.put('key', encode(np.zeros((*lq_shape, 3), np.uint8), 'ppm'))
    dataset = build_dataset(options([tmp_path / 'gt.lmdb', tmp_path / 'lq.lmdb'], gt_size=64))
    with pytest.raises(ValueError, match=message):
        dataset[0]


def test_an_lmdb_that_is_cut_off(photos: Path, tmp_path: Path) -> None:
    """Reading beyond the end of the file would end the process with a bus error."""
    lmdbs = pack(photos, tmp_path)
    data = lmdbs[1] / 'data.mdb'
    data.write_bytes(data.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r'data\.mdb is no LMDB, or damaged: it is cut off'):
        build_dataset(options(lmdbs))


def test_a_file_that_is_replaced(photos: Path, tmp_path: Path) -> None:
    """The dataset that maps it keeps what it had, a new one reads the new file, and mixing is refused."""
    old, new = (pack(photos, tmp_path / name) for name in ('old', 'new'))
    dataset = build_dataset(options(old, phase='val'))
    sample = dataset[0]
    for path in old[0].parent.rglob('data.mdb'):
        content = bytearray((new[0].parent / path.relative_to(old[0].parent)).read_bytes())
        content[-1000:] = bytes(1000)
        path.with_name('other').write_bytes(content)
        path.with_name('other').replace(path)
    assert_equal(dataset[0], sample)
    assert [key['gt_path'] for key in build_dataset(options(old, phase='val'))] == [
        'astronaut',
        'camera',
        'coffee',
        'grey',
    ]
    with pytest.raises(ValueError, match='has been replaced since the dataset was built'):
        _map.__wrapped__(dataset._gt_values._path, dataset._gt_values._version)
