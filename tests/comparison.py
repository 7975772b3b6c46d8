"""Rows of a comparison of all networks, with made-up times."""
from compare_networks import IMAGE, NETWORKS, VIDEO
from compare_rounds import Times, table

from gluon_a2.commands.compare_zoo import Choices


def times(latency, throughput, training, parameters=20, peak=(5, 6)):
    found = Times()
    found.latency, found.throughput, found.training = latency, throughput, training
    found.counted = {'parameters': parameters, 'trained': 10, 'flops': 1_234_567_890,
                     'file_bytes': 98_765_432, 'threads': 2}
    found.peak = dict(zip(('inference', 'training'), peak))
    return found


def rows():
    return table({NETWORKS[name]: times([.01 * i, .013 * i], [.071 * i], [.31 * i], 3_456_789 * i,
                                        (123_456_789, 987_654_321))
                  for i, name in enumerate([*IMAGE, *VIDEO], 1)}, Choices())
