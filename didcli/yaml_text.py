"""YAML as settings and specifications are written in it: plain values, and no key twice."""

from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """PyYAML lets a key that comes twice replace the former one: a typo would run another
    experiment than the one that the file seems to ask for."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return node


def load(text: str) -> Any:
    """None for an empty text. Raises yaml.YAMLError, and ValueError for values such as dates that
    there are not."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
