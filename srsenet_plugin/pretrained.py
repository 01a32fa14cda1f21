"""The trained weights that come with the package, by name or by scale; docs/model_card.md tells what they are."""

from __future__ import annotations

from pathlib import Path

from srsenet_plugin.archs.srsenet_arch import SrSENet
from srsenet_plugin.models import checkpoints

FOLDER = Path(__file__).parent / 'weights'


def names() -> list[str]:
    """Names of the weights that there are, such as 'srsenet_x4'."""
    return sorted(path.stem for path in FOLDER.glob('srsenet_x*.pth'))


def weights_file(name: str) -> Path:
    """The file of weights of a name.

    Args:
        name (str): One of :func:`names`.

    Raises:
        ValueError: There are no such weights.
    """
    if name not in names():
        raise ValueError(f'There are no weights {name}. There are: {", ".join(names())}.')
    return FOLDER / f'{name}.pth'


def load_pretrained(scale: int) -> SrSENet:
    """SrSENet with its trained weights, on the CPU, in eval mode.

    Args:
        scale (int): 2, 4 or 8.

    Returns:
        SrSENet: A network for Y images, (N, 1, H, W) in [0, 1], to (N, 1, scale * H, scale * W).

    Raises:
        ValueError: There are no weights for this scale.
    """
    content = checkpoints.load(weights_file(f'srsenet_x{scale}'))
    network_g = {name: value for name, value in content['network_g'].items() if name != 'type'}
    net = SrSENet(**network_g)
    net.load_state_dict(content['params'])
    return net.eval()
