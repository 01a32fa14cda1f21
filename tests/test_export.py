"""Networks in the formats of other tools, run by these tools."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT, save_network, write_photo
from safetensors import safe_open

from srsenet_plugin import cli
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.weights import export
from srsenet_plugin.weights.pretrained import load_network

SIZES = ((1, 8, 8), (1, 30, 47), (3, 9, 5))


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp('weights') / 'x4.pth')


def exported(file_format: str, weights: Path, folder: Path) -> Path:
    suffix = export.FORMATS[file_format].suffix
    out = folder / f'net{suffix}'
    assert cli.main(['export', '--format', file_format, '--weights', str(weights), '-o', str(out)]) == 0
    assert [path.name for path in folder.iterdir()] == [out.name]
    return out


def expected(weights: Path, lr: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return load_network(weights)(torch.from_numpy(lr)).numpy()


def images(num: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((num, 1, height, width), np.float32)


def test_onnx(weights: Path, tmp_path: Path) -> None:
    path = exported('onnx', weights, tmp_path)
    model = onnx.load(path)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata['scale'] == '4'
    assert metadata['range'] == '0 to 1'
    assert metadata['colour_space'].startswith('Y of MATLAB')
    assert str(Path(torch.__file__).parent).encode() not in path.read_bytes()
    session = onnxruntime.InferenceSession(path)
    net = cv2.dnn.readNetFromONNX(str(path))
    for size in SIZES:
        lr = images(*size)
        np.testing.assert_allclose(session.run(None, {'lr': lr})[0], expected(weights, lr), rtol=0, atol=1e-4)
        net.setInput(lr)
        np.testing.assert_allclose(net.forward(), expected(weights, lr), rtol=0, atol=1e-4)


@pytest.mark.parametrize('tool', ['onnxruntime', 'cv2.dnn'])
def test_the_lines_of_the_readme(tool: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(encoding='utf-8'), re.DOTALL)
    (lines,) = [block for block in blocks if 'srsenet_x4.onnx' in block and tool in block]
    assert lines.strip().count('\n') < 7
    monkeypatch.chdir(tmp_path)
    exported('onnx', weights, tmp_path).rename('srsenet_x4.onnx')
    write_photo('coffee.png', tmp_path / 'photo.png', (50, 100, 30, 41))
    grey = cv2.imread('photo.png', cv2.IMREAD_GRAYSCALE)
    assert cv2.imwrite('photo.png', grey)
    exec(lines, {})
    sr = cv2.imread('photo_x4.png', cv2.IMREAD_UNCHANGED)
    assert np.abs(sr.astype(int) - Upscaler(4, weights)(grey)).max() <= 1


@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
def test_torchscript(weights: Path, tmp_path: Path) -> None:
    metadata = {'scale': '', 'range': ''}
    net = torch.jit.load(exported('torchscript', weights, tmp_path), _extra_files=metadata)
    assert metadata == {'scale': b'4', 'range': b'0 to 1'}
    for size in SIZES:
        lr = images(*size)
        np.testing.assert_allclose(net(torch.from_numpy(lr)).detach(), expected(weights, lr), rtol=0, atol=1e-5)


def test_pt2(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.__version__ < '2.2':
        command = ['export', '--format', 'pt2', '--weights', str(weights), '-o', str(tmp_path / 'net.pt2')]
        assert cli.main(command) == 1
        assert 'needs torch 2.2 or newer' in capsys.readouterr().err
        return
    metadata = {'scale': '', 'range': ''}
    program = torch.export.load(exported('pt2', weights, tmp_path), extra_files=metadata)
    assert metadata['scale'] == '4'
    for size in SIZES:
        lr = images(*size)
        sr = program.module()(torch.from_numpy(lr)).detach()
        np.testing.assert_allclose(sr, expected(weights, lr), rtol=0, atol=1e-5)


def test_safetensors(weights: Path, tmp_path: Path) -> None:
    path = exported('safetensors', weights, tmp_path)
    with safe_open(path, 'pt') as file:
        assert file.metadata()['scale'] == '4'
    lr = images(1, 9, 9)
    with torch.no_grad():
        sr = load_network(path)(torch.from_numpy(lr)).numpy()
    assert np.array_equal(sr, expected(weights, lr))


def test_existing_files_stay(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'net.onnx'
    out.write_text('mine')
    assert cli.main(['export', '--format', 'onnx', '--weights', str(weights), '-o', str(out)]) == 1
    assert 'exists already' in capsys.readouterr().err
    assert out.read_text() == 'mine'


def test_what_differs_is_not_kept(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = export.FORMATS['safetensors']
    wrong = reader._replace(read=lambda path, net: lambda lr: net(lr) + 2e-4)
    monkeypatch.setattr(export, 'FORMATS', {'safetensors': wrong})
    out = tmp_path / 'net.safetensors'
    assert cli.main(['export', '--format', 'safetensors', '--weights', str(weights), '-o', str(out)]) == 1
    assert 'would differ from the network by 2.0e-04' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('file_format', 'package'), [('onnx', 'onnx'), ('safetensors', 'safetensors.torch')])
def test_missing_packages(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file_format: str,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / 'net'
    assert cli.main(['export', '--format', file_format, '--weights', str(weights), '-o', str(out)]) == 1
    assert "pip install 'srsenet_plugin[export]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
