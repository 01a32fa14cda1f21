"""The benchmarks of the SR literature as people have them on disk: under which names, and in which layouts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from srsenet_plugin.prepare.source_images import SUFFIXES

# Images of each, by BasicSR's name
NUM_IMAGES = {'Set5': 5, 'Set14': 14, 'B100': 100, 'Urban100': 100, 'Manga109': 109}
_OTHER_NAMES = {'bsd100': 'B100', 'bsds100': 'B100', 'bsd': 'B100'}
# Folders of HR images within that of a benchmark, the best first: EDSR's and most others' HR, BasicSR's GTmod12, and
# SelfExSR's image_SRF_2, whose HR images are cropped to even sides.
_HR_FOLDERS = ('hr', 'gt', 'original', 'gtmod12', 'image_srf_2')
# SelfExSR's Urban100 has HR images of half the size there.
_HR_FOLDERS_OF = {'Urban100': ('hr', 'gt', 'original', 'gtmod12', 'image_srf_4')}


@dataclass(frozen=True)
class HrImages:
    """Where the HR images of a benchmark are, and where its folders go.

    Attributes:
        images: Folder, archive or URI of the HR images.
        stem_end: End of the HR images' names before the suffix, if others lie between them.
        out: Folder for ``GTmod{scale}`` and ``LRbicx{scale}``.
    """

    images: str
    stem_end: str
    out: Path

    @property
    def benchmark(self) -> str | None:
        """BasicSR's name of the benchmark that ``out`` is named after."""
        return known_name(self.out)


def known_name(path: str | os.PathLike[str]) -> str | None:
    """BasicSR's name of the benchmark that a folder is named after: ``BSDS100`` and ``bsd100_hr`` are ``B100``."""
    plain = re.sub(r'[^a-z0-9]', '', re.sub(r'[-_ ]?hr$', '', Path(path).name.lower()))
    return {name.lower(): name for name in NUM_IMAGES}.get(plain) or _OTHER_NAMES.get(plain)


def find_hr_images(source: str | os.PathLike[str], out: Path) -> list[HrImages]:
    """Finds the HR images of one benchmark, or of all known ones within a folder.

    Args:
        source: The folder of a benchmark, in which the images may be in a folder of their own; a
            folder of such folders with known names; or an archive or URI, which is left for
            :func:`~srsenet_plugin.prepare.source_images.open_source`.
        out: Folder of the one benchmark, or folder for the folders of all.

    Returns:
        What was found.

    Raises:
        ValueError: The folder holds neither images nor a known benchmark.
    """
    folder = Path(source)
    if not folder.is_dir():
        return [HrImages(os.fspath(source), '', out)]
    own = _hr_images(folder)
    if own:
        return [HrImages(*own, out)]
    found: dict[str, HrImages] = {}
    for name, subfolder in ((known_name(subfolder), subfolder) for subfolder in _subfolders(folder)):
        images = _hr_images(subfolder) if name else None
        if name and images:
            if name in found:
                raise ValueError(f'{folder} holds {name} twice, in {found[name].images} and in {images[0]}. Name one.')
            found[name] = HrImages(*images, out / name)
    if not found:
        raise ValueError(
            f'{folder} holds neither images nor folders of {", ".join(NUM_IMAGES)}. The HR images of a benchmark may '
            'be in its folder, or in a folder HR, GT, original, GTmod12 or image_SRF_2 (of Urban100 image_SRF_4) of it.'
        )
    return [found[name] for name in NUM_IMAGES if name in found]


def _hr_images(folder: Path) -> tuple[str, str] | None:
    """The folder of HR images and the end of their names' stems."""
    by_name = {subfolder.name.lower(): subfolder for subfolder in _subfolders(folder)}
    hr_folders = _HR_FOLDERS_OF.get(known_name(folder) or '', _HR_FOLDERS)
    for place in (folder, *(by_name[name] for name in hr_folders if name in by_name)):
        stems = [path.stem for path in place.iterdir() if path.suffix.lower() in SUFFIXES]
        if stems:
            mixed = any(stem.endswith('_HR') for stem in stems) and not all(stem.endswith('_HR') for stem in stems)
            return os.fspath(place), '_HR' if mixed else ''
    return None


def _subfolders(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_dir())
