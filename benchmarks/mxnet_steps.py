"""What is timed of a Gluon network: a forward pass, and a step of training."""
import bench  # noqa: F401 (it makes gluon_a2 importable)

from gluon_a2.backend import mx

RATE, MOMENTUM = 0.001, 0.9  # of Nesterov's SGD


def hybridized(net, fresh=True):
    """The network, compiled, with random values where `fresh`; else it keeps those it has."""
    if fresh:
        net.initialize(mx.init.Xavier(), force_reinit=True)
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def inference(net):
    """A function of inputs: their logits, waited for; there is no room for gradients."""
    net.collect_params().setattr('grad_req', 'null')
    net = hybridized(net)
    return lambda inputs: net(inputs).asnumpy()


def training(net, fresh=True):
    """A function of inputs: forward, backward and update, waited for."""
    net = hybridized(net, fresh)
    trainer = mx.gluon.Trainer(net.collect_params(), 'nag',
                               {'learning_rate': RATE, 'momentum': MOMENTUM})
    criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss()

    def step(inputs):
        with mx.autograd.record():
            loss = criterion(net(inputs), mx.nd.zeros(len(inputs)))
        loss.backward()
        trainer.step(len(inputs))
        mx.nd.waitall()
    return step
