"""YAML as nodes that know their lines, for readers whose errors name the place."""

import yaml

from pipeline.config.values import NULL_TAG, RecipeError, describe, unknown


def compose(text: str | bytes, source: str) -> yaml.Node | None:
    """The document as nodes that know their lines; nothing is constructed, so no tag can run anything."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{source}{line}: expected YAML; {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise RecipeError(f"{source}: expected YAML; {' '.join(str(error).split())}") from error
    except RecursionError:
        raise RecipeError(f"{source}: expected sections with keys; received deeply nested YAML") from None


def entries(node: yaml.Node | None, source: str, section: str, known: list[str] | None) -> list[tuple[str, yaml.Node]]:
    """Keys and value nodes of a mapping whose keys are known (None: any) and occur once; nothing (null) has none."""
    if node is None or node.tag == NULL_TAG:
        return []
    if not isinstance(node, yaml.MappingNode):
        where = f"{source}:{node.start_mark.line + 1}: {section or 'recipe'}"
        raise RecipeError(f"{where}: expected keys and values, one `key: value` a line; received {describe(node)}")
    seen: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else describe(key_node)
        where = f"{source}:{key_node.start_mark.line + 1}: {section}{'.' if section else ''}{key}"
        if known is not None and key not in known:
            raise RecipeError(f"{where}: {unknown('key' if section else 'section', key, known)}")
        if key in seen:
            raise RecipeError(f"{where}: this key is given twice; keep one of them")
        seen[key] = value
    return list(seen.items())


def word(node: yaml.Node, where: str) -> str:
    """One value, as it is written.

    Raises:
        RecipeError: a list or a mapping; it begins with `where`.
    """
    if not isinstance(node, yaml.ScalarNode):
        raise RecipeError(f"{where}: expected one value; received {describe(node)}")
    text: str = node.value
    return text
