"""Makes the training and benchmark data that the option files name, from folders of HR images."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.data.lmdb_writer import LmdbWriter

IMAGE_SUFFIXES = frozenset({'.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'})


def pack_folder(source: Path, out: Path, name: str, scales: Sequence[int]) -> list[Path]:
    """Packs HR images into ``{name}_HR.lmdb`` and, for each scale, LR ones into ``{name}_LR_bicubic_X{scale}.lmdb``.

    HR images are cropped to a multiple of all scales, so that one HR LMDB serves each of them.

    Args:
        source (Path): Folder of HR images.
        out (Path): Folder that the LMDBs are made in. If all of them are there already, they are left as they are.
        name (str): Start of the LMDBs' names, such as ``DIV2K_train``.
        scales (Sequence[int]): Scales, each 2 or more.

    Returns:
        list[Path]: The LMDBs.

    Raises:
        ValueError: The source has no images, one of them cannot be used, or two have one key.
        FileExistsError: Some of the LMDBs exist and some do not.
    """
    scales = sorted(set(scales))
    targets = [out / f'{name}_HR.lmdb', *(out / f'{name}_LR_bicubic_X{scale}.lmdb' for scale in scales)]
    if _all_exist(targets):
        return targets
    paths = _image_paths(source)
    with ExitStack() as stack:
        hr_writer, *lr_writers = [stack.enter_context(LmdbWriter(target)) for target in targets]
        for key, hr in _read_cropped(paths, math.lcm(*scales), f'Pack {name}'):
            hr_writer.put(key, hr)
            for scale, writer in zip(scales, lr_writers):
                writer.put(key, imresize(hr, 1 / scale))
    return targets


def make_benchmark(source: Path, out: Path, scales: Sequence[int]) -> list[Path]:
    """Makes BasicSR's folders of PNGs for testing: ``GTmod{scale}`` and ``LRbicx{scale}``, for each scale its own crop.

    Args:
        source (Path): Folder of HR images, such as Set5's.
        out (Path): Folder that the folders are made in. If all of them are there already, they are left as they are.
        scales (Sequence[int]): Scales, each 2 or more.

    Returns:
        list[Path]: The folders.

    Raises:
        ValueError: The source has no images, one of them cannot be used, or two have one key.
        FileExistsError: One folder of a pair exists and the other does not.
    """
    made = []
    for scale in scales:
        targets = [out / f'GTmod{scale}', out / f'LRbicx{scale}']
        made += targets
        if _all_exist(targets):
            continue
        parts = [target.with_name(target.name + '.tmp') for target in targets]
        for part in parts:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        for key, gt in _read_cropped(_image_paths(source), scale, f'Make {out.name} x{scale}'):
            for part, img in zip(parts, (gt, imresize(gt, 1 / scale))):
                (part / f'{key}.png').write_bytes(cv2.imencode('.png', img)[1].tobytes())
        for part, target in zip(parts, targets):
            part.rename(target)
    return made


def _all_exist(targets: Sequence[Path]) -> bool:
    existing = [target for target in targets if target.exists()]
    if existing and len(existing) < len(targets):
        missing = [str(target) for target in targets if target not in existing]
        raise FileExistsError(
            f'{", ".join(map(str, existing))} exists already, but not {", ".join(missing)}. '
            'They belong together: delete or move what exists, then run this again.'
        )
    return bool(existing)


def _image_paths(source: Path) -> list[Path]:
    if not source.is_dir():
        raise ValueError(f'{source} is not a folder. Name the folder that holds the HR images.')
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f'{source} holds no images ({", ".join(sorted(IMAGE_SUFFIXES))}).')
    by_key: dict[str, Path] = {}
    for path in paths:
        other = by_key.setdefault(_key(path), path)
        if other is not path:
            raise ValueError(
                f'{other} and {path} have one key in BasicSR, the name up to the first dot. Rename one of them.'
            )
    return paths


def _key(path: Path) -> str:
    return path.name.split('.')[0]


def _read_cropped(paths: Sequence[Path], multiple: int, description: str) -> Iterator[tuple[str, NDArray]]:
    """Keys and images, cropped at the bottom and the right to a multiple of ``multiple``."""
    for path in tqdm(paths, description, unit='image'):
        content = np.fromfile(path, np.uint8)
        img = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
        if img is None:
            raise ValueError(f'{path} is not an image, or is truncated.')
        if img.dtype != np.uint8 or (img.ndim == 3 and img.shape[2] != 3):
            raise ValueError(f'{path} is {img.dtype} of shape {img.shape}; 8-bit grey or RGB images are expected.')
        height, width = (side // multiple * multiple for side in img.shape[:2])
        if not height or not width:
            raise ValueError(f'{path} is smaller than {multiple}x{multiple}.')
        yield _key(path), img[:height, :width]
