"""YAML in which a key that stands twice in a mapping is an error; the library keeps the last one in silence."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError


class _EachKeyOnce(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag == "tag:yaml.org,2002:merge":
                continue
            if name.value in seen:
                raise ConstructorError(None, None, f'"{name.value}" stands twice', name.start_mark)
            seen.add(name.value)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str) -> Any:
    """Return what a YAML document holds, as the safe loader reads it; raise `yaml.YAMLError` with its place."""
    return yaml.load(text, Loader=_EachKeyOnce)
