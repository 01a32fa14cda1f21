"""Benchmarks under the names and in the layouts in which people have them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srsenet_plugin import cli
from srsenet_plugin.prepare.benchmarks import NUM_IMAGES, find_hr_images, known_name
from srsenet_plugin.prepare.canonical import describe_variant


def write(*paths: Path) -> None:
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((17 + i, 24, 3), i, np.uint8))


@pytest.mark.parametrize(
    ('folder', 'name'),
    [
        ('Set5', 'Set5'),
        ('set_14', 'Set14'),
        ('B100', 'B100'),
        ('BSD100', 'B100'),
        ('BSDS100', 'B100'),
        ('bsds100_HR', 'B100'),
        ('Urban100_HR', 'Urban100'),
        ('urban100', 'Urban100'),
        ('Manga-109', 'Manga109'),
        ('manga109_hr', 'Manga109'),
        ('General100', None),
        ('Set5000', None),
    ],
)
def test_names(folder: str, name: str | None) -> None:
    assert known_name(f'/some/where/{folder}') == name


@pytest.mark.parametrize('layout', ['.', 'HR', 'hr', 'GT', 'original', 'GTmod12', 'image_SRF_2'])
def test_layouts(tmp_path: Path, layout: str) -> None:
    write(tmp_path / 'Set5' / layout / 'a.png')
    write(tmp_path / 'Set5/LR_bicubic/X2/a.png')
    (found,) = find_hr_images(tmp_path / 'Set5', tmp_path / 'out')
    assert Path(found.images) == tmp_path / 'Set5' / layout
    assert (found.stem_end, found.out, found.benchmark) == ('', tmp_path / 'out', None)
    (found,) = find_hr_images(tmp_path, tmp_path / 'out')
    assert (found.out, found.benchmark) == (tmp_path / 'out/Set5', 'Set5')


def test_selfexsr_has_the_results_of_others_beside_the_hr_images(tmp_path: Path) -> None:
    folder = tmp_path / 'Set5/image_SRF_2'
    for i in range(5):
        write(*(folder / f'img_{i}_SRF_2_{kind}.png' for kind in ('HR', 'LR', 'bicubic', 'A+')))
    assert cli.main(['prepare', 'benchmark', '--source', str(tmp_path), '--out', str(tmp_path / 'out')]) == 0
    assert sorted(path.name for path in (tmp_path / 'out/Set5/LRbicx8').iterdir()) == [
        f'img_{i}_SRF_2_HR.png' for i in range(5)
    ]


def test_all_of_a_folder_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    write(*(tmp_path / f'benchmark/Set5/{i}.png' for i in range(5)))
    write(*(tmp_path / f'benchmark/Set14/HR/{i}.png' for i in range(14)))
    write(tmp_path / 'benchmark/BSDS200/0.png')
    arguments = ['prepare', 'benchmark', '--source', str(tmp_path / 'benchmark'), '--out', str(tmp_path), '--scales']
    assert cli.main([*arguments, '2', '3']) == 0
    made = ['GTmod2', 'GTmod3', 'LRbicx2', 'LRbicx3']
    assert sorted(path.name for path in (tmp_path / 'Set5').iterdir()) == made
    assert sorted(path.name for path in (tmp_path / 'Set14').iterdir()) == made
    assert len(list((tmp_path / 'Set14/GTmod3').iterdir())) == 14
    assert sorted(path.name for path in tmp_path.iterdir()) == ['Set14', 'Set5', 'benchmark']
    assert len(capfd.readouterr().out.splitlines()) == 8


@pytest.mark.parametrize('name', NUM_IMAGES)
def test_counts(tmp_path: Path, name: str, capfd: pytest.CaptureFixture) -> None:
    write(*(tmp_path / f'HR/{i}.png' for i in range(4)))
    arguments = ['prepare', 'benchmark', '--source', str(tmp_path / 'HR'), '--out']
    assert cli.main([*arguments, str(tmp_path / name)]) == 1
    message = f'{tmp_path}/HR holds 4 images, but {name} has {NUM_IMAGES[name]}. Make a part of it in a folder of'
    assert message in capfd.readouterr().err
    assert not (tmp_path / name).exists()
    assert cli.main([*arguments, str(tmp_path / 'part')]) == 0


def test_nothing_there(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / 'Set5').mkdir()
    for source in (tmp_path, tmp_path / 'Set5'):
        assert cli.main(['prepare', 'benchmark', '--source', str(source), '--out', str(tmp_path / 'out')]) == 1
        assert f'srsenet: {source} holds neither images nor folders of Set5, Set14' in capfd.readouterr().err


def test_twice_there(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    write(tmp_path / 'B100/a.png', tmp_path / 'BSD100/a.png')
    assert cli.main(['prepare', 'benchmark', '--source', str(tmp_path), '--out', str(tmp_path / 'out')]) == 1
    assert 'holds B100 twice' in capfd.readouterr().err


def test_the_shared_benchmarks(shared_datasets: Path, tmp_path: Path) -> None:
    found = find_hr_images(shared_datasets, tmp_path)
    assert [benchmark.out.name for benchmark in found] == ['Set5', 'Set14', 'B100', 'Urban100']
    assert [benchmark.benchmark for benchmark in found] == ['Set5', 'Set14', 'B100', 'Urban100']


def test_the_usual_images_are_known(shared_datasets: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    out = ['--scales', '4', '--out', str(tmp_path)]
    for name in ('Set5', 'Set14'):
        shutil.copytree(shared_datasets / name / 'HR', tmp_path / 'source' / name)
    assert cli.main(['prepare', 'benchmark', '--source', str(tmp_path / 'source'), *out]) == 0
    grey = f'  {tmp_path}/source/Set14/img_003.png is grey: some papers take its values as Y, others convert it as RGB'
    assert [line for line in capfd.readouterr().err.splitlines() if line.startswith('  ')] == [grey]


def test_variants_are_named(shared_datasets: Path) -> None:
    with Image.open(shared_datasets / 'Set5/HR/woman.png') as img:
        woman = np.asarray(img)
    lossy = io.BytesIO()
    Image.fromarray(woman).save(lossy, 'JPEG', quality=95)
    with Image.open(lossy) as img:
        jpeg = np.asarray(img)
    assert describe_variant('Set5', woman) is None
    assert describe_variant('Manga109', woman) is None
    assert describe_variant('Set5', woman[:-8]) == 'is cropped to a multiple of 12'
    assert describe_variant('Set5', np.pad(woman, ((0, 1), (0, 1), (0, 0)))) == (
        'has more rows or columns than the usual image'
    )
    for other in (jpeg, woman[::2, ::2], woman[1:], woman[..., ::-1], woman[..., 0]):
        assert describe_variant('Set5', other) == (
            'is not the usual image: another version, size or crop, or compressed with loss'
        )


def test_urban100_of_selfexsr_is_not_taken_at_half_its_size(tmp_path: Path) -> None:
    write(*(tmp_path / f'Urban100/image_SRF_{scale}/img_001_SRF_{scale}_HR.png' for scale in (2, 4)))
    (found,) = find_hr_images(tmp_path / 'Urban100', tmp_path / 'out')
    assert found.images == str(tmp_path / 'Urban100/image_SRF_4')
