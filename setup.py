from pathlib import Path

from setuptools import Distribution, find_packages, setup  # first: distutils is setuptools' own copy from then on

from distutils.command.install_data import install_data  # isort: skip

ROOT = Path(__file__).parent


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
    name='srsenet_plugin',
    version=(ROOT / 'srsenet_plugin/version.py').read_text().split("'")[1],
    description="SrSENet super-resolution for BasicSR, and BasicSR for today's torch and any machine",
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    packages=find_packages(include=['srsenet_plugin', 'srsenet_plugin.*']),
    package_data={'srsenet_plugin': ['py.typed', 'compare/table1.csv', 'weights/*.pth', 'weights/SHA256SUMS']},
    data_files=[('', ['srsenet_plugin/srsenet_plugin.pth'])],
    cmdclass={'install_data': InstallDataInSitePackages},
    entry_points={'console_scripts': ['srsenet = srsenet_plugin.cli:main']},
    # filelock comes with torch; rich and matplotlib with mmengine; pillow, requests, scipy, scikit-image and tqdm with
    # basicsr.
    install_requires=[
        'torch>=2.1',
        'torchvision>=0.16',
        'basicsr>=1.4.2',
        'mmengine>=0.10',
        'opencv-python',
        'lmdb',
        'numpy',
        'pyyaml',
    ],
    extras_require={
        'test': [
            'pytest',
            'pytest-xdist',
            'hypothesis',
            'ruff',
            'mypy',
            'psutil',
            'safetensors',
            'types-PyYAML',
            'types-psutil',
            'setuptools>=77',
            'onnx',
            'onnxruntime',
            'onnxscript',
            'spandrel',
        ],
        'export': ['onnx', 'onnxruntime', 'onnxscript', 'safetensors'],
    },
)
