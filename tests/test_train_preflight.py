"""What ranks compare before the first step."""
import sys

import pytest

from gluon_a2.train import preflight


@pytest.fixture
def code(monkeypatch, tmp_path):
    """The SHA-256 of the code where the script `name` with `content` was started."""
    def measure(name, content):
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(sys.modules['__main__'], '__file__', str(tmp_path / name),
                            raising=False)
        preflight.code.cache_clear()
        return preflight.code()
    yield measure
    preflight.code.cache_clear()


def test_the_script_counts_like_the_package(code):
    one, same, other = (code('train.py', text) for text in ('lr = 1\n', 'lr = 1\n', 'lr = 2\n'))
    assert one == same != other


def test_an_installed_command_may_differ(code):
    assert code('gluon-a2', '#!/a/python\n') == code('gluon-a2', '#!/b/python\n')


def test_an_interactive_python_has_no_script(monkeypatch):
    monkeypatch.delattr(sys.modules['__main__'], '__file__', raising=False)
    preflight.code.cache_clear()
    assert len(preflight.code()) == 64
    preflight.code.cache_clear()
