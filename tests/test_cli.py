import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gluon_a2 import cli
from gluon_a2.cli import entry, parser, show_table
from gluon_a2.errors import Interrupted, UserError, install_extra

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize('error, sentence', [
    (UserError('--lr must be above 0, not -1'), 'error: --lr must be above 0, not -1\n'),
    (OSError(errno.ENOSPC, 'No space left on device', 'run/x'),
     'error: no space left on the disk while writing run/x: free some and run again\n'),
    (PermissionError(errno.EACCES, 'Permission denied', 'run/x'),
     'error: run/x cannot be used: Permission denied; choose another path\n'),
    (OSError(errno.EMFILE, 'Too many open files'),
     'error: this process may not open as many files as it needs: raise the limit (ulimit -n '
     '4096), or use fewer data workers (-j)\n'),
    (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
     'error: no folder for temporary files can be written: set TMPDIR to one that can, and '
     'MPLCONFIGDIR for Matplotlib\n'),
    (RuntimeError('Could not determine home directory.'),
     'error: this user has no home folder: set HOME to one\n'),
    (OSError(errno.EFBIG, 'File too large', 'run/x'),
     'error: run/x is larger than this process may write: raise the limit (ulimit -f '
     'unlimited)\n')])
def test_mistakes_end_in_one_sentence_and_exit_code_2(capsys, error, sentence):
    @entry
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize('error', [ValueError('ours'), OSError(errno.EPERM, 'other'),
                                   RuntimeError('other'), NotImplementedError()])
def test_our_own_defects_keep_their_traceback(error):
    @entry
    def main(argv):
        raise error

    with pytest.raises(type(error)):
        main([])


def test_entry_returns_what_main_returns():
    assert entry(lambda argv: argv)([1]) == [1]


def test_abbreviated_flags_are_refused(capsys):
    flags = parser('doc')
    flags.add_argument('--model')
    with pytest.raises(SystemExit):
        flags.parse_args(['--mod', 'x'])
    assert '--mod' in capsys.readouterr().err


def test_table_aligns_text_left_and_numbers_right(capsys):
    show_table([['name', 'count'], ['a', 1234567], ['long', 5]])
    assert capsys.readouterr().out.splitlines() == [
        'name  count',
        '----  ---------',
        'a     1,234,567',
        'long          5']


def test_an_error_may_have_an_exit_code_of_its_own(capsys):
    class Lost(UserError):
        exit_code = 1

    @entry
    def main(argv):
        raise Lost('gone')

    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 1 and capsys.readouterr().err == 'error: gone\n'


def ended(main, capsys):
    """(exit code, stderr) of a script."""
    with pytest.raises(SystemExit) as stopped:
        main([])
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize('error, said', [
    (KeyboardInterrupt(), 'interrupted\n'),
    (KeyboardInterrupt('step 7 is saved: go on with --resume'),
     'step 7 is saved: go on with --resume\n'),
    (Interrupted('step 7 is saved'), 'step 7 is saved\n')])
def test_ctrl_c_is_130_and_one_line(capsys, error, said):
    @entry
    def main(argv):
        raise error

    assert ended(main, capsys) == (130, said)


def test_a_user_error_is_a_value_error_that_python_code_can_catch():
    with pytest.raises(ValueError, match='bad'):
        raise UserError('bad')


def test_options_of_the_library_are_the_flags_of_the_script(capsys):
    @entry
    def main(argv):
        flags = parser('doc')
        flags.add_argument('-j', '--num-data-workers', type=int)
        flags.add_argument('--lr', dest='rate')
        flags.add_argument('network')
        raise UserError('`num_data_workers`, `lr`, `rate` and `network` of `get_model`')

    assert ended(main, capsys) == (
        2, 'error: --num-data-workers, --lr, --lr and `network` of `get_model`\n')


def test_the_flags_are_those_of_the_script_that_runs(capsys):
    parser('another script').add_argument('--size')

    @entry
    def main(argv):
        raise UserError('`size` must be above 0')

    assert ended(main, capsys) == (2, 'error: `size` must be above 0\n')


def test_a_missing_package_is_named_with_the_interpreter_that_lacks_it(capsys):
    @entry
    def main(argv):
        import no_such_package.part  # noqa: F401

    code, said = ended(main, capsys)
    assert code == 2 and str(ROOT) in said and said.count('\n') == 1
    assert said.startswith(f'error: no_such_package is not installed for {sys.executable}: run ')


@pytest.mark.parametrize('module, way_out', [
    ('sklearn.datasets', f'run {sys.executable} -m pip install scikit-learn\n'),
    ('onnxruntime', f'run {sys.executable} -m pip install onnxruntime\n'),
    ('fcntl', 'Windows lacks: run it on Linux\n')])
def test_an_installed_package_names_what_pip_installs(capsys, monkeypatch, tmp_path, module,
                                                      way_out):
    monkeypatch.setattr(cli, '__file__', str(tmp_path / 'gluon_a2' / 'cli.py'))

    @entry
    def main(argv):
        raise ModuleNotFoundError(f'No module named {module!r}', name=module)

    code, said = ended(main, capsys)
    assert code == 2 and said.endswith(way_out) and said.count('\n') == 1


