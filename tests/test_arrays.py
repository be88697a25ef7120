"""Files that are not what they claim: each is refused with one message, before it can do harm."""

import io
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from didcli.errors import DataError
from didcli.io import arrays
from didcli.io.arrays import Expected, hdf5_slabs, npz_slabs

VALUES = np.random.default_rng(0).integers(256, size=(96, 8, 8), dtype=np.uint8)
IMGS = Expected("imgs", (96, 8, 8), "|u1")
CHUNKS = (24, 2, 4)


def read(slabs, path):
    return np.concatenate(list(slabs(path, IMGS, "Fetch it again")))


def refused(slabs, path, match):
    with pytest.raises(DataError, match=match) as caught:
        read(slabs, path)
    assert caught.value.hint == "Fetch it again"
    assert str(path) in str(caught.value)


# ---------------------------------------------------------------------------- both


@pytest.mark.parametrize("slabs", [hdf5_slabs, npz_slabs])
@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>" * 99, b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"]
)
def test_a_file_of_another_kind_is_refused(tmp_path, slabs, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    refused(slabs, path, "is not what it should be")


@pytest.mark.parametrize("slabs", [hdf5_slabs, npz_slabs])
def test_an_absent_file_is_named(tmp_path, slabs):
    refused(slabs, tmp_path / "absent", "absent")


def write_hdf5(path, values=VALUES, name="imgs", **options):
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, **options)


def write_npz(path, values=VALUES, name="imgs"):
    np.savez_compressed(path, **{name: values})


KINDS = pytest.mark.parametrize(
    ("slabs", "write"), [(hdf5_slabs, write_hdf5), (npz_slabs, write_npz)]
)


@KINDS
@pytest.mark.parametrize(
    ("values", "match"),
    [
        (VALUES[:95], r"expected uint8 \(96, 8, 8\), got uint8 \(95, 8, 8\)"),
        (VALUES.astype("<i8"), r"expected uint8 \(96, 8, 8\), got int64"),
        (VALUES.astype("i1"), "got int8"),
        (VALUES.reshape(96, 64), r"got uint8 \(96, 64\)"),
        (np.uint8(0), r"got uint8 \(\)"),
    ],
)
def test_another_shape_or_type_is_refused(tmp_path, slabs, write, values, match):
    path = tmp_path / "file.npz"
    write(path, values)
    refused(slabs, path, match)


@KINDS
def test_a_missing_array_is_named(tmp_path, slabs, write):
    path = tmp_path / "file.npz"
    write(path, name="other")
    refused(slabs, path, "there is no imgs")


@KINDS
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path, slabs, write, part):
    path = tmp_path / "file.npz"
    write(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(part * len(raw))])
    refused(slabs, path, "is not what it should be")


TEXTS = ["size", "färbung"]


@pytest.mark.parametrize(
    ("names", "declared", "write"),
    [
        (arrays.hdf5_names, arrays.hdf5_declared, write_hdf5),
        (arrays.npz_names, arrays.npz_declared, write_npz),
    ],
)
def test_what_a_file_declares_is_told_before_it_is_read(tmp_path, names, declared, write):
    path = tmp_path / "file.npz"
    write(path)
    assert names(path, "") == ["imgs"]
    assert declared(path, "imgs", "") == IMGS
    with pytest.raises(DataError, match="there is no other"):
        declared(path, "other", "")


def test_texts_are_read_in_every_way_of_storing_them(tmp_path):
    path = tmp_path / "file.npz"
    np.savez(path, wide=np.array(TEXTS), narrow=np.char.encode(TEXTS, "utf-8"))
    assert arrays.npz_texts(path, "wide", "") == TEXTS
    assert arrays.npz_texts(path, "narrow", "") == TEXTS
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["wide"] = TEXTS
        file["narrow"] = np.char.encode(TEXTS, "utf-8")
    assert arrays.hdf5_texts(tmp_path / "file.h5", "wide", "") == TEXTS
    assert arrays.hdf5_texts(tmp_path / "file.h5", "narrow", "") == TEXTS


