"""The manifest of an LMDB: how its images were made, and the shape and checksum of each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = 'manifest.json'


def write_manifest(folder: Path, recipe: Mapping[str, Any], images: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the manifest of an LMDB, an image a line.

    Args:
        folder: The LMDB.
        recipe: How its images were made, and of which.
        images: For each key its 'shape', (height, width, channels), and the 'sha256' of its value.
    """
    lines = ',\n'.join(f'{json.dumps(key)}: {json.dumps(image)}' for key, image in images.items())
    text = f'{{"recipe": {json.dumps(recipe)},\n"images": {{\n{lines}\n}}}}\n'
    (folder / MANIFEST).write_text(text, encoding='utf-8')


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The 'recipe' and the 'images' of an LMDB; empty ones if it has no manifest, as those that BasicSR makes.

    Raises:
        ValueError: The manifest is damaged.
    """
    path = Path(folder, MANIFEST)
    try:
        manifest = json.loads(path.read_text(encoding='utf-8'))
        for image in manifest['images'].values():
            str(image['sha256']), tuple(image['shape'])
        return {'recipe': dict(manifest['recipe']), 'images': dict(manifest['images'])}
    except (FileNotFoundError, NotADirectoryError):
        return {'recipe': {}, 'images': {}}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f'{path} is damaged ({error}).') from None
