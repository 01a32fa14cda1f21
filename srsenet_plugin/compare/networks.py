"""Networks to compare: registered architectures by name, or those of option files, with or without weights."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from srsenet_plugin.weights import convert, files

# Published networks whose options are not their constructors' defaults: section 4.1 of RCAN's paper, and SwinIR's for
# classical super-resolution, section 4.1 of its paper.
PUBLISHED: dict[str, dict[str, Any]] = {
    'RCAN': {'num_group': 10, 'num_block': 20},
    'SwinIR': {
        'img_size': 64,
        'embed_dim': 180,
        'depths': [6] * 6,
        'num_heads': [6] * 6,
        'window_size': 8,
        'mlp_ratio': 2,
        'upsampler': 'pixelshuffle',
    },
}
# Files of weights come from anybody, and the network is built before its weights turn out not to fit. So the numbers of
# blocks, channels and so on in its options may not add up to more. SwinIR's come to 326.
MOST_BLOCKS_AND_CHANNELS = 1024


@dataclass(frozen=True)
class Network:
    """A network of one scale.

    Attributes:
        name: Its name in tables.
        options: As ``network_g`` of an option file takes them.
        channels: Channels of its images: 1 for Y, 3 for RGB.
        weights: Its weights, if there are any.
        no_weights: Why there are none, if any were given.
        weights_file: Where they come from.
    """

    name: str
    options: Mapping[str, Any]
    channels: int
    weights: Mapping[str, Tensor] | None
    no_weights: str = ''
    weights_file: str = ''

    def build(self) -> nn.Module:
        """Builds the network in eval mode, with its weights if there are any.

        Raises:
            ValueError: The options or the weights do not fit the architecture.
        """
        try:
            net = build_network(dict(self.options)).eval()
            if self.weights is not None:
                net.load_state_dict(dict(self.weights))
        except (TypeError, ValueError, RuntimeError) as error:
            where = f'{self.weights_file} and {dict(self.options)}' if self.weights_file else f'{dict(self.options)}'
            raise ValueError(f'{where}: {textwrap.shorten(str(error), 300)}') from error
        window = inspect.signature(type(net)).parameters.get('window_size')
        if window is None:
            return net
        return _PaddedToWindows(net, self.options.get('window_size', window.default))

    def digest(self) -> str:
        """Changes with the code of the project that registers the architecture, the options and the weights."""
        digest = hashlib.sha256(repr(sorted(self.options.items())).encode())
        project = ARCH_REGISTRY.get(self.options['type']).__module__.partition('.')[0]
        for name, module in sorted(sys.modules.items()):
            file = getattr(module, '__file__', None)
            if name.partition('.')[0] == project and file and file.endswith('.py'):
                digest.update(Path(file).read_bytes())
        for name, weight in sorted((self.weights or {}).items()):
            digest.update(f'{name}{weight.dtype}'.encode())
            digest.update(weight.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class _PaddedToWindows(nn.Module):
    """Pads images to whole windows, as BasicSR's SwinIRModel does, and crops what comes out."""

    def __init__(self, net: nn.Module, window_size: int) -> None:
        super().__init__()
        self.net = net
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        out = self.net(nn.functional.pad(x, [0, -width % self.window_size, 0, -height % self.window_size], 'reflect'))
        scale = out.shape[2] // (height + -height % self.window_size)
        return out[..., : height * scale, : width * scale]


