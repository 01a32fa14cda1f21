"""The parts of the build that pyproject.toml cannot express: srsenet_plugin.pth goes beside the packages, and the
README's links are absolute in a release."""

import os
import re
from pathlib import Path

from setuptools import Distribution, setup  # first: distutils is setuptools' own copy from then on

from distutils.command.install_data import install_data  # isort: skip


class InstallDataInSitePackages(install_data):
    """Puts data files beside the packages, where Python reads .pth files; in wheels and in editable installs alike."""

    def finalize_options(self):
        self.set_undefined_options('install', ('install_lib', 'install_dir'), ('root', 'root'), ('force', 'force'))


class DistributionWithData(Distribution):
    def has_data(self):
        """setuptools' editable_wheel asks for data files by this name, which it does not define itself."""
        return self.has_data_files()


def readme() -> str:
    """README.md. In a release its links lead to the tagged files, because a package index shows none of them."""
    text = Path('README.md').read_text(encoding='utf-8')
    repository, tag = os.environ.get('GITHUB_REPOSITORY'), os.environ.get('GITHUB_REF_NAME')
    if not repository or os.environ.get('GITHUB_REF_TYPE') != 'tag':
        return text
    files, pages = (
        f'https://raw.githubusercontent.com/{repository}/{tag}/',
        f'https://github.com/{repository}/blob/{tag}/',
    )
    text = re.sub(r'(!\[[^]]*\]\()(?!https?:)', rf'\1{files}', text)
    return re.sub(r'(?<!!)(\[[^]]*\]\()(?!https?:|#)', rf'\1{pages}', text)


setup(
    long_description=readme(),
    long_description_content_type='text/markdown',
    distclass=DistributionWithData,
    data_files=[('', ['srsenet_plugin/srsenet_plugin.pth'])],
    cmdclass={'install_data': InstallDataInSitePackages},
)
