"""Weights that others have published, as BasicSR's files for the architectures of this plugin.

A file is recognised by its content. Known are twtygqyy's PyTorch releases (MIT licence) of VDSR,
https://github.com/twtygqyy/pytorch-vdsr, and of LapSRN x4, https://github.com/twtygqyy/pytorch-LapSRN, as state dicts.
Their keys become ours like this, with layer i and level l:

    VDSR      input.weight                               conv_first.weight
              residual_layer.{i}.conv.weight             body.{i}.weight
              output.weight                              conv_last.weight

    LapSRN    conv_input.weight                          conv_first.weight
              convt_F{l}.0.cov_block.{2i}.weight         levels.{l-1}.body.{i}.weight
              convt_F{l}.0.cov_block.20.weight           levels.{l-1}.upconv.weight
              convt_R{l}.weight                          levels.{l-1}.conv_last.weight
              convt_I{l}.weight                          levels.{l-1}.upconv_image.weight

And the authors' MATLAB files of LapSRN (x2, x4, x8), https://github.com/phoenix104104/LapSRN; of VDSR, as
https://github.com/huangzehao/caffe-vdsr has them; and of SRCNN (9-1-5 and 9-5-5) and FSRCNN, as
https://github.com/yaBorn/Super-resolution has them. Their kernels are those of correlations:

    LapSRN    net.params, each with name and value: (height, width, in, out), of transposed convolutions
              (height, width, out, in). ``level{l}`` of the largest l is the first, and the smallest.
    VDSR      model.weight, 20 of (height, width, in, out), and model.bias
    SRCNN     weights_conv1 (9 * 9, 64), weights_conv2 (64, k * k, 32), weights_conv3 (32, 5 * 5), biases_conv1 to 3;
              pixels column by column
    FSRCNN    weights_conv, 8 of (in, k * k, out), of the last one (out, k * k, in); biases_conv; and prelu_conv, a
              slope for each convolution
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srsenet_plugin.archs import FSRCNN, SRCNN, VDSR, LapSRN
from srsenet_plugin.weights import files, mat_files

Converted = dict[str, Any]
"""The content of BasicSR's file: ``params``, the weights by our names; and besides ``network_g``, the options of the
architecture, and ``scales``, those that the weights were trained for, empty if the file does not tell."""


def _vdsr_keys() -> dict[str, str]:
    body = {f'residual_layer.{i}.conv.weight': f'body.{i}.weight' for i in range(18)}
    return {'input.weight': 'conv_first.weight', **body, 'output.weight': 'conv_last.weight'}


def _lapsrn_keys() -> dict[str, str]:
    keys = {'conv_input.weight': 'conv_first.weight'}
    for level in range(2):
        theirs, ours = f'convt_{{}}{level + 1}{{}}.weight', f'levels.{level}.{{}}.weight'
        keys |= {theirs.format('F', f'.0.cov_block.{2 * i}'): ours.format(f'body.{i}') for i in range(10)}
        keys[theirs.format('F', '.0.cov_block.20')] = ours.format('upconv')
        keys[theirs.format('R', '')] = ours.format('conv_last')
        keys[theirs.format('I', '')] = ours.format('upconv_image')
    return keys


class Release(NamedTuple):
    """A published state dict.

    Attributes:
        network_g: Options of its architecture, as an option file has them.
        scales: Scales that it was trained for.
        keys: Our names of its weights.
    """

    network_g: dict[str, Any]
    scales: tuple[int, ...]
    keys: dict[str, str]


RELEASES = (
    Release({'type': 'VDSR', 'bias': False, 'clamp_y': False}, (2, 3, 4), _vdsr_keys()),
    Release({'type': 'LapSRN', 'upscale': 4, 'upconv_kernel_size': 4, 'bias': False}, (4,), _lapsrn_keys()),
)


def convert_state_dict(state: Mapping[str, Tensor]) -> Converted | None:
    """Renames the weights of a published state dict; None if it is no known release."""
    for network_g, scales, keys in RELEASES:
        if state.keys() == keys.keys():
            params = {keys[name]: weight for name, weight in state.items()}
            return {'params': params, 'network_g': dict(network_g), 'scales': list(scales)}
    return None


def convert_variables(variables: Mapping[str, Any]) -> Converted | None:
    """Converts what :func:`mat_files.load` has read of an authors' file; None if it is no known release."""
    for names, convert in MATLAB_RELEASES.items():
        if variables.keys() == set(names):
            try:
                return convert(variables)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError):
                return None  # the same variables, but with other contents
    return None


def _lapsrn(variables: Mapping[str, Any]) -> Converted:
    theirs = {param['name']: param['value'] for param in variables['net'][0]['params']}
    num_level = sum(name.endswith('_img_up_f') for name in theirs)
    if num_level not in (1, 2, 3):
        raise ValueError('neither x2 nor x4 nor x8')
    names = {'conv_first': 'input_conv'}
    for level in range(num_level):
        ours, start = f'levels.{level}', f'level{num_level - level}'
        names |= {f'{ours}.body.{i}': f'{start}_conv{i + 1}' for i in range(5 if num_level == 3 else 10)}
        names |= {f'{ours}.upconv': f'{start}_upconv', f'{ours}.conv_last': f'{start}_residual_conv'}
        names[f'{ours}.upconv_image'] = f'{start}_img_up'
    params = {
        f'{ours}.{kind}': _matconvnet(theirs.pop(f'{name}_{letter}'))
        for ours, name in names.items()
        for kind, letter in (('weight', 'f'), ('bias', 'b'))
        if f'{name}_{letter}' in theirs
    }
    if theirs:
        raise ValueError('more weights than the network has')
    scale = 2**num_level
    return _checked(LapSRN(upscale=scale), {'type': 'LapSRN', 'upscale': scale}, params, [scale])


