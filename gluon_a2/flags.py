"""Options, each declared once: a dataclass field makes the flag, its line of help and its check.

    @dataclass(frozen=True)
    class Choices:
        top: int = option(5, 'classes to print', low=1, group='output')

        def __post_init__(self):
            check(self)

`add_flags` gives a parser `--top`, `from_args` builds the dataclass of what was parsed, `to_args`
turns values back into flags, and `check` refuses 0. Types are bool, int, float, str, Tuple[type,
...] and Optional[type]; a flag takes a tuple as words separated by commas.
"""
import argparse
import dataclasses
import functools
import math
import numbers
import os
import shutil
import textwrap
import typing
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Union

from .errors import UserError

REQUIRED = dataclasses.MISSING
WIDTH = 100  # of the help, at most
KINDS: Dict[type, tuple] = {
    bool: (bool, 'True or False'), int: (numbers.Integral, 'a whole number'),
    float: (numbers.Real, 'a number'), str: ((str, os.PathLike), 'text')}


def option(default: Any, help: Optional[str], *, choices: Optional[Sequence] = None,
           low: Any = None, high: Any = None, above: Any = None, below: Any = None,
           flag: bool = True, positional: bool = False, short: Optional[str] = None,
           group: Optional[str] = None, metavar: Optional[str] = None, const: Any = None,
           repeat: bool = False, needs: Sequence[str] = (), excludes: Sequence[str] = (),
           **more: Any) -> Any:
    """A dataclass field that is an option.

    `help` is one line; None where the option shares the line of the option before it. Values lie
    from `low` to `high`, `above` and `below` exclude the bound itself, and `choices` lists all.
    `default` is `REQUIRED` where there is none. `const` is the value of the bare flag. `flag=False`
    hides the option from the command line, and `positional` makes it a word without a flag. A tuple
    that `repeat`s takes one value a flag, commas included. An option `needs` others beside it, and
    `excludes` some. `more` is metadata of the caller's own.
    """
    return dataclasses.field(default=default, metadata={
        'help': help, 'choices': choices, 'low': low, 'high': high, 'above': above, 'below': below,
        'flag': flag, 'positional': positional, 'short': short, 'group': group,
        'metavar': metavar, 'const': const, 'repeat': repeat, 'needs': needs, 'excludes': excludes,
        **more})


def options(cls: type, skip: Collection[str] = (), **tags: Any) -> List[dataclasses.Field]:
    """The fields of a dataclass that are options, without `skip` and those of other `tags`."""
    return [field for field in dataclasses.fields(cls)
            if 'flag' in field.metadata and field.name not in skip
            and all(field.metadata.get(key, value) == value for key, value in tags.items())]


def _types(cls: type) -> Dict[str, tuple]:
    """{field: (type of a value or of a tuple's items, is it a tuple, may it be None)}."""
    found = {}
    for name, hint in typing.get_type_hints(cls).items():
        optional = type(None) in typing.get_args(hint)
        if optional:
            hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
        several = typing.get_origin(hint) is tuple
        found[name] = typing.get_args(hint)[0] if several else hint, several, optional
    return found


# ---- checks

def check(instance: Any) -> None:
    """Raise UserError unless each option of an instance is of its type, within its bounds, and
    beside the others that it needs."""
    types = _types(type(instance))
    for field in options(type(instance)):
        kind, several, optional = types[field.name]
        value = getattr(instance, field.name)
        if value is None and optional:
            continue
        if several and not isinstance(value, (tuple, list)):
            raise UserError(f'`{field.name}` must be several values, not {value!r}')
        for item in value if several else [value]:
            rule = _broken_rule(field.metadata, kind, item)
            if rule:
                raise UserError(f'`{field.name}` must be {rule}, not '
                                f'{item if isinstance(item, numbers.Number) else repr(item)}')
    given = [field for field in options(type(instance))
             if getattr(instance, field.name) not in (None, ())
             and getattr(instance, field.name) is not False]
    names = [field.name for field in given]
    for field in given:
        for other in field.metadata['needs']:
            if other not in names:
                raise UserError(f'`{field.name}` needs `{other}`: give both, or leave it out')
        for other in field.metadata['excludes']:
            if other in names:
                raise UserError(f'`{field.name}` and `{other}` exclude each other: give one of '
                                'them')


