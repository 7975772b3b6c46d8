"""The paper's printed costs beside what is counted."""
import importlib.util
import math
from typing import NamedTuple, Optional

from ..cost import Cost, count, count_network
from ..errors import UserError, install_extra
from ..formats.symbol import read_symbol
from ..models import get_model
from ..models.table import BASELINE_ROWS, ZOO
from ..models.zoo import check_input_size
from ..nn import product_memory
from .costs import BASELINES, CONTRADICT_TABLE_5, FIGURES, GIGA, MILLION


class Comparison(NamedTuple):
    """One printed figure; `unit` is what both numbers are divided by when shown."""
    where: str
    network: str
    quantity: str
    printed: Optional[float]
    counted: Optional[float]
    place: float  # worth of one step of the last printed digit
    unit: str
    note: str = ''
    at_least: bool = False  # printed as a lower bound ("over", "more than")

    def show(self, value):
        """A value in the figure's unit, to its printed digits; one more than printed for what is
        counted."""
        if value is None:
            return '–'
        digits = max(0, round(-math.log10(self.place / UNITS[self.unit])))
        return f'{value / UNITS[self.unit]:.{digits + (value != self.printed)}f} {self.unit}'

    @property
    def difference(self):
        """counted / printed − 1."""
        return self.counted / self.printed - 1

    @property
    def agrees(self):
        """Within 0.03 %, or within the last printed digit however it was rounded (463 M is 462.4 M
        rounded up)."""
        if self.at_least:
            return self.counted > self.printed
        return abs(self.difference) <= 3e-4 or abs(self.counted - self.printed) < self.place


UNITS = {'M': MILLION, 'G': GIGA, 'MB': 1.0, '%': 0.01}


def zoo_cost(model, blocks=None) -> Cost:
    """The cost of a zoo network at the size and classes the paper gives it."""
    net = get_model(model, blocks=blocks)
    return count_network(net, ZOO[model].input_size)


def compare_figures():
    """A `Comparison` for every #Params, FLOPs and ΔFLOPs figure of ours in Tables 1–6 and Section
    3.3."""
    baseline, cache = zoo_cost('resnet26_3d'), {}
    for figure in FIGURES:
        key = figure.model, str(figure.blocks)
        cost = cache[key] = cache.get(key) or zoo_cost(figure.model, figure.blocks)
        known = (figure.where, figure.label) in CONTRADICT_TABLE_5
        note = "the paper's own contradiction of Table 5" if known else ''
        if figure.params:
            yield Comparison(figure.where, figure.label, '#Params', figure.params[0],
                             cost.parameters, figure.params[1], 'M')
        if figure.flops:
            yield Comparison(figure.where, figure.label, 'FLOPs', figure.flops[0], cost.flops,
                             figure.flops[1], 'G', note)
        if figure.delta:
            unit = 'M' if figure.delta[0] < GIGA else 'G'
            yield Comparison(figure.where, figure.label, 'ΔFLOPs', figure.delta[0],
                             cost.flops - baseline.flops, figure.delta[1], unit)


def compare_claims():
    """The figures in the text: the memory of Section 2.3, and the savings claimed over
    ResNet-152."""
    memory = {'where': 'Section 2.3', 'quantity': 'memory', 'unit': 'MB'}
    size = {'m': 512, 'n': 512, 'positions': 32 * 28 * 28}
    yield Comparison(network='32 frames of 28×28, c=512, left', printed=1.0,
                     counted=product_memory(association='left', **size), place=1.0, **memory)
    yield Comparison(network='32 frames of 28×28, c=512, right', printed=2048.0, place=1.0,
                     counted=product_memory(association='right',
                                            **size), at_least=True, note='"more '
                     'than '
                     '2 '
                     'GB"', **memory)
    small, large = zoo_cost('a2_resnet50'), zoo_cost('resnet152')
    for quantity, a, b in (('#Params', small.parameters, large.parameters), ('FLOPs', small.flops,
                                                                             large.flops)):
        yield Comparison('Section 3.3', 'A²-Net ResNet-50 below ResNet-152', quantity, 0.40,
                         1 - a / b, 0.01, '%', '"over 40 %"', at_least=True)


def compare_baselines():
    """The other systems of Tables 5 and 6, those of GluonCV where it is installed."""
    have_zoo = importlib.util.find_spec('gluoncv') is not None
    for baseline in BASELINES:
        counted, note, row = None, baseline.note, BASELINE_ROWS[baseline.model]
        if row.source and not have_zoo:
            note = f'needs GluonCV: {install_extra("zoo")}'
        else:
            counted = count_network(get_model(baseline.model), row.input_size).flops
        printed, place = baseline.flops or (None, GIGA / 10)
        yield Comparison(baseline.where, baseline.label, 'FLOPs', printed, counted, place, 'G',
                         note)


def network_cost(source, input_size=None, classes=None):
    """The `Cost` of a zoo name or of an exported symbol file, at `input_size` (the zoo's own where
    not given)."""
    if str(source).endswith('.json'):
        if classes is not None:
            raise UserError(f'--classes is for networks of the zoo: {source} has its own')
        size = (224, 224) if input_size is None else input_size
        return count(read_symbol(source),
                     data=(1, 3, *((size, size) if isinstance(size, int) else size)))
    net = get_model(source, classes=classes, input_size=input_size)
    return count_network(net, check_input_size(net.row, input_size))
