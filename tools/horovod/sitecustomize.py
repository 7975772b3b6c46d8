"""Defines what MXNet asks numpy for, in every Python that starts with this folder on PYTHONPATH.

Horovod's build starts some that import MXNet.
"""
from gluon_a2 import legacy

lending = legacy.lent()
lending.__enter__()
