"""The hosts of a cluster on one machine (proofs/cluster.py): what it needs, and the rows it has
kept."""
import os
import string

import pytest
from loading import load

from gluon_a2.errors import UserError

proof = load('proofs/cluster.py')


def test_rows_are_those_of_the_scenarios():
    rows = proof.read_rows(proof.CSV)
    names = [scenario.name for scenario in proof.SCENARIOS]
    assert len(set(names)) == len(names)
    assert [row['scenario'] for row in rows] == [
        name for name in names if name in {row['scenario'] for row in rows}]
    assert {row['good'] for row in rows} == {'True'}


@pytest.mark.parametrize('user, packages, reason', [
    (1000, {'sh': 'dash'}, 'takes root.* packages dash: this is not root'),
    (0, {'sh': 'dash', 'no-such-program': 'nowhere'}, 'packages dash nowhere: nowhere missing')])
def test_what_it_needs_is_said(monkeypatch, user, packages, reason):
    monkeypatch.setattr(os, 'geteuid', lambda: user)
    with pytest.raises(UserError, match=reason):
        proof.cluster_hosts.require(packages)


def test_faults_name_what_there_is():
    """A word in braces that nobody fills would end the proof in its middle."""
    words = {f'{what}{number}' for number in range(4) for what in (
        'rank', 'watchdog', 'ssh', 'sshd', 'port')} | {'launcher', 'nsenter', 'wire'}
    used = {word for scenario in proof.SCENARIOS
            for _, word, _, _ in string.Formatter().parse(getattr(scenario, 'fault', None) or '')
            if word is not None}
    assert {'launcher', 'rank2'} <= used <= words
