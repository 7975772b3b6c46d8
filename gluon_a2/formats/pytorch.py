"""What the networks' values are called in PyTorch: in `pytorch/a2_torch.py`, with dots."""
from __future__ import annotations

import re

# Values of a layer: name there, name here (None: not needed).
BATCH_NORM = {'weight': 'gamma', 'bias': 'beta', 'running_mean': 'running_mean',
              'running_var': 'running_var', 'num_batches_tracked': None}

# Layers by their names here, whose groups are the modules there, and what they may hold.
UNIT = r'conv\d_unit\d+'
PIECE = rf'({UNIT})_(conv[23]|mix[12])|({UNIT}_(?:a2|nl))_(phi|theta|rho|g|expand)'
LAYERS = {
    rf'(?:(conv1|final|{UNIT})|{PIECE})_(bn)|({UNIT})_(shortcut_bn)': tuple(
        filter(None, BATCH_NORM.values())),
    rf'(conv1_conv)|({UNIT})_(conv1_conv|shortcut_conv)|(?:{PIECE})_(conv)': ('weight',),
    rf'(fc)|({UNIT})_(se)_(squeeze_conv|excite_conv)': ('weight', 'bias')}


def name_there(name: str) -> str | None:
    """conv3_unit1_a2.phi.bn.weight of conv3_unit1_a2_phi_bn_gamma; None for other networks'."""
    for layer, values in LAYERS.items():
        found = re.fullmatch(f'(?:{layer})_({"|".join(values)})', name)
        if found:
            *modules, value = filter(None, found.groups())
            there = {here: there for there, here in BATCH_NORM.items()}
            return '.'.join([*modules, there.get(value, value)])
    return None
