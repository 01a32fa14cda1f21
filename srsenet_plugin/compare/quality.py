"""PSNR and SSIM of networks, and of finished images, on benchmarks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.metrics.metric_util import to_y_channel
from basicsr.utils.color_util import bgr2ycbcr, ycbcr2bgr
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from tqdm import tqdm

from srsenet_plugin.compare.protocols import SSIM_WINDOWS, UINT8, Channel, Protocol
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.data.resizers import RESIZERS, Y_ALONE
from srsenet_plugin.data.whole_files import whole_file
from srsenet_plugin.prepare.benchmarks import NUM_IMAGES
from srsenet_plugin.prepare.source_images import SUFFIXES

UNROUNDED_LR = ('double', 'ycbcr')
"""LR images of protocols that :func:`upscale` makes itself, since they are not of 8 bits."""

Scores = dict[str, tuple[float, float]]
"""PSNR (dB) and SSIM of each image, by its key."""


@dataclass(frozen=True)
class Benchmark:
    """The pairs of a benchmark at one scale.

    Attributes:
        name: Such as ``Set5``.
        scale: Scale of the LR images.
        pairs: Files of GT and LR image, by key.
    """

    name: str
    scale: int
    pairs: dict[str, tuple[Path, Path]]

    def digest(self) -> str:
        """Changes with the images."""
        digest = hashlib.sha256()
        for key, paths in self.pairs.items():
            digest.update(key.encode())
            for path in paths:
                digest.update(path.read_bytes())
        return digest.hexdigest()


def find_benchmarks(folder: Path, scale: int) -> list[Benchmark]:
    """Finds what ``srsenet prepare benchmark`` has made, the literature's benchmarks first.

    Args:
        folder: Holds folders such as ``Set5`` with ``GTmod{scale}`` and ``LRbicx{scale}``, or is such a folder.
        scale: Scale.

    Raises:
        ValueError: There are none for this scale, or a GT image has no LR image.
    """
    gt_folders = sorted(folder.glob(f'GTmod{scale}')) or sorted(folder.glob(f'*/GTmod{scale}'))
    if not gt_folders:
        raise ValueError(
            f'{folder} holds no benchmark for x{scale}. Make them with: '
            f'srsenet prepare benchmark --source FOLDER --out {folder} --scales {scale}'
        )
    order = list(NUM_IMAGES)
    gt_folders.sort(key=lambda path: order.index(path.parent.name) if path.parent.name in NUM_IMAGES else len(order))
    return [_benchmark(gt_folder, scale) for gt_folder in gt_folders]


def _benchmark(gt_folder: Path, scale: int) -> Benchmark:
    lr_folder = gt_folder.with_name(f'LRbicx{scale}')
    pairs = {path.stem: (path, lr_folder / path.name) for path in sorted(gt_folder.glob('*.png'))}
    missing = [str(lr) for _, lr in pairs.values() if not lr.exists()]
    if missing or not pairs:
        raise ValueError(f'{gt_folder} is incomplete: {missing[0] if missing else "it holds no PNG"} is missing.')
    return Benchmark(gt_folder.parent.name, scale, pairs)


def score(img: NDArray, gt: NDArray[np.uint8], scale: int, protocol: Protocol = UINT8) -> tuple[float, float]:
    """PSNR and SSIM by a protocol.

    On Y they are computed as BasicSR computes them. By default Y of the GT image is not rounded, as in the evaluation
    code of LapSRN, whose figures Table I takes over. BasicSR's validators round it where the dataset gives Y
    (``color: y``), which costs up to 0.04 dB at x2.

    Args:
        img: Shape (H, W) for Y, or (H, W, 3) for BGR; range [0, 255].
        gt: Shape (H, W, 3), BGR, uint8.
        scale: Scale of the LR image.
        protocol: How to score.

    Returns:
        PSNR in dB, infinite for equal images; SSIM.

    Raises:
        ValueError: The sizes differ, or one is below the protocol's ``smallest_side``; or the image holds Y alone, and
            the protocol scores another channel.
    """
    img, gt = protocol.crop(img), protocol.crop(gt)
    if img.shape[:2] != gt.shape[:2]:
        raise ValueError(f'is {img.shape[1]}x{img.shape[0]}, but the GT image {gt.shape[1]}x{gt.shape[0]}')
    if too_small(gt, scale, protocol):
        raise ValueError(f'is {gt.shape[1]}x{gt.shape[0]}, too small to be scored at x{scale}')
    border = protocol.border(scale)
    rounds_y = protocol.rounds_y == 'yes' or (protocol.rounds_y == 'where the result is Y' and img.ndim == 2)

    def planes(channel: Channel) -> dict[str, NDArray[np.float64]]:
        found = {name: _channel(plane, channel) for name, plane in (('img', img), ('img2', gt))}
        return {name: np.round(plane) if rounds_y and channel != 'RGB' else plane for name, plane in found.items()}

    of_psnr = planes(protocol.channel)
    of_ssim = planes(protocol.ssim_channel) if protocol.ssim_channel else of_psnr
    ssim = calculate_ssim if protocol.ssim_window == 'gaussian' else _uniform_ssim
    return float(calculate_psnr(**of_psnr, crop_border=border)), float(ssim(**of_ssim, crop_border=border))


def _channel(img: NDArray, channel: Channel) -> NDArray[np.float64]:
    """Shape (H, W), or (H, W, 3) for RGB."""
    if img.ndim == 2 and channel != 'Y':
        raise ValueError(f'holds Y alone, which {channel} cannot be made of')
    if channel == 'Y' and img.ndim == 3:
        return to_y_channel(img)[..., 0].astype(np.float64)
    return img @ (0.114, 0.587, 0.299) if channel == 'JPEG Y' else img.astype(np.float64)


def _uniform_ssim(img: NDArray[np.float64], img2: NDArray[np.float64], crop_border: int) -> float:
    """SSIM as scikit-image computes it by default for a range of 255: means and covariances of 7x7 pixels."""
    side = SSIM_WINDOWS['uniform']
    pixels = side**2
    height, width = img.shape[:2]
    inner = (slice(crop_border, height - crop_border), slice(crop_border, width - crop_border))

    def mean(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        return cv2.blur(plane, (side, side))[side // 2 : -(side // 2), side // 2 : -(side // 2)].astype(np.float64)

    x, y = (np.ascontiguousarray(plane[inner]) for plane in (img, img2))
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y, cov = (
        (mean(a * b) - mean_a * mean_b) * pixels / (pixels - 1)
        for a, b, mean_a, mean_b in ((x, x, mean_x, mean_x), (y, y, mean_y, mean_y), (x, y, mean_x, mean_y))
    )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ssim = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(ssim.mean())


def too_small(gt: NDArray, scale: int, protocol: Protocol) -> bool:
    """Whether a GT image has fewer pixels on a side than a score needs."""
    return min(protocol.crop(gt).shape[:2]) < protocol.smallest_side(scale)


def upscale(
    net: nn.Module,
    channels: int,
    lr: NDArray[np.uint8],
    scale: int,
    protocol: Protocol = UINT8,
    lr_y: NDArray[np.uint8] | None = None,
) -> tuple[NDArray, NDArray[np.uint8]]:
    """Upscales an image by a network for Y, with bicubic CbCr, or for RGB.

    Args:
        net: The network, in eval mode.
        channels: 1 or 3, channels of its images.
        lr: The LR image in BGR, shape (H, W, 3); with protocols whose LR images are not rounded the GT image, which is
            shrunk.
        scale: Scale.
        protocol: Says how LR images are made, and whether results are rounded.
        lr_y: Y of the LR image, shape (H, W), for a network for Y. Default: that of ``lr``.

    Returns:
        The image to be scored, Y (H, W) or BGR (H, W, 3), range [0, 255]; and the BGR image, uint8.

    Raises:
        ValueError: LR images are made of YCbCr, but the network takes RGB images.
    """
    img = lr.astype(np.float32) / 255
    if channels == 3:
        if protocol.lr == 'ycbcr':
            raise ValueError(f'the protocol {protocol.name} is for networks of Y; this one takes RGB images')
        out = _forward(net, (imresize(img, 1 / scale) if protocol.lr == 'double' else img)[..., ::-1])[..., ::-1]
        bgr = _to_uint8(out)
        return (bgr if protocol.rounds_results else np.clip(out * 255, 0, 255)), bgr
    ycbcr = bgr2ycbcr(img)
    if protocol.lr == 'ycbcr':
        ycbcr = _to_uint8(ycbcr).astype(np.float32) / 255
    if protocol.lr in UNROUNDED_LR:
        ycbcr = imresize(ycbcr, 1 / scale)
    if lr_y is not None:
        ycbcr[..., 0] = lr_y.astype(np.float32) / 255
    y = _forward(net, ycbcr[..., :1])[..., 0]
    rounded = _to_uint8(y)
    ycbcr = imresize(ycbcr, scale)
    if protocol.lr == 'ycbcr':
        ycbcr = _to_uint8(ycbcr).astype(np.float32) / 255
    ycbcr[..., 0] = rounded.astype(np.float32) / 255
    bgr = _to_uint8(ycbcr2bgr(ycbcr))
    if protocol.lr == 'ycbcr' or protocol.channel != 'Y':
        return bgr, bgr
    return (rounded if protocol.rounds_results else np.clip(y * 255.0, 0, 255)).astype(np.float64), bgr


def upscale_gt(
    net: nn.Module,
    channels: int,
    gt: NDArray[np.uint8],
    scale: int,
    protocol: Protocol,
    lr: NDArray[np.uint8] | None = None,
) -> tuple[NDArray, NDArray[np.uint8]]:
    """As :func:`upscale`, of the LR image that the protocol makes of a GT image.

    Args:
        net: The network, in eval mode.
        channels: 1 or 3, channels of its images.
        gt: Shape (H, W, 3), BGR, both sides multiples of the scale.
        scale: Scale.
        protocol: Says how LR images are made.
        lr: The LR image that MATLAB makes of the whole GT image, if it is there.
    """
    part = protocol.crop(gt)
    if protocol.lr in UNROUNDED_LR:
        return upscale(net, channels, part, scale, protocol)
    rgb = np.ascontiguousarray(part[..., ::-1])
    if protocol.lr == Y_ALONE:
        if channels == 3:
            raise ValueError('LR images of Y alone are for networks of Y; this one takes RGB images')
        colours = RESIZERS['MATLAB'](rgb, scale)[..., ::-1]
        return upscale(net, channels, colours, scale, protocol, RESIZERS[Y_ALONE](rgb, scale))
    if lr is None or protocol.lr != 'MATLAB' or part.shape != gt.shape:
        lr = RESIZERS[protocol.lr](rgb, scale)[..., ::-1]
    return upscale(net, channels, lr, scale, protocol)


def _forward(net: nn.Module, img: NDArray) -> NDArray[np.float32]:
    """Maps (H, W, C) to (scale * H, scale * W, C)."""
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), torch.device('cpu'))
    batch = torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1)))[None].to(device)
    with torch.no_grad():
        return net(batch)[0].float().cpu().numpy().transpose(1, 2, 0)


def _to_uint8(img: NDArray) -> NDArray[np.uint8]:
    return np.clip(np.round(img * 255), 0, 255).astype(np.uint8)


def evaluate_network(
    net: nn.Module,
    channels: int,
    key: str,
    benchmark: Benchmark,
    folder: Path,
    label: str,
    protocol: Protocol = UINT8,
) -> Scores:
    """Upscales a benchmark into a folder and scores the images, or reads their scores if it has been done.

    Images that are too small for a score are left out. Several processes may write into one folder: each image appears
    whole, and scores count only as long as the images are those that were scored.

    Args:
        net: The network, in eval mode.
        channels: 1 or 3, channels of its images.
        key: Changes with whatever changes the images or the scores.
        benchmark: What to upscale.
        folder: Folder of the upscaled images and their scores. Of the same key, they are taken as they are.
        label: Name for the progress bar.
        protocol: How to make and score images.
    """
    key = f'{key} {protocol}'
    stored = _stored_scores(key, folder)
    if stored is not None:
        return stored
    folder.mkdir(parents=True, exist_ok=True)
    scores: Scores = {}
    digests: dict[str, str] = {}
    for name, (gt_path, lr_path) in tqdm(benchmark.pairs.items(), label, unit='image', leave=False):
        gt, lr = read_bgr(gt_path), read_bgr(lr_path)
        if too_small(gt, benchmark.scale, protocol):
            continue
        scored, bgr = upscale_gt(net, channels, gt, benchmark.scale, protocol, lr)
        scores[name] = score(scored, gt, benchmark.scale, protocol)
        if bgr.shape != gt.shape:  # pictures show whole images
            bgr = upscale(net, channels, lr, benchmark.scale)[1]
        png = cv2.imencode('.png', bgr)[1].tobytes()
        digests[name] = hashlib.sha256(png).hexdigest()
        with whole_file(folder / f'{name}.png') as part:
            part.write_bytes(png)
    with whole_file(folder / 'scores.json') as part:
        part.write_text(json.dumps({'key': key, 'scores': scores, 'sha256': digests}), encoding='utf-8')
    return scores


def _stored_scores(key: str, folder: Path) -> Scores | None:
    """Scores of an earlier run; None if there are none of this key, or an image is not the one that was scored."""
    try:
        content = json.loads((folder / 'scores.json').read_text(encoding='utf-8'))
        if content['key'] != key:
            return None
        scores = {name: (float(psnr), float(ssim)) for name, (psnr, ssim) in content['scores'].items()}
        for name in scores:
            image = (folder / f'{name}.png').read_bytes()
            if hashlib.sha256(image).hexdigest() != content['sha256'][name]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or damaged
        return None
    return scores


def evaluate_images(
    folder: Path, benchmark: Benchmark, protocol: Protocol = UINT8
) -> tuple[Scores, dict[str, Path]] | None:
    """Scores finished images. Those that are too small for a score are left out.

    Args:
        folder: Holds a folder for each benchmark, itself or in ``visualization``, as BasicSR's tests leave them; or the
            images of this benchmark and no others. Names of images are for :func:`match_images`.
        benchmark: The benchmark that they are of.
        protocol: How to score them.

    Returns:
        Scores and files by key; None if there is nothing for the benchmark.

    Raises:
        ValueError: An image is missing, cannot be read, or has another size.
    """
    place = place_of(folder, benchmark.name)
    images = match_images(benchmark.pairs, image_files(place or folder))
    if place is None and (len(image_files(folder)) != len(images) or not all(map(len, images.values()))):
        return None
    for name, found in images.items():
        if len(found) != 1 and not too_small(read_bgr(benchmark.pairs[name][0]), benchmark.scale, protocol):
            raise ValueError(f'{place} holds {"several images" if found else "no image"} of {name}.')
    files = {name: found[0] for name, found in images.items() if len(found) == 1}
    scores = score_files(files, benchmark, protocol)
    return scores, {name: files[name] for name in scores}


def place_of(folder: Path, benchmark: str) -> Path | None:
    """The folder of a benchmark's images in one of several benchmarks, if there is one."""
    places = (folder / 'visualization' / benchmark, folder / benchmark)
    return next((path for path in places if path.is_dir()), None)


