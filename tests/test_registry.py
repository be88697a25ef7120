import ast
from pathlib import Path

import pytest

from didcli import registry
from didcli.errors import UnknownNameError

ROOT = Path(__file__).parent.parent
KINDS = ("methods", "data", "metrics")


@pytest.mark.parametrize(
    ("kind", "name"), [("methods", "did"), ("data", "dsprites"), ("metrics", "mig")]
)
def test_plug_ins_are_found_by_file_name(kind, name):
    assert name in registry.names(kind)
    assert registry.load(kind, name).__name__ == f"didcli.{kind}.{name}"


def test_shared_parts_are_no_plug_ins():
    assert not [name for kind in KINDS for name in registry.names(kind) if name.startswith("_")]


def imported_modules(file):
    """The names that may be modules: `from a import b` may import a.b."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_else_imports_shared_parts_of_plug_ins(kind):
    folder = ROOT / "didcli" / kind
    others = [
        file
        for tree in ("didcli", "examples")
        for file in (ROOT / tree).rglob("*.py")
        if file.parent != folder
    ]
    assert len(others) > 50
    assert [
        f"{file.relative_to(ROOT)}: {name}"
        for file in others
        for name in imported_modules(file)
        if name.startswith(f"didcli.{kind}._")
    ] == []


def test_a_near_miss_is_suggested_and_a_far_one_gets_the_list():
    with pytest.raises(UnknownNameError) as near:
        registry.load("data", "dsprite")
    assert near.value.hint == "Did you mean 'dsprites'?"
    with pytest.raises(UnknownNameError) as far:
        registry.load("data", "zzz")
    assert far.value.hint.startswith("Choose from: ")


def test_a_path_is_not_a_plug_in():
    with pytest.raises(UnknownNameError):
        registry.load("methods", "../errors")
