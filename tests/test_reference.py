"""The examples in the docstrings. `make docs`, which .ci/run calls, writes the reference."""
import doctest
import importlib

import pytest
from loading import ROOT

MODULES = sorted('.'.join(path.relative_to(ROOT).with_suffix('').parts)
                 for path in (ROOT / 'gluon_a2').rglob('*.py')
                 if '>>> ' in path.read_text(encoding='utf-8'))


@pytest.mark.parametrize('name', MODULES)
def test_examples_of_docstrings(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed
