import pytest

from didcli import registry
from didcli.errors import UnknownNameError


@pytest.mark.parametrize(
    ("kind", "name"), [("methods", "did"), ("data", "dsprites"), ("metrics", "mig")]
)
def test_plug_ins_are_found_by_file_name(kind, name):
    assert name in registry.names(kind)
    assert registry.load(kind, name).__name__ == f"didcli.{kind}.{name}"


def test_shared_parts_are_no_plug_ins():
    assert not [
        name
        for kind in ("methods", "data", "metrics")
        for name in registry.names(kind)
        if name.startswith("_")
    ]


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
