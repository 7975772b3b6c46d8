"""What a launch is asked for: who is a launcher, hosts, variables."""
import socket
from argparse import ArgumentParser

import pytest

from gluon_a2.errors import UserError
from gluon_a2.flags import add_flags, from_args
from gluon_a2.launch.options import Processes, is_local


def flags(*given):
    parser = ArgumentParser(allow_abbrev=False)
    add_flags(parser, Processes)
    return from_args(Processes, parser.parse_args([str(flag) for flag in given]))


def test_who_is_a_launcher():
    assert not flags().is_launcher({})
    assert not flags().is_launcher({'HOROVOD_RANK': '0'})
    assert flags('-np', 2).is_launcher({})
    assert flags('--max-restarts', 1).is_launcher({})


@pytest.mark.parametrize('given, environ, reason', [
    (['-np', 0], {}, '`num_proc` must be 1 or more, not 0'),
    (['--max-restarts', -1], {}, '`max_restarts` must be 0 or more, not -1'),
    (['-H', 'a:2'], {}, '`hosts` is for several processes: say how many with `num_proc`'),
    (['--env', 'A=1'], {}, '`env` is for several processes'),
    (['-np', 2, '--ranks-filter', '0,2'], {}, '`ranks_filter` names rank 2, and the 2 ranks count'),
    (['-np', 2], {'HOROVOD_RANK': '0'},
     r'already started by a launcher \(HOROVOD_RANK is set\): leave out `num_proc`'),
    (['--max-restarts', 2], {'OMPI_COMM_WORLD_RANK': '0'}, 'already started by a launcher')])
def test_flags_that_make_no_sense(given, environ, reason):
    with pytest.raises(UserError, match=reason):
        flags(*given).is_launcher(environ)


@pytest.mark.parametrize('given, reason', [
    (['-H', 'a'], "'a' is no host with its number of processes; `hosts`: HOST:SLOTS"),
    (['-H', 'a:0,b:9'], "'a:0' is no host"),
    (['-H', 'fd77::2:7'], "'fd77::2:7' is no host .* is expected, with IPv4 addresses"),
    (['-H', 'a:3,a:4'], 'a host is named twice'),
    (['-H', 'a:3,b:3'], '`num_proc` 7 asks for more ranks than the 6 slots'),
    (['--hostfile', '/no/such/file'], '`hostfile` /no/such/file cannot be read'),
    (['--hostfile', 'x', '-H', 'a:7'], '`hosts` and `hostfile` exclude each other')])
def test_hosts_that_cannot_be(given, reason):
    with pytest.raises(UserError, match=reason):
        flags('-np', 7, *given).read_hosts()


def test_hosts(tmp_path):
    assert flags('-np', 3).read_hosts() == [('localhost', 3)]
    assert flags('-np', 3, '-H', 'n-1.x:2,10.0.0.2:5').read_hosts() == [('n-1.x', 2),
                                                                        ('10.0.0.2', 5)]
    file = tmp_path / 'hosts'
    file.write_text('# ours\nn1 slots=2\n\nn2   slots = 3  # the big one\n')
    assert flags('-np', 5, '--hostfile', file).read_hosts() == [('n1', 2), ('n2', 3)]
    file.write_text('n1 8\n')
    with pytest.raises(UserError, match="'n1 8' is no host .*hosts: \"HOST slots=SLOTS\" is "
                                        "expected"):
        flags('-np', 5, '--hostfile', file).read_hosts()
    assert [
        is_local(host) for host in ('localhost', '127.0.0.1', socket.gethostname(), 'other')
    ] == [True, True, True, False]


def test_the_nodes_of_a_slurm_job_are_asked_for(monkeypatch):
    monkeypatch.setenv('SLURM_JOB_NUM_NODES', '2')
    assert flags('-np', 3, '-H', 'localhost:3').read_hosts() == [('localhost', 3)]
    with pytest.raises(UserError, match='this Slurm job has 2 nodes: name them with `hosts`'):
        flags('-np', 3).read_hosts()


def test_variables_of_all_ranks():
    given = flags('-np', 2, '--env', 'NCCL_IB_HCA=mlx5_0,mlx5_1', '--env', 'HOME', '--env', 'A=')
    assert given.variables({'HOME': '/h'}) == {
        'NCCL_IB_HCA': 'mlx5_0,mlx5_1', 'HOME': '/h', 'A': ''}
    for text, reason in (('1=2', "'1=2' is no variable"), ('NO', 'NO is not set here: export it')):
        with pytest.raises(UserError, match=f'`env` {reason}'):
            flags('-np', 2, '--env', text).variables({})
