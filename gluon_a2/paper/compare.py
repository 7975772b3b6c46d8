"""The paper's printed costs beside what is counted."""
from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Iterator, NamedTuple

from ..cost import Cost, count, count_network
from ..errors import UserError, install_extra
from ..formats.symbol import read_symbol
from ..models import get_model
from ..models.table import BASELINE_ROWS, ZOO
from ..models.zoo import check_input_size
from ..nn import product_memory
from . import costs
from .costs import GIGA, MILLION

UNITS = {'M': MILLION, 'G': GIGA, 'MB': 1.0, '%': 0.01}
COLUMNS = ('where', 'network', 'quantity', 'paper', 'counted', 'difference', 'agrees', 'note')


class Comparison(NamedTuple):
    """One printed figure; `unit` is what both numbers are divided by when shown."""
    where: str
    network: str
    quantity: str
    printed: float | None
    step: float  # worth of one step of the last printed digit
    unit: str
    note: str = ''
    at_least: bool = False  # printed as a lower bound ("over", "more than")
    counted: float | None = None

    def show(self, value: float | None) -> str:
        """A value in the figure's unit, to its printed digits, and one more where it is counted."""
        if value is None:
            return '–'
        digits = max(0, round(-math.log10(self.step / UNITS[self.unit])))
        return f'{value / UNITS[self.unit]:.{digits + (value != self.printed)}f} {self.unit}'

    @property
    def difference(self) -> float:
        """counted / printed − 1; NaN where one of them is not known."""
        return self.counted / self.printed - 1 if self.counted and self.printed else math.nan

    @property
    def agrees(self) -> bool:
        """Within 0.03 %, or one step (the paper rounds 462.4 M up to 463 M); or above a bound."""
        counted, printed = self.counted or 0, self.printed or 0
        if self.at_least:
            return counted > printed
        return abs(self.difference) <= 3e-4 or abs(counted - printed) < self.step

    @property
    def cells(self) -> list[str]:
        """Its row under COLUMNS."""
        result = ['–', '–'] if math.isnan(self.difference) else [
            f'{round(100 * self.difference, 2) + 0.0:+.2f} %', 'yes' if self.agrees else 'no']
        return [self.where, self.network, self.quantity, self.show(self.printed),
                self.show(self.counted), *result, self.note]


def zoo_cost(model: str, blocks: dict | None = None) -> Cost:
    """The cost of a zoo network at the size and classes the paper gives it."""
    return count_network(get_model(model, blocks=blocks), ZOO[model].input_size)


def compare_figures() -> Iterator[Comparison]:
    """Every #Params, FLOPs and ΔFLOPs figure of ours in Tables 1–6 and Section 3.3."""
    baseline = zoo_cost('resnet26_3d')
    cache: dict[tuple, Cost] = {}
    for figure in costs.FIGURES:
        key = figure.model, str(figure.blocks)
        cost = cache[key] = cache.get(key) or zoo_cost(figure.model, figure.blocks)
        known = (figure.where, figure.label) in costs.CONTRADICT_TABLE_5
        note = "the paper's own contradiction of Table 5" if known else ''
        for quantity, printed, unit, counted in (
                ('#Params', figure.params, 'M', cost.parameters),
                ('FLOPs', figure.flops, 'G', cost.flops),
                ('ΔFLOPs', figure.delta, '', cost.flops - baseline.flops)):
            if printed:
                value, step = printed
                unit = unit or ('M' if value < GIGA else 'G')
                yield Comparison(figure.where, figure.label, quantity, value, step, unit,
                                 note if quantity == 'FLOPs' else '', counted=counted)


def compare_claims() -> Iterator[Comparison]:
    """The text's figures: the memory of Section 2.3, and the savings over ResNet-152."""
    for association, claim in costs.MEMORY.items():
        counted = product_memory(association=association, **costs.MEMORY_SIZE)
        yield Comparison(*claim)._replace(counted=counted)
    small, large = zoo_cost('a2_resnet50'), zoo_cost('resnet152')
    for claim, ratio in zip(costs.SAVINGS, (small.parameters / large.parameters,
                                            small.flops / large.flops)):
        yield Comparison(*claim)._replace(counted=1 - ratio)


def compare_baselines() -> Iterator[Comparison]:
    """The other systems of Tables 5 and 6, those of GluonCV where it is installed."""
    have_zoo = importlib.util.find_spec('gluoncv') is not None
    for baseline in costs.BASELINES:
        counted, note, row = None, baseline.note, BASELINE_ROWS[baseline.model]
        if row.source and not have_zoo:
            note = f'needs GluonCV: {install_extra("zoo")}'
        else:
            counted = count_network(get_model(baseline.model), row.input_size).flops
        printed, step = baseline.flops or (None, GIGA / 10)
        yield Comparison(baseline.where, baseline.label, 'FLOPs', printed, step, 'G', note,
                         counted=counted)


def compare_all() -> Iterator[Comparison]:
    """Every figure that the paper prints, and the baselines for which it prints none."""
    yield from compare_figures()
    yield from compare_claims()
    yield from compare_baselines()


def network_cost(source: str | Path, input_size: int | tuple[int, ...] | None = None,
                 classes: int | None = None) -> Cost:
    """The `Cost` of a zoo name or of a symbol file, at `input_size` (by default the zoo's own)."""
    if str(source).endswith('.json'):
        if classes is not None:
            raise UserError(f'`classes` is for networks of the zoo: {source} has its own')
        size = (224, 224) if input_size is None else input_size
        return count(read_symbol(source),
                     data=(1, 3, *((size, size) if isinstance(size, int) else size)))
    net = get_model(str(source), classes=classes, input_size=input_size)
    return count_network(net, check_input_size(net.row, input_size))
