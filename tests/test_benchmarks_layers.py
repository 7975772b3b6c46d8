"""benchmarks/layers.py: what oneDNN's reports mean, by hand."""
import pytest
from loading import load

LAYERS = load('benchmarks/layers.py')
CONV = ('dnnl_verbose,exec,cpu,convolution,brgconv:avx512_core,forward_inference,'
        'src_{0}::blocked:acdb:f0 wei_{1}::blocked:Acdb32a:f0 bia_f32::blocked:a:f0 '
        'dst_{0}::blocked:acdb:f0,attr-post-ops:eltwise_relu:0:1 ,alg:convolution_direct,'
        'mb2_ic3oc5_ih9oh4kh3sh2dh0ph0_iw11ow5kw3sw2dw0pw0,{2}')
SOFTMAX = ('dnnl_verbose,exec,cpu,softmax,jit:avx512_common,forward_inference,'
           'data_f32::blocked:abc:f0 diff_undef::undef::f0,,alg:softmax axis:2,8x196x512,0.5')
POOL = ('dnnl_verbose,exec,cpu,pooling_v2,jit,forward_inference,src_f32::blocked:aBcd16b:f0 '
        'dst_f32::blocked:aBcd16b:f0 ws_undef::undef::f0,,alg:pooling_max,mb8ic64_ih112oh56,0.25')
PASS = '\n'.join(['pass', 'dnnl_verbose,info,cpu,runtime:OpenMP', CONV.format('f32', 'f32', '2.0'),
                  SOFTMAX, POOL, 'took 5.0', ''])
ADDS = 2 * 5 * 3 * 9 * 4 * 5


def test_primitives_of_a_pass():
    (took, found), = LAYERS.passes_of('dnnl_verbose,exec,before the first\n' + PASS)
    moved = 4 * (2 * 3 * 9 * 11 + 5 * 3 * 9 + 2 * 5 * 4 * 5)
    assert took == 5 and found == [
        ('convolution 3×3', '3→5, 4×5, stride 2', 'float32', ADDS, moved, 2.0),
        ('softmax', '', '', 0, 0, 0.5), ('pooling', '', '', 0, 0, 0.25)]


@pytest.mark.parametrize('source, weights, precision, size', [
    ('bf16', 'bf16', 'bfloat16', (2, 2)), ('u8', 's8', 'int8', (1, 1))])
def test_bytes_by_type(source, weights, precision, size):
    found, = LAYERS.primitives([CONV.format(source, weights, '1')])
    assert found[2] == precision
    assert found[4] == size[0] * 2 * (3 * 9 * 11 + 5 * 4 * 5) + size[1] * 5 * 3 * 9


def test_rows_by_hand():
    """Equal layers are one row, by the median over the passes; the rest is what is left."""
    twice = PASS.replace(SOFTMAX, SOFTMAX + '\n' + SOFTMAX)
    passes = LAYERS.passes_of(twice + twice.replace('took 5.0', 'took 6.0') + twice)
    conv, softmax, _, rest = LAYERS.rows_of('float32', passes, {'float32': 1e9}, 0.5)
    assert (softmax['calls'], softmax['ms'], softmax['gflop_per_s']) == (2, 1.0, '')
    assert rest['ms'] == 5 - 2 - 1 - 0.25
    assert conv['gflop_per_s'] == round(2 * ADDS / 2e-3 / 1e9, 1)
    assert conv['flop_per_byte'] == pytest.approx(2 * ADDS / 3716, abs=0.05)
    assert conv['roofline'] == round(0.5 * 2 * ADDS / 3716, 1)  # memory's, not the product's
