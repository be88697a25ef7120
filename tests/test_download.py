import hashlib
import json
import multiprocessing
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import filelock
import hostile_server
import pytest
import requests
from conftest import PATIENCE

from didcli.errors import DataError, StorageError, UsageError
from didcli.io.download import FetchResult, fetch
from didcli.io.http import headers, source
from didcli.io.http.transfer import Patience, UnreachableError
from didcli.io.remote import RemoteFile

CONTENT = random.Random(0).randbytes(300_000)
OTHER_CONTENT = random.Random(1).randbytes(300_000)
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture
def server():
    with hostile_server.serve(CONTENT) as server:
        yield server


@pytest.fixture
def file(server) -> RemoteFile:
    return remote_file(f"{server.url}/set.bin")


@pytest.fixture
def waits() -> list[float]:
    """Seconds that the download would have slept."""
    return []


@pytest.fixture
def get(file, tmp_path, waits):
    """fetch() of `file` into tmp_path, without sleeping."""

    def get(changed: RemoteFile = file, *, read_timeout: float = 10, **options) -> FetchResult:
        patience = Patience(sleep=waits.append, connect_timeout=10, read_timeout=read_timeout)
        return fetch(changed, tmp_path, patience=patience, **options)

    return get


def remote_file(url: str, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(
        url=url,
        name="set.bin",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5=hashlib.md5(content).hexdigest(),
        git_blob_sha1=None,
        licence="none",
    )


def leave_part(
    folder: Path, file: RemoteFile, content: bytes, etag: str | None = '"first"'
) -> None:
    """What a killed process leaves."""
    (folder / "set.bin.part").write_bytes(content)
    sidecar = {"url": file.url, "etag": etag, "last_modified": None}
    (folder / "set.bin.part.json").write_text(json.dumps(sidecar))


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# ---------------------------------------------------------------------------- the plain case


def test_a_file_is_fetched_once_and_then_only_verified(get, server, tmp_path):
    first, second = get(), get()
    assert first == FetchResult(
        tmp_path / "set.bin", True, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
    )
    assert second == replace(first, downloaded=False)
    assert first.path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert visible(tmp_path) == ["set.bin"]


def test_the_folder_is_made(file, tmp_path):
    assert fetch(file, tmp_path / "a" / "b").path.read_bytes() == CONTENT


def test_a_verified_file_is_used_from_a_folder_that_cannot_be_written(get, tmp_path, monkeypatch):
    (tmp_path / "set.bin").write_bytes(CONTENT)
    monkeypatch.setattr(filelock, "FileLock", None)  # any use of it would raise
    assert not get().downloaded


def test_progress_ends_at_the_size_of_the_file(get):
    reports = []
    get(on_progress=lambda done, total: reports.append((done, total)))
    assert reports[0] == (0, len(CONTENT))
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert reports == sorted(reports)


def test_a_redirect_is_followed_and_the_range_goes_along(get, server, file, tmp_path):
    leave_part(tmp_path, file, CONTENT[:1000])
    server.script = [hostile_server.status(302, Location="/elsewhere")]
    get()
    assert server.requests[1]["path"] == "/elsewhere"
    assert server.ranges() == ["bytes=1000-"] * 2


def test_redirects_in_a_circle_are_given_up(get, server):
    server.script = [hostile_server.status(302, Location="/again")] * 40
    with pytest.raises(DataError, match="redirects"):
        get()


def test_the_mirror_is_asked_in_place_of_the_publisher(get, server, file, monkeypatch):
    monkeypatch.setenv("DID_MIRROR", f"{server.url}/mirror/")
    get(replace(file, url="http://publisher.invalid/x"))
    assert server.requests[0]["path"] == "/mirror/set.bin"


def test_the_password_of_a_mirror_is_sent_but_never_shown(get, server, tmp_path, monkeypatch):
    mirror = server.url.replace("http://", "http://me:secret@")
    monkeypatch.setenv("DID_MIRROR", mirror)
    server.script = [hostile_server.cut_after(1000), hostile_server.status(404)]
    with pytest.raises(DataError, match="answered 404") as caught:
        get()
    assert server.requests[0]["Authorization"].startswith("Basic ")
    assert "secret" not in str(caught.value)
    assert "secret" not in (tmp_path / "set.bin.part.json").read_text()


def test_a_mirror_that_is_no_url_is_a_usage_error(get, monkeypatch):
    monkeypatch.setenv("DID_MIRROR", "/mnt/mirror")
    with pytest.raises(UsageError, match="DID_MIRROR=/mnt/mirror is not an http"):
        get()


# ---------------------------------------------------------------------------- checks


@pytest.mark.parametrize("digest", ["sha256", "md5", "git_blob_sha1"])
def test_every_published_digest_must_agree(get, file, tmp_path, digest):
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    published = replace(file, git_blob_sha1=blob)
    get(published)
    (tmp_path / "set.bin").unlink()

    with pytest.raises(DataError, match=r"expected [-A-Za-z0-9 ]+ 0000, got [0-9a-f]{32}"):
        get(replace(published, **{digest: "0000"}))
    assert visible(tmp_path) == []


def test_md5_and_git_blob_do_without_sha256(get, file):
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    result = get(replace(file, sha256=None, size=None, git_blob_sha1=blob))
    assert result.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_without_any_digest_is_refused(get, file):
    with pytest.raises(ValueError, match="no digest"):
        get(replace(file, sha256=None, md5=None))


def older_copy(file: RemoteFile) -> RemoteFile:
    """Known by the md5 of a copy that has been replaced since."""
    md5 = hashlib.md5(OTHER_CONTENT).hexdigest()
    return replace(file, size=None, sha256=None, md5=md5, digests_of_older_copy=True)


def test_another_copy_is_accepted_with_both_digests(get, server, file, tmp_path):
    first, second = get(older_copy(file)), get(older_copy(file))
    assert first.path.read_bytes() == CONTENT
    assert first.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert first.difference == (
        f"expected MD5 {hashlib.md5(OTHER_CONTENT).hexdigest()}, "
        f"got {hashlib.md5(CONTENT).hexdigest()}"
    )
    assert second == replace(first, downloaded=False)
    assert len(server.requests) == 1
    assert visible(tmp_path) == ["set.bin"]


def test_the_older_copy_itself_is_verified(get, server, file):
    server.content = OTHER_CONTENT
    assert get(older_copy(file)).difference is None


def test_another_copy_is_resumed_like_any_file(get, server, file):
    server.script = [hostile_server.cut_after(100_000)]
    assert get(older_copy(file)).path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=100000-"]


def test_another_copy_is_no_web_page(get, server, file):
    server.script = [hostile_server.status(200, HTML)]
    with pytest.raises(DataError, match="sent an HTML page"):
        get(older_copy(file))


def test_the_error_has_both_digests_and_the_bad_bytes_are_gone(get, server, file, tmp_path):
    server.content = OTHER_CONTENT
    with pytest.raises(DataError) as caught:
        get()
    assert file.sha256 in str(caught.value)
    assert hashlib.sha256(OTHER_CONTENT).hexdigest() in str(caught.value)
    assert len(server.requests) == 1
    assert visible(tmp_path) == []


# ---------------------------------------------------------------------------- what is here already


def test_force_fetches_again(get, server):
    get()
    assert get(force=True).downloaded
    assert len(server.requests) == 2


def test_force_keeps_the_good_file_when_the_new_one_is_bad(get, server, tmp_path):
    get()
    server.content = OTHER_CONTENT
    with pytest.raises(DataError):
        get(force=True)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], OTHER_CONTENT])
