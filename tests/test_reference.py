"""The reference that is written from the docstrings, and the examples in them."""
import doctest
import importlib

import pytest
from loading import ROOT, load

MODULES = ('nn.attention', 'models.zoo', 'deploy.classify')


@pytest.mark.parametrize('name', MODULES)
def test_examples_of_docstrings(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(importlib.import_module(f'gluon_a2.{name}'))
    assert tried and not failed


def test_the_reference_is_written_without_a_warning(tmp_path):
    pytest.importorskip('pdoc')
    pytest.importorskip('torch')
    load('tools/api.py').main(['--out', str(tmp_path)])
    page = (tmp_path / 'gluon_a2' / 'nn' / 'attention.html').read_text(encoding='utf-8')
    assert 'Start as an exact identity' in page
