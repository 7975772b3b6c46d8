"""Putting a block into a network that is not ours, such as a GluonCV one with its trained weights.

    net = gluoncv.model_zoo.get_model('resnet50_v1b', pretrained=True)
    plug(net, 'a2', ['layer2.0', 'layer2.2', 'layer3.0', 'layer3.2', 'layer3.4'])

A place is the path of a child block, as `print(net)` shows it; the new block follows it.
"""
from ..backend import mx
from ..errors import UserError
from ..nn import BLOCKS, make_block


class After(mx.gluon.nn.HybridSequential):
    """A child and the block that follows it, in the child's place."""

    def __init__(self, child, block):
        super().__init__(prefix='')
        self.add(child, block)


def plug(net, kind, places, ratio=4, identity=True, association='left', input_size=(224, 224)):
    """Put a block `kind` (a2, nl or se) behind each of `places` in `net`, a HybridBlock; the new
    blocks by place.

    `net` must hold its weights already: its parameters keep their names, while the names of Gluon's
    `save_parameters`, which follow the structure, change. With `identity` the outputs stay what
    they were. The new blocks are initialized, and `ratio`, `identity`, `association` are as in
    `get_model`. `input_size`, (h, w) or (d, h, w), is one the network can take: it is fed one blank
    input of it, to learn the channels at each place, and association='auto' is decided for it.

    Raises UserError, and changes nothing, for an unknown kind or place, a place that yields no
    feature map or has such a block already, and a network without weights.
    """
    if kind not in BLOCKS:
        raise UserError(f'unknown block {kind!r}: choose one of {", ".join(BLOCKS)}')
    if isinstance(places, str):
        raise UserError(f'places must be a list of paths, such as [{places!r}], not a string')
    if len(set(places)) != len(places):
        raise UserError(f'a place is named twice in {list(places)}')
    found = {place: find(net, place) for place in places}
    children = {place: parent._children[name] for place, (parent, name) in found.items()}
    shapes = _output_shapes(net, children, input_size)
    blocks, names = {}, set(net.collect_params())
    for place in places:
        channels, size = shapes[place][1], shapes[place][2:]
        blocks[place] = make_block(kind, channels, size, f'{net.prefix}{place.replace(".", "_")}_',
                                   ratio=ratio, association=association, identity=identity)
        if not names.isdisjoint(blocks[place].collect_params()):
            raise UserError(f'{place} already has a block {kind} behind it')
    first = next(iter(net.collect_params().values()))
    for place, (parent, name) in found.items():
        blocks[place].initialize(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2),
                                 ctx=first.list_ctx())
        blocks[place].cast(first.dtype)
        replace_child(parent, name, After(children[place], blocks[place]))
    net.apply(lambda block: block._clear_cached_op()
              if isinstance(block, mx.gluon.HybridBlock) else None)
    return blocks


def find(net, place):
    """(parent, child's name) of the child at a dotted path; UserError naming the choices where it
    breaks off."""
    parent, names = net, place.split('.')
    for depth, name in enumerate(names):
        if name not in parent._children:
            path = '.'.join(names[:depth]) or 'the network'
            raise UserError(f'no place {place!r}: {path} has no child {name!r}; '
                            f'its children are {", ".join(parent._children) or "none"}')
        if depth < len(names) - 1:
            parent = parent._children[name]
    return parent, names[-1]


def _output_shapes(net, children, input_size):
    """{place: shape of the child's output} for one blank input."""
    lacking = [name for name, parameter in net.collect_params().items()
               if parameter._data is None and not parameter._deferred_init]
    if lacking:
        raise UserError(f'the network has no weights yet ({lacking[0]} has none): initialize or '
                        'load it before blocks are plugged in')
    shapes, hooks = {}, []
    for place, child in children.items():
        hooks.append(
            child.register_forward_hook(lambda block, inputs, output, place=place: shapes.
                                        setdefault(place, getattr(output, 'shape', ()))))
    active = {block for block in _blocks(net) if getattr(block, '_active', False)}
    try:
        for block in active:  # a hybridized parent would call its children with symbols, once
            block._active = False
        parameter = next(iter(net.collect_params().values()))
        net(mx.nd.zeros((1, 3, *input_size), ctx=parameter.list_ctx()[0], dtype=parameter.dtype))
    except (ValueError, RuntimeError) as error:  # MXNetError is a RuntimeError
        raise UserError(f'the network cannot take an input of {"×".join(map(str, input_size))}: '
                        'give one it can as input_size') from error
    finally:
        for hook in hooks:
            hook.detach()
        for block in active:
            block._active = True
    for place in children:
        if len(shapes.get(place, ())) not in (4, 5):
            raise UserError(f'{place} yields no feature map to put a block behind, but '
                            f'{shapes.get(place, "nothing")}')
    return shapes


def _blocks(block):
    yield block
    for child in block._children.values():
        yield from _blocks(child)


def replace_child(parent, name, block):
    """Put `block` where the child `name` was, in the order of children and in attributes alike."""
    child = parent._children[name]
    parent._children[name] = block
    for attribute, value in list(vars(parent).items()):
        if value is child:
            object.__setattr__(parent, attribute, block)