def test_a_damaged_file_is_replaced_and_the_user_is_told(get, tmp_path, damaged):
    (tmp_path / "set.bin").write_bytes(damaged)
    notes = []
    assert get(on_note=notes.append).downloaded
    assert (tmp_path / "set.bin").read_bytes() == CONTENT
    assert "set.bin is damaged or of another version: fetching it again" in notes[0]


# ---------------------------------------------------------------------------- resuming


def test_a_cut_connection_is_resumed_where_it_was_cut(get, server, waits):
    server.script = [hostile_server.cut_after(100_000), hostile_server.cut_after(50_000)]
    notes = []
    assert get(on_note=notes.append).path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests[1]["If-Range"] == '"first"'
    assert waits == [1.0, 1.0]
    assert notes[0] == "set.bin: the connection was cut; trying again in 1 s"


def test_many_cuts_are_borne_as_long_as_there_is_progress(get, server):
    server.script = [hostile_server.cut_after(20_000)] * 14
    assert get().path.read_bytes() == CONTENT
    assert len(server.requests) == 15


def test_cuts_without_progress_end_it_and_the_part_is_kept(get, server, tmp_path, waits):
    server.script = [hostile_server.cut_after(1000)] + [hostile_server.cut_after(0)] * 9
    with pytest.raises(DataError, match=r"connection was cut \(1.0 kB are kept\)") as caught:
        get()
    assert "goes on where it stopped" in caught.value.hint
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert visible(tmp_path) == ["set.bin.part", "set.bin.part.json"]
    server.script = []
    get()
    assert server.ranges()[-1] == "bytes=1000-"