def without_packages(script, *args):
    """Run a script by an interpreter that has nothing installed."""
    return subprocess.run([sys.executable, '-S', str(script), *args], capture_output=True,
                          text=True, timeout=60, env={})


@pytest.mark.parametrize('script', sorted((ROOT / 'scripts').glob('*.py')), ids=lambda x: x.name)
def test_help_needs_no_package_or_says_which(script):
    """Some flags are options of modules that read images or export, and need their packages."""
    done = without_packages(script, '--help')
    if script.name in ('export.py', 'predict.py', 'score.py'):
        assert done.returncode == 2 and ' is not installed for ' in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, '') and 'usage: ' in done.stdout


@pytest.mark.parametrize('script, args', [
    ('score.py', ['x']), ('prepare_imagenet.py', ['--data-dir', 'x', '--out', 'y']),
    ('train_imagenet.py', ['--save-dir', 'x'])])
def test_a_script_run_by_another_interpreter_says_so(script, args):
    done = without_packages(ROOT / 'scripts' / script, *args)
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert ' is not installed for ' in done.stderr


def test_a_missing_module_of_ours_is_a_defect():
    @entry
    def main(argv):
        import gluon_a2.no_such_module  # noqa: F401

    with pytest.raises(ModuleNotFoundError):
        main([])


def test_no_message_advises_a_name_that_nobody_has_registered():
    advice = install_extra('zoo')
    assert advice.startswith("pip install -e '.[zoo]'") and 'checkout' in advice
    for path in [*ROOT.glob('gluon_a2/**/*.py'), *ROOT.glob('scripts/*'), *ROOT.glob('docs/*.md')]:
        if path.is_file():  # scripts/ may hold compiled ones
            assert 'gluon_a2[' not in path.read_text(encoding='utf-8'), path


def script(tmp_path, body):
    """A command that runs `body` as the main of a script."""
    path = tmp_path / 'script.py'
    indented = [f'    {line}' for line in body.splitlines()]
    lines = [f'import sys; sys.path.insert(0, {str(ROOT)!r})', 'from gluon_a2 import cli',
             '@cli.entry', 'def main(argv=None):', *indented, 'main()']
    path.write_text('\n'.join(lines), encoding='utf-8')
    return f'exec {sys.executable} {path}'


def shell(command, **environ):
    return subprocess.run(['bash', '-c', command], capture_output=True, timeout=60,
                          env={**os.environ, **environ})


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1'])
def test_output_that_cannot_be_encoded_is_escaped(tmp_path, encoding):
    command = script(tmp_path, 'print("32\u00d732 ΔFLOPs \\udce9")\n'
                               'print("\u2212", file=sys.stderr)\n'
                               'cli.parser("A\u00b2 Δ").parse_args(["-h"])')
    done = shell(command, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and b'\\u0394FLOPs \\udce9' in done.stdout, done
    assert done.stderr == b'\\u2212\n'


@pytest.mark.parametrize('lines', [1, 100000])
def test_a_reader_that_has_gone_ends_the_script_quietly_with_141(tmp_path, lines):
    command = script(tmp_path, f'import time; time.sleep(1)\nfor i in range({lines}): print(i)')
    done = shell(f'({command}) | true; exit ${{PIPESTATUS[0]}}')
    assert (done.returncode, done.stderr) == (141, b'')


def test_another_broken_pipe_is_no_reader_that_has_gone(tmp_path):
    done = shell(script(tmp_path, 'raise BrokenPipeError(32, "a worker")'))
    assert done.returncode == 1 and b'a worker' in done.stderr


def test_a_full_disk_behind_stdout_is_one_sentence(tmp_path):
    if not os.path.exists('/dev/full'):
        pytest.skip('no /dev/full')
    done = shell(script(tmp_path, 'print("lost")') + ' >/dev/full')
    assert done.returncode == 2
    assert done.stderr == (b'error: no space left on the disk while writing a file: free some and '
                           b'run again\n')


def test_three_closed_streams_end_no_run_and_lend_no_file_their_numbers(tmp_path):
    out = tmp_path / 'out'
    command = script(tmp_path, f'import logging, os\nprint("x"); print("y", file=sys.stderr)\n'
                               f'logging.basicConfig(); logging.warning("z"); sys.stdin.read()\n'
                               f'with open({str(out)!r}, "w") as file:\n'
                               f'    file.write(str(file.fileno()))\n'
                               f'    os.system("echo of a child")')
    assert shell(f'{command} 0<&- 1>&- 2>&-').returncode == 0
    assert int(out.read_text()) > 2


def test_ctrl_c_in_a_running_script_is_130_without_a_traceback(tmp_path):
    command = script(tmp_path, 'import time\nprint("on", flush=True)\ntime.sleep(60)')
    # A shell starts what runs in its background without Ctrl-C, and so perhaps these tests.
    with subprocess.Popen(['bash', '-c', command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
                          ) as process:
        process.stdout.readline()
        time.sleep(.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b'interrupted\n')
