#!/usr/bin/env python
"""`gluon-a2 compare-zoo`, of this checkout."""
import sys

import bench  # noqa: F401 (it makes gluon_a2 importable)

from gluon_a2.commands.compare_zoo import main

if __name__ == '__main__':
    sys.exit(main())
