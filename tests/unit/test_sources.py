"""Finding files: folders, odd names, loops, and what is not a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kb.config import IngestSettings
from kb.errors import SourceError
from kb.sources import content_id, find_sources, within


def names(*paths: Path, follow_symlinks: bool = False, pattern: str = "**/*.pdf") -> list[str]:
    settings = IngestSettings(follow_symlinks=follow_symlinks, pattern=pattern)
    return [Path(source.path).name for source in find_sources(paths, settings)]


def test_pdfs_are_found_in_all_folders_below_whatever_the_case(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("1.pdf", "a/2.PDF", "a/b/3.Pdf", "a/notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == ["1.pdf", "2.PDF", "3.Pdf"]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(b"x")
    assert names(tmp_path / "download") == ["download"]


def test_a_file_named_twice_is_found_once(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"x")
    assert names(tmp_path, tmp_path / "a.pdf") == ["a.pdf"]


@pytest.mark.parametrize("name", ["with space.pdf", "new\nline.pdf", "ünï.pdf", "'quote\".pdf", "-dash.pdf"])
def test_odd_names_come_back_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == [name]


def test_a_name_that_is_not_utf8_is_printable_and_opens(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.pdf"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    [source] = find_sources([tmp_path], IngestSettings())
    assert source.path.encode("utf-8").endswith(rb"caf\xe9.pdf")
    assert source.real.read_bytes() == b"x"


def test_a_symlink_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert names(tmp_path, follow_symlinks=True) == ["a.pdf"]


def test_a_broken_link_is_reported_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "gone.pdf").symlink_to(tmp_path / "nowhere")
    [source] = find_sources([tmp_path], IngestSettings())
    assert source.problem == "No such file or directory"


def test_a_pipe_named_like_a_pdf_is_reported_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pdf")
    [source] = find_sources([tmp_path], IngestSettings())
    assert "a pipe" in source.problem


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file or folder.*Check the path"):
        find_sources([tmp_path / "absent"], IngestSettings())


def test_a_folder_without_pdfs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file matches"):
        find_sources([tmp_path], IngestSettings())


def test_identity_is_content(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"same")
    (tmp_path / "b.pdf").write_bytes(b"same")
    assert content_id(tmp_path / "a.pdf") == content_id(tmp_path / "b.pdf")


def test_within_means_the_path_itself_or_below() -> None:
    assert within("/a/b.pdf", ["/a"])
    assert within("/a/b.pdf", ["/a/b.pdf"])
    assert not within("/ab/c.pdf", ["/a"])
