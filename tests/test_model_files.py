"""Files of networks that need no architecture's name have the figures of the networks in them."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from conftest import save_network, write_photo
from onnx import TensorProto, helper

from srsenet_plugin import SrSENet, cli
from srsenet_plugin.compare.model_files import read_model
from srsenet_plugin.prepare.benchmark_folders import make_benchmark
from srsenet_plugin.weights.export import export


@pytest.fixture(scope='module')
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('benchmarks')
    write_photo('chelsea.png', folder / 'source/chelsea.png', (60, 100, 56, 64))
    write_photo('coffee.png', folder / 'source/coffee.png', (100, 200, 68, 48))
    make_benchmark(folder / 'source', folder / 'Mine', [2, 4])
    return folder


def compact(path: Path, channels: int = 3) -> Path:
    """Weights of Real-ESRGAN's small network x4, whose names of layers alone say so."""
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_in_ch=channels, num_out_ch=channels, num_feat=8, num_conv=2, upscale=4)
    torch.save({'params_ema': net.state_dict()}, path)
    return path


def compare(out: Path, *arguments: object, status: int = 0) -> dict[str, Any]:
    assert cli.main(['compare', '--no-timing', '--out', str(out), *map(str, arguments)]) == status
    return json.loads((out / 'compare.json').read_text())


def test_weights_onnx_architectures_and_images_in_one_table(benchmarks: Path, tmp_path: Path) -> None:
    weights = save_network(tmp_path / 'srsenet.pth')
    net = SrSENet(num_feat=8, num_block=1, reduction=2, upscale=4).eval()
    net.load_state_dict(torch.load(weights, weights_only=True)['params'])
    export(net, 'onnx', tmp_path / 'y.onnx')
    compact(tmp_path / 'compact.pth')
    (tmp_path / 'option.yml').write_text('network_g:\n  type: SRVGGNetCompact_basicsr\n  num_feat: 8\n  num_conv: 2\n')
    found = compare(
        tmp_path / 'out',
        *('--scale', 4, '--benchmarks', benchmarks, '--archs', 'SrSENet', 'Bicubic', tmp_path / 'option.yml'),
        *('--weights', f'SrSENet={weights}', f'option={tmp_path}/compact.pth'),
        *('--models', f'{tmp_path}/y.onnx', f'Small={tmp_path}/compact.pth'),
        *('--results', f'Theirs={tmp_path}/out/x4/Bicubic'),
    )
    of_x4 = found['4']
    assert list(of_x4) == ['SrSENet', 'Bicubic', 'option', 'y', 'Small', 'Theirs']
    for name, same in (('y', 'SrSENet'), ('Small', 'option'), ('Theirs', 'Bicubic')):
        for scores in ('scores', 'rgb_scores'):
            assert of_x4[name][scores]['Mine'] == pytest.approx(of_x4[same][scores]['Mine'], abs=1e-2)
    assert all(row['rgb_scores']['Mine'] != row['scores']['Mine'] for row in of_x4.values())
    assert of_x4['Small']['complexity']['params'] == of_x4['option']['complexity']['params']
    assert of_x4['y']['complexity'] is None
    header = (tmp_path / 'out/compare_x4.md').read_text().splitlines()[0]
    assert header.endswith('| Mine PSNR / SSIM | Mine on RGB |')
    found = compare(tmp_path / 'x2', '--scale', 2, '--models', f'Small={tmp_path}/compact.pth')
    assert found['2']['Small']['notes'] == [f'{tmp_path}/compact.pth is for x4']


def test_without_networks_for_rgb_there_are_no_figures_on_rgb(benchmarks: Path, tmp_path: Path) -> None:
    found = compare(tmp_path, '--scale', 4, '--benchmarks', benchmarks, '--archs', 'Bicubic', 'SrSENet')
    assert all(row['scores'] and not row['rgb_scores'] for row in found['4'].values())


def test_files_that_are_no_networks_are_named(tmp_path: Path) -> None:
    torch.save({'a': torch.zeros(3)}, tmp_path / 'a.pth')
    torch.save([1], tmp_path / 'list.pth')
    (tmp_path / 'b.onnx').write_bytes(b'no network')
    for name, message in (
        ('a.pth', 'is of no architecture that spandrel recognises'),
        ('list.pth', 'holds no weights'),
        ('b.onnx', 'b.onnx cannot be read: '),
        ('c.onnx', 'is no file'),
    ):
        with pytest.raises(ValueError, match=message):
            read_model(tmp_path / name, 'x')


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ([1, 3, 16, 24], 'takes images of one size alone, 24x16'),
        ([1, 3, 'h', 'w'], 'does not enlarge images'),
        ([1, 4, 'h', 'w'], 'maps 4 channels to 4'),
        ([1, 'c', 'h', 'w'], 'does not say how many channels'),
        ([3, 'h', 'w'], 'does not map one image'),
    ],
)
def test_onnx_networks_that_cannot_be_compared(tmp_path: Path, shape: list[int | str], message: str) -> None:
    image = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ('x', 'y')]
    graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'same', image[:1], image[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, str(tmp_path / 'same.onnx'))
    with pytest.raises(ValueError, match=message):
        read_model(tmp_path / 'same.onnx', 'x')


@pytest.mark.parametrize(('missing', 'file'), [('spandrel', 'compact.pth'), ('onnxruntime', 'y.onnx')])
def test_programs_that_are_not_installed_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, file: str
) -> None:
    (tmp_path / file).touch()
    real = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name.partition('.')[0] == missing:
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(ValueError, match=f'pip install {missing}'):
        read_model(tmp_path / file, 'x')