def score_files(files: Mapping[str, Path], benchmark: Benchmark, protocol: Protocol) -> Scores:
    """Scores images of a benchmark by their keys. Those that are too small for a score are left out.

    Raises:
        ValueError: An image cannot be read, has another size, or holds Y alone and the protocol scores another channel.
    """
    gt_paths = {name: gt_path for name, (gt_path, _) in benchmark.pairs.items()}
    of_y = hold_y(files.values(), gt_paths.values())
    scores = {}
    for name, path in files.items():
        gt = read_bgr(gt_paths[name])
        if too_small(gt, benchmark.scale, protocol):
            continue
        img = read_bgr(path)
        try:
            scores[name] = score(img[..., 0] if of_y else img, gt, benchmark.scale, protocol)
        except ValueError as error:
            raise ValueError(f'{path} {error}') from None
    return scores


def hold_y(results: Iterable[Path], gts: Iterable[Path]) -> bool:
    """Whether results are Y alone, as BasicSR's tests save them with ``color: y``: all grey, of GT images in colour."""
    return are_grey(results) and not are_grey(gts)


def are_grey(paths: Iterable[Path]) -> bool:
    """Whether all files are grey."""
    return all(map(_is_grey, paths))


def _is_grey(path: Path) -> bool:
    try:
        with Image.open(path) as img:
            return img.mode in ('1', 'L', 'LA')
    except (OSError, SyntaxError, ValueError):
        return False  # who reads it says what is wrong


