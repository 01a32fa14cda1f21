"""Images of numpy, upscaled: Y by the network, CbCr by bicubic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTOS, save_network
from numpy.typing import NDArray
from PIL import Image

import srsenet_plugin
from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge
from srsenet_plugin.compare import quality
from srsenet_plugin.inference import upscaler
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.weights import pretrained


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp('weights') / 'x4.pth')


@pytest.fixture(scope='module')
def photo() -> NDArray[np.uint8]:
    return np.asarray(Image.open(PHOTOS / 'coffee.png'))[50:90, 100:151]


def test_colour_equals_the_evaluation(weights: Path, photo: NDArray[np.uint8]) -> None:
    """That of ``srsenet compare``, which rounds Y and takes the coefficients of BasicSR, and so may differ by one."""
    sr = Upscaler(4, weights)(photo)
    net = srsenet_plugin.weights.pretrained.load_network(weights)
    _, bgr = quality.upscale(net, 1, np.ascontiguousarray(photo[..., ::-1]), 4)
    assert sr.dtype == np.uint8
    assert sr.shape == (160, 204, 3)
    assert np.abs(sr.astype(int) - bgr[..., ::-1]).max() <= 1


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize('channels', [0, 1, 2, 3, 4])
def test_dtypes_and_channels_are_kept(
    weights: Path, photo: NDArray[np.uint8], channels: int, dtype: type[np.generic]
) -> None:
    alpha = np.linspace(0, 255, photo.shape[1]).astype(np.uint8) * np.ones((len(photo), 1), np.uint8)
    image = np.dstack([photo, alpha])[..., {0: 0, 1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    white = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)  # type: ignore[call-overload]
    same = (image / 255 * white).astype(dtype) if white == 1 else image.astype(dtype) * (white // 255)
    sr = Upscaler(4, weights)(same)
    assert sr.dtype == dtype
    assert sr.shape == (4 * image.shape[0], 4 * image.shape[1], *image.shape[2:])
    np.testing.assert_allclose(sr / white * 255, Upscaler(4, weights)(image), rtol=0, atol=0.51)


def test_grey_is_colour_of_equal_values(weights: Path, photo: NDArray[np.uint8]) -> None:
    grey = photo[..., 1]
    colour = Upscaler(4, weights)(np.dstack([grey] * 3)).astype(int)
    assert np.abs(colour - Upscaler(4, weights)(grey)[..., None]).max() <= 1


@pytest.mark.parametrize('options', [{}, {'num_in_ch': 3, 'num_out_ch': 3}], ids=['Y', 'RGB'])
def test_only_cbcr_are_enlarged_by_bicubic(
    options: dict[str, int], tmp_path: Path, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    images: list[int] = []
    forward = BicubicEnlarge.forward
    monkeypatch.setattr(BicubicEnlarge, 'forward', lambda self, x: images.append(x.shape[1]) or forward(self, x))
    upscale = Upscaler(4, save_network(tmp_path / 'net.pth', **options))
    upscale(photo[..., 0])
    upscale(photo)
    assert images == ([] if options else [2])


def test_opaque_images_stay_opaque(weights: Path, photo: NDArray[np.uint8]) -> None:
    opaque = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    sr = Upscaler(4, weights)(opaque)
    assert (sr[..., 3] == 255).all()
    assert np.array_equal(sr[..., :3], Upscaler(4, weights)(photo))


@pytest.mark.parametrize('scale', pretrained.scales())
@pytest.mark.parametrize('channels', [[0, 1, 2, 3], [0, 3]], ids=['colour', 'grey'])
@pytest.mark.parametrize('edge', ['soft', 'hard'])
def test_hidden_colour_does_not_show(scale: int, channels: list[int], edge: str) -> None:
    """A white disc on transparent black is white on white; colours under alpha 0 are nobody's."""
    rows, columns = np.mgrid[:32, :36]
    alpha = np.clip(9.5 - np.hypot(rows - 16, columns - 18), 0, 1)
    alpha = np.round(255 * (alpha if edge == 'soft' else alpha > 0.5)).astype(np.uint8)
    image = np.dstack([255 * (alpha > 0)] * 3 + [alpha]).astype(np.uint8)[..., channels]
    sr = Upscaler(scale, precision='fp32')(image)
    share = sr[..., -1:] / 255
    on_white = np.round(sr[..., :-1] * share + 255 * (1 - share))
    assert on_white.min() == 255
    assert 0 < share.mean() < 1
    other = image.copy()
    other[alpha == 0, :-1] = 77
    assert np.array_equal(Upscaler(scale, precision='fp32')(other), sr)
    assert image[0, 0].max() == 0  # the caller's


