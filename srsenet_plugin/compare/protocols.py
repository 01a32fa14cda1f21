"""How figures are made, by name: the same images have one PSNR on Y, and another on RGB that is 2 dB lower.

Read in the code of each project, by repository and file:

- ``double``: phoenix104104/LapSRN, ``evaluate_SR.m``. ``ycbcr``: the MATLAB code of SRCNN, FSRCNN and VDSR.
- ``basicsr``: XPixelGroup/BasicSR, ``basicsr/models/sr_model.py`` and ``basicsr/metrics/psnr_ssim.py``. A dataset with
  ``color: y`` gives Y of the GT image, which the validator rounds to 8 bits.
- ``uint8`` is also that of EDSR and torchSR on benchmarks: sanghyun-son/EDSR-PyTorch,
  ``src/utility.py``, with the coefficients of Y in 256ths, and Coloquinte/torchSR, ``torchsr/train/helpers.py``.
- ``div2k``: the same file of EDSR-PyTorch, for sets that are no benchmarks.
- ``mmagic``: open-mmlab/mmagic, ``configs/_base_/datasets/sisr_x2_test_config.py`` and
  ``mmagic/evaluation/metrics/psnr.py``.
- ``ntire``: ofsoundof/NTIRE2022_ESR, ``test_demo.py``.
- ``pyiqa``: chaofengc/IQA-PyTorch, ``pyiqa/default_model_configs.py`` and ``pyiqa/archs/ssim_arch.py``.
- ``waifu2x``: nagadomi/waifu2x, ``tools/benchmark.lua``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

Channel = Literal['Y', 'JPEG Y', 'RGB']
"""Y of MATLAB's ``rgb2ycbcr``, from 16 to 235; Y of JPEG, from 0 to 255; or red, green and blue together."""


@dataclass(frozen=True)
class Protocol:
    """How images are made, and scored.

    Attributes:
        name: Its name.
        users: Whose figures are made so.
        channel: Of the PSNR, and of SSIM where ``ssim_channel`` is None.
        ssim_channel: Of SSIM.
        border_scales: Pixels that are left out at each edge, in scales.
        border_pixels: Pixels that are left out at each edge besides.
        rounds_y: Whether Y of GT images and results is rounded to integers; or only where the result is Y alone.
        lr: How LR images are made: ``MATLAB``, of 8 bits, as a benchmark's are; ``double``, not rounded; ``ycbcr``, of
            rounded YCbCr and not rounded; or another key of :data:`srsenet_plugin.data.resizers.RESIZERS`.
        rounds_results: Whether results are images of 8 bits.
        multiple: GT images are cropped to a multiple of it, besides that of the scale.
        ssim_window: BasicSR's and MATLAB's Gaussian of 11x11 pixels, or scikit-image's uniform 7x7 ones.
    """

    name: str
    users: str = ''
    channel: Channel = 'Y'
    ssim_channel: Channel | None = None
    border_scales: int = 1
    border_pixels: int = 0
    rounds_y: Literal['no', 'yes', 'where the result is Y'] = 'no'
    lr: str = 'MATLAB'
    rounds_results: bool = True
    multiple: int = 1
    ssim_window: Literal['gaussian', 'uniform'] = 'gaussian'

    def border(self, scale: int) -> int:
        """Pixels that are left out at each edge."""
        return self.border_scales * scale + self.border_pixels

    def smallest_side(self, scale: int) -> int:
        """Pixels that height and width need at least for a score: the edges that are left out, and a window of SSIM."""
        return 2 * self.border(scale) + SSIM_WINDOWS[self.ssim_window]

    def crop(self, img: NDArray) -> NDArray:
        """Cuts off rows and columns at the end until both are multiples of ``multiple``; shape (H, W) or (H, W, C)."""
        height, width = (side // self.multiple * self.multiple for side in img.shape[:2])
        return img[:height, :width]

    def describe(self) -> str:
        """In a few words how it scores, such as ``Y, border scale``."""
        border = {0: '', 1: 'scale'}.get(self.border_scales, f'{self.border_scales} scale')
        border = ' + '.join(filter(None, (border, str(self.border_pixels) if self.border_pixels else ''))) or '0'
        rounded = {'no': '', 'yes': 'rounded ', 'where the result is Y': ''}[self.rounds_y]
        words = [f'{rounded}{self.channel}', f'border {border}']
        if self.rounds_y == 'where the result is Y':
            words.append('Y of GT rounded where the result is Y alone')
        if self.multiple > 1:
            words.append(f'GT cropped to multiples of {self.multiple}')
        if self.lr != 'MATLAB':
            not_rounded = {'double': 'LR not rounded', 'ycbcr': 'LR of rounded YCbCr, not rounded'}
            words.append(not_rounded.get(self.lr, f'LR by {self.lr}'))
        if not self.rounds_results:
            words.append('results not rounded')
        if self.ssim_channel:
            words.append(f'SSIM on {self.ssim_channel}')
        if self.ssim_window != 'gaussian':
            words.append('SSIM by 7x7 windows')
        return ', '.join(words)


SSIM_WINDOWS = {'gaussian': 11, 'uniform': 7}
"""Height and width in pixels; SSIM is taken where the whole window lies in the image."""

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol('uint8', "this project's; EDSR's and torchSR's on benchmarks"),
        Protocol('double', "LapSRN's authors'", lr='double', rounds_results=False),
        Protocol('ycbcr', "the authors' of SRCNN, FSRCNN and VDSR", lr='ycbcr', rounds_y='yes'),
        Protocol('basicsr', "BasicSR's validators, with color: y for Y", rounds_y='where the result is Y'),
        Protocol('ntire', "NTIRE's efficient SR of 2022, and BasicSR's without test_y_channel", channel='RGB'),
        Protocol('mmagic', "MMagic's and MMEditing's", channel='RGB', multiple=12),
        Protocol('div2k', "EDSR's on DIV2K", channel='RGB', border_pixels=6),
        Protocol('pyiqa', "pyiqa's psnr and ssim", channel='RGB', border_scales=0, ssim_channel='JPEG Y'),
        Protocol('skimage', "scikit-image's defaults", channel='RGB', border_scales=0, ssim_window='uniform'),
        Protocol('waifu2x', "waifu2x's", channel='JPEG Y', border_scales=0),
    )
}
"""The protocols of the literature and of its programs, by name."""

UINT8 = PROTOCOLS['uint8']
RGB = PROTOCOLS['ntire']
"""The one that networks for RGB are scored by besides."""

AUTHORS_PROTOCOLS = {
    **dict.fromkeys(('SelfExSR', 'SRCNN', 'FSRCNN', 'VDSR', 'DRCN'), 'ycbcr'),
    'LapSRN': 'double',
}
"""The protocols of the authors' own figures, by method, which Table I repeats. Others are evaluated by ``uint8``."""


def markdown() -> str:
    """The named protocols as the table of docs/compare.md."""
    rows = [(f'`{p.name}`', p.users, p.describe()) for p in PROTOCOLS.values()]
    return ''.join(f'| {" | ".join(row)} |\n' for row in (('protocol', 'whose', 'scored on'), ('---',) * 3, *rows))


if __name__ == '__main__':
    print(markdown(), end='')
