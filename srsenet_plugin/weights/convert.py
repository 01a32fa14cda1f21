"""Weights that others have published, as BasicSR's files for the architectures of this plugin.

Known are twtygqyy's PyTorch releases (MIT licence) of VDSR, https://github.com/twtygqyy/pytorch-vdsr, and of LapSRN x4,
https://github.com/twtygqyy/pytorch-LapSRN, as state dicts. Their keys become ours like this, with layer i and level l:

    VDSR      input.weight                               conv_first.weight
              residual_layer.{i}.conv.weight             body.{i}.weight
              output.weight                              conv_last.weight

    LapSRN    conv_input.weight                          conv_first.weight
              convt_F{l}.0.cov_block.{2i}.weight         levels.{l-1}.body.{i}.weight
              convt_F{l}.0.cov_block.20.weight           levels.{l-1}.upconv.weight
              convt_R{l}.weight                          levels.{l-1}.conv_last.weight
              convt_I{l}.weight                          levels.{l-1}.upconv_image.weight
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from srsenet_plugin.weights import files


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
        network_g (dict): Options of its architecture, as an option file has them.
        scales (tuple[int, ...]): Scales that it was trained for.
        keys (dict[str, str]): Our names of its weights.
    """

    network_g: dict[str, Any]
    scales: tuple[int, ...]
    keys: dict[str, str]


RELEASES = (
    Release({'type': 'VDSR'}, (2, 3, 4), _vdsr_keys()),
    Release({'type': 'LapSRN', 'upscale': 4, 'upconv_kernel_size': 4}, (4,), _lapsrn_keys()),
)


def convert_state_dict(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Renames the weights of a published state dict.

    Args:
        state (Mapping[str, Tensor]): Weights by name.

    Returns:
        dict | None: What BasicSR's file holds: ``params``, the weights by our names; and besides ``network_g``, options
            of the architecture, and ``scales`` that they were trained for. None if it is no known release.
    """
    for network_g, scales, keys in RELEASES:
        if state.keys() == keys.keys():
            params = {keys[name]: weight for name, weight in state.items()}
            return {'params': params, 'network_g': dict(network_g), 'scales': list(scales)}
    return None


def convert_file(source: str | os.PathLike[str], target: Path) -> dict[str, Any]:
    """Converts a published file of weights into BasicSR's form, ``params`` with the architecture's options besides.

    Args:
        source (str | PathLike): A ``.pth`` or ``.safetensors`` file that holds a state dict.
        target (Path): The ``.pth`` file to write.

    Returns:
        dict: Options of the architecture, as ``network_g`` takes them.

    Raises:
        ValueError: The file is damaged, or not one of the known releases.
        FileExistsError: ``target`` is there already.
        OSError: One of the files cannot be read or written.
    """
    if target.exists():
        raise FileExistsError(f'{target} exists already. Delete it, or name another file.')
    converted = convert_state_dict(files.network_weights(source, None))
    if converted is None:
        raise ValueError(
            f"{source} is not one of the releases that can be converted: twtygqyy's VDSR and LapSRN x4, as state dicts."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    files.save(converted, target)
    return converted['network_g']
