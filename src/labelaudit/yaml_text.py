"""YAML text to plain values. Settings that are text can have the value as it was written: `1.10`, `007`, `no`.

Duplicate keys are errors. Keys are text as written, and so are dates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import yaml

from labelaudit.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_TEXT, _MERGE = f"{_TAG}str", f"{_TAG}merge"
# YAML guesses these types. As keys they are text.
_GUESSED = {f"{_TAG}{name}" for name in ("bool", "float", "int", "null", "timestamp", "value")}


class _Integer(int):
    written: str


class _Fraction(float):
    written: str


class _Boolean(str):
    """A boolean as it was written. It is text, because bool has no subclasses; pydantic reads it as a boolean too."""

    __slots__ = ()


def read_yaml(text: str, source: str) -> object:
    """Return the plain values of a YAML text.

    Args:
        text: the YAML text.
        source: what error messages call it.

    Raises:
        ConfigError: it is not valid, or has a key twice.
    """
    return plain_values(read_as_written(text, source))


def read_as_written(text: str, source: str) -> object:
    """Return the values of a YAML text. Numbers and booleans in it remember how they were written.

    Raises:
        ConfigError: it is not valid, or has a key twice.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Checker(source, text.count("\n") > 0).check(node)
        values: object = loader.construct_document(node)
        return values
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {' '.join(str(error).split())}. Correct it.") from error
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deeply. Write fewer levels.") from error
    finally:
        loader.dispose()


def as_written(value: object) -> object:
    """Return the text of a scalar as it was written; other values as they are."""
    if isinstance(value, _Integer | _Fraction):
        return value.written
    return str(value) if isinstance(value, _Boolean) else value


def plain_values(value: object) -> object:
    """Return a value, and all values in it, as plain Python types, which no longer remember how they were written."""
    if isinstance(value, dict):
        return {name: plain_values(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain_values(one) for one in value]
    if isinstance(value, _Boolean):
        return yaml.SafeLoader.bool_values[value.lower()]
    if isinstance(value, _Integer):
        return int(value)
    return float(value) if isinstance(value, _Fraction) else value


class _Checker:
    """Checks the mappings of a document, and turns their keys into text."""

    def __init__(self, source: str, has_lines: bool) -> None:
        self._source = source
        self._has_lines = has_lines
        self._checked: set[yaml.Node] = set()
        self._open: set[yaml.Node] = set()

    def check(self, node: yaml.Node) -> None:
        """Check a node and all nodes below it.

        Raises:
            ConfigError: a mapping has a key twice or one that is not text, or a node contains itself.
        """
        if node in self._open:
            raise ConfigError(f"{self._source}, line {_line(node)}: a value contains itself. Remove the alias.")
        if node in self._checked:
            return
        self._open.add(node)
        if isinstance(node, yaml.MappingNode):
            node.value = [(self._text(key), value) for key, value in node.value]
            self._check_keys([key for key, _ in node.value])
        for child in _children(node):
            self.check(child)
        self._open.remove(node)
        self._checked.add(node)

    def _text(self, key: yaml.Node) -> yaml.Node:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{self._source}, line {_line(key)}: a key must be text. Put quotes around it.")
        if key.tag not in _GUESSED:
            return key
        # A new node, because an alias may also use this one as a value.
        return yaml.ScalarNode(_TEXT, key.value, key.start_mark, key.end_mark)

    def _check_keys(self, keys: list[yaml.Node]) -> None:
        lines: dict[str, int] = {}
        for key in keys:
            if key.value in lines:
                first, second = lines[key.value], _line(key)
                places = f", in lines {first} and {second}" if first != second else ""
                if not places and self._has_lines:
                    places = f", in line {first}"
                remedy = "Write `<<: [*a, *b]`." if key.tag == _MERGE else "Remove one of the two."
                raise ConfigError(f"{self._source} contains the key {key.value!r} twice{places}. {remedy}")
            lines[key.value] = _line(key)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (value for _, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Loader(yaml.SafeLoader):
    """Reads plain values only. Dates stay text."""


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> _Integer:
    number = _Integer(_number(loader.construct_yaml_int, node))
    number.written = node.value
    return number


def _fraction(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> _Fraction:
    number = _Fraction(_number(loader.construct_yaml_float, node))
    number.written = node.value
    return number


def _number(read: Callable[[yaml.ScalarNode], float], node: yaml.ScalarNode) -> float:
    try:
        return read(node)
    except ValueError as error:
        # `0x_` looks like a number, and an explicit tag may be before any text.
        raise _error(f"{node.value!r} is not a number", node) from error


def _boolean(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> _Boolean:
    if node.value.lower() not in loader.bool_values:
        raise _error(f"{node.value!r} is not a boolean", node)
    return _Boolean(node.value)


def _date(_: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.add_constructor(f"{_TAG}int", _integer)
_Loader.add_constructor(f"{_TAG}float", _fraction)
_Loader.add_constructor(f"{_TAG}bool", _boolean)
_Loader.add_constructor(f"{_TAG}timestamp", _date)
