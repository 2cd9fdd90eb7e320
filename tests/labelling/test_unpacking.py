"""Archives of labelling tools: only label files, only into their folder, only so much."""

import io
import stat
import zipfile

import pytest

from llpp.errors import DataError
from llpp.labelling import unpacking
from llpp.labelling.unpacking import is_archive, list_label_files, unpack_archive


def pack(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def unpack(path, folder):
    with unpack_archive(path, path.name, folder / "unpacked") as files:
        found = {file.name: file.path.read_bytes() for file in files}
        for file in files:
            assert file.path.resolve().is_relative_to((folder / "unpacked").resolve())
    assert not (folder / "unpacked").exists()
    return found


def test_label_files_are_unpacked_and_pictures_and_hidden_files_are_not(tmp_path):
    members = {
        "labels/b.txt": b"0 0.5",
        "labels/A.TXT": b"0 0.6",
        "data.yaml": b"nc: 1",  # a reader looks it up next to the labels
        "images/a.jpg": b"pixels",
        ".git/config.json": b"{}",
        "__MACOSX/labels/b.txt": b"",
        "nested.zip": b"PK",
    }
    path = pack(tmp_path / "job.zip", members)
    assert unpack(path, tmp_path) == {"job.zip/labels/A.TXT": b"0 0.6", "job.zip/labels/b.txt": b"0 0.5"}
    with unpack_archive(path, path.name, tmp_path / "unpacked") as files:
        assert (files[0].path.parents[1] / "data.yaml").read_bytes() == b"nc: 1"


@pytest.mark.parametrize(
    "name", ["../../evil.json", "/etc/evil.json", "C:\\evil.json", "a/../../evil.json", "..\\..\\evil.json"]
)
def test_names_cannot_leave_the_folder(name, tmp_path):
    folder = tmp_path / "deep/er"
    folder.mkdir(parents=True)
    path = pack(folder / "job.zip", {name: b"{}"})
    assert [name.endswith("evil.json") for name in unpack(path, folder)] == [True]
    assert not list(tmp_path.rglob("evil.json"))


def test_links_are_not_unpacked(tmp_path):
    link = zipfile.ZipInfo("passwd.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert unpack(tmp_path / "job.zip", tmp_path) == {}


def refuse(path, folder):
    with pytest.raises(DataError) as caught, unpack_archive(path, path.name, folder / "unpacked"):
        pass
    assert not (folder / "unpacked").exists()
    return str(caught.value)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = pack(tmp_path / "bomb.zip", {"a.json": b"0" * (4 << 20)})
    assert "a.json in bomb.zip unpacks to more than 200 times its size" in refuse(path, tmp_path)


def test_too_much_and_too_many_are_refused(tmp_path, monkeypatch):
    path = pack(tmp_path / "job.zip", {"a.json": bytes(range(256)), "b.json": bytes(range(256))})
    monkeypatch.setattr(unpacking, "MAX_BYTES", 500)
    assert "job.zip unpacks to more than" in refuse(path, tmp_path)
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 1)
    assert refuse(path, tmp_path) == "job.zip has 2 files, more than 1; split it"


@pytest.mark.parametrize("length", [4, 30, 60, 200])
def test_a_truncated_archive_is_refused(length, tmp_path):
    path = pack(tmp_path / "job.zip", {"a.json": bytes(range(256))})
    path.write_bytes(path.read_bytes()[:length])
    assert "job.zip cannot be unpacked" in refuse(path, tmp_path)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = pack(tmp_path / "job.zip", {"a.json": bytes(range(256))}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert "Bad CRC-32" in refuse(path, tmp_path)


def test_an_archive_with_a_password_is_refused(tmp_path):
    """The bit that says so is set by hand; Python writes no such archives."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.json", b"{}")
    content = bytearray(buffer.getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "job.zip").write_bytes(content)
    assert "without a password" in refuse(tmp_path / "job.zip", tmp_path)


def test_a_name_twice_is_refused(tmp_path):
    path = pack(tmp_path / "job.zip", {"a/x.json": b"{}", "/a/x.json": b"[]"})
    assert refuse(path, tmp_path) == "job.zip has two files a/x.json; pack it again"


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path):
    path = pack(tmp_path / "job.zip", {"a.json": b"{}", "a.json/b.json": b"[]"})
    assert "a file and a folder of one name" in refuse(path, tmp_path)


def test_what_a_killed_process_left_is_removed_first(tmp_path):
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked/old.json").write_text("{}")
    assert unpack(pack(tmp_path / "job.zip", {"a.json": b"{}"}), tmp_path) == {"job.zip/a.json": b"{}"}


def test_archives_are_known_by_their_content(tmp_path):
    assert is_archive(pack(tmp_path / "a", {"a": b""}).read_bytes())
    assert is_archive(pack(tmp_path / "b", {}).read_bytes())
    assert not is_archive(b'{"a": 1}') and not is_archive(b"")


def test_a_folder_is_searched_for_what_may_hold_labels(tmp_path):
    for name in (
        "b/x.csv",
        "b/x.png",
        "a.json",
        ".cache/y.json",
        "config.yaml",
        "c.json.part",
        "UPPER.TXT",
        "clip.MP4",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [path.relative_to(tmp_path).as_posix() for path in list_label_files(tmp_path)] == [
        "UPPER.TXT",
        "a.json",
        "b/x.csv",
    ]
    assert list_label_files(tmp_path / "config.yaml") == [tmp_path / "config.yaml"]
