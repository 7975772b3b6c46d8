"""`python -m gluon_a2` is `gluon-a2`."""
import sys

from .commands import main

sys.exit(main())
