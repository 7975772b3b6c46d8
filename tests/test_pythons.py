"""proofs/pythons.py says which file differs."""
import itertools
import subprocess
from types import SimpleNamespace

import pytest
import pythons


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: SimpleNamespace(stdout='3.9.1 2.0 4.8'))
    monkeypatch.setattr(pythons.job, 'write_data', lambda folder: folder)


@pytest.mark.parametrize('hashes, said, code', [
    ('aaaa', 'all files are the same to the bit', 0), ('aaab', 'these differ: video log', 1),
    ('aaba', 'these differ: image log', 1)])
def test_it_compares_each_run_with_the_first_of_its_kind(monkeypatch, capsys, tmp_path, hashes,
                                                         said, code):
    logs = itertools.cycle(hashes)
    monkeypatch.setattr(pythons, 'run', lambda *_: {**dict.fromkeys(pythons.FILES, 'same'),
                                                    'log': next(logs)})
    assert pythons.main(['one', 'two', '--out', str(tmp_path / 'out.csv')]) == code
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert len((tmp_path / 'out.csv').read_text().splitlines()) == 5