def test_colour_that_shows_is_kept(weights: Path, photo: NDArray[np.uint8]) -> None:
    alpha = np.full(photo.shape[:2], 1, np.uint8)
    alpha[0] = 255
    sr = Upscaler(4, weights)(np.dstack([photo, alpha]))
    assert np.array_equal(sr[..., :3], Upscaler(4, weights)(photo))


def test_networks_for_colour(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    path = save_network(tmp_path / 'rgb.pth', num_in_ch=3, num_out_ch=3)
    net = srsenet_plugin.weights.pretrained.load_network(path)
    _, bgr = quality.upscale(net, 3, np.ascontiguousarray(photo[..., ::-1]), 4)
    assert np.abs(Upscaler(4, path)(photo).astype(int) - bgr[..., ::-1]).max() <= 1
    assert Upscaler(4, path)(photo[..., 0]).shape == (160, 204)


def test_self_ensemble_knows_no_directions(weights: Path, photo: NDArray[np.uint8]) -> None:
    ensemble = Upscaler(4, weights, self_ensemble=True)
    sr = ensemble(photo).astype(int)
    assert not np.array_equal(sr, Upscaler(4, weights)(photo))
    for turned, back in ((photo[::-1], lambda x: x[::-1]), (np.rot90(photo), lambda x: np.rot90(x, -1))):
        assert np.abs(back(ensemble(np.ascontiguousarray(turned)).astype(int)) - sr).max() <= 1


def test_tiles_cover_the_image(weights: Path, photo: NDArray[np.uint8]) -> None:
    sr = Upscaler(4, weights)(photo / 255)
    assert np.array_equal(Upscaler(4, weights, tile=100)(photo / 255), sr)
    difference = np.abs(Upscaler(4, weights, tile=17)(photo / 255) - sr)
    assert 1e-6 < difference.max() < 1e-2


@pytest.mark.parametrize('precision', ['bf16', 'fp16', 'auto'])
def test_precisions(weights: Path, photo: NDArray[np.uint8], precision: str) -> None:
    exact = Upscaler(4, weights, precision='fp32')(photo).astype(int)
    assert np.abs(Upscaler(4, weights, precision=precision)(photo) - exact).max() <= 2


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((4, 4, 5), np.uint8), r'four channels, not \(4, 4, 5\)'),
        (np.zeros(4, np.uint8), r'not \(4,\)'),
        (np.zeros((0, 4), np.uint8), 'no pixels'),
        (np.zeros((4, 4), np.int32), 'not int32'),
        (np.zeros((4, 4), bool), 'not bool'),
        (np.full((4, 4), 200.0), r'in \[0, 1\]'),
        (np.full((4, 4), np.nan), r'in \[0, 1\]'),
    ],
)
def test_other_arrays_are_refused(weights: Path, image: NDArray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Upscaler(4, weights)(image)


def test_options_that_do_not_fit(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'x4\.pth is for x4, not x2'):
        Upscaler(2, weights)
    with pytest.raises(ValueError, match='There are no weights srsenet_x7'):
        Upscaler(7)
    with pytest.raises(ValueError, match='precision is one of auto, fp32, bf16, fp16, int8, not'):
        Upscaler(4, weights, precision='int4')
    with pytest.raises(ValueError, match='The device mars cannot be used'):
        Upscaler(4, weights, device='mars')
    torch.save({'params': {'weight': torch.zeros(3)}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other\.pth does not hold weights of SrSENet'):
        Upscaler(4, tmp_path / 'other.pth')


def test_one_line(weights: Path, photo: NDArray[np.uint8]) -> None:
    sr = srsenet_plugin.upscale(photo, scale=4, weights=weights)
    assert np.array_equal(sr, Upscaler(4, weights)(photo))


def test_one_line_sees_other_weights_under_the_same_name(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    path = save_network(tmp_path / 'w.pth')
    before = srsenet_plugin.upscale(photo, weights=path)
    content = torch.load(path)
    content['params']['conv_last.weight'] *= -1
    torch.save(content, path)  # of the same size
    changed = srsenet_plugin.upscale(photo, weights=path)
    assert not np.array_equal(changed, before)
    assert np.array_equal(changed, Upscaler(4, path)(photo))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        srsenet_plugin.upscale(photo, weights=path)


def test_one_line_keeps_its_network(weights: Path, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    srsenet_plugin.upscale(photo, weights=weights)
    monkeypatch.setattr(upscaler, 'Upscaler', None)
    srsenet_plugin.upscale(photo, weights=weights)