def test_a_server_that_falls_silent_is_asked_again(get, server):
    server.script = [hostile_server.stall_after(1000)]
    assert get(read_timeout=5.0).path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-"]


def test_a_silent_network_ends_within_its_tries(get, server, waits):
    server.script = [lambda handler: handler.server.released.wait(30)] * 9
    with pytest.raises(UnreachableError, match="did not answer in time"):
        get(read_timeout=0.2)
    assert waits == [1.0, 2.0]


def test_a_server_that_ignores_ranges_starts_over(get, server):
    server.script = [hostile_server.cut_after(1000), hostile_server.ignoring_range]
    assert get().path.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_server_that_ignores_ranges_and_always_cuts_is_given_up(get, server):
    def cut_from_the_start(handler):
        handler.head(200, len(CONTENT))
        handler.wfile.write(CONTENT[:1000])

    server.script = [cut_from_the_start] * 20
    with pytest.raises(DataError, match="cut"):
        get()
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "wrong", ["bytes 0-4/300000", "bytes 2000-2004/300000", "items 1000-1004/300000", ""]
)
def test_a_wrong_content_range_is_not_appended(get, server, wrong):
    server.script = [hostile_server.cut_after(1000), hostile_server.with_range(wrong)]
    assert get().path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-", None]


def test_content_with_another_etag_is_fetched_from_the_start(get, server, file, tmp_path):
    leave_part(tmp_path, file, OTHER_CONTENT[:1000], etag='"older"')
    assert get().path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=1000-"]  # answered by 200, because of If-Range


def test_a_server_deaf_to_if_range_is_caught_by_its_etag(get, server, file, tmp_path):
    leave_part(tmp_path, file, OTHER_CONTENT[:1000], etag='"older"')
    rest = hostile_server.with_range("bytes 1000-299999/300000", CONTENT[1000:])
    server.script = [rest]
    assert get().path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=1000-", None]


def test_content_that_changes_without_any_validator_is_fetched_from_the_start(get, server):
    server.etag = None

    def cut_then_change(handler):
        handler.server.content = OTHER_CONTENT
        hostile_server.cut_after(1000)(handler)
        handler.server.content = CONTENT

    server.script = [cut_then_change]
    notes = []
    assert get(on_note=notes.append).path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-", None]
    assert "If-Range" not in server.requests[1]
    assert "damaged after resuming" in notes[-1]


def test_a_weak_etag_is_never_sent_in_if_range(get, server):
    server.etag, server.last_modified = 'W/"first"', "Tue, 24 Nov 2020 07:00:00 GMT"
    server.script = [hostile_server.cut_after(1000)]
    get()
    assert server.requests[1]["If-Range"] == "Tue, 24 Nov 2020 07:00:00 GMT"


@pytest.mark.parametrize("sidecar", [None, "", "[]", '{"url": "http://127.0.0.1/other"}'])
def test_a_part_of_unknown_origin_is_not_continued(get, server, file, tmp_path, sidecar):
    leave_part(tmp_path, file, CONTENT[:1000])
    (tmp_path / "set.bin.part.json").unlink()
    if sidecar is not None:
        (tmp_path / "set.bin.part.json").write_text(sidecar)
    get()
    assert server.ranges() == [None]


def test_a_part_from_another_url_is_not_continued(get, server, file, tmp_path):
    leave_part(tmp_path, replace(file, url="http://127.0.0.1/other"), CONTENT[:1000])
    get()
    assert server.ranges() == [None]


def test_a_part_longer_than_the_file_is_not_continued(get, server, file, tmp_path):
    leave_part(tmp_path, file, CONTENT + b"more")
    get()
    assert server.ranges() == [None]


def test_a_complete_part_needs_no_request(get, server, file, tmp_path):
    leave_part(tmp_path, file, CONTENT)
    assert get().path.read_bytes() == CONTENT
    assert server.requests == []


