import math

import pytest

from gluon_a2.run.recipes import RECIPES, choose
from gluon_a2.train.schedule import Plateau, Schedule


def schedule(plateau=None, steps_per_epoch=10, **flags):
    return Schedule(choose('digits', {'lr': 0.4, 'num_epochs': 20, 'warmup_epochs': 0, **flags}),
                    steps_per_epoch, plateau or Plateau())


def test_warmup_rises_linearly_from_its_own_start():
    warm = schedule(lr_mode='step', lr_decay_epoch=(), warmup_epochs=2, warmup_lr=0.1)
    assert [warm.lr(step)
            for step in (0, 10, 19, 20, 21)] == pytest.approx([0.1, 0.25, 0.385, 0.4, 0.4])


def test_step_decays_at_its_epochs():
    step = schedule(lr_mode='step', lr_decay_epoch=(5, 7.5), lr_decay=0.1)
    assert [step.lr(s) for s in (0, 49, 50, 74, 75, 199)] == pytest.approx([
        0.4, 0.4, 0.04, 0.04, 0.004, 0.004])


def test_steps_take_the_place_of_epochs():
    paper = schedule(lr_mode='step', lr_decay_step=(20, 30), num_steps=37, steps_per_epoch=10)
    assert paper.total == 37
    assert [paper.lr(s)
            for s in (0, 19, 20, 29, 30, 36)] == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.004, 0.004])
    # whichever comes first
    assert schedule(num_steps=0).total == 200 and schedule(num_steps=500).total == 200
    assert schedule(lr_mode='cosine', num_steps=50).lr(50) == pytest.approx(0)


def test_cosine_ends_at_its_target():
    cosine = schedule(lr_mode='cosine', target_lr=0.1, warmup_epochs=4)
    assert cosine.lr(40) == pytest.approx(0.4)
    assert cosine.lr(120) == pytest.approx(0.25)  # half-way between warm-up and end
    assert cosine.lr(80) == pytest.approx(0.1 + 0.3 * (1 + math.cos(math.pi / 4)) / 2)
    assert cosine.lr(200) == pytest.approx(0.1)


def test_poly_is_quadratic():
    poly = schedule(lr_mode='poly', target_lr=0.0)
    assert [poly.lr(s) for s in (0, 100, 150, 200)] == pytest.approx([0.4, 0.1, 0.025, 0])


@pytest.mark.parametrize('mode', ['cosine', 'poly'])
def test_a_warmup_as_long_as_the_run_is_no_division_by_zero(mode):
    assert schedule(lr_mode=mode, warmup_epochs=20).lr(200) >= 0


def test_plateau_decays_when_training_accuracy_stops_rising():
    recipe, plateau = RECIPES['imagenet_a2_resnet50'], Plateau()
    rates = Schedule(choose('imagenet_a2_resnet50', {'lr': 0.4}), 10, plateau)
    seen = []
    for accuracy in (0.1, 0.3, 0.3005, 0.2, 0.3, 0.5, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4):
        plateau.observe(accuracy, recipe.plateau_gain, recipe.plateau_patience)
        seen.append(rates.lr(0))
    assert seen == pytest.approx([0.4] * 4 + [0.04] * 4 + [0.004] * 3 + [0.0004])


def test_plateau_ends_the_run_at_the_saturation_after_its_last_decay():
    plateau = Plateau(best=1.0)
    rates = schedule(plateau, lr_mode='plateau', plateau_decays=2)
    ended = []
    for _ in range(6):
        plateau.observe(0.5, 0.001, 2)
        ended.append(rates.finished)
    assert ended == [False] * 5 + [True]


def test_other_modes_never_end_early():
    assert not schedule(Plateau(decays=99), lr_mode='cosine').finished
