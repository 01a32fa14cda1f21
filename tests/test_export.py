"""Networks in the formats of other tools, run by these tools."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT, computes_in_fp16, save_network, write_photo
from safetensors import safe_open

from srsenet_plugin import cli
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.weights import export
from srsenet_plugin.weights.pretrained import load_network

SIZES = ((1, 8, 8), (1, 30, 47), (3, 9, 5))


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp('weights') / 'x4.pth')


def exported(file_format: str, weights: Path, folder: Path, *options: str) -> Path:
    suffix = export.FORMATS[file_format].suffix
    out = folder / f'net{suffix}'
    assert cli.main(['export', '--format', file_format, '--weights', str(weights), '-o', str(out), *options]) == 0
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


@pytest.mark.parametrize('tool', ['onnxruntime', 'openvino', 'cv2.dnn.readNetFromONNX'])
def test_the_lines_of_the_documents(tool: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / 'docs/other_tools.md').read_text(encoding='utf-8')
    (lines,) = [block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if tool in block]
    assert lines.strip().count('\n') <= 4
    if tool == 'openvino':
        pytest.importorskip('openvino', reason='the documents name OpenVINO, and nothing here needs it')
    monkeypatch.chdir(tmp_path)
    exported('onnx', weights, tmp_path, '--colour', 'rgb').rename('srsenet_x4.onnx')
    write_photo('coffee.png', tmp_path / 'photo.png', (50, 100, 30, 41))
    if tool.startswith('cv2') and cv2.__version__ < '5':
        with pytest.raises(cv2.error):
            exec(lines, {})
        return
    exec(lines, {})
    photo, sr = (cv2.imread(name)[..., ::-1] for name in ('photo.png', 'photo_x4.png'))
    assert np.abs(sr.astype(int) - Upscaler(4, weights, precision='fp32')(photo)).max() <= 1


def run_by(file_format: str, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Runs a file as the tools of its format do."""
    if file_format == 'onnx':
        session = onnxruntime.InferenceSession(path)
        return lambda lr: session.run(None, {'lr': lr})[0]
    net = torch.jit.load(path) if file_format == 'torchscript' else torch.export.load(path).module()
    return lambda lr: net(torch.from_numpy(lr)).detach().numpy()


def colour_space(file_format: str, path: Path) -> str:
    if file_format == 'onnx':
        return {prop.key: prop.value for prop in onnx.load(path).metadata_props}['colour_space']
    metadata = {'colour_space': ''}
    if file_format == 'torchscript':
        torch.jit.load(path, _extra_files=metadata)
        return metadata['colour_space'].decode()  # type: ignore[attr-defined]
    torch.export.load(path, extra_files=metadata)
    return metadata['colour_space']


NEEDS_FP16 = pytest.mark.skipif(not computes_in_fp16(), reason='this torch does not compute in fp16 on processors')
WITH_GRAPHS = ['onnx', 'torchscript', *(['pt2'] if torch.__version__ >= '2.7' else [])]


@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
@pytest.mark.parametrize(
    ('file_format', 'options'),
    [*((name, {'upscale': 3}) for name in WITH_GRAPHS), ('torchscript', {'num_in_ch': 3, 'num_out_ch': 3})],
)
def test_colour(file_format: str, options: dict[str, int], tmp_path: Path) -> None:
    """Equal to ``srsenet upscale``, down to images of a single pixel, whose mirrored edges are that pixel."""
    weights = save_network(tmp_path / 'net.pth', **options)
    (tmp_path / 'out').mkdir()
    path = exported(file_format, weights, tmp_path / 'out', '--color', 'rgb')
    assert colour_space(file_format, path) == 'RGB'
    upscale = Upscaler(options.get('upscale', 4), weights, precision='fp32')
    for num, height, width in (*SIZES, (1, 1, 1), (1, 2, 1)):
        lr = np.random.default_rng(0).random((num, 3, height, width), np.float32)
        lr[:, 0, : height // 2] = 1  # colours whose results leave the range
        lr[:, 1:, : height // 2] = 0
        expected = np.stack([upscale(image.transpose(1, 2, 0)).transpose(2, 0, 1) for image in lr])
        np.testing.assert_allclose(run_by(file_format, path)(lr), expected, rtol=0, atol=1e-5)
    if file_format == 'torchscript':
        # A device in the code would be that of the export, wherever the file is loaded to.
        assert not any('device' in module.code for module in torch.jit.load(path).modules() if hasattr(module, 'code'))


@NEEDS_FP16
@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
@pytest.mark.parametrize('file_format', WITH_GRAPHS)
def test_fp16(file_format: str, tmp_path: Path) -> None:
    weights = save_network(tmp_path / 'net.pth', num_feat=64, num_block=2)
    (tmp_path / 'out').mkdir()
    path = exported(file_format, weights, tmp_path / 'out', '--color', 'rgb', '--precision', 'fp16')
    num_weights = sum(weight.numel() for weight in load_network(weights).parameters())
    assert path.stat().st_size < 3 * num_weights  # two bytes each, and the graph
    write_photo('coffee.png', tmp_path / 'photo.png', (50, 100, 30, 41))
    photo = cv2.imread(str(tmp_path / 'photo.png'))[..., ::-1]
    sr = run_by(file_format, path)(np.ascontiguousarray(photo.transpose(2, 0, 1)[None], np.float32) / np.float32(255))
    assert np.abs(sr[0].transpose(1, 2, 0) * 255 - Upscaler(4, weights, precision='fp32')(photo)).max() < 1.5


def test_fp16_of_weights_alone(weights: Path, tmp_path: Path) -> None:
    path = exported('safetensors', weights, tmp_path, '--precision', 'fp16')
    lr = images(1, 9, 9)
    with torch.no_grad():
        sr = load_network(path)(torch.from_numpy(lr)).numpy()
    assert 0 < np.abs(sr - expected(weights, lr)).max() < 2 / 255
    with safe_open(path, 'pt') as file:
        assert file.metadata()['precision'] == 'fp16'
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_weights_alone_have_no_colour(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'net.safetensors'
    command = ['export', '--format', 'safetensors', '--weights', str(weights), '-o', str(out), '--color', 'rgb']
    assert cli.main(command) == 1
    assert 'safetensors holds weights alone' in capsys.readouterr().err
    assert not out.exists()


def test_torch_without_fp16(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(*_: object) -> None:
        raise RuntimeError('"slow_conv2d_cpu" not implemented for \'Half\'')

    monkeypatch.setattr(export, 'FORMATS', {'onnx': export.FORMATS['onnx']._replace(write=write)})
    command = ['export', '--format', 'onnx', '--weights', str(weights), '-o', str(tmp_path / 'net.onnx')]
    assert cli.main([*command, '--precision', 'fp16']) == 1
    assert 'does not compute in fp16 on processors: pip install -U torch' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
def test_torchscript(weights: Path, tmp_path: Path) -> None:
    metadata = {'scale': '', 'range': ''}
    net = torch.jit.load(exported('torchscript', weights, tmp_path), _extra_files=metadata)
    assert metadata == {'scale': b'4', 'range': b'0 to 1'}
    for size in SIZES:
        lr = images(*size)
        np.testing.assert_allclose(net(torch.from_numpy(lr)).detach(), expected(weights, lr), rtol=0, atol=1e-5)


def test_pt2(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.__version__ < '2.7':
        command = ['export', '--format', 'pt2', '--weights', str(weights), '-o', str(tmp_path / 'net.pt2')]
        assert cli.main(command) == 1
        assert 'needs torch 2.7 or newer' in capsys.readouterr().err
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