def _broken_rule(rules: Mapping, kind: type, value: Any) -> Optional[str]:
    """The rule that a value breaks, in words, or None."""
    abstract, words = KINDS[kind]
    if not isinstance(value, abstract) or (isinstance(value, bool) and kind is not bool):
        return words
    if value == '':
        return 'text of one letter or more'
    if rules['choices'] and value not in rules['choices']:
        return f'one of {", ".join(map(str, rules["choices"]))}'
    if kind in (int, float):
        if not -math.inf < value < math.inf:
            return 'a finite number'
        low, high, above, below = (rules[name] for name in ('low', 'high', 'above', 'below'))
        if (low is not None and value < low or high is not None and value > high
                or above is not None and value <= above
                or below is not None and value >= below):
            return _range(low, high, above, below)
    return None


def _range(low, high, above, below) -> str:
    """The bounds in words, as in '0 or more and below 1'."""
    if low is not None and high is not None:
        return f'{low} {"or" if isinstance(low, int) and high == low + 1 else "to"} {high}'
    parts = [f'{low} or more' if low is not None else None,
             f'above {above}' if above is not None else None,
             f'at most {high}' if high is not None else None,
             f'below {below}' if below is not None else None]
    return ' and '.join(part for part in parts if part)


# ---- the command line

def flag_name(name: str) -> str:
    """`--batch-size` for the option `batch_size`."""
    return '--' + name.replace('_', '-')


