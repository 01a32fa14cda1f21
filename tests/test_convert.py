"""Published weights, which show whether architectures and evaluation are right."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from conftest import ROOT
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from srsenet_plugin import SRCNN, VDSR, cli
from srsenet_plugin.compare import quality
from srsenet_plugin.compare.networks import find_network
from srsenet_plugin.compare.protocols import PROTOCOLS
from srsenet_plugin.data import imresize
from srsenet_plugin.prepare.benchmark_folders import make_benchmark
from srsenet_plugin.weights import convert, files, mat_files


@pytest.fixture(scope='session')
def published(shared_datasets: Path) -> Path:
    """The folder of the authors' files, which are no part of the project."""
    folder = shared_datasets.parent / 'weights/published'
    if not folder.is_dir():
        pytest.skip(f'there is no {folder}')
    return folder


@pytest.fixture(scope='module')
def set5(shared_datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('set5')
    make_benchmark(shared_datasets / 'Set5/HR', folder / 'Set5', [2, 4, 8])
    return folder


# Each network once more, from the arrays of the authors' files


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order='C')).double()


def kernel(array: np.ndarray) -> Tensor:
    """(height, width, in, out) as torch has it. Single dimensions at the end are not in the file."""
    return tensor(np.atleast_3d(array)[..., None] if array.ndim < 4 else array).permute(3, 2, 0, 1)


