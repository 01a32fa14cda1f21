"""Installs BasicSR beside the plugin, on every Python in the same way.

The plugin does not require BasicSR, because pip alone often cannot install it: its ``setup.py`` fails on Python 3.13
and newer, it requires ``tb-nightly``, which mirrors drop, and for its build pip fetches a second torch of gigabytes. A
photograph is upscaled without BasicSR, and a project may bring a release or a copy of its own.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

# sitecustomize.py there mends the build; requirement.txt names the release and its checksum.
BUILD = Path(__file__).with_name('basicsr_build')


def install_basicsr() -> str:
    """Installs BasicSR, if there is none yet, and what it requires, by the running Python's pip.

    BasicSR is built in this environment, so nothing is downloaded for the build alone. ``tensorboard`` stands in for
    ``tb-nightly``, which is the same package before its release: where either is installed, it stays.

    Returns:
        str: A sentence that says which BasicSR is installed, and where.

    Raises:
        OSError: This Python has no pip, or pip fails; pip's own lines say why.
    """
    if find_spec('pip') is None:
        raise OSError(f'{sys.executable} has no pip. Install it with: {sys.executable} -m ensurepip')
    if not is_installed():
        _pip('--no-deps', '--use-pep517', '--no-build-isolation', '-r', str(BUILD / 'requirement.txt'))
        importlib.invalidate_caches()
    spec = find_spec('basicsr')
    assert spec is not None
    try:
        version = metadata.version('basicsr')
        requirements = metadata.requires('basicsr') or []
    except metadata.PackageNotFoundError:  # a folder on sys.path
        return f'BasicSR is in {spec.origin}, which pip has not installed: it is left alone.'
    wanted = [requirement for requirement in requirements if not requirement.startswith('tb-nightly')]
    if find_spec('tensorboard') is None:
        wanted.append('tensorboard')
    if wanted:
        _pip(*wanted)
    return f'BasicSR {version} is installed: {spec.origin}'


def is_installed() -> bool:
    """Whether Python finds BasicSR; a folder of that name without ``__init__.py`` is something else."""
    spec = find_spec('basicsr')
    return spec is not None and spec.origin is not None


def _pip(*arguments: str) -> None:
    path = os.pathsep.join(filter(None, (str(BUILD), os.environ.get('PYTHONPATH'))))
    command = [sys.executable, '-m', 'pip', 'install', '--quiet', *arguments]
    if subprocess.run(command, env={**os.environ, 'PYTHONPATH': path}).returncode:
        raise OSError('pip could not install BasicSR: its lines above say why. Running this again carries on.')
