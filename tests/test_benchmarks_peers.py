"""benchmarks/peers.py: its rates by hand. The run itself holds all logits to ours."""
from loading import load

PEERS = load('benchmarks/peers.py')
OURS, PRODUCT = (next(engine for engine in PEERS.ENGINES if engine.name == name)
                 for name in (PEERS.OURS, 'OpenBLAS (numpy)'))


def test_rates_by_hand():
    """A network of 5 G multiply-adds; the best product is 1024³·2/0.01 s = 215 GFLOP/s."""
    seconds = {(OURS, 'inference 8'): [0.8, 1.0, 4.0], (OURS, 'training 8'): [2.0],
               (PRODUCT, 'product 1024'): [0.01, 0.02]}
    inference, training, product = PEERS.rows_of(seconds, 5_000_000_000)
    assert (inference['images_per_s'], inference['low'], inference['high']) == (8, 2, 10)
    assert (inference['ratio_to_ours'], inference['gflop_per_s']) == (1, 80.0)
    assert inference['share_of_peak'] == round(80 / (2 * 1024 ** 3 / 0.01 / 1e9), 3)
    # forward, and two products for each in the backward pass
    assert training['gflop_per_s'] == 3 * 40.0
    assert product['images_per_s'] == '' and product['ratio_to_ours'] == ''
