#!/usr/bin/env python3
"""Write the reference of the package from its docstrings, as HTML.

    python tools/api.py                   # build/api/index.html; make docs does it
    python tools/api.py --out public

The generator is pdoc: pip install '.[docs]'. A warning of it is an error.
"""
import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gluon_a2.cli import entry, parser  # noqa: E402
from gluon_a2.errors import UserError  # noqa: E402


def modules():
    """The package and its modules, imported; __main__ and plain PyTorch are left out."""
    package = importlib.import_module('gluon_a2')
    for row in pkgutil.walk_packages(package.__path__, 'gluon_a2.'):
        if not row.name.endswith(('__main__', 'a2_torch')):
            module = importlib.import_module(row.name)
            parent, _, name = row.name.rpartition('.')
            getattr(sys.modules[parent], '__all__', []).append(name)  # else pdoc leaves it out
            yield module


def resolve(module):
    """typing gives the `__new__` of a NamedTuple a module that does not exist, in which pdoc finds
    no type."""
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, '_fields'):
            kind.__new__.__module__ = kind.__module__


@entry
def main(argv=None):
    """Write the pages, and name the first."""
    flags = parser(__doc__)
    flags.add_argument('--out', type=Path, default=ROOT / 'build' / 'api', help='folder')
    args = flags.parse_args(argv)
    try:
        import pdoc
    except ImportError:
        raise UserError("pdoc is not installed: pip install '.[docs]'") from None
    for module in modules():
        resolve(module)
    pdoc.render.configure(docformat='numpy')
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        pdoc.pdoc('gluon_a2', '!gluon_a2.pytorch', output_directory=args.out)
    print(args.out / 'index.html')


if __name__ == '__main__':
    sys.exit(main())
