"""Read the metadata of a stranger's card.

YAML has more than a card needs. With aliases a few bytes stand for gigabytes, with tags a value
stands for an object, and parsers disagree on a name that occurs twice. Here all values are strings,
lists and mappings. An alias is refused, and so is a name that occurs twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from detrex_hub.errors import ConfigError

if TYPE_CHECKING:
    from yaml import BaseLoader

# the metadata of the largest card in the catalogue has 3,000 characters
_LONGEST = 2**14
_METADATA = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---", re.DOTALL)


def read_metadata(card: str, *, where: str) -> dict[str, Any]:
    """The metadata between a card's dashes, by name. All values are strings, lists or mappings.

    Args:
        card: the text of a card; without metadata the result is empty.
        where: the file, for messages.

    Raises:
        ConfigError: the metadata is not a YAML mapping, is too long, has an alias or a name twice.

    Example:
        >>> read_metadata("---\\nlicense: mit\\n---\\n\\n# A card\\n", where="README.md")
        {'license': 'mit'}
    """
    import yaml

    found = _METADATA.match(card)
    if found is None:
        return {}
    if len(found[1]) > _LONGEST:
        raise ConfigError(f"{where}: its metadata has more than {_LONGEST} characters")
    try:
        document = yaml.load(found[1], Loader=_loader())
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"{where}: its metadata is not valid YAML: {problem}") from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(
            f"{where}: its metadata is not valid YAML ({type(error).__name__})"
        ) from None
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: its metadata is not a YAML mapping")
    return document


def _loader() -> type[BaseLoader]:
    from yaml import AliasEvent, BaseLoader
    from yaml.composer import ComposerError
    from yaml.constructor import ConstructorError

    class Loader(BaseLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(AliasEvent):
                mark = self.peek_event().start_mark
                raise ComposerError(None, None, "it has an alias", mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            if len(found) < len(node.value):
                raise ConstructorError(None, None, "it has a name twice", node.start_mark)
            return found

    return Loader
