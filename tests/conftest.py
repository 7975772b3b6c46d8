"""How the tests run: parallel workers share the cores, and a warning out of our own code is an
error."""
import ctypes
import gc
import os
import sys
import warnings
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / 'proofs'))

import job  # noqa: E402 (it makes `bench` and its neighbours importable by tests)

from gluon_a2.machine.resources import cores  # noqa: E402

WARNINGS = (  # the last one that matches a warning decides
    'error',
    # MXNet 1.9.1 and gluoncv are older than today's numpy, scipy and setuptools, and will not be
    # mended.
    'ignore::DeprecationWarning',
    'error::DeprecationWarning:gluon_a2',
    'error::DeprecationWarning:test_',
)
LONGEST = {'test_tutorial.py', 'test_digits.py'}


def pytest_configure(config):
    """Share the cores, and set the warnings policy; it stands here since there is no pytest
    configuration file."""
    # Before any test imports MXNet. pytest-xdist's workers, and children that the tests start,
    # inherit it.
    workers = getattr(config.option, 'numprocesses', None) or 1
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, cores() // workers)))
    for line in WARNINGS:
        config.addinivalue_line('filterwarnings', line)


def pytest_collection_modifyitems(items):
    """The longest files first: at the end they would keep one worker busy, and the other idle."""
    items.sort(key=lambda item: item.path.name not in LONGEST)  # stable


@pytest.fixture(scope='module', autouse=True)
def give_memory_back():
    """Networks are cycles that Python rarely looks for, and glibc keeps what they have freed: a
    worker grew to 8 GB."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ResourceWarning)  # it would be told of another test
        gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)


@pytest.fixture(scope='module')
def tiny_zoo():
    """The tiny networks are in the zoo while a module's tests run."""
    import tiny_zoo
    with pytest.MonkeyPatch.context() as patch:
        tiny_zoo.install(patch.setitem, patch.setattr)
        yield


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """A folder with train.rec and val.rec of a few digits, which no test changes."""
    return job.write_data(tmp_path_factory.mktemp('images'))


@pytest.fixture(scope='session')
def videos(tmp_path_factory):
    """A folder with train/<class>/ and val/<class>/ of a few digits in motion, which no test
    changes."""
    import tiny_video
    return tiny_video.write_data(tmp_path_factory.mktemp('videos'))