@pytest.mark.parametrize(
    ("texts", "write"), [(arrays.hdf5_texts, write_hdf5), (arrays.npz_texts, write_npz)]
)
@pytest.mark.parametrize("values", [VALUES, np.array([["a"]], "S"), np.zeros(2**17, "S9")])
def test_what_is_no_short_list_of_texts_is_refused(tmp_path, texts, write, values):
    path = tmp_path / "file.npz"
    write(path, values)
    with pytest.raises(DataError, match=r"expected texts|expected a short list"):
        texts(path, "imgs", "")


# ---------------------------------------------------------------------------- HDF5


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": CHUNKS},
        {"chunks": CHUNKS, "compression": "gzip", "shuffle": True, "fletcher32": True},
    ],
)
@pytest.mark.parametrize("slab_bytes", [1, 3000, 2**26])
def test_hdf5_comes_in_slabs_of_whole_chunks(tmp_path, monkeypatch, options, slab_bytes):
    monkeypatch.setattr(arrays, "SLAB_BYTES", slab_bytes)
    path = tmp_path / "file"
    write_hdf5(path, **options)
    lengths = [len(slab) for slab in hdf5_slabs(path, IMGS, "")]
    np.testing.assert_array_equal(read(hdf5_slabs, path), VALUES)
    if "chunks" in options:
        assert all(length % CHUNKS[0] == 0 for length in lengths)


def test_a_damaged_chunk_is_refused(tmp_path):
    path = tmp_path / "file"
    write_hdf5(path, chunks=CHUNKS, compression="gzip")
    with h5py.File(path) as file:
        chunk = file["imgs"].id.get_chunk_info(20)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + 20] = bytes(20)
    path.write_bytes(raw)
    refused(hdf5_slabs, path, "is not what it should be")


def test_links_and_groups_are_not_among_the_names(tmp_path):
    write_hdf5(tmp_path / "secret")
    path = tmp_path / "file"
    write_hdf5(path, name="own")
    with h5py.File(path, "a") as file:
        file["far"] = h5py.ExternalLink("secret", "/imgs")
        file["near"] = h5py.SoftLink("/own")
        file.create_group("group")
    assert arrays.hdf5_names(path, "") == ["own"]


@pytest.mark.parametrize("link", [h5py.ExternalLink("secret", "/imgs"), h5py.SoftLink("/hidden")])
def test_links_are_not_followed(tmp_path, link):
    write_hdf5(tmp_path / "secret")
    path = tmp_path / "file"
    write_hdf5(path, name="hidden")
    with h5py.File(path, "a") as file:
        file["imgs"] = link
    refused(hdf5_slabs, path, "imgs is a link")


def test_a_group_behind_a_link_is_not_entered(tmp_path):
    write_hdf5(tmp_path / "secret", name="latents/classes")
    path = tmp_path / "file"
    with h5py.File(path, "w") as file:
        file["latents"] = h5py.ExternalLink("secret", "/latents")
    with pytest.raises(DataError, match="is a link"):
        list(hdf5_slabs(path, Expected("latents/classes", (96, 8, 8), "|u1"), ""))


def test_a_group_in_place_of_the_array_is_refused(tmp_path):
    path = tmp_path / "file"
    write_hdf5(path, name="imgs/inside")
    refused(hdf5_slabs, path, "imgs is not an array")


def test_pixels_in_other_files_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    path = tmp_path / "file"
    with h5py.File(path, "w") as file:
        external = [(str(tmp_path / "secret"), 0, VALUES.nbytes)]
        file.create_dataset("imgs", VALUES.shape, "u1", external=external)
    refused(hdf5_slabs, path, "stored in other files")


