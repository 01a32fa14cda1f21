"""Explains figures and images: by which protocol, by which program, of which benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from srsenet_plugin.compare import quality
from srsenet_plugin.compare.protocols import PROTOCOLS, UINT8, Protocol
from srsenet_plugin.data.resizers import RESIZERS, Y_ALONE, Likeness, likenesses
from srsenet_plugin.prepare.benchmarks import NUM_IMAGES, find_hr_images, known_name
from srsenet_plugin.prepare.canonical import describe_variant, find_benchmark
from srsenet_plugin.prepare.source_images import (
    Opener,
    crop_to_multiple,
    key_of,
    open_source,
    read_image,
    read_size,
)


@dataclass(frozen=True)
class Figure:
    """Mean PSNR and SSIM by a protocol, or by several that do the same.

    Attributes:
        names: The protocols' names; empty for one that nobody has named.
        protocol: How it was made and scored, without a name.
        psnr: In dB.
        ssim: SSIM.
    """

    names: tuple[str, ...]
    protocol: Protocol
    psnr: float
    ssim: float


def all_protocols() -> list[Protocol]:
    """The named protocols, and the other combinations of channel and border without a name."""
    rounded_y: Sequence[Protocol] = [replace(UINT8, name='', users='', rounds_y='yes')]
    channels = [replace(UINT8, name='', users='', channel=channel) for channel in ('Y', 'JPEG Y', 'RGB')]
    borders = ((0, 0), (1, 0), (1, 6))
    others = [
        replace(protocol, border_scales=scales, border_pixels=pixels)
        for protocol, (scales, pixels) in product([*channels, *rounded_y], borders)
    ]
    return [*PROTOCOLS.values(), *others]


@contextmanager
def open_hr_images(benchmark: Path, scale: int | None = None) -> Iterator[dict[str, Opener]]:
    """The HR images of a benchmark by key, as people have them on disk, or as ``srsenet prepare`` makes them.

    Args:
        benchmark: Its folder, or that of its HR images.
        scale: Take images that are cropped for this scale, where there are several.

    Raises:
        ValueError: There are no images, or those of several benchmarks.
    """
    cropped = {int(path.name[5:]): path for path in benchmark.glob('GTmod*') if path.name[5:].isdecimal()}
    fitting = [number for number in sorted(cropped) if scale is None or number % scale == 0]
    if fitting:
        source, stem_end = str(cropped[fitting[0]]), ''
    else:
        found = find_hr_images(benchmark, benchmark)
        if len(found) > 1:
            raise ValueError(f'{benchmark} holds several benchmarks. Name one: {", ".join(f.images for f in found)}.')
        source, stem_end = found[0].images, found[0].stem_end
    with open_source(source, stem_end) as images:
        yield {key_of(name): opener for name, opener in images.items()}


def scale_of(folder: Path, benchmark: Path) -> int:
    """The scale of LR images, which the sizes tell; 1 for images as large as the HR images, or as a crop of them.

    Raises:
        ValueError: An image is missing, or its size fits no scale.
    """
    with open_hr_images(benchmark) as hr_images:
        scales: dict[int, str] = {}
        for key, path in _files(folder, benchmark, list(hr_images)).items():
            height, width = read_size(hr_images[key])
            sides = quality.read_bgr(path).shape[:2]
            scale = round(height / sides[0])
            # Of whole HR images or of crops to a multiple, at most of 24.
            fits = all(0 <= hr - scale * side < max(24, scale) for hr, side in zip((height, width), sides, strict=True))
            if scale < 1 or not fits:
                raise ValueError(
                    f'{path} is {sides[1]}x{sides[0]}, which is no part of the {width}x{height} pixels of {key}.'
                )
            scales[scale] = str(path)
    if len(scales) > 1:
        raise ValueError(f'{" and ".join(scales.values())} are of different scales: {", ".join(map(str, scales))}.')
    return next(iter(scales))


def _files(folder: Path, benchmark: Path, keys: Sequence[str]) -> dict[str, Path]:
    """The image of each HR image, by key."""
    place = quality.place_of(folder, known_name(benchmark) or benchmark.name) or folder
    found = quality.match_images(keys, quality.image_files(place))
    for key, paths in found.items():
        if len(paths) != 1:
            raise ValueError(f'{place} holds {"several images" if paths else "no image"} of {key}.')
    return {key: paths[0] for key, paths in found.items()}


def figures_of_images(folder: Path, benchmark: Path, scale: int) -> list[Figure]:
    """Scores finished images by all protocols.

    Args:
        folder: Holds an image for each of the benchmark, in itself or in a folder of the benchmark's name.
        benchmark: As for :func:`open_hr_images`.
        scale: Scale.

    Raises:
        ValueError: An image is missing, cannot be read or has another size.
    """
    with open_hr_images(benchmark, scale) as hr_images:
        files = _files(folder, benchmark, list(hr_images))
        of_y = quality.are_grey(files.values()) and any(read_image(opener).ndim == 3 for opener in hr_images.values())
        # How LR images are made does not matter any more.
        of_result = {
            protocol: replace(_unnamed(protocol, of_y), lr=UINT8.lr, rounds_results=True)
            for protocol in all_protocols()
        }
        scores = _Scores()
        for key, opener in tqdm(hr_images.items(), 'score', unit='image', leave=False):
            gt = _bgr(read_image(opener), scale)
            img = quality.read_bgr(files[key])
            for scoring in dict.fromkeys(of_result.values()):
                if not of_y or (scoring.channel == 'Y' and scoring.ssim_channel is None):
                    try:
                        scores.add(scoring, img[..., 0] if of_y else img, gt, scale)
                    except ValueError as error:
                        raise ValueError(f'{files[key]} {error}') from None
    return scores.figures(of_result)


def figures_of_network(net: nn.Module, channels: int, benchmark: Path, scale: int) -> list[Figure]:
    """Upscales a benchmark and scores the images by all protocols, and by ``uint8`` with LR images of other programs.

    Args:
        net: The network, in eval mode.
        channels: 1 or 3, channels of its images.
        benchmark: As for :func:`open_hr_images`.
        scale: Scale.
    """
    others = [name for name in RESIZERS if name != UINT8.lr]
    protocols = [*all_protocols(), *(replace(UINT8, name='', users='', lr=name) for name in others)]
    if channels == 3:
        protocols = [protocol for protocol in protocols if protocol.lr not in ('ycbcr', Y_ALONE)]
    unnamed = {protocol: _unnamed(protocol, channels == 1) for protocol in protocols}
    scores = _Scores()
    with open_hr_images(benchmark, scale) as hr_images:
        for opener in tqdm(hr_images.values(), 'upscale', unit='image', leave=False):
            gt = _bgr(read_image(opener), scale)
            made: dict[tuple, tuple[NDArray, NDArray[np.uint8]]] = {}
            for protocol in dict.fromkeys(unnamed.values()):
                how = (protocol.lr, protocol.rounds_results, protocol.crop(gt).shape)
                if how not in made:
                    made[how] = quality.upscale_gt(net, channels, gt, scale, replace(protocol, channel='Y'))
                scored, bgr = made[how]
                scores.add(protocol, scored if protocol.channel == 'Y' else bgr, gt, scale)
    return scores.figures(unnamed)


def _unnamed(protocol: Protocol, of_y: bool) -> Protocol:
    """What a protocol does with results that are Y alone, or in colour."""
    rounds_y = protocol.rounds_y
    if rounds_y == 'where the result is Y':
        rounds_y = 'yes' if of_y else 'no'
    return replace(protocol, name='', users='', rounds_y=rounds_y)


class _Scores:
    """Scores of images by protocols without names."""

    def __init__(self) -> None:
        self._scores: dict[Protocol, list[tuple[float, float]]] = {}

    def add(self, protocol: Protocol, img: NDArray, gt: NDArray[np.uint8], scale: int) -> None:
        if not quality.too_small(gt, scale, protocol):
            self._scores.setdefault(protocol, []).append(quality.score(img, gt, scale, protocol))

    def figures(self, of_result: dict[Protocol, Protocol]) -> list[Figure]:
        """One for each way to score, named after the protocols that score so; the named ones first.

        Args:
            of_result: What each protocol comes to.
        """
        found = []
        for scoring, scores in self._scores.items():
            names = tuple(protocol.name for protocol, other in of_result.items() if other == scoring and protocol.name)
            psnr, ssim = np.mean(scores, axis=0)
            found.append(Figure(names, scoring, float(psnr), float(ssim)))
        return sorted(found, key=lambda figure: not figure.names)


def _bgr(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    img = crop_to_multiple(img, scale)
    return np.ascontiguousarray(np.broadcast_to(np.atleast_3d(img), (*img.shape[:2], 3))[..., ::-1])


def matching(figures: Iterable[Figure], claimed: Sequence[str]) -> list[Figure]:
    """The figures that equal all that was claimed, to its last digit, the nearest first.

    Args:
        figures: Figures of the same images.
        claimed: As text, such as ``35.76``: PSNR in dB, or SSIM if it is at most 1.
    """
    found = [
        figure
        for figure in figures
        if all(
            f'{_claimed_of(figure, text):.{_digits(text)}f}' == f'{float(text):.{_digits(text)}f}' for text in claimed
        )
    ]
    return sorted(found, key=lambda figure: sum(abs(_claimed_of(figure, text) - float(text)) for text in claimed))


def nearest(figures: Iterable[Figure], claimed: Sequence[str]) -> Figure:
    """The figure whose PSNR, or SSIM if that alone was claimed, is the nearest."""
    text = max(claimed, key=float)
    return min(figures, key=lambda figure: abs(_claimed_of(figure, text) - float(text)))


def _claimed_of(figure: Figure, text: str) -> float:
    return figure.ssim if float(text) <= 1 else figure.psnr


def _digits(text: str) -> int:
    return len(text.partition('.')[2])


def find_resizer(folder: Path, benchmark: Path, scale: int) -> list[Likeness]:
    """Compares LR images with what each program makes of a benchmark's HR images, the most alike first.

    Args:
        folder: The LR images.
        benchmark: As for :func:`open_hr_images`.
        scale: Scale of the LR images, see :func:`scale_of`.
    """
    pairs = []
    with open_hr_images(benchmark) as hr_images:
        files = _files(folder, benchmark, list(hr_images))
        grey = quality.are_grey(files.values())
        for key, opener in hr_images.items():
            lr = quality.read_bgr(files[key])
            hr = read_image(opener)[: lr.shape[0] * scale, : lr.shape[1] * scale]
            pairs.append((np.ascontiguousarray(hr), lr[..., 0] if grey else np.ascontiguousarray(lr[..., ::-1])))
    return likenesses(pairs, scale)


@dataclass(frozen=True)
class HrImages:
    """Whether HR images are those that a benchmark has.

    Attributes:
        benchmark: BasicSR's name of the benchmark; None if no image is known.
        num: Number of images.
        variants: How each differs that is not the usual one, by key.
    """

    benchmark: str | None
    num: int
    variants: dict[str, str]


def check_hr_images(folder: Path) -> HrImages:
    """Compares HR images with the usual ones of the benchmark that the folder is named after, or that they are of."""
    with open_hr_images(folder) as hr_images:
        names = (known_name(path) for path in (folder, folder.parent))
        benchmark = next(filter(None, names), None) or find_benchmark(map(read_image, hr_images.values()))
        if benchmark is None:
            return HrImages(None, len(hr_images), {})
        described = {key: describe_variant(benchmark, read_image(opener)) for key, opener in hr_images.items()}
    return HrImages(benchmark, len(hr_images), {key: text for key, text in described.items() if text})


# As text


def figures_as_table(figures: Sequence[Figure]) -> list[list[str]]:
    """A row for each figure, the header first."""
    rows = [['protocol', 'PSNR', 'SSIM', 'scored on', 'whose']]
    for figure in figures:
        whose = '; '.join(filter(None, (PROTOCOLS[name].users for name in figure.names if name in PROTOCOLS)))
        name = ', '.join(figure.names) or '-'
        rows.append([name, f'{figure.psnr:.3f}', f'{figure.ssim:.4f}', figure.protocol.describe(), whose])
    return rows


def tell_claim(figures: Sequence[Figure], claimed: Sequence[str]) -> str:
    """Which protocols give the figures that were claimed, in a sentence or more."""
    claim = ' and '.join(f'{text} dB' if float(text) > 1 else f'an SSIM of {text}' for text in claimed)
    found = matching(figures, claimed)
    if found:
        lines = [f'  {_tell(figure)}' for figure in found]
        these = 'these protocols, the nearest first' if len(found) > 1 else 'this protocol'
        return '\n'.join([f'{claim} is a figure of {these}:', *lines])
    return f'No protocol gives {claim} here. The nearest is {_tell(nearest(figures, claimed))}.'


def _tell(figure: Figure) -> str:
    name = ', '.join(figure.names)
    how = figure.protocol.describe()
    return f'{f"{name} ({how})" if name else how}: {figure.psnr:.3f} dB, {figure.ssim:.4f}'


def likenesses_as_table(found: Sequence[Likeness]) -> list[list[str]]:
    """A row for each program, the header first."""
    rows = [['bicubic interpolation by', 'equal values', 'largest difference']]
    return rows + [[likeness.resizer, _percent(likeness.equal), str(likeness.largest)] for likeness in found]


def tell_resizer(found: Sequence[Likeness]) -> str:
    """Which program made LR images, in a sentence."""
    makers = [likeness.resizer for likeness in found if likeness.equal == 1]
    if makers:
        return f'The LR images are those of {" and of ".join(makers)}, bit for bit.'
    nearest = found[0]
    return (
        f'None of these has made the LR images. The nearest is {nearest.resizer}: {_percent(nearest.equal)} are equal.'
    )


def _percent(share: float) -> str:
    return '100 %' if share == 1 else f'{np.floor(share * 1e5) / 1e3:.3f} %'  # 100 are all


def tell_hr_images(found: HrImages) -> str:
    """Whether HR images are the usual ones, in a line for each that is not, and one for all."""
    if found.benchmark is None:
        return f'None of the {found.num} images is of a benchmark that is known here.'
    num = NUM_IMAGES[found.benchmark]
    lines = [f'{key} {text}' for key, text in found.variants.items()]
    usual = found.num - len(found.variants)
    return '\n'.join([*lines, f'{usual} of {found.num} images are those of {found.benchmark}, which has {num}.'])
