"""proofs/matrix.py, with a make and Pythons that only do as if."""
import pytest
from bench import read_rows
from loading import load

PROOF = load('proofs/matrix.py')
# It writes down what it is asked for, and a report for one Python only.
MAKE = '''#!/bin/sh
echo "$*" >>../asked
case "$*" in *PYTHON=*3.8*)
    mkdir -p .venv-3.8/bin
    printf '#!/bin/sh\\necho 3.8.18 1.23.5\\n' >.venv-3.8/bin/python
    chmod +x .venv-3.8/bin/python
    echo '<testsuites><testsuite errors="1" failures="2" skipped="3" tests="10" time="61.7" \
/></testsuites>' >.venv-3.8/tests.xml ;;
esac
'''


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with Python 3.8 and 3.9 by pyenv, and a launcher of 3.10 that starts nothing."""
    def program(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    program(tmp_path / 'bin' / 'make', MAKE)
    program(tmp_path / 'bin' / 'python3.10', '#!/bin/sh\nexit 127\n')
    for version in ('3.8.18', '3.9.18'):
        program(tmp_path / 'pyenv' / 'versions' / version / 'bin' / 'python', '#!/bin/sh\n')
    (tmp_path / 'checkout').mkdir()
    monkeypatch.setattr(PROOF.job, 'ROOT', tmp_path / 'checkout')
    monkeypatch.setattr(PROOF, 'CSV', tmp_path / 'matrix.csv')
    monkeypatch.setenv('PYENV_ROOT', str(tmp_path / 'pyenv'))
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:/bin:/usr/bin')
    monkeypatch.setattr(PROOF.shutil, 'which', lambda name: str(
        tmp_path / 'bin' / name) if name == 'python3.10' else None)
    return tmp_path


def test_each_python_that_starts_has_a_row(machine, capsys):
    assert PROOF.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        '| python | numpy | passed | failed | skipped | seconds |',
        '| --- | --- | --- | --- | --- | --- |',
        '| 3.8.18 | 1.23.5 | 4 | 3 | 3 | 62 |',
        '| 3.9 |  |  | no tests: .venv-3.9.log |  |  |']
    assert [row['failed'] for row in read_rows(PROOF.CSV)] == ['3', 'no tests: .venv-3.9.log']
    assert (machine / 'asked').read_text().splitlines()[0] == (
        f'test VENV=.venv-3.8 PYTHON={machine}/pyenv/versions/3.8.18/bin/python '
        'ARGS=--junitxml=.venv-3.8/tests.xml')


def test_a_part_is_printed_and_not_kept(machine, capsys):
    PROOF.main(['--python', '3.8', '--', '-k', 'one or $two'])
    assert "ARGS=-k 'one or $$two' --junitxml" in (machine / 'asked').read_text()
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert not PROOF.CSV.exists()


def test_a_report_of_an_earlier_run_does_not_count(machine, capsys):
    (machine / 'checkout' / '.venv-3.9').mkdir()
    (machine / 'checkout' / '.venv-3.9' / 'tests.xml').write_text('<testsuite/>')
    assert PROOF.main(['--python', '3.9']) == 1
    assert 'no tests' in capsys.readouterr().out


def test_a_python_that_is_not_here_is_named(machine, capsys):
    with pytest.raises(SystemExit):
        PROOF.main(['--python', '3.8', '3.10'])
    assert 'no Python 3.10 is here, on PATH or in pyenv' in capsys.readouterr().err
