#!/usr/bin/env python
"""`gluon-a2 predict`, of this checkout."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.commands.predict import main

if __name__ == '__main__':
    sys.exit(main())
