"""Trained networks in the formats of other tools: ONNX, TorchScript, torch.export and safetensors.

Height, width and batch are free in all of them. Their metadata state scale, colour space and range. Each file is read
back and compared with the network before it gets its name.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge
from srsenet_plugin.archs.in_colour import in_own_precision, upscale_in_colour
from srsenet_plugin.archs.srsenet_arch import SrSENet
from srsenet_plugin.data.whole_files import whole_file
from srsenet_plugin.weights import pretrained
from srsenet_plugin.weights.ranges import Ranges

Metadata = dict[str, str]
Run = Callable[[Tensor], Tensor]

# (N, H, W)
COMPARED_SHAPES = ((1, 24, 32), (2, 17, 45), (1, 40, 5))
TOLERANCES = {'fp32': 1e-4, 'fp16': 2 / 255, 'int8': 8 / 255}
"""By precision: how far values in [0, 1] may lie from the network's in float32; in int8 from torch's of such codes.
The images are noise, the worst case."""
INSTALL = "pip install 'srsenet_plugin[export]'"


class Format(NamedTuple):
    """A format of files.

    Attributes:
        suffix: Of its files.
        write: Writes a network with its metadata to a file.
        read: Makes a function of a file, and of the network for files of weights alone.
    """

    suffix: str
    write: Callable[[Exported, Path, Metadata], None]
    read: Callable[[Path, Exported], Run]


class Exported(nn.Module):
    """A network as it is written: float32 in and out, whatever the precision of its weights.

    Args:
        net: The network, for Y or RGB.
        colour: Take RGB images and give RGB images, clipped to [0, 1].
    """

    def __init__(self, net: SrSENet, colour: bool) -> None:
        super().__init__()
        self.net = net
        self.enlarge = BicubicEnlarge(net.upscale).float() if colour else None
        self.channels = 3 if colour else net.conv_first.in_channels
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, channels, H, W) to (N, channels, upscale * H, upscale * W)."""
        return upscale_in_colour(self.enlarge, self.net, x) if self.enlarge else in_own_precision(self.net, x)

    def random_images(self, num: int, height: int, width: int) -> Tensor:
        """Images to trace and compare with."""
        return torch.rand(num, self.channels, height, width)


def _write_onnx(net: Exported, path: Path, metadata: Metadata) -> None:
    import onnx

    axes = {0: 'batch', 2: 'height', 3: 'width'}
    torch.onnx.export(
        net,
        (net.random_images(2, 24, 32),),
        str(path),
        input_names=['lr'],
        output_names=['sr'],
        dynamic_axes={'lr': axes, 'sr': {0: 'batch', 2: 'sr_height', 3: 'sr_width'}},
        verbose=False,
    )
    model = onnx.load(path)
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]  # the exporter's traces, with the paths of this machine
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)  # the weights inside, not beside
    path.with_name(path.name + '.data').unlink(missing_ok=True)


def _read_onnx(path: Path, net: Exported) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda lr: torch.from_numpy(session.run(['sr'], {'lr': lr.numpy()})[0])


def _write_torchscript(net: Exported, path: Path, metadata: Metadata) -> None:
    torch.jit.trace(net, net.random_images(2, 24, 32)).save(str(path), _extra_files=metadata)


def _read_torchscript(path: Path, net: Exported) -> Run:
    return torch.jit.load(str(path))


def _write_pt2(net: Exported, path: Path, metadata: Metadata) -> None:
    if torch.__version__ < '2.7':  # before, torch does not export the colours, or does not save them
        raise ValueError(f'pt2 needs torch 2.7 or newer, and this is {torch.__version__}: pip install -U torch')
    # Without a maximum, torch 2.7 fears sizes that do not fit into 64 bits.
    batch, height, width = (torch.export.Dim(name, min=1, max=2**31 - 1) for name in ('batch', 'height', 'width'))
    program = torch.export.export(
        net, (net.random_images(2, 24, 32),), dynamic_shapes={'x': {0: batch, 2: height, 3: width}}, strict=False
    )
    torch.export.save(program, path, extra_files=metadata)