def test_a_complete_but_damaged_part_is_fetched_from_the_start(get, server, file, tmp_path):
    leave_part(tmp_path, file, OTHER_CONTENT)
    assert get().path.read_bytes() == CONTENT
    assert server.ranges() == [None]


def test_416_for_a_part_of_unpublished_size_that_is_whole(get, server, file, tmp_path):
    leave_part(tmp_path, file, CONTENT)
    assert get(replace(file, size=None)).path.read_bytes() == CONTENT
    assert server.ranges() == [f"bytes={len(CONTENT)}-"]


def test_416_for_a_stale_part_starts_over(get, server, file, tmp_path):
    leave_part(tmp_path, file, OTHER_CONTENT + b"more")
    assert get(replace(file, size=None)).path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=300004-", None]


def test_a_download_goes_on_after_kill_9(server, file, tmp_path):
    server.script = [hostile_server.stall_after(200_000)]
    program = f"""
        from pathlib import Path
        from didcli.io.download import fetch
        from didcli.io.remote import RemoteFile
        fetch({file!r}, Path({str(tmp_path)!r}))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    part = tmp_path / "set.bin.part"
    deadline = time.monotonic() + PATIENCE
    while not (part.exists() and part.stat().st_size > 100_000):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert visible(tmp_path) == ["set.bin.part", "set.bin.part.json"]

    assert fetch(file, tmp_path).path.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={kept}-"]


# ---------------------------------------------------------------------------- lies and refusals


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_content_length_that_is_too_long_is_borne(get, server, file, size):
    server.script = [hostile_server.announcing(len(CONTENT) + 1000)]
    assert get(replace(file, size=size)).path.read_bytes() == CONTENT


def test_a_content_length_that_is_too_short_is_borne(get, server):
    server.script = [hostile_server.announcing(len(CONTENT) - 1000)]
    assert get().path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=299000-"]


def test_a_server_whose_file_is_shorter_says_so_once(get, server, tmp_path):
    server.content = CONTENT[:1000]
    with pytest.raises(DataError, match="expected 300,000 bytes, it has 1,000"):
        get()
    assert server.ranges() == [None, "bytes=1000-"]
    assert visible(tmp_path) == []


def test_no_more_is_written_than_the_file_is_long(get, server, tmp_path):
    server.script = [hostile_server.endless]
    with pytest.raises(DataError, match="expected SHA-256"):
        get()
    assert visible(tmp_path) == []


def test_an_endless_file_of_unpublished_size_is_cut_off(get, server, file, monkeypatch):
    monkeypatch.setattr(source, "LARGEST_OF_UNKNOWN_SIZE", 10**6)
    server.script = [hostile_server.endless]
    with pytest.raises(DataError, match="expected SHA-256"):
        get(replace(file, size=None))


@pytest.mark.parametrize("page", [HTML, b"\n <html>" + bytes(500_000)])
def test_a_web_page_is_named(get, server, tmp_path, page):
    server.script = [hostile_server.status(200, page)]
    with pytest.raises(DataError, match=r"sent an HTML page in place of set\.bin") as caught:
        get()
    assert "Open http://127.0.0.1" in caught.value.hint
    assert len(server.requests) == 1
    assert visible(tmp_path) == []


def test_a_login_page_does_not_cost_what_has_come_so_far(get, server, file, tmp_path):
    leave_part(tmp_path, file, CONTENT[:1000])
    server.script = [hostile_server.status(200, HTML)]
    with pytest.raises(DataError, match="HTML"):
        get()
    get()
    assert server.ranges() == ["bytes=1000-"] * 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_a_refusal_is_final(get, server, code):
    server.script = [hostile_server.status(code, HTML)]
    with pytest.raises(DataError, match=f"answered {code}"):
        get()
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(get, server, waits, code):
    server.script = [hostile_server.status(code)] * 2
    assert get().path.read_bytes() == CONTENT
    assert waits == [1.0, 2.0]


def test_a_server_that_stays_in_trouble_is_given_up(get, server):
    server.script = [hostile_server.status(503)] * 9
    with pytest.raises(DataError, match="the server answered 503") as caught:
        get()
    assert not isinstance(caught.value, UnreachableError)
    assert len(server.requests) == 6


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("9999", 60.0), ("soon", 1.0)])
def test_retry_after_is_honoured_up_to_a_bound(get, server, waits, asked, waited):
    server.script = [hostile_server.status(503, Retry_After=asked)]
    get()
    assert waits == [waited]


def test_retry_after_may_be_a_date():
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert headers.retry_after("Thu, 01 Jan 2026 12:00:30 GMT", now) == 30.0
    assert headers.retry_after("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0.0


def test_what_a_server_calls_gzip_is_stored_as_it_came(get, server):
    server.script = [hostile_server.status(200, CONTENT, Content_Encoding="gzip")]
    assert get().path.read_bytes() == CONTENT
    assert server.requests[0]["Accept-Encoding"] == "identity"


# ---------------------------------------------------------------------------- no network, no disk


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as unused:  # bound, so that nobody else listens there
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def test_a_closed_port_is_unreachable(get, file, closed_port, waits):
    with pytest.raises(
        UnreachableError, match=r"set\.bin from 127.*: Connection refused"
    ) as caught:
        get(replace(file, url=f"http://127.0.0.1:{closed_port}/set.bin"))
    assert "DID_MIRROR" in caught.value.hint
    assert waits == [1.0, 2.0]


def test_an_unknown_host_is_unreachable(get, file, monkeypatch):
    def fail(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UnreachableError, match=r"publisher\.invalid: Name or service not known"):
        get(replace(file, url="http://publisher.invalid/set.bin"))


def test_a_certificate_that_is_not_trusted_is_named_at_once(get, server, monkeypatch):
    def fail(*_args, **_options):
        raise requests.exceptions.SSLError from ssl.SSLCertVerificationError("self-signed")

    monkeypatch.setattr(requests.Session, "get", fail)
    with pytest.raises(
        DataError, match=r"certificate of 127\.0\.0\.1:\d+ is not trusted"
    ) as caught:
        get()
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
    assert server.requests == []


def test_a_server_that_hangs_up_is_unreachable(get, server):
    server.script = [hostile_server.hang_up] * 9
    with pytest.raises(UnreachableError):
        get()


def test_the_proxy_of_the_environment_is_used(get, server, file, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    get(replace(file, url="http://publisher.invalid/set.bin"))
    assert server.requests[0]["path"] == "http://publisher.invalid/set.bin"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is full")
def test_a_full_disk_is_a_storage_error(get, file, tmp_path):
    leave_part(tmp_path, file, b"")
    (tmp_path / "set.bin.part").unlink()
    (tmp_path / "set.bin.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="no space is left") as caught:
        get()
    assert caught.value.exit_code == 7
    assert (tmp_path / "set.bin.part").is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no RLIMIT_FSIZE")
def test_the_part_is_kept_when_the_disk_is_full(server, file, tmp_path):
    program = f"""
        import resource
        from pathlib import Path
        from didcli.errors import StorageError
        from didcli.io.download import fetch
        from didcli.io.remote import RemoteFile
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            fetch({file!r}, Path({str(tmp_path)!r}))
        except StorageError:
            raise SystemExit(7)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    assert subprocess.run(command, check=False).returncode == 7
    assert (tmp_path / "set.bin.part").read_bytes() == CONTENT[:200_000]
    fetch(file, tmp_path)
    assert server.ranges() == [None, "bytes=200000-"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(file, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match="cannot read or write"):
        fetch(file, tmp_path / "taken" / "data")


# ---------------------------------------------------------------------------- two at once


def test_two_threads_fetch_it_once(file, server, tmp_path):
    results = []
    notes = []
    noted = threading.Event()

    def note(text):
        notes.append(text)
        noted.set()

    def work():
        results.append(fetch(file, tmp_path, on_note=note))

    def slow(handler):
        noted.wait(30)  # until the other thread has found that it must wait
        hostile_server.honest(handler)

    server.script = [slow]
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.downloaded for result in results) == [False, True]
    assert len(server.requests) == 1
    assert notes == ["another process is fetching the same file: waiting for it"]


def test_two_processes_fetch_it_once(file, server, tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        results = pool.starmap(fetch, [(file, tmp_path)] * 2)
        pool.close()
        pool.join()
    assert sorted(result.downloaded for result in results) == [False, True]
    assert len(server.requests) == 1
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


def test_a_lock_left_by_a_dead_process_does_not_block(get, tmp_path):
    (tmp_path / ".set.bin.lock").write_text(str(os.getpid()))
    assert get().downloaded
