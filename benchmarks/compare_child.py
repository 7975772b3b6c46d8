"""One network of `compare_zoo.py` in a process of its own, so that many can be asked in turn.

    python benchmarks/compare_child.py inference|training NAME SIDE…

An order, [batch, repeats], is answered by {"seconds": […], "peak": bytes}; the order null by what
can be counted without a clock.
"""
import sys

from bench import memory, seconds, serve
from compare_networks import NETWORKS
from mxnet_steps import inference, training

from gluon_a2 import backend
from gluon_a2.backend import mx
from gluon_a2.cli import entry
from gluon_a2.cost import count_network
from gluon_a2.formats import params
from gluon_a2.legacy import lent_to_gluoncv
from gluon_a2.models import get_model
from gluon_a2.models.baselines import from_gluoncv, gluoncv_network

TASKS = {'inference': inference, 'training': training}


def build(network, task='inference'):
    """The Gluon network of a row, its shapes known, not initialized; UserError where GluonCV cannot
    be imported.

    GluonCV's video networks are as they come, but for training, which on a CPU needs
    `from_gluoncv`.
    """
    if network.source is None:
        return get_model(network.name, classes=network.classes, input_size=network.input_size)
    if network.frames and task == 'training':
        return from_gluoncv(network, network.classes)
    options = ({'nclass': network.classes, 'pretrained_base': False} if network.frames
               else {'classes': network.classes})
    net = gluoncv_network(network.name, network.source, **options)
    net.infer_shape(mx.nd.zeros((1, 3, *network.input_size)))
    return net


def timed(act, network, batch, repeats):
    """Seconds of each repeat, after one that sets up and is not timed."""
    inputs = mx.nd.random.normal(shape=(batch, 3, *network.input_size))
    mx.nd.waitall()
    return [seconds(act, inputs) for _ in range(repeats + 1)][1:]


def counted(net, network):
    """What needs no clock: parameters, multiply-adds, bytes of the `.params` file that `deploy`
    would write."""
    cost, symbol = count_network(net, network.input_size), net(mx.sym.var('data'))
    statistics = set(symbol.list_auxiliary_states())
    values = {f'{"aux" if name in statistics else "arg"}:{name}': parameter.data().asnumpy()
              for name, parameter in net.collect_params().items()}
    return {'parameters': cost.parameters, 'trained': cost.trained, 'flops': cost.flops,
            'file_bytes': len(params.to_bytes(values)), 'threads': backend.threads()[0]}


def ready(task, network):
    """The answer to an order, as a function."""
    if network.source is not None:
        with lent_to_gluoncv():  # before the memory is read, because it is not the network's
            import gluoncv.model_zoo  # noqa: F401
    before = memory('VmRSS')
    net = build(network, task)
    act = TASKS[task](net)

    def answer(order):
        if order is None:
            return counted(net, network)
        return {'seconds': timed(act, network, *order), 'peak': memory('VmHWM') - before}
    return answer


@entry
def main(argv=None):
    """Answer until there are no more orders."""
    task, name, *size = sys.argv[1:] if argv is None else argv
    serve(ready, task, NETWORKS[name]._replace(input_size=tuple(map(int, size))))


if __name__ == '__main__':
    main()