def import_projects(modules: Iterable[str]) -> None:
    """Imports modules, so that the architectures which they register can be compared.

    Args:
        modules: Names, such as ``my_project.archs``.

    Raises:
        ValueError: One of them cannot be imported.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # projects are anybody's code
            raise ValueError(f'{name} cannot be imported: {type(error).__name__}: {error}') from error


def find_network(spec: str, scale: int, weights_file: str | os.PathLike[str] | None = None) -> Network:
    """Finds a network for a scale.

    Options come, the later ones winning, from the constructor's defaults, from :data:`PUBLISHED`, from the option file,
    and from the file of weights, if that says what it is for. Weights of BasicSR's files are ``params_ema`` if they are
    there, or ``params``; published files that :mod:`srsenet_plugin.weights.convert` knows are taken as they are.

    Args:
        spec: Name of a registered architecture, or an option file.
        scale: Scale, 2 or more.
        weights_file: Its weights.

    Raises:
        ValueError: There is no such architecture or file, the architecture has no scale, or the weights are damaged or
            another architecture's.
    """
    options = _from_option_file(spec) if _is_option_file(spec) else {'type': spec}
    arch_name = options['type']
    if arch_name not in ARCH_REGISTRY:
        raise ValueError(
            f'{arch_name} is not registered. There are {", ".join(sorted(ARCH_REGISTRY.keys()))}; '
            'or name an option file, or import the module that registers it.'
        )
    options = PUBLISHED.get(arch_name, {}) | options
    weights, stated, scales = (None, {}, []) if weights_file is None else _read_weights(weights_file)
    if stated.get('type', arch_name) != arch_name:
        raise ValueError(f'{weights_file} holds weights of {stated["type"]}, not of {arch_name}.')
    parameters = inspect.signature(ARCH_REGISTRY.get(arch_name)).parameters
    scale_name = next((name for name in ('upscale', 'scale') if name in parameters), None)
    if scale_name is None:
        raise ValueError(f'{arch_name} has no argument upscale or scale: it is no network for super-resolution.')
    options = options | stated | {scale_name: scale}
    no_weights = ''
    if scales and scale not in scales:
        weights, no_weights = None, f'{weights_file} is for {", ".join(f"x{scale}" for scale in scales)}'
    channel_names = [name for name in ('num_in_ch', 'num_out_ch', 'in_chans') if name in parameters]
    channels = _channels(options, channel_names, parameters, weights)
    options |= dict.fromkeys(channel_names, channels)
    return Network(name_of(spec), options, channels, weights, no_weights, str(weights_file or ''))


def name_of(spec: str) -> str:
    """The name in tables: of an architecture its own, of options/compare/train_EDSR_M_x4.yml EDSR_M."""
    if not _is_option_file(spec):
        return spec
    return re.sub(r'^(train|test)_|_x\d+$', '', Path(spec).stem)


def _is_option_file(spec: str) -> bool:
    return spec.endswith(('.yml', '.yaml'))


def _from_option_file(path: str) -> dict[str, Any]:
    try:
        opt = yaml.load(Path(path).read_text(encoding='utf-8'), Loader=ordered_yaml()[0])
        return {'type': opt['network_g']['type'], **opt['network_g']}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
    except (KeyError, TypeError, ValueError):
        raise ValueError(f'{path} has no network_g with a type.') from None


def _read_weights(path: str | os.PathLike[str]) -> tuple[Mapping[str, Tensor], dict[str, Any], list[int]]:
    """The weights of a file, and the options and the scales that they are for, if it states them."""
    try:
        content = convert.load(path)
        weights = files.weights_of(content, path, 'params_ema')
    except OSError as error:
        raise ValueError(f'{path} cannot be read: {error.strerror}') from error
    stated = content.get('network_g')
    if not isinstance(stated, Mapping):
        return weights, {}, []
    if _sum_of_integers(stated) > MOST_BLOCKS_AND_CHANNELS:
        raise ValueError(f'{path} asks for a network too large to be tried: {dict(stated)}.')
    scale = stated.get('upscale', stated.get('scale'))
    scales = content.get('scales', [scale] if scale else [])
    if not isinstance(scales, list) or not all(isinstance(scale, int) for scale in scales):
        raise ValueError(f'{path} is for scales that are none: {scales}.')
    return weights, dict(stated), scales


def _sum_of_integers(options: Any) -> int:
    if isinstance(options, Mapping):
        return _sum_of_integers(list(options.values()))
    if isinstance(options, list | tuple):
        return sum(map(_sum_of_integers, options))
    return abs(options) if isinstance(options, int) else 0


def _channels(
    options: Mapping[str, Any],
    names: list[str],
    parameters: Mapping[str, inspect.Parameter],
    weights: Mapping[str, Tensor] | None,
) -> int:
    """Of the weights, or of the options, or the constructor's default, or RGB."""
    if weights is not None:
        first = next((weight for weight in weights.values() if weight.dim() == 4), None)
        if first is not None and first.shape[1] in (1, 3):
            return first.shape[1]
    if not names:
        return 3
    default = parameters[names[0]].default
    return options.get(names[0], default if isinstance(default, int) else 3)
