"""The folders that data are made in: whether they may be made, and what became of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Source = str | os.PathLike[str]


@dataclass(frozen=True)
class Prepared:
    """What became of a source.

    Attributes:
        made: The folders that were made.
        left_alone: The folders that were there already.
        left_out: The images that were left out, by name, and why.
        variants: The images that are not those of the benchmark of this name, and how they differ.
    """

    made: Sequence[Path] = ()
    left_alone: Sequence[Path] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)


def all_exist(targets: Sequence[Path]) -> bool:
    """Whether folders that belong together exist.

    Raises:
        FileExistsError: Some do, and others do not.
    """
    existing = [target for target in targets if target.exists()]
    if existing and len(existing) < len(targets):
        missing = [str(target) for target in targets if target not in existing]
        raise FileExistsError(
            f'{", ".join(map(str, existing))} exists already, but not {", ".join(missing)}. '
            'They belong together: delete or move what exists, then run this again.'
        )
    return bool(existing)


def check_place(source: Source, staging: Path, targets: Sequence[Path]) -> None:
    """Refuses a source that lies where the data are to be made: it would be in the way, or deleted."""
    if '://' in os.fspath(source):
        return
    place = Path(source).resolve()
    for folder in (staging, *([] if all(target.exists() for target in targets) else targets)):
        if folder.resolve() in (place, *place.parents):
            raise ValueError(f'{source} lies in {folder}, which is to be made. Move it, or make the data elsewhere.')
