"""What the package imports it also asks for: nothing comes only with another package."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent


def imported() -> set[str]:
    """Names of the top-level modules that didcli imports, wherever in a file."""
    nodes = [
        node
        for file in (ROOT / "didcli").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names} - {"didcli", *sys.stdlib_module_names}


def declared() -> set[str]:
    """Names of distributions, of the extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return {canonical(re.match(r"[\w.-]+", entry)[0]) for entries in lists for entry in entries}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_of_a_package_that_is_declared():
    distributions = packages_distributions()
    wanted = {
        module: {canonical(name) for name in distributions.get(module, [module])}
        for module in imported()
    }
    assert "torch" in wanted
    assert [module for module, names in wanted.items() if not names & declared()] == []
