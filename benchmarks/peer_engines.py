"""One engine of `peers.py` in a process of its own, which answers jobs with seconds.

    python benchmarks/peer_engines.py KIND FOLDER

FOLDER holds what `prepare` wrote. A job is such as 'inference 8'; the first of each sort sets it
up, and takes down the one before. 'logits' writes those of all images into FOLDER. PyTorch's
interpreter need not have MXNet, nor ours PyTorch.
"""
import copy
import os
import sys
from pathlib import Path

import numpy as np
from bench import seconds, serve

MODEL, CLASSES, IMAGES = 'a2_resnet50', 1000, 32
RATE, MOMENTUM = 0.001, 0.9  # of Nesterov's SGD


# ---- what all engines are given

def prepare(folder, size):
    """Write the network's weights, the images and the exported forms; return its multiply-adds."""
    from gluon_a2.backend import mx
    from gluon_a2.cost import count_network
    from gluon_a2.models import get_model
    rng = np.random.RandomState(1)
    net = get_model(MODEL, classes=CLASSES, input_size=size)
    net.initialize(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2))
    # no value that a wrong copy could meet by chance
    for name, parameter in net.collect_params().items():
        if name.endswith(('gamma', 'running_var')):
            parameter.set_data(rng.uniform(0.5, 1.5, parameter.shape))
        elif name.endswith(('beta', 'running_mean', 'bias')):
            parameter.set_data(rng.normal(0, 0.1, parameter.shape))
        else:
            spread = (2 / np.prod(parameter.shape[1:])) ** 0.5  # He et al. 2015
            if name.endswith(('conv3_conv_weight', 'expand_conv_weight')):
                spread /= 4  # else 21 branches add up, and rounding with them
            parameter.set_data(rng.normal(0, spread, parameter.shape))
    np.savez(folder / 'weights.npz', **{name: value.data().asnumpy()
                                        for name, value in net.collect_params().items()})
    images = rng.normal(size=(IMAGES, 3, size, size)).astype('float32')
    np.save(folder / 'images.npy', images)
    write_forms(net, size, images, folder)
    return count_network(net, (size, size)).flops


def write_forms(net, size, images, folder):
    """The exported network in all its forms: float32, bfloat16, INT8 (calibrated on the images
    themselves), ONNX in float32 and INT8, PyTorch."""
    import dataclasses

    from gluon_a2.deploy import write_bundle
    from gluon_a2.deploy.fold import fold
    from gluon_a2.deploy.onnx import to_onnx
    from gluon_a2.deploy.onnx_int8 import to_onnx_int8
    from gluon_a2.deploy.precision import to_bf16, to_int8
    from gluon_a2.deploy.pytorch import to_torch
    from gluon_a2.run.network import bundle
    from gluon_a2.run.recipes import RECIPES
    recipe = dataclasses.replace(RECIPES['imagenet_a2_resnet50'], input_size=size)
    network = bundle(net, recipe, [str(label) for label in range(CLASSES)], {'data': 'nothing'})
    write_bundle(network, folder / 'fp32', to_onnx(network))
    (folder / 'fp32.safetensors').write_bytes(to_torch(network))
    write_bundle(to_bf16(fold(network)[0]), folder / 'bf16')
    write_bundle(to_int8(network, images), folder / 'int8', to_onnx_int8(network, images))


def read(folder):
    """({name: array}, the images N×3×H×W) that `prepare` wrote."""
    with np.load(folder / 'weights.npz') as file:
        return dict(file), np.load(folder / 'images.npy')


def threads():
    """CPU threads each engine is given."""
    return int(os.environ['OMP_NUM_THREADS'])


# ---- engines: `logits` of images, and for each task what makes a function that takes one step

class MXNet:
    """Our network; `kind` is a form that was exported: fp32, bf16 or int8. The first two are types
    to train in, too, hybridized."""

    def __init__(self, folder, kind):
        self._folder, self._kind, self._images = folder, kind, read(folder)[1]

    def logits(self):
        """Of all images."""
        return self._engine()(self._images)

    def inference(self, batch):
        """A network for each batch size: a static one plans its memory anew when the size
        changes."""
        engine, x = self._engine(), self._images[:batch].copy()
        return lambda: engine(x)

    def training(self, batch):
        """Forward, backward, update."""
        import mxnet_steps

        from gluon_a2.backend import mx
        from gluon_a2.models import get_model, load_weights
        from gluon_a2.train.bfloat16 import in_bfloat16
        net = get_model(MODEL, classes=CLASSES)
        load_weights(net, read(self._folder)[0])
        if self._kind == 'bf16':
            net = in_bfloat16(net)
        step, x = mxnet_steps.training(net, fresh=False), mx.nd.array(self._images[:batch])
        return lambda: step(x)

    def _engine(self):
        from gluon_a2.deploy import read_bundle
        from gluon_a2.deploy.mxnet_engine import MXNetEngine
        fused = self._kind == 'fused'
        return MXNetEngine(read_bundle(self._folder / ('fp32' if fused else self._kind)),
                           fused=fused)