def image_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]


def match_images(names: Collection[str], paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Finds the files of each GT image by its name, as authors write it.

    A file is called like the GT image, with or without an ending such as ``_x4_SR`` or ``x4``. Where one name is the
    beginning of another, as of img and img_2, img_2.png may belong to either. So an ending that all names have decides;
    without one, a file belongs to the longest name that fits. Endings of GT images (``_HR``, ``_GT``, ``_SRF_4_HR``)
    do not count. Files that are numbered, such as SelfExSR's ``img_001_SRF_4_SelfExSR.png``, are those of GT images
    without numbers in alphabetical order, if there are as many.
    """
    plain = {name: re.sub(r'(_SRF_\d+)?(_HR|_GT)?$', '', name) for name in names}
    if len(set(plain.values())) < len(plain):
        plain = {name: name for name in names}
    numbers = {path: re.match(r'img_(\d+)', path.stem) for path in paths}
    if (
        len(paths) == len(plain)
        and all(numbers.values())
        and not any(re.search(r'\d', name) for name in plain.values())
    ):
        ordered = sorted(paths, key=lambda path: path.stem)
        return {name: [path] for name, path in zip(sorted(plain, key=str.lower), ordered)}
    endings = set.intersection(
        *({path.stem[len(name) :] for path in paths if _fits(path, name)} for name in plain.values())
    )
    if '' in endings:
        endings = {''}
    if endings:
        return {
            key: [path for path in paths if path.stem in {name + end for end in endings}] for key, name in plain.items()
        }
    found: dict[str, list[Path]] = {key: [] for key in plain}
    for path in paths:
        fitting = [key for key, name in plain.items() if _fits(path, name)]
        if fitting:
            found[max(fitting, key=len)].append(path)
    return found


def _fits(path: Path, name: str) -> bool:
    return path.stem.startswith(name) and re.match(r'$|[_-]|x\d', path.stem[len(name) :]) is not None


def read_bgr(path: Path) -> NDArray[np.uint8]:
    """Reads an image of 8 bits.

    Raises:
        ValueError: It cannot be read.
    """
    img = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if img is None:
        raise ValueError(f'{path} cannot be read as an image.')
    return img.astype(np.uint8)


def means(scores: Scores) -> tuple[float, float]:
    """Mean PSNR and SSIM of one image or more."""
    psnr, ssim = np.mean(list(scores.values()), axis=0)
    return float(psnr), float(ssim)
