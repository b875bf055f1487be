"""Pages from Jinja templates that lie beside the code which fills them."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def page_template(folder: Path, name: str) -> Template:
    """The template: what is put into it is escaped unless it is Markup, and a name without a value is an error."""
    loader = FileSystemLoader(folder)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(name)
