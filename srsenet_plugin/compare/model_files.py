"""Networks in files that need no option file: those that spandrel recognises by their weights, and ONNX."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srsenet_plugin.weights import files

SUFFIXES = ('.onnx', '.pth', '.pt', '.ckpt', '.safetensors')

ONNX_SIDE = 64  # of the image that shows an ONNX network's scale, in pixels; a multiple of the usual windows


@dataclass(frozen=True)
class ModelFile:
    """A network as its file describes it.

    Attributes:
        name: Its name in tables.
        file: The file.
        net: Maps (1, channels, H, W), range [0, 1], to scale times the sides; in eval mode.
        scale: Its scale.
        channels: Channels of its images: 1 for Y, 3 for RGB.
    """

    name: str
    file: Path
    net: nn.Module
    scale: int
    channels: int

    @property
    def runs_in_torch(self) -> bool:
        """Whether its costs can be counted, and it runs on any device; ONNX Runtime runs on the processor here."""
        return not isinstance(self.net, _OnnxNetwork)

    def digest(self) -> str:
        """Changes with the file."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


def read_model(file: Path, name: str) -> ModelFile:
    """Reads a network: of an ``.onnx`` file, or of weights whose architecture spandrel recognises.

    Args:
        file: An ``.onnx`` file; or ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors``.
        name: Its name in tables.

    Raises:
        ValueError: There is no such file; the program that reads it is not installed; the file is damaged or not
            recognised; or its network does not enlarge images of Y or RGB.
    """
    if not file.is_file():
        raise ValueError(f'{file} is no file.')
    net, scale, channels, out_channels = (_read_onnx if file.suffix.lower() == '.onnx' else _read_weights)(file)
    if channels not in (1, 3) or out_channels != channels:
        raise ValueError(f'{file} maps {channels} channels to {out_channels}: it is no network for Y or RGB.')
    if scale < 2:
        raise ValueError(f'{file} does not enlarge images.')
    return ModelFile(name, file, net.eval(), scale, channels)


class _Described(nn.Module):
    """spandrel's network as it is to be called: padded to its windows, and clipped."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.net = descriptor.model
        self._descriptor = descriptor

    def forward(self, x: Tensor) -> Tensor:
        return self._descriptor(x)


def _read_weights(file: Path) -> tuple[nn.Module, int, int, int]:
    try:
        import spandrel
    except ImportError:
        raise ValueError(f'{file} needs spandrel, which recognises architectures: pip install spandrel') from None
    content = files.load(file)  # spandrel would run TorchScript
    if not isinstance(content, dict):
        raise ValueError(f'{file} holds no weights.')
    try:
        weights = spandrel.canonicalize_state_dict(content)
        model = spandrel.ModelLoader().load_from_state_dict(files.weights_of(weights, file, None))
    except spandrel.UnsupportedModelError:
        raise ValueError(f'{file} is of no architecture that spandrel recognises.') from None
    except Exception as error:  # architectures are anybody's code
        reason = textwrap.shorten(str(error).removeprefix(f'{file} '), 300)
        raise ValueError(f'{file} {reason}') from error
    if not isinstance(model, spandrel.ImageModelDescriptor):
        raise ValueError(f'{file} is of a network that takes more than an image.')
    return _Described(model.float()), model.scale, model.input_channels, model.output_channels


class _OnnxNetwork(nn.Module):
    """A network that ONNX Runtime runs, on the processor."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._input = session.get_inputs()[0]

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.float16 if self._input.type == 'tensor(float16)' else torch.float32
        (out,) = self._session.run(None, {self._input.name: x.detach().to('cpu', dtype).numpy()})
        return torch.from_numpy(out).to(x)


def _read_onnx(file: Path) -> tuple[nn.Module, int, int, int]:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(f'{file} needs ONNX Runtime: pip install onnxruntime') from None
    try:
        session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    except Exception as error:  # damaged files raise ONNX Runtime's own, which have no common class
        raise ValueError(f'{file} cannot be read: {textwrap.shorten(str(error), 300)}') from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        raise ValueError(f'{file} does not map one image (N, C, H, W) to another.')
    if inputs[0].type not in ('tensor(float)', 'tensor(float16)'):
        raise ValueError(f'{file} takes a {inputs[0].type}, not floats from 0 to 1.')
    _, channels, *size = inputs[0].shape
    if any(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f'{file} takes images of one size alone, {size[1]}x{size[0]}. Export it with dynamic axes.')
    if not isinstance(channels, int):
        raise ValueError(f'{file} does not say how many channels its images have.')
    net = _OnnxNetwork(session)
    try:
        out = net(torch.zeros(1, channels, ONNX_SIDE, ONNX_SIDE))
    except Exception as error:  # as above
        raise ValueError(
            f'{file} fails on an image of {ONNX_SIDE}x{ONNX_SIDE}: {textwrap.shorten(str(error), 300)}'
        ) from error
    return net, out.shape[-1] // ONNX_SIDE, channels, out.shape[1]