def replicated(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    pad = weight.shape[-1] // 2
    return F.conv2d(F.pad(x, [pad] * 4, 'replicate'), weight, bias)


def enlarged(x: Tensor, scale: int) -> Tensor:
    return torch.from_numpy(imresize(x[0, 0].numpy(), scale))[None, None]


def lapsrn(mat: Mapping[str, Any], x: Tensor, scale: int) -> Tensor:
    params = {param['name'][0]: param['value'] for param in mat['net'][0, 0]['params'][0]}

    def conv(name: str, feat: Tensor) -> Tensor:
        return F.conv2d(feat, kernel(params[f'{name}_f']), tensor(params[f'{name}_b']).flatten(), padding=1)

    feat, img = F.leaky_relu(conv('input_conv', x), 0.2), x
    for level in range({2: 1, 4: 2, 8: 3}[scale], 0, -1):
        for i in range(5 if scale == 8 else 10):
            feat = F.leaky_relu(conv(f'level{level}_conv{i + 1}', feat), 0.2)
        weight, bias = kernel(params[f'level{level}_upconv_f']), tensor(params[f'level{level}_upconv_b']).flatten()
        feat = F.leaky_relu(F.conv_transpose2d(feat, weight, bias, stride=2)[..., :-1, :-1], 0.2)
        img = F.conv_transpose2d(img, kernel(params[f'level{level}_img_up_f']), stride=2, padding=1)
        img = img + conv(f'level{level}_residual_conv', feat)
    return img


def vdsr(mat: Mapping[str, Any], x: Tensor, scale: int) -> Tensor:
    model = mat['model'][0, 0]
    feat = img = enlarged(x, scale).clamp(16 / 255, 235 / 255)
    for i, (weight, bias) in enumerate(zip(model['weight'][0], model['bias'][0])):
        feat = F.conv2d(feat if i == 0 else feat.relu(), kernel(weight), tensor(bias).flatten(), padding=1)
    return img + feat


def srcnn(mat: Mapping[str, Any], x: Tensor, scale: int) -> Tensor:
    first, second, third = (mat[f'weights_conv{i}'] for i in (1, 2, 3))
    side = int(second.shape[1] ** 0.5)
    weights = [
        np.stack([first[:, i].reshape(9, 9, order='F')[None] for i in range(64)]),
        np.stack([[second[i, :, o].reshape(side, side, order='F') for i in range(64)] for o in range(32)]),
        np.stack([third[i].reshape(5, 5, order='F') for i in range(32)])[None],
    ]
    feat = enlarged(x, scale)
    for i, weight in enumerate(weights):
        feat = replicated(feat if i == 0 else feat.relu(), tensor(weight), tensor(mat[f'biases_conv{i + 1}']).flatten())
    return feat


def fsrcnn(mat: Mapping[str, Any], x: Tensor, scale: int) -> Tensor:
    *weights, last = mat['weights_conv'][:, 0]
    biases, slopes = ([tensor(array).flatten() for array in mat[name][:, 0]] for name in ('biases_conv', 'prelu_conv'))
    feat = x
    for weight, bias, slope in zip(weights, biases, slopes):
        num_in, area, num_out = weight.shape
        side = int(area**0.5)
        kernels = [[weight[i, :, o].reshape(side, side, order='F') for i in range(num_in)] for o in range(num_out)]
        feat = replicated(feat, tensor(np.array(kernels)), bias)
        feat = torch.where(feat > 0, feat, slope * feat)
    kernels = [[last[0, :, i].reshape(9, 9, order='F')] for i in range(56)]
    out = F.conv_transpose2d(F.pad(feat, [1] * 4, 'replicate'), tensor(np.array(kernels)), biases[-1], stride=scale)
    height, width = x.shape[2:]
    return out[..., 4 + scale :, 4 + scale :][..., : scale * height, : scale * width]


@pytest.mark.parametrize(
    ('arch', 'scale', 'name', 'independent'),
    [
        *(('LapSRN', scale, f'LapSRN_x{scale}', lapsrn) for scale in (2, 4, 8)),
        *(('VDSR', scale, 'VDSR_Official', vdsr) for scale in (2, 3, 4)),
        *(('SRCNN', scale, f'SRCNN_955_x{scale}', srcnn) for scale in (2, 3, 4)),
        *(('SRCNN', scale, f'SRCNN_915_x{scale}', srcnn) for scale in (2, 3, 4)),
        *(('FSRCNN', scale, f'FSRCNN_x{scale}', fsrcnn) for scale in (2, 3, 4)),
    ],
)
def test_the_authors_networks(
    published: Path, arch: str, scale: int, name: str, independent: Callable[[Mapping[str, Any], Tensor, int], Tensor]
) -> None:
    file = published / f'{name}.mat'
    x = torch.rand(1, 1, 11, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = find_network(arch, scale, file).build().double()
    with torch.no_grad():
        torch.testing.assert_close(net(x), independent(scipy.io.loadmat(file), x, scale), rtol=0, atol=1e-10)


# By the authors' protocols, and by the project's
FIGURES_ON_SET5 = (
    *(('LapSRN', s, f'LapSRN_x{s}', 'double', psnr) for s, psnr in ((2, 37.517), (4, 31.539), (8, 26.143))),
    *(('LapSRN', s, f'LapSRN_x{s}', 'uint8', psnr) for s, psnr in ((2, 37.452), (4, 31.518), (8, 26.134))),
    *(('VDSR', s, 'VDSR_Official', 'ycbcr', psnr) for s, psnr in ((2, 37.529), (4, 31.349))),
    *(('VDSR', s, 'VDSR_Official', 'uint8', psnr) for s, psnr in ((2, 37.518), (4, 31.346))),
    *(('SRCNN', s, f'SRCNN_955_x{s}', 'ycbcr', psnr) for s, psnr in ((2, 36.67), (4, 30.49))),
    *(('FSRCNN', s, f'FSRCNN_x{s}', 'ycbcr', psnr) for s, psnr in ((2, 37.01), (4, 30.71))),
)


@pytest.mark.slow
@pytest.mark.parametrize(('arch', 'scale', 'name', 'protocol', 'psnr'), FIGURES_ON_SET5)
def test_the_authors_figures(
    published: Path, set5: Path, tmp_path: Path, arch: str, scale: int, name: str, protocol: str, psnr: float
) -> None:
    """Measured by those who provide the weights, with code of their own."""
    (benchmark,) = quality.find_benchmarks(set5, scale)
    net = find_network(arch, scale, published / f'{name}.mat').build()
    scores = quality.evaluate_network(net, 1, '', benchmark, tmp_path / 'Set5', '', PROTOCOLS[protocol])
    assert quality.means(scores)[0] == pytest.approx(psnr, abs=0.01)


@pytest.mark.slow
def test_vdsrs_images(published: Path) -> None:
    """As its authors published them, in colour."""
    theirs = published.parents[1] / 'results/Set5_x4/VDSR'
    net = find_network('VDSR', 4, published / 'VDSR_Official.mat').build()
    equal = []
    for path in sorted(theirs.glob('*.png')):
        gt = cv2.imread(str(published.parents[1] / 'datasets/Set5/HR' / path.name))
        height, width = (side // 4 * 4 for side in gt.shape[:2])
        _, bgr = quality.upscale(net, 1, gt[:height, :width], 4, PROTOCOLS['ycbcr'])
        equal.append(bgr == cv2.imread(str(path)))
    assert np.concatenate([values.ravel() for values in equal]).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(('scale', 'of_the_paper'), [(2, 33.03), (4, 28.01)])
def test_vdsrs_authors_read_one_grey_file(
    published: Path, shared_datasets: Path, scale: int, of_the_paper: float
) -> None:
    """Its figures on Set14 are those of the documents, with the values of that file as they are instead of Y."""
    text = (ROOT / 'docs/compare.md').read_text(encoding='utf-8')
    table = text[text.index(f'\n| x{scale} |') + 1 :].splitlines()
    row = next(line for line in table if line.startswith('| VDSR |'))
    cells = dict(zip(table[0].split(' | '), row.split(' | ')))
    stated = float(cells['Set14 PSNR / SSIM'].split(' / ')[0])
    net = find_network('VDSR', scale, published / 'VDSR_Official.mat').build()
    grey = cv2.imread(str(shared_datasets / 'Set14/HR/img_003.png'), cv2.IMREAD_UNCHANGED)
    assert grey.ndim == 2
    as_it_is, as_y = (_psnr_by_ycbcr(net, img, scale) for img in (grey, 16 + grey * (219 / 255)))
    assert stated + (as_it_is - as_y) / 14 == pytest.approx(of_the_paper, abs=0.01)


def _psnr_by_ycbcr(net: torch.nn.Module, img: NDArray, scale: int) -> float:
    gt = np.round(img.astype(np.float64))
    with torch.inference_mode():
        sr = net(torch.from_numpy(imresize(gt / 255, 1 / scale)).float()[None, None])[0, 0].double().numpy()
    error = (np.round(sr.clip(0, 1) * 255) - gt)[scale:-scale, scale:-scale]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


@pytest.mark.parametrize(('method', 'psnr'), [('SelfExSR', 30.332), ('DRCN', 31.534), ('VDSR', 31.349)])
@pytest.mark.parametrize('numbered', [False, True])
def test_finished_images_of_others(
    shared_datasets: Path, set5: Path, tmp_path: Path, method: str, psnr: float, numbered: bool
) -> None:
    (benchmark,) = quality.find_benchmarks(set5, 4)
    folder = shared_datasets.parent / 'results/Set5_x4' / method
    if numbered:
        for i, path in enumerate(sorted(folder.glob('*.png'))):
            shutil.copy(path, tmp_path / f'img_{i + 1:03}_SRF_4_{method}.png')
        folder = tmp_path
    result = quality.evaluate_images(folder, benchmark, PROTOCOLS['ycbcr'])
    assert result
    assert quality.means(result[0])[0] == pytest.approx(psnr, abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arch', 'scale', 'name', 'psnr'),
    [
        ('VDSR', 2, 'Set5', 37.573),
        ('VDSR', 4, 'Set5', 31.433),
        ('LapSRN', 4, 'Set5', 31.620),
        ('LapSRN', 4, 'Set14', 28.223),
    ],
)
def test_published_weights_have_their_figures(
    benchmarks: Path, shared_datasets: Path, tmp_path: Path, arch: str, scale: int, name: str, psnr: float
) -> None:
    """Measured by those who provide the weights, with code of their own."""
    file = {'VDSR': 'vdsr_twtygqyy', 'LapSRN': 'lapsrn_x4_twtygqyy'}[arch]
    network = find_network(arch, scale, shared_datasets.parent / f'weights/{file}.safetensors')
    (benchmark,) = (found for found in quality.find_benchmarks(benchmarks / 'datasets', scale) if found.name == name)
    scores = quality.evaluate_network(network.build(), network.channels, '', benchmark, tmp_path / name, '')
    assert quality.means(scores)[0] == pytest.approx(psnr, abs=0.005)


def published_vdsr() -> dict[str, torch.Tensor]:
    """A state dict with the published one's keys, and small."""
    layers = {f'residual_layer.{i}.conv.weight': torch.rand(2, 2, 3, 3) for i in range(18)}
    return {'input.weight': torch.rand(2, 1, 3, 3), **layers, 'output.weight': torch.rand(1, 2, 3, 3)}


def test_command(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    state = published_vdsr()
    torch.save(state, tmp_path / 'published.pth')
    out = tmp_path / 'models/vdsr.pth'
    assert cli.main(['convert', str(tmp_path / 'published.pth'), '-o', str(out)]) == 0
    assert capfd.readouterr().out == f'{out}: type: VDSR, bias: False, clamp_y: False\n'
    assert files.load(out)['scales'] == [2, 3, 4]
    assert find_network('VDSR', 3, out).weights is not None
    network = find_network('VDSR', 8, out)
    assert (network.weights, network.no_weights) == (None, f'{out} is for x2, x3, x4')
    net = VDSR(num_feat=2, bias=False)
    net.load_state_dict(files.network_weights(out, 'params'))
    assert torch.equal(net.body[10].weight, state['residual_layer.10.conv.weight'])
    assert torch.equal(net.conv_last.weight, state['output.weight'])

    assert cli.main(['convert', str(tmp_path / 'published.pth'), '-o', str(out)]) == 1
    assert f'srsenet: {out} exists already.' in capfd.readouterr().err


def test_unknown_weights_are_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    torch.save({'conv.weight': torch.zeros(1)}, tmp_path / 'x.pth')
    assert convert.convert_state_dict({'conv.weight': torch.zeros(1)}) is None
    assert cli.main(['convert', str(tmp_path / 'x.pth'), '-o', str(tmp_path / 'out.pth')]) == 1
    assert 'x.pth is not one of the releases that can be converted' in capfd.readouterr().err
    (tmp_path / 'damaged.pth').write_bytes(np.random.default_rng(0).bytes(100))
    assert cli.main(['convert', str(tmp_path / 'damaged.pth'), '-o', str(tmp_path / 'out.pth')]) == 1
    assert 'damaged.pth is damaged, or no file of weights' in capfd.readouterr().err
    assert not (tmp_path / 'out.pth').exists()


# MATLAB's files


def save_srcnn(path: Path, side: int = 5, **other: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    variables = {
        'weights_conv1': rng.random((81, 64)),
        'weights_conv2': rng.random((64, side**2, 32)),
        'weights_conv3': rng.random((32, 25)),
        **{f'biases_conv{i}': rng.random((size, 1)) for i, size in ((1, 64), (2, 32), (3, 1))},
    }
    scipy.io.savemat(path, variables | other, do_compression=side == 5)


def test_matlab_files(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for side in (1, 5):
        source, out = tmp_path / f'{side}.mat', tmp_path / f'{side}.pth'
        save_srcnn(source, side)
        assert cli.main(['convert', str(source), '-o', str(out)]) == 0
        assert capfd.readouterr().out == f'{out}: type: SRCNN, mapping_kernel_size: {side}\n'
        net = find_network('SRCNN', 3, out).build()
        assert isinstance(net, SRCNN)
        x = torch.rand(1, 1, 5, 6)
        with torch.no_grad():
            assert torch.equal(net(x), find_network('SRCNN', 3, source).build()(x))


def test_matlab_files_of_other_things_are_named(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    file = tmp_path / 'x.mat'
    arrays = {'conv1': np.zeros((3, 3)), 'weights_conv1': np.zeros((81, 63)), 'weights_conv2': np.zeros((64, 9, 32))}
    for name, array in arrays.items():
        save_srcnn(file, **{name: array})
        assert cli.main(['convert', str(file), '-o', str(tmp_path / 'out.pth')]) == 1
        assert f'srsenet: {file} is not one of the releases that can be converted' in capfd.readouterr().err
    for name, value in {'net': {'params': {'name': 'input_conv_f', 'value': 1.0}}, 'model': 1.0}.items():
        scipy.io.savemat(file, {name: value})
        assert cli.main(['convert', str(file), '-o', str(tmp_path / 'out.pth')]) == 1
        assert f'srsenet: {file} is not one of the releases that can be converted' in capfd.readouterr().err
    save_srcnn(file, biases_conv3=np.array([[np.nan]]))
    assert cli.main(['convert', str(file), '-o', str(tmp_path / 'out.pth')]) == 1
    assert f'{file} holds values in conv3.bias that are no finite numbers' in capfd.readouterr().err
    assert not (tmp_path / 'out.pth').exists()


def test_matlab_files_of_all_kinds_are_read_as_scipy_reads_them(tmp_path: Path) -> None:
    structs = np.array([(1.5, 'one'), (2.5, '')], [('value', object), ('name', object)])
    cells = np.array([['a', np.eye(2)], [np.zeros((0, 3)), np.array(['b'], object)]], object)
    kinds = {kind: np.arange(12).reshape(2, 3, 2).astype(kind) for kind in ('int8', 'uint16', 'int64', 'single')}
    for compressed in (False, True):
        scipy.io.savemat(
            tmp_path / 'x.mat',
            {'structs': structs, 'cells': cells, 'text': 'Größe', **kinds},
            do_compression=compressed,
        )
        found = mat_files.load(tmp_path / 'x.mat')
        assert [(float(one['value'][0, 0]), one['name']) for one in found['structs']] == [(1.5, 'one'), (2.5, '')]
        assert found['text'] == 'Größe'
        assert [found['cells'][0], found['cells'][3]] == ['a', ['b']]  # column by column
        assert found['cells'][1].shape == (0, 3)
        assert np.array_equal(found['cells'][2], np.eye(2))
        for kind, array in kinds.items():
            assert found[kind].dtype == array.dtype
            assert np.array_equal(found[kind], array)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack('<II', kind, len(data)) + data + bytes(-len(data) % 8)


def array(kind: int, shape: tuple[int, ...], *content: bytes) -> bytes:
    """An array as MATLAB stores it, of class ``kind``, called x."""
    flags, sides = struct.pack('<II', kind, 0), struct.pack(f'<{len(shape)}i', *shape)
    return element(14, element(6, flags) + element(5, sides) + element(1, b'x') + b''.join(content))


def nested(depth: int) -> bytes:
    """From the inside out, because each level stands in the next: 8 bytes of tag and 48 of header more."""
    head = array(1, (1, 1))[8:]
    sizes = [len(head) + 8 + 56 * level for level in range(depth)]
    return b''.join(struct.pack('<II', 14, size) + head for size in reversed(sizes)) + element(14, b'')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (array(16, (1, 1)), 'it holds a function handle'),
        (array(17, (1, 1)), 'it holds an object'),
        (array(3, (1, 1)), 'it holds an object'),
        (array(5, (1, 1)), 'it holds a sparse array'),
        (array(99, (1, 1)), 'it holds an array of class 99'),
        (array(0x806, (1, 1), element(9, bytes(8)), element(9, bytes(8))), 'it holds complex numbers'),
        (array(6, (3, 3), element(9, bytes(8))), 'not as long as its dimensions say'),
        (array(6, (2**31 - 1, 2**31 - 1), element(9, bytes(8))), 'not as long as its dimensions say'),
        (array(6, (-1, 1), element(9, bytes(8))), 'it holds an array without dimensions'),
        (array(1, (2**31 - 1, 2**31 - 1)), 'it is truncated'),
        (array(2, (2**31 - 1, 1), element(5, struct.pack('<i', 2)), element(1, b'a\0')), 'it is truncated'),
        (array(2, (1, 1), element(5, struct.pack('<i', 0)), element(1, b'')), 'it holds a struct without names'),
        (array(1, (200_000, 1), element(14, b'') * 200_000), 'it holds more than 100000 arrays'),
        (nested(100_000), 'it is nested more than 16 levels deep'),
        (struct.pack('<II', 14, 2**32 - 1), 'it is truncated'),
        (struct.pack('<II', 15, 40) + bytes(40), 'while decompressing data'),
        (element(9, bytes(8)), 'it holds an element of type 9 among its variables'),
    ],
    ids=lambda value: value[:40].replace(' ', '-') if isinstance(value, str) else '',
)
def test_hostile_matlab_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / 'x.mat'
    header = b'MATLAB 5.0 MAT-file'.ljust(124) + b'\0\x01IM'
    file.write_bytes(header + content)
    with pytest.raises(ValueError, match=r'x\.mat is damaged, or no MATLAB file of weights \(') as caught:
        mat_files.load(file)
    assert message in str(caught.value)


def test_matlab_files_that_grow_are_refused(tmp_path: Path) -> None:
    """200 MB of zeros in 200 kB, and a file that is too large itself."""
    file = tmp_path / 'x.mat'
    header = b'MATLAB 5.0 MAT-file'.ljust(124) + b'\0\x01IM'
    packed = zlib.compress(array(6, (25_000_000, 1), element(9, bytes(200_000_000))))
    file.write_bytes(header + struct.pack('<II', 15, len(packed)) + packed)
    with pytest.raises(ValueError, match='it expands to more than 67108864 bytes'):
        mat_files.load(file)
    with file.open('wb') as sparse:
        sparse.write(header)
        sparse.truncate(2**40)
    with pytest.raises(ValueError, match='it is larger than 67108864 bytes'):
        mat_files.load(file)
    file.write_bytes(b'MATLAB 7.3 MAT-file'.ljust(128))
    with pytest.raises(ValueError, match=r'it is of version 7\.3: save it with -v7'):
        mat_files.load(file)


@pytest.mark.parametrize('compressed', [False, True])
def test_damaged_matlab_files_end_in_a_sentence(tmp_path: Path, compressed: bool) -> None:
    scipy.io.savemat(
        tmp_path / 'whole.mat', {'cells': np.array([1.0, 'two', np.eye(3)], object)}, do_compression=compressed
    )
    whole = (tmp_path / 'whole.mat').read_bytes()
    file = tmp_path / 'x.mat'
    for length in range(7, len(whole)):
        file.write_bytes(whole[:length])
        if length != 128:  # the header alone is a file without variables
            with pytest.raises(ValueError, match=r'x\.mat is damaged'):
                mat_files.load(file)
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        try:
            mat_files.load(file)  # a flip in a number or a text is nobody's to see
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(str(file) in message for message in messages)
