"""Trained weights: those that come with the package, by name or by scale, and those of SrSENet in files.

docs/model_card.md describes the package's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from srsenet_plugin.archs.srsenet_arch import SrSENet
from srsenet_plugin.weights import files

FOLDER = Path(__file__).parent
CHECKSUMS = 'SHA256SUMS'


def names(arch: str = '*') -> list[str]:
    """Names of the package's weights: the architecture's in small letters and the scale, such as 'srsenet_x4'.

    Those for photographs saved as JPEG end in '_jpeg'.

    Args:
        arch: An architecture in small letters, of which alone they are. Default: any.
    """
    return sorted(path.stem for path in FOLDER.glob(f'{arch}_x*.pth'))


def scales() -> list[int]:
    """Scales that the package has weights of SrSENet for."""
    found = (name.removeprefix('srsenet_x') for name in names('srsenet'))
    return sorted(int(name) for name in found if name.isdecimal())


def weights_file(name: str) -> Path:
    """The file of the package's weights of a name. Its checksum is checked.

    Args:
        name: One of :func:`names`.

    Raises:
        ValueError: There are no such weights, or the file is not the one that came with the package.
    """
    if name not in names():
        raise ValueError(f'There are no weights {name}. There are: {", ".join(names())}.')
    path = FOLDER / f'{name}.pth'
    if checksum_line(path) not in (FOLDER / CHECKSUMS).read_text(encoding='utf-8').splitlines():
        raise ValueError(
            f'{path} is not the file that came with srsenet_plugin: its SHA-256 is not in {CHECKSUMS} beside it. '
            'Install srsenet_plugin anew, or give changed weights a name of their own.'
        )
    return path


def find_file(weights: str | os.PathLike[str]) -> Path:
    """The file that a path or the name of the package's weights stands for. A file of that name comes first.

    Raises:
        ValueError: It is the package's and not the file that came with it.
    """
    path = Path(weights)
    return weights_file(path.name) if str(path) in names() and not path.exists() else path


def checksum_line(path: Path) -> str:
    """A file's line in the list of checksums, in the format of the command sha256sum."""
    return f'{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}'


def load_pretrained(scale: int) -> SrSENet:
    """SrSENet with the package's weights, on the CPU, in eval mode.

    Args:
        scale: One of :func:`scales`.

    Returns:
        A network for Y images, (N, 1, H, W) in [0, 1], to (N, 1, scale * H, scale * W).

    Raises:
        ValueError: There are no weights for this scale, or theirs is not the file that came with the package.
    """
    return load_network(weights_file(f'srsenet_x{scale}'))


def load_network(path: str | os.PathLike[str]) -> SrSENet:
    """SrSENet with the weights of a file, on the CPU, in eval mode.

    Args:
        path: A ``.pth`` file of BasicSR's, of which 'params_ema' are taken if they are there, or a
            state dict alone, ``.pth`` or ``.safetensors``; or a name of the package's weights.

    Raises:
        ValueError: The file is damaged, or holds weights of another network.
        OSError: The file cannot be read.
    """
    path = find_file(path)
    content = files.load(path)
    weights = files.weights_of(content, path, 'params_ema')
    stored = content.get('network_g')
    stored = stored if isinstance(stored, Mapping) else {}
    if stored.get('type', 'SrSENet') != 'SrSENet':
        raise ValueError(f'{path} holds weights of {stored["type"]}, not of SrSENet.')
    try:
        options = infer_options(weights)
    except ValueError:
        raise ValueError(f'{path} does not hold weights of SrSENet.') from None
    if 'negative_slope' in stored:  # the weights do not show it
        options['negative_slope'] = stored['negative_slope']
    try:
        net = SrSENet(**options)
        net.load_state_dict(weights)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f'{path} does not fit SrSENet with {options}: {error}') from None
    return net.eval()


def infer_options(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of SrSENet's constructor that its weights show: all except the slope of the LeakyReLUs.

    Args:
        weights: A state dict of SrSENet's.

    Raises:
        ValueError: It is another network's.
    """
    try:
        num_feat, num_in_ch = weights['conv_first.weight'].shape[:2]
        hidden = weights['body.0.se.fc1.weight'].shape[0]
        kernel_size = weights['upconv.weight'].shape[2]
        return {
            'num_in_ch': num_in_ch,
            'num_out_ch': weights['conv_last.weight'].shape[0],
            'num_feat': num_feat,
            'num_block': len({name.split('.')[1] for name in weights if name.startswith('body.')}),
            'upscale': (kernel_size + 1) // 2,  # of kernels 2r and 2r - 1
            'reduction': num_feat // hidden,
        }
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f'These are not weights of SrSENet: {error!r}') from None
