import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Literal

import hostile_server
import pytest
from typer.testing import CliRunner

from didcli import registry
from didcli.cli import app
from didcli.engine.offers import offer_of
from didcli.errors import DataError, UsageError
from didcli.io import download
from didcli.io.remote import RemoteFile

CONTENT = b"the whole set"


@dataclass
class TinySet:
    source: str


class TinyModule(ModuleType):
    """A dataset plug-in of two small files, either of which is enough."""

    FACTOR_NAMES = ("shape", "scale")
    FACTOR_SIZES = (3, 6)
    Source = Literal["auto", "official", "rendered"]
    RENDERED = "like the published images, but not those"

    def __init__(self, url: str) -> None:
        super().__init__("tiny")
        self.SOURCES = (remote_file(f"{url}/tiny.bin"), remote_file(f"{url}/tiny.npz"))
        self.loaded: list[str] = []

    def load(self, source, data_dir, on_progress, **settings) -> TinySet:
        self.loaded.append(source)
        self.settings = settings
        if source == "rendered":
            path = data_dir / "tiny-rendered-v3.bits"
            if not path.exists():
                path.write_bytes(CONTENT)
                on_progress(1, 1)
            return TinySet("rendered v3")
        return TinySet("official")


def remote_file(url: str) -> RemoteFile:
    return RemoteFile(
        url=url,
        name=Path(url).name,
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        md5=None,
        git_blob_sha1=None,
        licence="CC0",
    )


@pytest.fixture
def server():
    with hostile_server.serve(CONTENT) as server:
        yield server


@pytest.fixture
def tiny(server, monkeypatch) -> TinyModule:
    module = TinyModule(server.url)
    monkeypatch.setattr(registry, "names", lambda _kind: ["tiny"])
    monkeypatch.setattr(registry, "load", lambda _kind, _name: module)
    return module


