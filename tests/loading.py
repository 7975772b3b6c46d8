"""Scripts and benchmarks, which are in no package, as modules."""
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def load(path):
    """The module in a file of this project, such as 'benchmarks/block.py'; its neighbours can be
    imported by it."""
    path = ROOT / path
    sys.path.insert(0, str(path.parent))  # as when it is run
    try:
        spec = importlib.util.spec_from_file_location(f'{path.parent.name}_{path.stem}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