def _read_pt2(path: Path, net: Exported) -> Run:
    return torch.export.load(path).module()


def _write_safetensors(net: Exported, path: Path, metadata: Metadata) -> None:
    from safetensors.torch import save

    path.write_bytes(save({name: weight.contiguous() for name, weight in net.net.state_dict().items()}, metadata))


def _read_safetensors(path: Path, net: Exported) -> Run:
    return pretrained.load_network(path)


FORMATS: Mapping[str, Format] = {
    'onnx': Format('.onnx', _write_onnx, _read_onnx),
    'torchscript': Format('.pt', _write_torchscript, _read_torchscript),
    'pt2': Format('.pt2', _write_pt2, _read_pt2),
    'safetensors': Format('.safetensors', _write_safetensors, _read_safetensors),
}
"""Formats by name. ``pt2`` is torch.export's."""


def export(
    net: SrSENet,
    file_format: str,
    path: Path,
    colour: bool = False,
    precision: str = 'fp32',
    ranges: Ranges | None = None,
) -> None:
    """Writes a network to a file for other tools. It takes and gives float32 in any precision.

    It is made on the CPU, wherever the network is.

    Args:
        net: The network, in eval mode.
        file_format: One of :data:`FORMATS`.
        path: The file to write.
        colour: Take and give RGB, clipped to [0, 1], whatever the network takes. Default: False.
        precision: One of :data:`TOLERANCES`, of the weights and of the network's convolutions. Default: fp32.
        ranges: Of the network's features, for int8.

    Raises:
        ValueError: A package is missing that the format needs, the format cannot hold this, or the file would differ
            from the network.
        FileExistsError: The file is there already.
        OSError: It cannot be written.
    """
    if path.exists():
        raise FileExistsError(f'{path} exists already. Delete it, or name another file.')
    if file_format == 'safetensors' and colour:
        raise ValueError('safetensors holds weights alone, and colour needs a format that holds the computation.')
    chosen = FORMATS[file_format]
    net = copy.deepcopy(net).cpu()
    if precision == 'int8':
        if file_format != 'onnx':
            raise ValueError(f'{file_format} has no int8 here; onnx has.')
        if ranges is None:
            raise ValueError('int8 needs the ranges of the features, and of these weights none were measured.')
        from srsenet_plugin.weights.qdq import with_qdq

        net = with_qdq(net, ranges)
    exported = Exported(copy.deepcopy(net).half() if precision == 'fp16' else net, colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as part, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')  # torch deprecates its exporters in turn, each in favour of the next
            chosen.write(exported, part, _metadata(net, exported, precision))
            _check(Exported(net, colour), chosen.read(part, exported), path, TOLERANCES[precision])
    except ImportError as error:
        raise ValueError(f'{file_format} needs {error.name}: {INSTALL}') from None
    except RuntimeError as error:
        if "not implemented for 'Half'" not in str(error):
            raise
        raise ValueError(
            f'torch {torch.__version__} does not compute in fp16 on processors: pip install -U torch'
        ) from None


def _metadata(net: SrSENet, exported: Exported, precision: str) -> Metadata:
    luma = "Y of MATLAB's rgb2ycbcr, 16/255 to 235/255"
    return {
        'architecture': 'SrSENet',
        'scale': str(net.upscale),
        'colour_space': luma if exported.channels == 1 else 'RGB',
        'range': '0 to 1',
        'layout': 'NCHW',
        'precision': precision,
    }


def _check(net: Exported, run: Run, path: Path, tolerance: float) -> None:
    for size in COMPARED_SHAPES:
        lr = net.random_images(*size)
        error = float((run(lr) - net(lr)).abs().max())
        if not error <= tolerance:
            raise ValueError(f'{path} would differ from the network by {error:.1e} for {size[2]}x{size[1]} pixels.')
