"""``srsenet doctor``: what is installed, whether BasicSR will find the plugin, and every patch of it."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PACKAGES = ('srsenet_plugin', 'basicsr', 'torch', 'torchvision', 'mmengine', 'numpy', 'opencv-python', 'lmdb', 'pyyaml')


def print_report() -> None:
    """Prints the versions, the state of the import hook and a line for each patch of ``toolbox.patches``."""
    import torch

    from srsenet_plugin.machine.devices import found_devices

    console = Console()
    versions = Table('package', 'version', title='Versions')
    versions.add_row('python', platform.python_version())
    for package in PACKAGES:
        try:
            versions.add_row(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            versions.add_row(package, 'not installed by pip')
    versions.add_row('devices', ', '.join(found_devices()))
    console.print(versions)

    console.print(f'Autoload: {_autoload_state()}')
    if torch.__version__ < '2.10':  # torch's own comparison of versions
        console.print(
            f'torch {torch.__version__}: before 2.10 a .pth file that was tampered with can do harm (CVE-2026-24747). '
            'Update it, or take .safetensors from strangers.'
        )
    _print_basicsr(console)


def _print_basicsr(console: Console) -> None:
    from srsenet_plugin.toolbox import nearest_names, patches

    try:
        import basicsr
    except Exception as error:  # a project's own copy may fail in any way
        console.print(escape(f'BasicSR cannot be imported. {type(error).__name__}: {error}'))
        return
    console.print(escape(f'BasicSR: {basicsr.__path__[0]}'))
    for folder in nearest_names.other_toolboxes():
        console.print(escape(f'Not imported is {folder}. PYTHONPATH={folder.parent} imports that one.'))
    console.print()

    table = Table('patch', 'state', 'why', 'needed', title='Patches to BasicSR')
    for report in patches.apply():
        table.add_row(report.patch.name, report.state, escape(report.reason), report.patch.needed)
    console.print(table)


def _autoload_state() -> str:
    if os.environ.get('SRSENET_PLUGIN_AUTOLOAD') == '0':
        return 'switched off by SRSENET_PLUGIN_AUTOLOAD=0; BasicSR knows the plugin after `import srsenet_plugin`'
    try:
        files = metadata.files('srsenet_plugin') or []
    except metadata.PackageNotFoundError:
        files = []
    if any(file.name == 'srsenet_plugin.pth' and not file.parent.name for file in files):
        return 'on; whatever imports basicsr gets the plugin'
    return 'srsenet_plugin.pth is not in site-packages; install the plugin with `pip install .`'
