"""What MXNet 1.9.1 asks of Python, numpy and ONNX, and their newer releases no longer have.

MXNet's last release is of 2022. It was written for numpy before 1.24 and Python before 3.12, and
it asks newer ones for names that they have taken out. Almost all of them are only looked up while
MXNet is imported. So they are defined for the import and removed after it: a program that uses
MXNet and numpy keeps the numpy it knows. Nothing is defined where nothing imports MXNet.
"""
from __future__ import annotations

import contextlib
import importlib.util
import math
import re
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def _unused(*_: Any, **__: Any) -> Any:
    raise NotImplementedError('numpy no longer has this function, and MXNet only names it')


# The names, with the release of numpy that took them out and the module of MXNet that asks.
NUMPY: Mapping[str, Any] = {
    # 1.24: an alias of Python's own type; numpy 2 has the name again. mxnet.numpy.utils.
    'bool': bool,
    # 2.0: constants with other spellings. mxnet.numpy.utils, and `Inf` the event handlers of
    # gluon.contrib.
    'PZERO': 0.0, 'NZERO': -0.0, 'PINF': math.inf, 'NINF': -math.inf, 'Inf': math.inf,
    'NAN': math.nan, 'NaN': math.nan,
    # 2.0 and later: functions with other spellings. mxnet.numpy.fallback, and the protocol by which
    # numpy's functions take MXNet's arrays.
    'alltrue': np.all, 'sometrue': np.any, 'product': np.prod, 'round_': np.round, 'in1d': np.isin,
    'msort': lambda a: np.sort(a, axis=0),
    'trapz': getattr(np, 'trapezoid', None) or getattr(np, 'trapz', _unused),
    # 1.20 left these as names that raise, and 2.0 took the names. mxnet.numpy.fallback.
    **dict.fromkeys(('mirr', 'npv', 'pmt', 'ppmt', 'pv', 'rate'), _unused),
}


class _Version(tuple):
    """A version that compares by its numbers, as those of `distutils.version` do."""

    def __new__(cls, text: str) -> _Version:
        return super().__new__(cls, map(int, re.findall(r'\d+', text)))


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """Within it, `import mxnet` and what imports MXNet find the names they ask for."""
    with warnings.catch_warnings():
        # Some of the names are deprecated where they are not yet gone.
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.simplefilter('ignore', FutureWarning)
        names = {name: value for name, value in NUMPY.items() if not hasattr(np, name)}
        modules = {} if importlib.util.find_spec('distutils') else _distutils()
        vars(np).update(names)
        sys.modules.update(modules)
        try:
            yield
        finally:
            for name in names:
                delattr(np, name)
            for name in modules:
                del sys.modules[name]


@contextlib.contextmanager
def lent_to_gluoncv() -> Iterator[None]:
    """`lent`, and PyTorch is hidden: GluonCV refuses each since 2.0, and its MXNet part needs none.
    """
    torch = sys.modules.get('torch')
    sys.modules['torch'] = None  # type: ignore[assignment]
    try:
        with lent():
            yield
    finally:
        del sys.modules['torch']
        if torch:
            sys.modules['torch'] = torch


def _distutils() -> dict[str, types.ModuleType]:
    """`distutils.version`, which Python 3.12 took out: MXNet compares numpy's version by it."""
    package, version = types.ModuleType('distutils'), types.ModuleType('distutils.version')
    package.version = version  # type: ignore[attr-defined]
    version.StrictVersion = version.LooseVersion = _Version  # type: ignore[attr-defined]
    return {'distutils': package, 'distutils.version': version}


@contextlib.contextmanager
def onnx_mapping(onnx: Any) -> Iterator[None]:
    """Within it, `onnx.mapping` is there, which onnx 1.18 took out: MXNet's converter reads it."""
    if importlib.util.find_spec('onnx.mapping'):
        yield
        return
    mapping = types.ModuleType('onnx.mapping')
    types_ = (value for name, value in onnx.TensorProto.DataType.items() if name != 'UNDEFINED')
    to_numpy = {number: onnx.helper.tensor_dtype_to_np_dtype(number) for number in types_}
    mapping.TENSOR_TYPE_TO_NP_TYPE = to_numpy  # type: ignore[attr-defined]
    mapping.NP_TYPE_TO_TENSOR_TYPE = {  # type: ignore[attr-defined]
        dtype: onnx.helper.np_dtype_to_tensor_dtype(dtype) for dtype in to_numpy.values()}
    onnx.mapping = sys.modules['onnx.mapping'] = mapping
    try:
        yield
    finally:
        del onnx.mapping, sys.modules['onnx.mapping']


@contextlib.contextmanager
def thresholds_as_numbers(mxnet: Any) -> Iterator[None]:
    """Within it, MXNet finds thresholds of INT8 as numbers: numpy 2.5 takes no array for one."""
    module = mxnet.contrib.quantization
    original = module._get_optimal_threshold

    def numbers(*args: Any, **options: Any) -> tuple:
        return tuple(np.asarray(value).item() for value in original(*args, **options))

    module._get_optimal_threshold = numbers
    try:
        yield
    finally:
        module._get_optimal_threshold = original
