"""proofs/short_forms.py: every proof has a short form, or says what it takes."""
import pytest
from loading import ROOT, load

SHORT_FORMS = load('proofs/short_forms.py')


def test_every_proof_is_listed_once():
    proofs = {path.stem for path in (ROOT / 'proofs').glob('*.csv')
              if path.with_suffix('.py').exists()}
    assert proofs == SHORT_FORMS.SHORT.keys() | SHORT_FORMS.ELSEWHERE.keys()
    assert not SHORT_FORMS.SHORT.keys() & SHORT_FORMS.ELSEWHERE.keys()


def test_one_that_fails_is_named(monkeypatch, capsys):
    monkeypatch.setattr(SHORT_FORMS, 'run', lambda name, _: (1.4, int(name == 'kills'), 'why not'))
    with pytest.raises(SystemExit):
        SHORT_FORMS.main(['kills', 'resume'])
    out, err = capsys.readouterr()
    assert 'kills   1  no' in out and 'resume  1  yes' in out
    assert 'why not' in err and 'these proofs do not hold: kills;' in err


def test_a_name_without_a_short_form(capsys):
    with pytest.raises(SystemExit):
        SHORT_FORMS.main(['clients'])
    assert 'clients has no short form: choose from' in capsys.readouterr().err
