"""A float32 network in bfloat16, or by MXNet's converter in INT8, for CPUs with oneDNN."""
from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Collection, Iterator

import numpy as np

from ..backend import mx
from ..errors import UserError
from ..formats.params import BFLOAT16 as BFLOAT16_TYPE
from ..formats.symbol import parse_symbol
from ..legacy import thresholds_as_numbers
from .bundle import Bundle, require_float32
from .fold import fold, without_workaround
from .graph import Graph, Node

CALIBRATIONS = {'min-max': 'naive', 'entropy': 'entropy'}  # our names for MXNet's
ONEDNN = 'MKLDNN_QUANTIZE'  # what MXNet 1.9.1 calls oneDNN's way to fuse and quantize
# Operators that are computed in bfloat16 where they are fed it. Others are fed float32: matrix
# products, which MXNet lacks in bfloat16 on a CPU, and what moves values about, which takes
# oneDNN's layouts of bfloat16 for others.
BFLOAT16 = frozenset(('Convolution', 'BatchNorm', 'Activation', 'Pooling', 'elemwise_add'))
BFLOAT16_NUMBER = '12'  # of the type, in MXNet


def to_bf16(bundle: Bundle) -> Bundle:
    """The `Bundle` in bfloat16, but for the block's products and softmaxes, and the classifier.

    In bfloat16, logits would have 8 bits, too few to tell classes apart, and the weights of a
    softmax would not sum to 1.

    The weights of convolutions are stored in bfloat16, which halves the file. MXNet's own converter
    is not used: it feeds a bfloat16 convolution float32 pixels.
    """
    require_float32(bundle)
    graph, arguments = Graph(without_workaround(bundle).graph), dict(bundle.arguments)
    halves = {source for node in graph.nodes() if node.op == 'Convolution'
              for source, _ in node.inputs if source.name in arguments}
    for node in halves:
        arguments[node.name] = _rounded(arguments[node.name])
        node.attrs['__dtype__'] = BFLOAT16_NUMBER
    place_casts(graph, halves)
    return bundle._replace(graph=graph.to_bytes(), arguments=arguments,
                           meta={**bundle.meta, 'precision': 'bfloat16'})


def place_casts(graph: Graph, halves: Collection[Node] = ()) -> None:
    """Let the operators of `BFLOAT16` be fed bfloat16, and all others float32; `halves` are the
    variables of that type, the others and all outputs of the graph are float32."""
    types: dict[Node, str] = {}
    casts: dict[tuple, Node] = {}
    for node in graph.nodes():
        if node.op == 'null':
            types[node] = 'bfloat16' if node in halves else 'float32'
            continue
        wanted = 'float32'
        if _in_bfloat16(node):  # others than convolutions get the type of their first input
            wanted = 'bfloat16' if node.op == 'Convolution' else types[node.inputs[0][0]]
        for index, (source, output) in enumerate(node.inputs):
            if not index or node.op != 'BatchNorm':  # its γ, β and statistics are float32
                node.inputs[index] = _cast(source, output, wanted, types, casts)
        types[node] = wanted
    graph.heads = [_cast(node, output, 'float32', types, casts) for node, output in graph.heads]


def _in_bfloat16(node: Node) -> bool:
    """Whether an operator, as it is set, is computed in bfloat16."""
    kind = {'Activation': node.attrs.get('act_type'), 'Pooling': node.attrs.get('pool_type')}
    return node.op in BFLOAT16 and kind.get(node.op) in (None, 'relu', 'max', 'avg')


def _cast(source: Node, output: int, wanted: str, types: dict, casts: dict) -> tuple[Node, int]:
    """The output of `source`, or of a node that casts it to `wanted`, one for all that want it."""
    if types[source] == wanted:
        return source, output
    key = source, output, wanted
    if key not in casts:
        name = f'{source.name}_{wanted}' + (f'_{output}' if output else '')
        casts[key] = Node('amp_cast', name, {'dtype': wanted}, [(source, output)], {})
        types[casts[key]] = wanted
    return casts[key], 0


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 values in bfloat16, its upper half, rounded to the nearest, half to even."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(BFLOAT16_TYPE)


def to_int8(bundle: Bundle, images: np.ndarray, calibration: str = 'min-max') -> Bundle:
    """The `Bundle` in INT8, its ranges measured on `images`, preprocessed, float32 N×3×(T×)H×W.

    BatchNorms are folded first. `calibration` sets the range of what lies between layers: 'min-max'
    is what was seen; 'entropy' cuts off what is rare, so that little is lost of the rest (as
    TensorRT does). Weights are stored in float32 and quantized when the network is first run, so
    the file is as large as before.
    """
    if calibration not in CALIBRATIONS:
        raise UserError(f'unknown calibration {calibration!r}: choose one of '
                        f'{", ".join(CALIBRATIONS)}')
    require_float32(bundle)
    network = bundle.meta['network']
    for node in Graph(bundle.graph).nodes():
        kind = node.attrs.get('pool_type', 'max')
        if node.op == 'Pooling' and kind not in ('max', 'avg'):  # MXNet dies, without a word
            raise UserError(f'{network} cannot be quantized: {node.name} pools by {kind}, which '
                            'MXNet has not in INT8')
    folded = fold(bundle)[0]
    symbol = parse_symbol(folded.graph, network)
    arguments, statistics = ({name: mx.nd.array(value) for name, value in values.items()}
                             for values in (folded.arguments, folded.statistics))
    batches = mx.io.NDArrayIter(images, batch_size=min(8, len(images)))
    try:
        with warnings.catch_warnings(), quiet(), thresholds_as_numbers(mx):
            warnings.simplefilter('ignore', UserWarning)
            symbol, arguments, statistics = mx.contrib.quantization.quantize_model(
                symbol.get_backend_symbol(ONEDNN), arguments, statistics,
                data_names=[bundle.meta['input']], label_names=None, quantized_dtype='auto',
                quantize_mode='smart', calib_mode=CALIBRATIONS[calibration], calib_data=batches,
                logger=logging.getLogger(__name__))
            symbol = symbol.get_backend_symbol(ONEDNN)
    except mx.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f'{network} cannot be quantized: {reason}') from error
    meta = {**bundle.meta, 'precision': 'int8',
            'calibration': {'kind': calibration, 'samples': len(images)}}
    names = set(symbol.list_inputs())  # the converter leaves in what it no longer needs
    kept = [{name: value.asnumpy() for name, value in values.items() if name in names}
            for values in (arguments, statistics)]
    return Bundle(symbol.tojson().encode(), kept[0], kept[1], meta)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without a converter's remarks, printed, by the root logger and, from C++, on standard error.
    """
    before, errors = logging.root.manager.disable, os.dup(2)
    logging.disable(logging.WARNING)
    sys.stderr.flush()
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.dup2(errors, 2)
        os.close(errors)
        logging.disable(before)
