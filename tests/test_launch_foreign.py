"""What users of torchrun and horovodrun are told."""
import contextlib
import re

import pytest
from test_train_gluoncv_flags import ours

from gluon_a2.errors import UserError
from gluon_a2.launch import foreign
from gluon_a2.train import command


@pytest.mark.parametrize('launcher', foreign.FLAGS)
def test_an_answer_names_flags_that_are_there_for_one_that_is_not(launcher, capsys):
    there = ours(2) & ours(3)
    for name, answer in foreign.FLAGS[launcher].items():
        assert f'--{name}' not in there
        said = re.sub('".*"', '', answer)
        assert set(re.findall(r'(?<!\S)--?[a-zA-Z][a-z-]*', said)) <= there, name


@pytest.mark.parametrize('word, sentence', [
    ('--nproc_per_node=8', '--nproc_per_node is a flag of torchrun: give -np, the ranks of all'),
    ('--ssh-port', '--ssh-port is a flag of horovodrun: give it in --remote-shell')])
def test_the_sentence(word, sentence):
    with pytest.raises(UserError, match=f'^{sentence}'):
        command.parse('', [word, '2'], 2)


@pytest.mark.parametrize('environ, refused', [
    ({}, False), ({'WORLD_SIZE': '4'}, False), ({'SLURM_STEP_NUM_TASKS': '1'}, False),
    ({'WORLD_SIZE': '4', 'TORCHELASTIC_RUN_ID': 'x'}, True),
    ({'SLURM_STEP_NUM_TASKS': '4'}, True), ({'PMI_SIZE': '4', 'PMI_RANK': '0'}, True),
    ({'SLURM_STEP_NUM_TASKS': '4', 'OMPI_COMM_WORLD_SIZE': '4'}, False)])
def test_copies_that_know_nothing_of_each_other(environ, refused):
    told = pytest.raises(UserError, match='has started 4 of these, .* with `num_proc` 4')
    with told if refused else contextlib.nullcontext():
        foreign.refuse_copies(environ)
