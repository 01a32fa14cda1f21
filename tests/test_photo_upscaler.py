"""The weights that a photograph goes through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import save_network, write_photo
from numpy.typing import NDArray
from PIL import Image

from srsenet_plugin import cli
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.weights import pretrained


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a photograph, and a package whose weights are small ones for x2 and x4."""
    package = tmp_path / 'package'
    package.mkdir()
    for seed, name in enumerate(('srsenet_x2', 'srsenet_x4', 'srsenet_x4_jpeg', 'srsenet_x8')):
        save_network(package / f'{name}.pth', upscale=int(name[9]), seed=seed)
    lines = [f'{pretrained.checksum_line(path)}\n' for path in package.glob('*.pth')]
    (package / pretrained.CHECKSUMS).write_text(''.join(lines))
    monkeypatch.setattr(pretrained, 'FOLDER', package)
    write_photo('chelsea.png', tmp_path / 'cat.png', (60, 100, 20, 30))
    for quality in (60, 98):
        Image.open(tmp_path / 'cat.png').save(tmp_path / f'cat{quality}.jpg', quality=quality)
    for name, options in {
        'lossy': {},
        'extended': {'xmp': b'<x/>'},
        'fine': {'quality': 97},
        'lossless': {'lossless': True},
    }.items():
        Image.open(tmp_path / 'cat.png').save(tmp_path / f'{name}.webp', **options)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upscaled(photo: str, *options: str) -> NDArray:
    assert cli.main(['upscale', photo, '-o', 'out.png', '--overwrite', *options]) == 0
    return np.asarray(Image.open('out.png'))


def by(weights: str, photo: str) -> NDArray:
    return Upscaler(int(weights[9]), weights)(np.asarray(Image.open(photo)))


@pytest.mark.parametrize('photo', ['cat60.jpg', 'lossy.webp', 'extended.webp'])
def test_jpegs_have_weights_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str], photo: str) -> None:
    assert np.array_equal(upscaled(photo), by('srsenet_x4_jpeg', photo))
    line = (
        'JPEG and WebP files were upscaled with srsenet_x4_jpeg. --weights srsenet_x4 takes those for clean images.\n'
    )
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ('photo', 'options', 'weights'),
    [
        ('cat.png', [], 'srsenet_x4'),
        ('cat98.jpg', [], 'srsenet_x4'),
        ('fine.webp', [], 'srsenet_x4'),
        ('lossless.webp', [], 'srsenet_x4'),
        ('cat60.jpg', ['-s', '8'], 'srsenet_x8'),  # has none for JPEG
        ('cat60.jpg', ['--weights', 'srsenet_x4'], 'srsenet_x4'),
        ('cat.png', ['--weights', 'srsenet_x4_jpeg'], 'srsenet_x4_jpeg'),
        ('cat.png', ['--weights', 'package/srsenet_x4_jpeg.pth'], 'srsenet_x4_jpeg'),
    ],
    ids=str,
)
def test_other_weights(
    folder: Path, capsys: pytest.CaptureFixture[str], photo: str, options: list[str], weights: str
) -> None:
    assert np.array_equal(upscaled(photo, *options), by(weights, photo))
    assert capsys.readouterr().err == ''


def test_any_size(folder: Path) -> None:
    """A scale without weights for JPEG takes those of a larger one."""
    for options, size in ((['--width', '100'], (67, 100)), (['-s', '2'], (40, 60))):
        expected = imresize(by('srsenet_x4_jpeg', 'cat60.jpg'), output_size=size)
        assert np.array_equal(upscaled('cat60.jpg', *options), expected)


def test_mistakes_come_before_the_first_photograph(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['upscale', 'cat.png', '--weights', 'srsenet_x3']) == 1
    assert 'srsenet_x3' in capsys.readouterr().err
    assert cli.main(['upscale', 'cat.png', '--device', 'abacus']) == 1
    assert 'The device abacus cannot be used' in capsys.readouterr().err