@pytest.fixture
def did(tiny, tmp_path, monkeypatch):
    """`did download`, in this process, into tmp_path."""
    monkeypatch.setenv("DID_DATA_DIR", str(tmp_path))

    def did(*arguments: str):
        result = CliRunner().invoke(app, ["download", *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return did


@pytest.fixture
def no_waiting(monkeypatch) -> None:
    """Downloads in this process try again at once."""
    monkeypatch.setattr(
        download, "Patience", partial(download.Patience, sleep=lambda _seconds: None)
    )


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`did download`, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "didcli", "download", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


# ---------------------------------------------------------------------------- results


def test_the_path_alone_is_on_stdout(did, tmp_path):
    result = did("tiny")
    assert result.stdout == f"{tmp_path / 'tiny.bin'}\n"
    assert "tiny.bin: fetched and verified" in result.stderr
    assert (tmp_path / "tiny.bin").read_bytes() == CONTENT


def test_a_second_run_verifies_and_fetches_nothing(did, server):
    did("tiny")
    assert "tiny.bin: here already, verified" in did("tiny").stderr
    assert len(server.requests) == 1


def test_force_fetches_again(did, server):
    did("tiny")
    did("tiny", "--force")
    assert len(server.requests) == 2


@pytest.mark.usefixtures("no_waiting")
def test_quiet_leaves_the_path_only(did, server):
    server.script = [hostile_server.cut_after(3)]
    assert did("tiny", "-q").stderr == ""


def test_the_flag_wins_over_the_environment(did, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    assert did("tiny", "--data-dir", str(elsewhere)).stdout == f"{elsewhere / 'tiny.bin'}\n"


def test_what_was_fetched_is_loaded_once(did, tiny):
    did("tiny")
    assert tiny.loaded == ["official"]


def test_json_is_one_object_with_a_schema(did, tmp_path):
    first = json.loads(did("tiny", "--json").stdout)
    about_the_file = {
        "path": str(tmp_path / "tiny.bin"),
        "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "downloaded": True,
    }
    assert first == {
        "schema": 1,
        "name": "tiny",
        "source": "official",
        **about_the_file,
        "files": [about_the_file],
    }
    assert json.loads(did("tiny", "--json").stdout)["downloaded"] is False


def test_a_set_of_several_files_is_fetched_whole(did, tiny, tmp_path):
    tiny.SOURCES = (tiny.SOURCES,)
    assert did("tiny").stdout.split() == [str(tmp_path / "tiny.bin"), str(tmp_path / "tiny.npz")]
    described = json.loads(did("tiny", "--json").stdout)
    assert described["path"] == str(tmp_path)
    assert described["bytes"] == 2 * len(CONTENT)
    assert len(described["files"]) == 2


@pytest.mark.parametrize(
    ("options", "kind", "name"),
    [((), "a", "tiny.bin"), (("--kind", "a"), "a", "tiny.bin"), (("--kind", "b"), "b", "tiny.npz")],
)
def test_of_several_kinds_the_one_asked_for_is_fetched_and_loaded(
    did, tiny, tmp_path, options, kind, name
):
    tiny.KINDS = ("a", "b")
    assert did("tiny", *options).stdout == f"{tmp_path / name}\n"
    assert tiny.settings == {"kind": kind}


def test_a_kind_that_does_not_exist_is_a_usage_error(did, tiny):
    with pytest.raises(UsageError, match="tiny comes in one kind"):
        did("tiny", "--kind", "a")
    tiny.KINDS = ("photographed", "drawn")
    with pytest.raises(UsageError, match="no kind 'draw' of tiny") as caught:
        did("tiny", "--kind", "draw")
    assert "Did you mean 'drawn'?" in caught.value.hint


@pytest.mark.parametrize("options", [(), ("-q",)])
def test_another_copy_than_the_verified_one_is_never_accepted_in_silence(did, tiny, options):
    older = replace(tiny.SOURCES[0], sha256="0" * 64, digests_of_older_copy=True)
    tiny.SOURCES = (older,)
    for _ in range(2):  # fetched, and here already
        said = did("tiny", *options).stderr
        assert "warning: tiny.bin is not the copy whose digests are known" in said
        assert f"expected SHA-256 {'0' * 64}, got {hashlib.sha256(CONTENT).hexdigest()}" in said
        assert "tiny.bin: here already, verified" not in said


def test_a_set_may_be_rendered_instead(did, server, tmp_path):
    result = did("tiny", "--source", "rendered", "--json")
    described = json.loads(result.stdout)
    assert described["path"] == str(tmp_path / "tiny-rendered-v3.bits")
    assert described["source"] == "rendered"
    assert described["downloaded"] is False
    assert "Preparing the dataset" in result.stderr
    assert server.requests == []


@pytest.mark.parametrize(("options", "made_again"), [((), False), (("--force",), True)])
def test_a_rendered_set_is_kept_unless_forced(did, options, made_again):
    did("tiny", "--source", "rendered")
    again = did("tiny", "--source", "rendered", *options)
    assert ("Preparing the dataset" in again.stderr) is made_again


# ---------------------------------------------------------------------------- the listing


def test_the_listing_says_what_there_is_and_what_is_here(did):
    did("tiny")
    assert did("--list").stdout.splitlines() == [
        "tiny",
        "  images    18",
        "  factors   shape 3, scale 6",
        "  official  tiny.bin, 13 B, CC0: here",
        "  official  tiny.npz, 13 B, CC0: not here",
        "  rendered  like the published images, but not those",
        "  here      official",
    ]


def test_the_listing_of_what_is_not_here_says_how_to_get_it(did, tiny):
    tiny.SOURCES = (tiny.SOURCES,)
    assert did("--list").stdout.splitlines()[-3:] == [
        "  official  2 files, 26 B, CC0: not here",
        "  rendered  like the published images, but not those",
        "  here      nothing yet: rendered when first needed",
    ]
    tiny.Source = Literal["official"]
    assert did("--list").stdout.splitlines()[-1] == "  here      nothing: did download tiny"
    tiny.KINDS = ("a", "b")
    tiny.SOURCES = tiny.SOURCES[0]
    lines = did("--list").stdout.splitlines()
    assert lines[1] == "  images    18, of each kind"
    assert lines[-1] == "  here      nothing: did download tiny --kind KIND"


def test_the_listing_says_which_kinds_are_here_and_whether_the_default_one_is(did, tiny, tmp_path):
    """A run that names no kind wants the first one."""
    tiny.KINDS = ("a", "b")
    tiny.Source = Literal["official"]
    (tmp_path / "tiny.npz").touch()
    assert did("--list").stdout.splitlines()[-1] == "  here      official, of kind b"
    assert json.loads(did("--list", "--json").stdout)["datasets"][0]["source_here"] is None
    (tmp_path / "tiny.bin").touch()
    assert did("--list").stdout.splitlines()[-1] == "  here      official, of kind a, b"
    assert json.loads(did("--list", "--json").stdout)["datasets"][0]["source_here"] == "official"


def test_of_several_files_the_listing_says_how_many_are_here(did, tiny, tmp_path):
    tiny.SOURCES = (tiny.SOURCES,)
    (tmp_path / "tiny.npz").touch()
    assert "  official  2 files, 26 B, CC0: 1 of 2 here" in did("--list").stdout.splitlines()
    assert json.loads(did("--list", "--json").stdout)["datasets"][0]["source_here"] is None


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_listing_keeps_to_the_width_of_the_terminal(did, tiny, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    tiny.FACTOR_NAMES, tiny.FACTOR_SIZES = [f"factor_{k}" for k in range(30)], range(30)
    lines = did("--list").stdout.splitlines()
    assert min(columns, 100) - 15 < max(map(len, lines)) <= min(columns, 100)
    # A factor and its number are not torn apart.
    text = "\n".join(lines)
    assert all(f"factor_{k} {k}" in text for k in range(30))


def test_the_listing_as_json(did, tmp_path):
    did("tiny", "--source", "rendered")
    listing = json.loads(did("--list", "--json").stdout)
    assert listing["schema"] == 1
    assert listing["data_dir"] == str(tmp_path)
    (tiny,) = listing["datasets"]
    assert tiny["images"] == 18
    assert tiny["factors"] == {"shape": 3, "scale": 6}
    assert [file["default"] for file in tiny["files"]] == [True, False]
    assert [file["here"] for file in tiny["files"]] == [False, False]
    assert [file["licence"] for file in tiny["files"]] == ["CC0", "CC0"]
    assert tiny["rendered"] == [str(tmp_path / "tiny-rendered-v3.bits")]
    assert tiny["rendered_means"] == TinyModule.RENDERED
    assert tiny["source_here"] == "rendered"


def test_a_set_with_nothing_to_offer_says_what_it_is_and_is_refused(did, tiny):
    tiny.SOURCES = tiny.FACTOR_NAMES = tiny.FACTOR_SIZES = ()
    tiny.Source = None
    tiny.ABOUT = "your own images"
    assert did("--list", "tiny").stdout.splitlines() == ["tiny", "  what      your own images"]
    with pytest.raises(UsageError, match="no published file") as caught:
        did("tiny")
    assert caught.value.hint == "your own images"
    with pytest.raises(UsageError, match="cannot be drawn"):
        did("tiny", "--source", "rendered")


def test_every_dataset_of_the_registry_can_be_listed():
    result = run("--list", "--json")
    assert result.returncode == 0
    listed = json.loads(result.stdout)["datasets"]
    assert [dataset["name"] for dataset in listed] == registry.names("data")
    for dataset in listed:
        assert dataset["files"] or dataset["about"]
        assert not dataset["can_render"] or dataset["rendered_means"]


@pytest.mark.parametrize("name", registry.names("data"))
def test_every_published_file_can_be_verified(name):
    for file in (file for files in offer_of(name).alternatives for file in files):
        assert file.sha256 or file.md5
        assert file.sha256 is None or len(file.sha256) == 64
        assert file.md5 is None or len(file.md5) == 32
        assert file.url.startswith(("http://", "https://"))


# ---------------------------------------------------------------------------- failures


@pytest.mark.usefixtures("no_waiting")
def test_without_a_network_the_rendered_set_is_offered(did, tiny, monkeypatch):
    monkeypatch.setenv("DID_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="Connection refused") as caught:
        did("tiny")
    assert caught.value.hint == (
        "did train needs no download: the rendered set is used. "
        "Render it now: did download tiny --source rendered"
    )
    tiny.Source = Literal["official"]
    with pytest.raises(DataError) as caught:
        did("tiny")
    assert "rendered" not in caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((), "did download --list"),
        (("dsprits",), "Did you mean 'dsprites'?"),
        (("dsprites", "--source", "hearsay"), "official"),
    ],
)
def test_usage_errors_exit_2(arguments, hint):
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert hint in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (hostile_server.honest, "sent something else than dsprites"),
        (hostile_server.status(404), "answered 404"),
        (hostile_server.status(200, b"<html>log in</html>"), "sent an HTML page"),
    ],
)
def test_a_file_that_is_not_the_published_one_exits_3(tmp_path, behaviour, message):
    with hostile_server.serve(bytes(28_024_106)) as server:
        server.script = [behaviour]
        result = run("dsprites", "--data-dir", str(tmp_path), DID_MIRROR=server.url)
    assert result.returncode == 3
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: ")
    assert not list(tmp_path.glob("dsprites*"))


def test_a_folder_that_cannot_be_written_exits_7(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    result = run("dsprites", "--data-dir", str(tmp_path / "file"), DID_MIRROR="http://127.0.0.1:9")
    assert result.returncode == 7
    assert "--data-dir" in result.stderr


def test_importing_the_command_loads_nothing_heavy():
    probe = """
import sys, didcli.commands.download
heavy = {"numpy", "torch", "requests", "pooch", "rich", "pydantic", "h5py", "filelock"}
sys.stdout.write(" ".join(heavy & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True)
    assert result.stdout == b""
