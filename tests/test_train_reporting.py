"""The progress bar, on a terminal that is the launcher's."""
import re
from types import SimpleNamespace

import pytest

from gluon_a2.machine.ranks import COLUMNS
from gluon_a2.train.reporting import Reporter


@pytest.mark.parametrize('first, columns, shown', [
    (True, '40', True), (False, '40', False), (True, '0', False)])
def test_the_bar_of_a_rank_behind_a_pipe(monkeypatch, capfd, first, columns, shown):
    monkeypatch.setenv(COLUMNS, columns)
    reporter = Reporter(SimpleNamespace(schedule=SimpleNamespace(total=4), group=SimpleNamespace(
        first=first), at=SimpleNamespace(step=1)))
    with reporter.progress():
        pass
    said = capfd.readouterr().err
    assert ('1/4' in said) is shown
    assert all(len(line) <= 40 for line in re.split('[\r\n]', said))
