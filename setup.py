"""Puts srsenet_plugin.pth beside the packages, which pyproject.toml, where all else stands, has no words for."""

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


setup(
    distclass=DistributionWithData,
    data_files=[('', ['srsenet_plugin/srsenet_plugin.pth'])],
    cmdclass={'install_data': InstallDataInSitePackages},
)
