"""gluon_a2.legacy lends what MXNet asks for, for a time, and what it lends is right."""
import subprocess
import sys
import types

import numpy as np
import pytest

from gluon_a2 import legacy


def test_names_are_lent_and_taken_back():
    missing = [name for name in legacy.NUMPY if name not in dir(np)]
    with legacy.lent():
        assert all(hasattr(np, name) for name in legacy.NUMPY)
    assert not any(name in vars(np) for name in missing)


def test_they_are_taken_back_after_an_error():
    before = set(vars(np))
    with pytest.raises(ZeroDivisionError), legacy.lent():
        raise ZeroDivisionError
    assert set(vars(np)) == before


def test_the_functions_are_what_numpy_had():
    values = np.array([[3., 1, 2], [9, 8, 7]])
    lent = legacy.NUMPY
    assert lent['msort'](values).tolist() == [[3, 1, 2], [9, 8, 7]]  # along the first axis
    assert lent['trapz']([1., 2, 4]) == 4.5
    assert (lent['alltrue'](values), lent['sometrue'](values), lent['product'](values)) == (
        True, True, 3024)
    assert lent['in1d']([1, 2], [2]).tolist() == [False, True]
    assert np.signbit(lent['NZERO']) and not np.signbit(lent['PZERO'])
    with pytest.raises(NotImplementedError, match='no longer has this function'):
        lent['npv'](0.1, [1])


def test_versions_compare_by_their_numbers():
    found = legacy._distutils()['distutils.version']
    assert found.StrictVersion('1.9.10') > found.StrictVersion('1.9.2')
    assert found.LooseVersion('2.5.5') >= found.LooseVersion('1.17')


def test_the_mapping_is_the_one_that_onnx_had(monkeypatch):
    """Compared with the table of onnx 1.16, for the types that MXNet's converter knows."""
    onnx = pytest.importorskip('onnx')
    monkeypatch.setattr(legacy.importlib.util, 'find_spec', lambda name: None)
    package = types.ModuleType('onnx_without_mapping')
    package.TensorProto, package.helper = onnx.TensorProto, onnx.helper
    with legacy.onnx_mapping(package):
        mapping = sys.modules['onnx.mapping']
        numbers = {'float32': 1, 'uint8': 2, 'int8': 3, 'int32': 6, 'int64': 7, 'bool': 9,
                   'float16': 10, 'float64': 11}
        for name, number in numbers.items():
            assert mapping.NP_TYPE_TO_TENSOR_TYPE[np.dtype(name)] == number
            assert mapping.TENSOR_TYPE_TO_NP_TYPE[number] == np.dtype(name)
    assert not hasattr(package, 'mapping')


@pytest.mark.parametrize('code', [
    'import gluon_a2, gluon_a2.deploy.engines, gluon_a2.commands, gluon_a2.legacy',
    'import gluon_a2.backend'])
def test_a_host_program_keeps_its_numpy(code):
    """Nothing is patched without MXNet, and nothing is left patched after its import."""
    check = ('import numpy, sys\nnames = set(vars(numpy))\n'
             f'{code}\n'
             'left = set(vars(numpy)) - names\n'
             'assert not left & set(gluon_a2.legacy.NUMPY), left\n'
             'assert not hasattr(sys.modules.get("distutils.version"), "_Version")\n')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', check], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr


def test_a_notebook_has_imported_numpy_pandas_and_torch_before():
    for name in ('pandas', 'torch'):
        pytest.importorskip(name)
    code = ('import numpy, pandas, torch\nfrom gluon_a2.backend import mx\n'
            'assert mx.nd.ones((2, 3)).sum().asscalar() == 6\n'
            'assert torch.nn.Linear(3, 4)(torch.ones(2, 3)).shape == (2, 4)\n'
            'assert pandas.Series(numpy.arange(3.)).sum() == 3')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pytorch_is_hidden_from_gluoncv_and_comes_back(monkeypatch):
    stub = types.ModuleType('torch')
    monkeypatch.setitem(sys.modules, 'torch', stub)
    with legacy.lent_to_gluoncv(), pytest.raises(ImportError):
        import torch  # noqa: F401
    assert sys.modules['torch'] is stub
    monkeypatch.delitem(sys.modules, 'torch')
    with legacy.lent_to_gluoncv():
        pass
    assert 'torch' not in sys.modules
