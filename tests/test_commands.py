"""`gluon-a2`: what it lists, what it refuses, and that its commands are those of scripts/."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gluon_a2
from gluon_a2 import cli, commands

ROOT = Path(__file__).resolve().parents[1]
NO_MXNET = 'import sys; sys.modules["mxnet"] = None; from gluon_a2.commands import main; main()'


def run(*words, start=('-m', 'gluon_a2'), **environ):
    return subprocess.run([sys.executable, *start, *words], capture_output=True, text=True,
                          cwd=ROOT, timeout=60, env={**os.environ, **environ})


@pytest.mark.parametrize('words', [[], ['--help'], ['-h']])
def test_alone_it_lists_each_command_in_a_line(capsys, words):
    assert commands.main(words) == 0
    usage, _, *lines, _, more = capsys.readouterr().out.splitlines()
    assert usage == 'usage: gluon-a2 COMMAND …' and more.startswith('gluon-a2 COMMAND --help ')
    assert [line.split()[0] for line in lines] == list(commands.COMMANDS)
    assert all(len(line.split('  ')[-1]) > 20 and len(line) < 100 for line in lines)
    assert '  predict           Name what is in images or videos, from exported' in '\n'.join(lines)


def test_every_module_is_a_command():
    modules = {path.stem for path in (ROOT / 'gluon_a2' / 'commands').glob('[a-z]*.py')}
    assert {f'commands.{name}' for name in modules} | {'doctor'} == set(commands.COMMANDS.values())


def test_every_script_is_a_command():
    for path in [*(ROOT / 'scripts').glob('*.py'), ROOT / 'benchmarks' / 'compare_zoo.py']:
        called = f'from gluon_a2.commands.{path.stem.replace("_attention", "")} import main\n'
        assert called in path.read_text(encoding='utf-8')


def test_the_version(capsys):
    assert commands.main(['--version']) == 0
    assert capsys.readouterr().out == f'{gluon_a2.__version__}\n'


@pytest.mark.parametrize('word, near', [
    ('predikt', 'predict'), ('train_video', 'train-video'), ('--modle', ''), ('', '')])
def test_an_unknown_one_is_one_sentence(word, near):
    done = run(word)
    assert (done.returncode, done.stdout, done.stderr.count('\n')) == (2, '', 1)
    assert done.stderr.startswith(f'error: {word!r} is no command of gluon-a2')
    assert f'did you mean {near}' in done.stderr


@pytest.mark.parametrize('command', commands.COMMANDS)
def test_help_needs_no_mxnet_and_says_how_it_was_called(command):
    done = run(command, '--help', start=('-c', NO_MXNET))
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith(f'usage: gluon-a2 {command} ')
    assert '%(' not in done.stdout and 'scripts/' not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize('started, again', [
    ('/bin/gluon-a2', ['/bin/gluon-a2', 'train-video']),
    ('/lib/gluon_a2/__main__.py', ['-m', 'gluon_a2', 'train-video'])])
def test_ranks_are_started_as_the_launcher_was(monkeypatch, started, again):
    monkeypatch.setattr(sys, 'argv', [started, 'train-video'])
    found = cli.entry(lambda argv: cli.program())
    assert found([], command='train-video') == again
    assert found([]) == [started]  # a script


def test_a_mistake_is_one_sentence_with_the_flag_of_the_command():
    done = run('score', 'x', '--part', '')
    assert done.returncode == 2
    assert done.stderr == 'error: --part must be text of one letter or more, not \'\'\n'
