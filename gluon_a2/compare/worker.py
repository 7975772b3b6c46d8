"""One network in a process of its own: it is timed when asked to be, so that many can be asked in
turn.

    python -m gluon_a2.compare.worker inference|training NAME SIDE…

Every line of standard input is an order in JSON, [batch, repeats], answered by {"seconds": […],
"peak": bytes}; the line `null` is answered by what can be counted without a clock. It ends with its
input.
"""
import json
import os
import sys
import time

from .. import backend
from ..backend import mx
from ..cli import entry
from ..cost import count_network
from ..formats import params
from ..models import get_model
from ..models.baselines import from_gluoncv, gluoncv_network
from .networks import NETWORKS


def build(network, training=False):
    """The Gluon network of a row, its shapes known, not initialized; UserError where GluonCV cannot
    be imported.

    GluonCV's video networks are as they come, but for training, which on a CPU needs the fence of
    `from_gluoncv`.
    """
    if network.source is None:
        return get_model(network.name, classes=network.classes, input_size=network.input_size)
    if network.frames and training:
        return from_gluoncv(network, network.classes)
    options = {'nclass': network.classes, 'pretrained_base': False
               } if network.frames else {'classes': network.classes}
    net = gluoncv_network(network.name, network.source, **options)
    net.infer_shape(mx.nd.zeros((1, 3, *network.input_size)))
    return net


def memory(field):
    """Bytes of this process: 'VmRSS' now, 'VmHWM' at most so far.

    Not `getrusage`: its maximum begins with what the process that started this one had.
    """
    with open('/proc/self/status') as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field))


class Inference:
    """Forward passes, without room for gradients."""

    def __init__(self, net):
        self._net = net
        net.collect_params().setattr('grad_req', 'null')
        net.initialize(mx.init.Xavier(), force_reinit=True)
        net.hybridize(static_alloc=True, static_shape=True)

    def once(self, inputs):
        """Logits N×classes, waited for."""
        return self._net(inputs).asnumpy()


class Training:
    """Steps: forward, backward, update with Nesterov momentum."""

    def __init__(self, net):
        self._net = net
        net.initialize(mx.init.Xavier(), force_reinit=True)
        net.hybridize(static_alloc=True, static_shape=True)
        self._trainer = mx.gluon.Trainer(net.collect_params(), 'nag',
                                         {'learning_rate': 0.001, 'momentum': 0.9})
        self._criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss()

    def once(self, inputs):
        """One step."""
        with mx.autograd.record():
            loss = self._criterion(self._net(inputs), mx.nd.zeros(len(inputs)))
        loss.backward()
        self._trainer.step(len(inputs))
        mx.nd.waitall()


TASKS = {'inference': Inference, 'training': Training}


def timed(task, network, batch, repeats):
    """Seconds of each repeat, after one that sets up and is not timed."""
    inputs, seconds = mx.nd.random.normal(shape=(batch, 3, *network.input_size)), []
    mx.nd.waitall()
    for _ in range(repeats + 1):
        start = time.perf_counter()
        task.once(inputs)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def counted(net, network):
    """What needs no clock: parameters, multiply-adds, bytes of the `.params` file that `deploy`
    would write."""
    cost, symbol = count_network(net, network.input_size), net(mx.sym.var('data'))
    statistics = set(symbol.list_auxiliary_states())
    values = {f'{"aux" if name in statistics else "arg"}:{name}': parameter.data().asnumpy()
              for name, parameter in net.collect_params().items()}
    return {'parameters': cost.parameters, 'trained': cost.trained, 'flops': cost.flops,
            'file_bytes': len(params.to_bytes(values)), 'threads': backend.threads()[0]}


def answers(task_name, network, orders):
    """Iterate over the answers to `orders`, lines of JSON."""
    if network.source is not None:
        import gluoncv.model_zoo  # noqa: F401 (before the memory is read: it is not the network's)
    before = memory('VmRSS')
    net = build(network, task_name == 'training')
    task = TASKS[task_name](net)
    for order in map(json.loads, orders):
        if order is None:
            yield counted(net, network)
        else:
            yield {'seconds': timed(task, network, *order), 'peak': memory('VmHWM') - before}


@entry
def main(argv=None):
    """Answer until there are no more orders."""
    task_name, name, *size = sys.argv[1:] if argv is None else argv
    network = NETWORKS[name]._replace(input_size=tuple(map(int, size)))
    with os.fdopen(os.dup(1), 'w', encoding='utf-8') as out:
        os.dup2(2, 1)  # what libraries print is not an answer
        for answer in answers(task_name, network, sys.stdin):
            print(json.dumps(answer), file=out, flush=True)


if __name__ == '__main__':
    main()
