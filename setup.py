"""Packaging of gluon_a2: the one place where a dependency's version is chosen.

MXNet's own wheel asks for numpy < 2, which it does not need (`gluon_a2.legacy`). pip obeys
it where numpy 1 exists, which is below Python 3.13. There, and wherever numpy 2 shall stay, MXNet
comes by `pip install --no-deps mxnet==1.9.1`, as `make` does it.
"""
import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent

OPENCV = '>=4.8,<6'

# What reading, preprocessing and answering with an .onnx file needs.
BASE = ['numpy>=1.20', 'opencv-python-headless' + OPENCV, 'tqdm>=4.60', 'onnxruntime>=1.16,<2']

# What training and everything else that MXNet computes needs, beside MXNet.
TRAIN = [
    'matplotlib>=3.6,<4',
    'tensorboardX>=2.5,<3',
    'scikit-learn>=1.0,<2',
    'safetensors>=0.4,<1',
    'requests>=2.20,<3',
]
HAS_NUMPY_1 = '; python_version < "3.13"'

# The CUDA 11 libraries that mxnet-cu112 links against; `gluon_a2.backend` loads them before MXNet.
CUDA = list(dict.fromkeys(re.findall(
    r'nvidia-[\w-]+==[\d.]+',
    (HERE / 'gluon_a2' / 'machine' / 'installation.py').read_text(encoding='utf-8'))))

EXTRAS = {
    # Exactly one of these two: both wheels provide the package `mxnet`.
    'cpu': ['mxnet==1.9.1' + HAS_NUMPY_1, *TRAIN],
    'cu112': ['mxnet-cu112==1.9.1' + HAS_NUMPY_1, *CUDA, *TRAIN],
    # The same two without MXNet, which comes by --no-deps.
    'train': TRAIN,
    'cuda': [*CUDA, *TRAIN],
    # Source only, and compiled against the installed MXNet: `make horovod` has the recipe.
    'distributed': ['horovod==0.28.1'],
    # 12.3 to 19 give the same pixels; earlier releases take the range of RGB wrong.
    'video': ['av>=12.3,<20'],
    'onnx': ['onnx>=1.14,<2'],
    # another runtime of .onnx files, which has bfloat16
    'openvino': ['openvino>=2024,<2027'],
    # gluoncv asks for opencv-python: it and the headless one both provide cv2, so they share one
    # range.
    'zoo': ['gluoncv==0.10.5.post0', 'opencv-python' + OPENCV],
    # writes the reference from the docstrings: make docs
    'docs': ['pdoc>=14,<17'],
    # selenium drives the browser, Chromium, that the page of attention is tested in.
    'dev': [
        'pytest>=7', 'pytest-xdist>=3', 'hypothesis>=6', 'ruff>=0.5,<1', 'mypy>=1.8,<2',
        'pillow>=9', 'selenium>=4,<5'
    ],
}


def version():
    """The version in gluon_a2/__init__.py, read without importing the package."""
    text = (HERE / 'gluon_a2' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE).group(1)


def long_description():
    """README.md for an index page; a source tree without one still builds. Its pictures and files
    are at no public address, so their links become text."""
    readme = HERE / 'README.md'
    text = readme.read_text(encoding='utf-8') if readme.exists() else ''
    text = re.sub(r'!\[([^]]*)\]\([^)]*\)', r'*Picture, in the source: \1*', text)
    return re.sub(r'\[([^]]*)\]\((?!https?://)[^)]*\)', r'\1', text)


class Build(build_py):
    """Takes what an installed package needs: of `symbols/` not what writes it, and of `benchmarks/`
    what `gluon-a2 compare-zoo` measures with."""

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        pattern = {'gluon_a2.symbols': '(?!generate)',
                   'gluon_a2.compare': 'bench$|tables|mxnet_steps|compare_(?!zoo)'}
        return [row for row in found if re.match(pattern.get(package, ''), row[1])]


setup(
    name='gluon_a2',
    version=version(),
    description='A²-Nets (Double Attention Networks, NeurIPS 2018) in MXNet/Gluon',
    long_description=long_description(),
    long_description_content_type='text/markdown',
    author='The gluon_a2 authors',
    license='Apache-2.0',
    keywords=['A2-Nets', 'double attention', 'attention', 'MXNet', 'Gluon', 'ONNX', 'ImageNet',
              'Kinetics', 'image classification', 'video classification'],
    project_urls={'Paper': 'https://arxiv.org/abs/1810.11579'},
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in range(8, 14)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed'],
    packages=[*find_packages(include=['gluon_a2', 'gluon_a2.*']), 'gluon_a2.symbols',
              'gluon_a2.compare'],
    package_dir={'gluon_a2.symbols': 'symbols', 'gluon_a2.compare': 'benchmarks'},
    package_data={'gluon_a2': ['py.typed', 'pytorch/a2_torch.py', 'released/*.params'],
                  'gluon_a2.data': ['imagenet_names.txt'],
                  'gluon_a2.visualization': ['page.html'],
                  'gluon_a2.symbols': ['*-symbol.json']},
    cmdclass={'build_py': Build},
    python_requires='>=3.8',
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={'console_scripts': ['gluon-a2 = gluon_a2.commands:main']},
)