def add_flags(parser: argparse.ArgumentParser, cls: type, *, skip: Collection[str] = (),
              title: Optional[str] = None, shown: Any = None, **tags: Any) -> None:
    """Give `parser` the flags of a dataclass; flags that are not given are absent from its result.

    The help names the value of `shown` (an instance; the defaults where it is None) behind each
    flag. Options without a group stand under `title`. Options in `skip`, and those whose metadata
    has other values than `tags`, get no flag.
    """
    groups: Dict[str, list] = {}
    types, usage = _types(cls), [parser.usage or '%(prog)s [flags]']
    for field in options(cls, skip, **tags):
        rules = field.metadata
        if not rules['flag']:
            continue
        kind, several, _ = types[field.name]
        if rules['positional']:
            nargs = None if field.default is REQUIRED else '?'
            if several:
                nargs = '+' if field.default is REQUIRED else '*'
            word = rules['metavar'] or field.name.upper()
            usage.append(f'{word}…' if several else word)
            parser.add_argument(field.name, nargs=nargs, type=kind, default=argparse.SUPPRESS,
                                metavar=word, help=rules['help'])
            continue
        _add_flag(parser, field, kind, several)
        groups.setdefault(rules['group'] or title or 'flags', []).append(field)
    described = {name: _rows(cls, fields, shown) for name, fields in groups.items()}
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) - 2
    lefts = [len(row[0]) for rows in described.values() for row in rows]
    column = max((left + 3 for left in lefts if left + 3 <= width // 2), default=width // 2)
    for name, rows in described.items():
        parser.add_argument_group(name, _describe(rows, column, width))
    parser.usage = ' '.join(usage)


def _add_flag(parser, field, kind, several):
    rules, name = field.metadata, flag_name(field.name)
    names = ([rules['short']] if rules['short'] else []) + [name]
    common = {'dest': field.name, 'default': argparse.SUPPRESS, 'help': argparse.SUPPRESS}
    if kind is bool:
        parser.add_argument(*names, action='store_true', **common)
        if not field.name.startswith('no_'):
            parser.add_argument('--no-' + name[2:], action='store_false', **common)
        return
    if rules['repeat']:
        parser.add_argument(*names, action='append', type=kind, metavar=rules['metavar'], **common)
        return
    parser.add_argument(*names, type=functools.partial(_parse_several, kind) if several else kind,
                        nargs=None if rules['const'] is None else '?', const=rules['const'],
                        required=field.default is REQUIRED, metavar=rules['metavar'], **common)


def _parse_several(kind, text):
    try:
        return tuple(kind(part) for part in text.split(',') if part)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'must be {KINDS[kind][1][2:]}s separated by commas, not {text!r}') from None


def _describe(rows: List[list], column: int, width: int) -> str:
    """The lines of help of one group: [flags, text] of each, the texts beginning at `column`."""
    lines = []
    for left, text in rows:
        if len(left) > column - 2:
            lines.append(left)
            left = ''
        lines += textwrap.wrap(text, width, initial_indent=left.ljust(column),
                               subsequent_indent=' ' * column, break_on_hyphens=False)
    return '\n'.join(lines)


def _rows(cls, fields, shown) -> List[list]:
    rows: List[list] = []
    types = _types(cls)
    for field in fields:
        default = field.default if shown is None else getattr(shown, field.name)
        if types[field.name][0] is bool and default is None:
            default = True  # what it is depends on other options
        left, text = _invocation(field, default), field.metadata['help']
        choices = field.metadata['choices']
        if text is None:
            rows[-1][0] += ' ' + left
        else:
            rows.append([left, f'{text}: {"|".join(map(str, choices))}' if choices else text])
    return rows


def _invocation(field, default) -> str:
    """`-j, --num-data-workers 2`: the flag with its default, or with what it takes."""
    rules, name = field.metadata, flag_name(field.name)
    short = f'{rules["short"]}, ' if rules['short'] else ''
    if isinstance(default, bool):
        return short + (f'--[no-]{name[2:]}' if default else name)
    if rules['const'] is not None or default in (REQUIRED, None, '', ()):
        value = rules['metavar'] or field.name.rpartition('_')[2].upper()
    elif isinstance(default, tuple):
        value = ','.join(map(str, default))
    else:
        value = f'{default:.4g}' if isinstance(default, float) else str(default)
    return f'{short}{name} {value}' if rules['const'] is None else f'{short}{name} [{value}]'


def parse(parser: argparse.ArgumentParser, argv: Optional[Sequence[str]],
          *classes: Any) -> List[Any]:
    """An instance of each dataclass, of a command line of their flags; (class, title) is one whose
    options without a group stand under the title."""
    pairs = [each if isinstance(each, tuple) else (each, None) for each in classes]
    for cls, title in pairs:
        add_flags(parser, cls, title=title)
    parsed = parser.parse_args(argv)
    return [from_args(cls, parsed) for cls, _ in pairs]


def from_args(cls: type, parsed: Union[argparse.Namespace, Mapping[str, Any]]) -> Any:
    """The dataclass of a parser's result, other options at their defaults, checked."""
    values = parsed if isinstance(parsed, Mapping) else vars(parsed)
    given = {field.name: values[field.name] for field in options(cls) if field.name in values}
    return cls(**{name: tuple(value) if isinstance(value, list) else value
                  for name, value in given.items()})


def override(cls: type, earlier: Mapping[str, Any], given: Mapping[str, Any]) -> Dict[str, Any]:
    """`earlier` values with those `given` in their place, without those that one of these excludes,
    and without what needs them."""
    rules = {field.name: field.metadata for field in options(cls)}
    kept = {name: value for name, value in earlier.items() if name in rules and not any(
        name in rules[other]['excludes'] or other in rules[name]['excludes']
        for other in given if other in rules)}
    together = {**kept, **given}
    return {name: value for name, value in together.items() if name in given
            or all(other in together for other in rules[name]['needs'])}


def to_args(cls: type, values: Mapping[str, Any], skip: Collection[str] = ()) -> List[str]:
    """The flags that say {option: value} again; None and what has no flag is left out."""
    words = []
    for field in options(cls, skip):
        value, name = values.get(field.name), flag_name(field.name)
        if value is None or not field.metadata['flag'] or field.metadata['positional']:
            continue
        if isinstance(value, bool):
            words += [name] if value else [] if name.startswith('--no-') else ['--no-' + name[2:]]
        elif field.metadata['repeat']:
            words += [f'{name}={item}' for item in value]
        else:
            several = isinstance(value, (tuple, list))
            words.append(f'{name}={",".join(map(str, value)) if several else value}')
    return words