def _vdsr(variables: Mapping[str, Any]) -> Converted:
    model = variables['model'][0]
    names = ['conv_first', *(f'body.{i}' for i in range(18)), 'conv_last']
    params: dict[str, Tensor] = {}
    for name, weight, bias in zip(names, model['weight'], model['bias'], strict=True):
        params |= {f'{name}.weight': _matconvnet(weight), f'{name}.bias': _vector(bias)}
    return _checked(VDSR(), {'type': 'VDSR'}, params, [2, 3, 4])


def _srcnn(variables: Mapping[str, Any]) -> Converted:
    first, second, third = (variables[f'weights_conv{i}'] for i in (1, 2, 3))
    params = {
        'conv1.weight': _kernels(first.T[:, None]),
        'conv2.weight': _kernels(second.transpose(2, 0, 1)),
        'conv3.weight': _kernels(third[None]),
    }
    params |= {f'conv{i}.bias': _vector(variables[f'biases_conv{i}']) for i in (1, 2, 3)}
    size = params['conv2.weight'].shape[-1]
    if size not in (1, 5):
        raise ValueError('neither 9-1-5 nor 9-5-5')
    return _checked(SRCNN(mapping_kernel_size=size), {'type': 'SRCNN', 'mapping_kernel_size': size}, params, [])


def _fsrcnn(variables: Mapping[str, Any]) -> Converted:
    *weights, last = variables['weights_conv']
    *biases, last_bias = variables['biases_conv']
    names = ['conv_first', 'shrink', *(f'body.{i}' for i in range(4)), 'expand']
    params = {'upconv.weight': _kernels(last.transpose(2, 0, 1)), 'upconv.bias': _vector(last_bias)}
    for name, weight, bias, slope in zip(names, weights, biases, variables['prelu_conv'][:-1], strict=True):
        params |= {f'{name}.0.weight': _kernels(weight.transpose(2, 0, 1)), f'{name}.0.bias': _vector(bias)}
        params[f'{name}.1.weight'] = _vector(slope)
    return _checked(FSRCNN(), {'type': 'FSRCNN'}, params, [])


MATLAB_RELEASES: dict[tuple[str, ...], Callable[[Mapping[str, Any]], Converted]] = {
    ('net',): _lapsrn,
    ('model',): _vdsr,
    tuple(f'{kind}_conv{i}' for kind in ('weights', 'biases') for i in (1, 2, 3)): _srcnn,
    ('weights_conv', 'biases_conv', 'prelu_conv'): _fsrcnn,
}
"""How to convert a file, by the names of its variables."""


def _matconvnet(array: NDArray) -> Tensor:
    """MatConvNet's biases, or (height, width, in, out) as torch's (out, in, height, width).

    MATLAB drops single dimensions at the end.
    """
    if array.shape[0] == 1:
        return _vector(array)
    return _tensor(array.reshape(*array.shape, *[1] * (4 - array.ndim)).transpose(3, 2, 0, 1))


def _kernels(array: NDArray) -> Tensor:
    """(out, in, k * k), column by column, as (out, in, k, k)."""
    size = round(array.shape[2] ** 0.5)
    return _tensor(array.reshape(*array.shape[:2], size, size).swapaxes(2, 3))


def _vector(array: NDArray) -> Tensor:
    return _tensor(array.reshape(-1))


def _tensor(array: NDArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _checked(
    net: torch.nn.Module, network_g: dict[str, Any], params: dict[str, Tensor], scales: list[int]
) -> Converted:
    net.load_state_dict(params)
    return {'params': params, 'network_g': network_g, 'scales': scales}


def load(path: str | os.PathLike[str]) -> Any:
    """Loads a file of weights: of a known release as BasicSR's file of it, of others as :func:`files.load` does.

    Raises:
        ValueError: The file is damaged, or a MATLAB file that is no known release.
        OSError: The file cannot be read.
    """
    content, converted = _read(path)
    return converted or content


def _read(path: str | os.PathLike[str]) -> tuple[Any, Converted | None]:
    """The content of a file, and that of its conversion if it is a known release."""
    if mat_files.is_mat_file(path):
        content: Any = mat_files.load(path)
        converted = convert_variables(content)
        if converted is None:
            raise ValueError(f'{path} {_NOT_KNOWN}')
        files.weights_of(converted, path, 'params')
        return content, converted
    content = files.load(path)
    return content, convert_state_dict(files.weights_of(content, path, 'params_ema'))


_NOT_KNOWN = (
    "is not one of the releases that can be converted: the authors' MATLAB files of LapSRN, SRCNN, FSRCNN and VDSR, "
    "and twtygqyy's state dicts of VDSR and LapSRN x4."
)


def convert_file(source: str | os.PathLike[str], target: Path) -> dict[str, Any]:
    """Converts a published file of weights into BasicSR's form, ``params`` with the architecture's options besides.

    Args:
        source: A ``.pth`` or ``.safetensors`` file that holds a state dict, or a ``.mat`` file.
        target: The ``.pth`` file to write.

    Returns:
        Options of the architecture, as ``network_g`` takes them.

    Raises:
        ValueError: The file is damaged, or not one of the known releases.
        FileExistsError: ``target`` is there already.
        OSError: One of the files cannot be read or written.
    """
    if target.exists():
        raise FileExistsError(f'{target} exists already. Delete it, or name another file.')
    _, converted = _read(source)
    if converted is None:
        raise ValueError(f'{source} {_NOT_KNOWN}')
    target.parent.mkdir(parents=True, exist_ok=True)
    files.save(converted, target)
    return converted['network_g']
