from pathlib import Path

import platformdirs

from didcli.io.paths import data_dir


def test_argument_then_variable_then_cache_of_the_user(monkeypatch):
    monkeypatch.setenv("DID_DATA_DIR", "~/from-variable")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert data_dir(Path("~/given")) == Path("/home/somebody/given")
    assert data_dir("~/given") == Path("/home/somebody/given")  # as from Python
    assert data_dir() == Path("/home/somebody/from-variable")
    for unset in ("", None):
        monkeypatch.delenv("DID_DATA_DIR") if unset is None else monkeypatch.setenv(
            "DID_DATA_DIR", unset
        )
        assert data_dir() == Path(platformdirs.user_cache_dir("did", appauthor=False))
