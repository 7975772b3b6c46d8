"""Any Gluon network as a `Bundle`, with what its users must know of it."""
from __future__ import annotations

from collections.abc import Sequence

from ..backend import mx
from ..data import Preprocessing
from ..errors import UserError
from .bundle import Bundle, describe
from .mxnet_engine import count_classes, peak_memory


def from_gluon(net: mx.gluon.HybridBlock, network: str, classes: Sequence[str],
               preprocessing: Preprocessing, training: dict | None = None, *,
               stride: Sequence[int] | None = None, features: str | None = None,
               classifier: str | None = None, fixed: bool = False) -> Bundle:
    """The `Bundle` of `net`, an initialized HybridBlock (float32, on the CPU) from pixels to
    logits.

    `network` is its name, and `classes` are the names of its classes. `preprocessing` says what it
    is fed: a `data.Preprocessing`, or a `data.ClipPreprocessing` of a video network. `training`
    says where its weights come from. `stride`, one number for each axis of an input, is the
    smallest input it can take, and a `fixed` network takes no other size than its own. `features`
    and `classifier` name the last map and the layer behind it, which mean-max pooling needs.
    UserError where these do not fit the network.
    """
    if not isinstance(preprocessing, Preprocessing):
        raise UserError('`preprocessing` must be a Preprocessing such as Preprocessing(224), or a '
                        f'ClipPreprocessing of a video network, not {preprocessing!r}')
    symbol, parameters = net(mx.sym.var('data')), net.collect_params()
    shape = (1, *preprocessing.input_shape)
    count = count_classes(symbol, 'data', shape, network)
    if len(classes) != count or count < 2:
        raise UserError(f'{network} gives {count} logits, and `classes` names {len(classes)}: '
                        'there must be a name for each, and two or more')
    arguments, statistics = (
        {name: parameters[name].data().asnumpy() for name in names if name != 'data'}
        for names in (symbol.list_arguments(), symbol.list_auxiliary_states()))
    meta = describe(network, classes, preprocessing, stride=stride, features=features,
                    classifier=classifier, fixed=fixed, training=training,
                    memory=peak_memory(symbol, 'data', shape), versions={'mxnet': mx.__version__})
    return Bundle(symbol.tojson().encode(), arguments, statistics, meta)
