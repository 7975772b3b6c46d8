"""An exported network in PyTorch: its weights as a safetensors file, `pytorch/a2_torch.py`, which
builds it, and an example. Only the example's comparison needs PyTorch here."""
from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ..errors import UserError
from ..formats.pytorch import UNIT, name_there
from .bundle import Bundle, require_float32
from .graph import Graph, Node

MODULE = Path(__file__).resolve().parents[1] / 'pytorch' / 'a2_torch.py'
EXAMPLE = '''"""{name} in PyTorch: pip install torch safetensors"""
import torch
from a2_torch import load

net, meta = load('{name}.safetensors')  # to train it on: net.train(), then a2_torch.save
mean, scale = (torch.tensor(meta[key]).reshape(3, {ones}) for key in ('mean', 'scale'))
pixels = 255 * torch.rand({shape})  # yours: RGB from 0 to 255, resized and cropped
with torch.inference_mode():
    shares = net((pixels - mean) * scale).softmax(1)[0]
print({{meta['classes'][label]: shares[label].item() for label in shares.topk(2).indices}})
'''


def to_torch(bundle: Bundle) -> bytes:
    """The safetensors file of a float32 `Bundle` of a network of the paper: the `state_dict`, and
    as metadata `network`, of which the module builds it, and `meta`, the bundle's.

    UserError for every other network, and for one whose BatchNorms are folded.
    """
    require_float32(bundle)
    names = {name: name_there(name) for name in bundle.values}
    nodes = {node.name: node for node in Graph(bundle.graph).nodes() if node.op != 'null'}
    fibers = any('_mix1_' in name for name in names)  # whose projections alone have a BatchNorm
    strange = [name for name, there in names.items()
               if there is None or 'shortcut_bn' in there and not fibers]
    if 'conv1_conv_fwd' not in nodes:
        strange.append('another stem')
    if strange:
        raise UserError(f'{bundle.meta["network"]} has no PyTorch form, which is for the networks '
                        f'of the paper, not folded: it has {strange[0]}; leave out `torch`')
    return safetensors.numpy.save(
        {str(there): np.ascontiguousarray(bundle.values[name]) for name, there in names.items()},
        {'network': json.dumps(described(nodes)),
         'meta': json.dumps(bundle.meta, ensure_ascii=False)})


def described(nodes: dict[str, Node]) -> dict[str, Any]:
    """What `build` of the module takes, from the operators of a network's graph."""
    def layer(name: str) -> dict[str, Any]:
        node = nodes[f'{name}_fwd']
        return {'width': node.attr('num_filter', 0),
                **{key: list(node.attr(key, ())) for key in ('kernel', 'stride')}}

    stem, dropout = layer('conv1_conv'), nodes.get('dropout_fwd')
    pool = list(nodes['pool1_fwd'].attr('kernel', ())) if 'pool1_fwd' in nodes else None
    units = {found[1]: layer(f'{found[1]}_conv2_conv') for found in (
        re.fullmatch(f'({UNIT})_conv2_conv_fwd', name) for name in nodes) if found}
    blocks = {found[1]: found[2] for found in (
        re.match(f'({UNIT}_(a2|nl|se))_', name) for name in nodes) if found}
    fibers = any('_mix1_' in name for name in nodes)
    return {'stem': {'channels': stem.pop('width'), **stem, 'pool': pool},
            'unit': 'multi-fiber' if fibers else 'bottleneck', 'units': units,
            'blocks': {block: _block(nodes, block, kind) for block, kind in blocks.items()},
            'classes': nodes['fc_fwd'].attr('num_hidden', 0),
            'dropout': 0.0 if dropout is None else dropout.attr('p', 0.0)}


def _block(nodes, block, kind):
    """The arguments of a block, but for its channels."""
    def width(layer):
        return nodes[f'{block}_{layer}_conv_fwd'].attr('num_filter', 0)
    if kind == 'a2':
        left = f'{block}_gather' in nodes
        there = tuple(nodes[f'{block}_{side}_attention'].op == 'softmax'
                      for side in ('gather', 'distribute'))
        return {'m': width('phi'), 'n': width('theta'), 'association': 'left' if left else 'right',
                'softmax': {(True, True): 'both', (True, False): 'gather',
                            (False, True): 'distribute', (False, False): 'none'}[there]}
    if kind == 'nl':
        return {'width': width('g')}
    scales = [node.attr('scalar', 1.0) for name, node in nodes.items()
              if name.startswith(block) and node.op == '_mul_scalar']
    return {'width': width('squeeze'), 'scale': float(scales[0] if scales else 1)}


def companions(name: str, meta: dict) -> dict[str, bytes]:
    """{file name: content} of what stands beside `<name>.safetensors`."""
    shape = (1, *meta['input_shape'])
    example = EXAMPLE.format(name=name, ones=', '.join('1' * (len(shape) - 2)),
                             shape=', '.join(map(str, shape)))
    return {MODULE.name: MODULE.read_bytes(), f'{name}-torch.py': example.encode()}


class TorchEngine:
    """The module, run by PyTorch: float32 N×classes of float32 N×3×(T×)H×W."""
    fixed = False

    def __init__(self, content: bytes):
        import torch
        spec: Any = importlib.util.spec_from_file_location(MODULE.stem, MODULE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'network.safetensors'
            path.write_bytes(content)
            self._net, _ = module.load(path)
        self._torch = torch

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode():
            return self._net(self._torch.from_numpy(pixels)).numpy()