def test_virtual_arrays_are_not_read(tmp_path):
    write_hdf5(tmp_path / "secret")
    path = tmp_path / "file"
    layout = h5py.VirtualLayout(VALUES.shape, "u1")
    layout[:] = h5py.VirtualSource(tmp_path / "secret", "imgs", VALUES.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("imgs", layout)
    refused(hdf5_slabs, path, "stored in other files")


def test_a_filter_from_outside_the_library_is_refused(tmp_path):
    path = tmp_path / "file"
    write_hdf5(path, chunks=CHUNKS, compression="lzf")
    refused(hdf5_slabs, path, "unknown filter: lzf")


def test_a_chunk_that_unpacks_to_more_is_refused(tmp_path):
    path = tmp_path / "file"
    write_hdf5(path, chunks=CHUNKS, compression="gzip")
    with h5py.File(path, "a") as file:
        bomb = zlib.compress(bytes(10_000_000), 9)
        file["imgs"].id.write_direct_chunk((24, 2, 4), bomb)
    refused(hdf5_slabs, path, "larger than it can be")


def test_chunks_too_large_to_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_LARGEST_SLAB", 1000)
    path = tmp_path / "file"
    write_hdf5(path, chunks=CHUNKS)
    refused(hdf5_slabs, path, "too large")


# ---------------------------------------------------------------------------- npz


def npy(header: str, payload: bytes, version: int = 1) -> bytes:
    encoded = header.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(encoded))
    return b"\x93NUMPY" + bytes([version, 0]) + length + encoded + payload


def zipped(path, member: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("imgs.npy", member)


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (96, 8, 8), }"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("slab_bytes", [1, 3000, 2**26])
def test_npz_comes_in_slabs(tmp_path, monkeypatch, version, slab_bytes):
    monkeypatch.setattr(arrays, "SLAB_BYTES", slab_bytes)
    path = tmp_path / "file"
    zipped(path, npy(HEADER, VALUES.tobytes(), version))
    np.testing.assert_array_equal(read(npz_slabs, path), VALUES)


@pytest.mark.parametrize(
    ("member", "match"),
    [
        (b"", "is not what it should be"),
        (npy(HEADER, VALUES.tobytes()[:-1]), "expected 6,144 bytes, got 6,143"),
        (npy(HEADER, bytes(10_000_000)), "expected 6,144 bytes, got 10,000,000"),
        (npy(HEADER.replace("96", "10**12"), b""), "is not what it should be"),
        (npy(HEADER.replace("96", "999999999999"), b""), "expected uint8"),
        (npy(HEADER.replace("False", "True"), VALUES.tobytes()), "expected C order"),
        (npy(HEADER.replace("|u1", "|O"), VALUES.tobytes()), "got object"),
        (npy(HEADER + " " * 20_000, VALUES.tobytes()), "is not what it should be"),
        (npy("((", VALUES.tobytes()), "a header that cannot be read"),  # numpy: TokenError
        (npy(HEADER.replace("'|u1'", "()"), VALUES.tobytes()), "a header that"),  # IndexError
        (npy(HEADER.replace("'shape'", "b'shape'"), b""), "a header that"),  # TypeError
        (npy(HEADER, VALUES.tobytes(), version=3)[:6] + b"\x09\x00", "npy version"),
    ],
)
def test_a_member_that_is_not_the_array_is_refused(tmp_path, member, match):
    path = tmp_path / "file"
    zipped(path, member)
    refused(npz_slabs, path, match)


def test_a_member_whose_checksum_is_wrong_is_refused(tmp_path):
    path = tmp_path / "file"
    zipped(path, npy(HEADER, VALUES.tobytes()), zipfile.ZIP_STORED)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(VALUES[50].tobytes(), VALUES[51].tobytes()))
    refused(npz_slabs, path, "CRC")


def test_a_member_that_unpacks_to_more_than_it_declares_is_refused(tmp_path):
    path = tmp_path / "file"
    whole = npy(HEADER, VALUES.tobytes())
    zipped(path, whole + bytes(1_000_000))
    raw = path.read_bytes()
    declared = struct.pack("<I", len(whole) + 1_000_000)
    path.write_bytes(raw.replace(declared, struct.pack("<I", len(whole))))
    refused(npz_slabs, path, "is not what it should be")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_packing_is_refused(tmp_path, method):
    path = tmp_path / "file"
    zipped(path, npy(HEADER, VALUES.tobytes()), method)
    refused(npz_slabs, path, "unknown method")