class OnnxRuntime:
    """The same network as an ONNX file."""

    def __init__(self, folder, kind):
        os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # as deploy.engines does
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads(), 3
        self._session = onnxruntime.InferenceSession(str(folder / f'{kind}.onnx'), options,
                                                     ['CPUExecutionProvider'])
        self._images = read(folder)[1]

    def logits(self):
        """Of all images."""
        return self._session.run(None, {'data': self._images})[0]

    def inference(self, batch):
        """One run of the session."""
        x = self._images[:batch].copy()
        return lambda: self._session.run(None, {'data': x})


class OpenVINO:
    """The same files in OpenVINO, computed in the types they are in, or float32 in bfloat16."""

    def __init__(self, folder, kind):
        import openvino
        name, hint = ('fp32', 'bf16') if kind == 'bf16' else (kind, 'f32')
        self._network = openvino.Core().compile_model(str(folder / f'{name}.onnx'), 'CPU', {
            'INFERENCE_NUM_THREADS': threads(), 'INFERENCE_PRECISION_HINT': hint})
        self._images = read(folder)[1]

    def logits(self):
        """Of all images."""
        return self._network(self._images)[0]

    def inference(self, batch):
        """One run."""
        x = self._images[:batch].copy()
        return lambda: self._network(x)


class PyTorch:
    """The same network in PyTorch; `kind` eager, channels_last, compile, bf16 or int8 (the last
    three channels-last, too).

    bf16 is a network of that type for inference, and autocast for training; int8 is calibrated on
    the images themselves.
    """

    def __init__(self, folder, kind):
        import torch
        import torch_steps
        torch.set_num_threads(threads())
        net, _ = torch_steps.a2_torch.load(folder / 'fp32.safetensors')
        layout = torch.contiguous_format if kind == 'eager' else torch.channels_last
        self._torch, self._kind, self._net = torch, kind, net.to(memory_format=layout)
        self._images = torch.from_numpy(read(folder)[1]).to(memory_format=layout)

    def logits(self):
        """Of all images."""
        net, dtype = self._inferring()
        with self._torch.inference_mode():
            return net(self._images.to(dtype)).float().numpy()

    def inference(self, batch):
        """One forward pass."""
        net, dtype = self._inferring()
        x = self._images[:batch].to(dtype)

        def step():
            with self._torch.inference_mode():
                net(x)
        return step

    def training(self, batch):
        """Forward, backward, update."""
        import torch_steps
        net = self._compiled(copy.deepcopy(self._net).train())
        return torch_steps.training(net, self._images[:batch], RATE, MOMENTUM,
                                    self._kind == 'bf16')

    def _inferring(self):
        if self._kind == 'int8':
            return self._quantized(), self._torch.float32
        dtype = self._torch.bfloat16 if self._kind == 'bf16' else self._torch.float32
        return self._compiled(copy.deepcopy(self._net).eval().to(dtype)), dtype

    def _quantized(self):
        import warnings

        from torch.ao.quantization import get_default_qconfig_mapping
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
        with warnings.catch_warnings(), self._torch.inference_mode():
            warnings.simplefilter('ignore')  # torchao shall replace it
            net = prepare_fx(copy.deepcopy(self._net).eval(), get_default_qconfig_mapping('x86'),
                             (self._images,))
            net(self._images)
            return convert_fx(net)

    def _compiled(self, net):
        return self._torch.compile(net, dynamic=False) if self._kind == 'compile' else net


class Products:
    """Square matrix products in float32 by numpy, torch.mm or MXNet, in bfloat16 or int8 by
    PyTorch; a precision's peak is the best of its own."""

    def __init__(self, folder, kind):
        self._kind = kind

    def product(self, size):
        """One product of size×size."""
        a, b = np.random.RandomState(1).normal(size=(2, size, size)).astype('float32')
        if self._kind == 'numpy':
            return lambda: a @ b
        if self._kind == 'mxnet':
            from gluon_a2.backend import mx
            a, b = mx.nd.array(a), mx.nd.array(b)
            return lambda: mx.nd.FullyConnected(a, b, no_bias=True, num_hidden=size).wait_to_read()
        import torch
        torch.set_num_threads(threads())
        dtype = {'bf16': torch.bfloat16, 'int8': torch.int8}.get(self._kind, torch.float32)
        multiply = torch._int_mm if self._kind == 'int8' else torch.mm
        a, b = torch.from_numpy(a).to(dtype), torch.from_numpy(b).to(dtype)
        return lambda: multiply(a, b)


KINDS = {'mxnet': MXNet, 'onnxruntime': OnnxRuntime, 'openvino': OpenVINO, 'torch': PyTorch,
         'product': Products}


def ready(kind, folder):
    """What answers a job of an engine, as a function."""
    family, variant = kind.split('-')
    engine = KINDS[family](folder, variant)
    steps = {}

    def answer(job):
        if job == 'logits':
            return seconds(lambda: np.save(folder / f'{kind}.npy', engine.logits()))
        if job not in steps:
            steps.clear()
            task, number = job.split()
            steps[job] = getattr(engine, task)(int(number))
        return seconds(steps[job])
    return answer


def main(kind, folder):
    """`KIND FOLDER`, or `prepare FOLDER`, which is asked with the size of the images."""
    folder = Path(folder)
    if kind == 'prepare':
        serve(lambda: lambda size: prepare(folder, size))
    else:
        serve(ready, kind, folder)


if __name__ == '__main__':
    main(*sys.argv[1:])
