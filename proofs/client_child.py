"""One client of `clients.py` on one network, in the client's own environment: prints as JSON its
version and the largest difference of its logits, relative to the largest.

    python proofs/client_child.py CLIENT PREFIX

Beside `<prefix>-x.npy`, the input, and `<prefix>-logits.npy`, what was expected, stand the files of
the forms: symbol and params, `<prefix>.onnx` with all its axes free, `<prefix>-batch.onnx` of fixed
sizes, and `<prefix>.safetensors` beside a2_torch.py.
"""
import ctypes
import glob
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def mxnet_module(prefix, x):
    """Module.load, which the examples of MXNet have."""
    from gluon_a2.backend import mx
    module = mx.mod.Module.load(prefix, 0, label_names=None)
    module.bind([('data', x.shape)], for_training=False)
    module.forward(mx.io.DataBatch([mx.nd.array(x)]), is_train=False)
    return mx.__version__, module.get_outputs()[0].asnumpy()


def mxnet_c_predict(prefix, x):
    """c_predict_api.h of libmxnet.so, without MXNet's Python."""
    folder = importlib.util.find_spec('mxnet').submodule_search_locations[0]
    library, handle = ctypes.CDLL(os.path.join(folder, 'libmxnet.so')), ctypes.c_void_p()
    library.MXGetLastError.restype = ctypes.c_char_p
    number, floats = ctypes.c_uint, ctypes.POINTER(ctypes.c_float)

    def call(name, *arguments):
        if getattr(library, name)(*arguments):
            raise RuntimeError(library.MXGetLastError().decode())

    symbol, params = (Path(prefix + ending).read_bytes()
                      for ending in ('-symbol.json', '-0000.params'))
    call('MXPredCreate', symbol, params, len(params), 1, 0, 1, (ctypes.c_char_p * 1)(b'data'),
         (number * 2)(0, x.ndim), (number * x.ndim)(*x.shape), ctypes.byref(handle))
    call('MXPredSetInput', handle, b'data', x.ctypes.data_as(floats), x.size)
    call('MXPredForward', handle)
    shape, axes, version = ctypes.POINTER(number)(), number(), ctypes.c_int()
    call('MXPredGetOutputShape', handle, 0, ctypes.byref(shape), ctypes.byref(axes))
    logits = np.empty(shape[:axes.value], np.float32)
    call('MXPredGetOutput', handle, 0, logits.ctypes.data_as(floats), logits.size)
    call('MXGetVersion', ctypes.byref(version))
    return '.'.join(str(version.value // part % 100) for part in (10000, 100, 1)), logits


def pytorch(prefix, x):
    """The form of `--torch`."""
    import torch
    sys.path.insert(0, os.path.dirname(prefix))
    import a2_torch
    with torch.no_grad():
        return torch.__version__, a2_torch.load(f'{prefix}.safetensors')[0](
            torch.from_numpy(x)).numpy()


def onnxruntime(prefix, x):
    """ONNX Runtime for Python."""
    import onnxruntime as runtime
    session = runtime.InferenceSession(f'{prefix}.onnx', providers=['CPUExecutionProvider'])
    return runtime.__version__, session.run(None, {'data': x})[0]


def onnx_reference(prefix, x):
    """onnx's own evaluator, in numpy."""
    import onnx
    from onnx.reference import ReferenceEvaluator
    return onnx.__version__, ReferenceEvaluator(f'{prefix}.onnx').run(None, {'data': x})[0]


def onnxruntime_js(package, prefix, x):
    """ONNX Runtime for Node or the web (WebAssembly), in Node; NODE_PATH names its folder."""
    x.tofile(f'{prefix}-x.bin')
    code = '''
const [name, prefix, shape] = process.argv.slice(1), fs = require('fs')
const ort = require(name), bytes = fs.readFileSync(prefix + '-x.bin')
ort.InferenceSession.create(fs.readFileSync(prefix + '.onnx')).then(async session => {
  const data = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  const fed = {data: new ort.Tensor('float32', data, JSON.parse(shape))}
  const logits = (await session.run(fed)).logits
  const version = ort.env.versions.node || ort.env.versions.web || ort.env.versions.common
  console.log(JSON.stringify([version, Array.from(logits.data)]))
  process.exit()
})'''
    done = run(['node', '-e', code, package, prefix, json.dumps(x.shape)])
    version, logits = json.loads(done.splitlines()[-1])
    return version, np.reshape(np.float32(logits), (len(x), -1))


def openvino(prefix, x):
    """OpenVINO on the CPU, in float32."""
    import openvino as ov
    network = ov.Core().compile_model(f'{prefix}.onnx', 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return ov.__version__.split('-')[0], network(x)[0]


def opencv(prefix, x):
    """OpenCV DNN; it is given fixed sizes."""
    import cv2
    network = cv2.dnn.readNetFromONNX(f'{prefix}-batch.onnx')
    if x.ndim == 5 and cv2.__version__ < '5':  # it fuses sums into Conv3D, which then refuses them
        network.enableFusion(False)
    network.setInput(x)
    return cv2.__version__, network.forward()


def onnx2torch(prefix, x):
    """The ONNX file as a module of PyTorch."""
    import torch
    from onnx2torch import convert
    network, version = convert(f'{prefix}.onnx').eval(), importlib.metadata.version('onnx2torch')
    with torch.no_grad():
        return version, network(torch.from_numpy(x)).numpy()


def ncnn(prefix, x):
    """ncnn through pnnx, weights in float32, one input at a time."""
    import ncnn as runtime
    shape = ','.join(map(str, (1, *x.shape[1:])))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'net.onnx')
        os.symlink(f'{prefix}-batch.onnx', path)
        run([os.path.join(os.path.dirname(sys.executable), 'pnnx'), path,
             f'inputshape=[{shape}]', 'fp16=0'], cwd=folder)
        network, logits = runtime.Net(), []
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = False
        network.opt.use_fp16_arithmetic = network.opt.use_bf16_storage = False
        if network.load_param(f'{folder}/net.ncnn.param'):
            raise RuntimeError('ncnn does not load what pnnx wrote')
        network.load_model(f'{folder}/net.ncnn.bin')
        for one in x:
            extractor = network.create_extractor()
            extractor.input('in0', runtime.Mat(one))
            logits.append(np.array(extractor.extract('out0')[1]).reshape(-1))
    return runtime.__version__, np.stack(logits)


def mnn(prefix, x):
    """MNN. Its `mnnconvert` reports each conversion to its maker, and runs pip to be able to, so
    what lies beneath is called."""
    import MNN
    import MNN.expr as expr
    run([sys.executable, '-c', 'import sys, _tools; _tools.mnnconvert(sys.argv)', '-f', 'ONNX',
         '--modelFile', f'{prefix}-batch.onnx', '--MNNModel', f'{prefix}.mnn', '--bizCode', 'x'])
    network = MNN.nn.load_module_from_file(f'{prefix}.mnn', ['data'], ['logits'])
    fed = expr.const(x.ravel().tolist(), list(x.shape), expr.NCHW)
    logits = expr.convert(network.forward(fed), expr.NCHW)
    return MNN.version(), np.array(logits.read()).reshape(len(x), -1)


def tvm(prefix, x):
    """TVM's Relax, compiled for the CPU."""
    import onnx
    import tvm as compiler
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx
    module = from_onnx(onnx.load(f'{prefix}-batch.onnx'), shape_dict={'data': list(x.shape)})
    module = relax.get_pipeline('zero')(module)
    machine = relax.VirtualMachine(compiler.compile(module, target='llvm'), compiler.cpu())
    found = machine['main'](compiler.runtime.tensor(x))
    found = found if hasattr(found, 'numpy') else found[0]
    return compiler.__version__, found.numpy()


def run(words, **more):
    """What a program prints; RuntimeError with the last line it said where it fails."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding='utf-8', errors='replace', **more)
    if done.returncode:
        raise RuntimeError((done.stdout.strip().splitlines() or [f'exit {done.returncode}'])[-1])
    return done.stdout


def reason(error):
    """What it says, in one line, without paths and places in sources."""
    said = re.sub(r"\S*/\S+:\d+:?|OpenCV\(\S+\)|0x\w+|\[\d\d:\d\d:\d\d\]|in function '\w+'", '',
                  str(error))
    return ' '.join(said.replace('|', '/').split())[:200] or type(error).__name__


def main(client, prefix):
    """Run the client, print what it found."""
    name, _, package = client.partition(':')
    x, expected = np.load(f'{prefix}-x.npy'), np.load(f'{prefix}-logits.npy')
    try:
        version, logits = globals()[name](*[package][:bool(package)], prefix, x)
        found = {'version': str(version), 'difference': float(
            abs(logits - expected).max() / abs(expected).max())}
    except Exception as error:  # of another program: of any kind
        found = {'reason': reason(error)}
    print('\n' + json.dumps(found))


if __name__ == '__main__':
    if glob.glob(sys.argv[2] + '*'):
        main(*sys.argv[1:])
