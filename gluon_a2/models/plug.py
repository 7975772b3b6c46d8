"""Putting a block into a network that is not ours, such as a GluonCV one with its trained weights.

    net = gluoncv.model_zoo.get_model('resnet50_v1b', pretrained=True)
    plug(net, 'a2', ['layer2.0', 'layer2.2', 'layer3.0', 'layer3.2', 'layer3.4'])
"""
from __future__ import annotations

from ..backend import mx
from ..errors import UserError
from ..formats.symbol import infer_shapes
from ..nn import BLOCKS, make_block
from ..nn.blocks import refuse_options


class After(mx.gluon.nn.HybridSequential):
    """A child and the block that follows it, as one child."""

    def __init__(self, child: mx.gluon.Block, block: mx.gluon.Block):
        super().__init__(prefix='')
        self.add(child, block)


def plug(net: mx.gluon.HybridBlock, kind: str, places: list[str], ratio: int | None = None,
         identity: bool = True, association: str = 'left',
         input_size: tuple[int, ...] = (224, 224), *, m: int | None = None,
         n: int | None = None, softmax: str = 'both') -> dict:
    """Put a block behind each of `places` in `net`; returns {place: the new block}.

    Parameters of `net` keep their names. The names of Gluon's `save_parameters` follow the
    structure, and change. The new blocks are initialized.

    UserError for an unknown kind or place, and for a place that yields no feature map or has such a
    block already. An option without effect and a network without weights are refused, too. Nothing
    has changed then.

    Parameters
    ----------
    net : HybridBlock
        The network, which holds its weights already.
    kind : str
        A key of `nn.BLOCKS`.
    places : list of str
        Paths of child blocks, as `print(net)` shows them.
    input_size : tuple of int
        (h, w) or (d, h, w), which the network can take. The channels at each place follow from it,
        and association='auto' is decided for it.
    identity : bool
        The outputs stay what they were.
    ratio, association, m, n, softmax
        As in `get_model`; `ratio` is 4 by default.

    Examples
    --------
    >>> net = mx.gluon.nn.HybridSequential(prefix='net_')
    >>> net.add(mx.gluon.nn.Conv2D(8, 3, in_channels=3), mx.gluon.nn.Dense(2))
    >>> net.initialize()
    >>> plug(net, 'a2', ['0'], input_size=(9, 9))  # doctest: +ELLIPSIS
    {'0': DoubleAttention(...
    """
    if kind not in BLOCKS:
        raise UserError(f'unknown block {kind!r}: choose one of {", ".join(BLOCKS)}')
    options = {'ratio': ratio, 'm': m, 'n': n, 'association': association,
               'softmax': softmax}
    refuse_options(f'a block {kind}', BLOCKS[kind].options,
                   [name for name in options if options[name] not in (None, 'left', 'both')])
    if isinstance(places, str):
        raise UserError(f'`places` must be a list of paths, such as [{places!r}], not a string')
    if len(set(places)) != len(places):
        raise UserError(f'a place is named twice in {list(places)}')
    found = {place: find(net, place) for place in places}
    children = {place: parent._children[name] for place, (parent, name) in found.items()}
    shapes = _output_shapes(net, children, input_size)
    blocks, names = {}, set(net.collect_params())
    for place in places:
        channels, size = shapes[place][1], shapes[place][2:]
        blocks[place] = make_block(kind, channels, size, f'{net.prefix}{place.replace(".", "_")}_',
                                   identity=identity, **options)
        if not names.isdisjoint(blocks[place].collect_params()):
            raise UserError(f'{place} already has a block {kind} behind it')
    first = next(iter(net.collect_params().values()))
    for place, (parent, name) in found.items():
        blocks[place].initialize(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2),
                                 ctx=first.list_ctx())
        blocks[place].cast(first.dtype)
        replace_child(parent, name, After(children[place], blocks[place]))
    forget_graphs(net)
    return blocks


def find(net: mx.gluon.Block, place: str) -> tuple:
    """(parent, child's name) at a dotted path; UserError names the choices where it breaks off."""
    parent, names = net, place.split('.')
    for depth, name in enumerate(names):
        if name not in parent._children:
            path = '.'.join(names[:depth]) or 'the network'
            raise UserError(f'no place {place!r}: {path} has no child {name!r}; '
                            f'its children are {", ".join(parent._children) or "none"}')
        if depth < len(names) - 1:
            parent = parent._children[name]
    return parent, names[-1]


def trace(net: mx.gluon.HybridBlock, children: dict) -> tuple:
    """(the output of `net` as a symbol, {path: output} of its `children`, from the input on)."""
    outputs: dict = {}
    hooks = [child.register_forward_hook(
        lambda block, inputs, output, path=path: outputs.setdefault(path, output))
        for path, child in children.items()]
    try:
        return net(mx.sym.var('data')), outputs
    finally:
        for hook in hooks:
            hook.detach()


def _output_shapes(net, children, input_size):
    """{place: shape of the child's output} for an input of this size."""
    lacking = [name for name, parameter in net.collect_params().items()
               if parameter._data is None and not parameter._deferred_init]
    if lacking:
        raise UserError(f'the network has no weights yet ({lacking[0]} has none): initialize or '
                        'load it before blocks are plugged in')
    _, outputs = trace(net, children)
    for place in children:
        output, shape = outputs.get(place), None
        if isinstance(output, mx.sym.Symbol):
            try:
                (shape,) = infer_shapes(output, data=(1, 3, *input_size))[1] or [None]
            except UserError as error:
                raise UserError('the network cannot take an input of '
                                f'{"×".join(map(str, input_size))}: give one it can as '
                                '`input_size`') from error
        if len(shape or ()) not in (4, 5):
            raise UserError(f'{place} yields no feature map to put a block behind, but '
                            f'{shape or "nothing"}')
        outputs[place] = shape
    return outputs


def replace_child(parent: mx.gluon.Block, name: str, block: mx.gluon.Block) -> None:
    """Put `block` where the child `name` was, in the order of children and in attributes alike."""
    child = parent._children[name]
    parent._children[name] = block
    for attribute, value in list(vars(parent).items()):
        if value is child:
            object.__setattr__(parent, attribute, block)


def forget_graphs(net: mx.gluon.Block) -> None:
    """Make every block of `net` trace itself anew, after its children have changed."""
    net.apply(lambda block: block._clear_cached_op()
              if isinstance(block, mx.gluon.HybridBlock) else None)
