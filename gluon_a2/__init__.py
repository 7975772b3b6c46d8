"""A²-Nets: Double Attention Networks (NeurIPS 2018) in MXNet/Gluon.

Importing the package imports no MXNet, so that data workers start fast;
the modules that compute take it from `gluon_a2.backend`, which knows how to import it.
"""
__version__ = '0.2.0'