def test_an_encrypted_member_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("imgs.npy", npy(HEADER, VALUES.tobytes()))
    raw = bytearray(buffer.getvalue())
    central = raw.index(b"PK\x01\x02")
    raw[6] |= 1  # bit 0 of the flags, in the local and in the central header
    raw[central + 8] |= 1
    path = tmp_path / "file"
    path.write_bytes(raw)
    refused(npz_slabs, path, "encrypted")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("slab_bytes", [1, 3000, 2**26])
def test_an_array_of_unknown_shape_is_read_in_either_order(
    tmp_path, monkeypatch, order, slab_bytes
):
    monkeypatch.setattr(arrays, "SLAB_BYTES", slab_bytes)
    path = tmp_path / "file.npz"
    write_npz(path, np.asarray(VALUES, order=order))
    np.testing.assert_array_equal(arrays.npz_array(path, "imgs", VALUES.nbytes, ""), VALUES)


@pytest.mark.parametrize(
    ("member", "match"),
    [
        (npy(HEADER, VALUES.tobytes()[:-1]), "expected 6,144 bytes, got 6,143"),
        (npy(HEADER.replace("96", "95"), VALUES.tobytes()), "expected 6,080 bytes, got 6,144"),
        (npy(HEADER.replace("96", "97"), bytes(97 * 64)), r"in 6,144 bytes at most, got uint8"),
        (npy(HEADER.replace("96", "999999999999999"), b""), "bytes at most"),
        (npy(HEADER.replace("96", "0"), b""), "bytes at most"),
        (npy(HEADER.replace("96, 8, 8", "-96, -8, 8"), VALUES.tobytes()), "not what it should be"),
        (npy(HEADER.replace("96, 8, 8", ""), b"1"), "expected real numbers"),
        (npy(HEADER.replace("|u1", "|O"), bytes(48)), "expected real numbers"),
        (npy(HEADER.replace("|u1", "|S1"), VALUES.tobytes()), "expected real numbers"),
    ],
)
def test_an_array_of_unknown_shape_is_bounded(tmp_path, member, match):
    path = tmp_path / "file"
    zipped(path, member)
    with pytest.raises(DataError, match=match) as caught:
        arrays.npz_array(path, "imgs", VALUES.nbytes, "Save it again")
    assert caught.value.hint == "Save it again"


def test_an_open_file_is_read_as_its_path_is(tmp_path):
    path = tmp_path / "file.npz"
    write_npz(path)
    with path.open("rb") as file:
        source = arrays.OpenFile(file, "stdin")
        assert arrays.npz_names(source, "") == ["imgs"]
        np.testing.assert_array_equal(read(npz_slabs, source), VALUES)
        with pytest.raises(DataError, match=r"^stdin is not what it should be: there is no"):
            arrays.npz_declared(source, "other", "")


@pytest.mark.parametrize("descr", ["<U1", ">U1"])
def test_characters_that_there_are_none_of_are_refused(tmp_path, descr):
    path = tmp_path / "file"
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (3,), }}"
    zipped(path, npy(header, b"\x7f" * 12))
    with pytest.raises(DataError, match="no character of such a number"):
        arrays.npz_texts(path, "imgs", "")


# ---------------------------------------------------------------------------- npy


@pytest.mark.parametrize("slab_bytes", [1, 3000, 2**26])
def test_npy_comes_in_slabs(tmp_path, monkeypatch, slab_bytes):
    monkeypatch.setattr(arrays, "SLAB_BYTES", slab_bytes)
    path = tmp_path / "file.npy"
    np.save(path, VALUES)
    assert arrays.npy_declared(path, "imgs", "") == IMGS
    np.testing.assert_array_equal(read(arrays.npy_slabs, path), VALUES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        npy(HEADER, VALUES.tobytes()[:-1]),
        npy(HEADER, VALUES.tobytes() + b"\0"),
        npy(HEADER.replace("False", "True"), VALUES.tobytes()),
        npy(HEADER.replace("|u1", "|O"), VALUES.tobytes()),
    ],
)
def test_an_npy_that_is_not_the_array_is_refused(tmp_path, content):
    path = tmp_path / "file.npy"
    path.write_bytes(content)
    refused(arrays.npy_slabs, path, "is not what it should be")
