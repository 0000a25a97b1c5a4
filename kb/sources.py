"""Which files an ingest is about: found in folders, identified by content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from kb.config import IngestSettings
from kb.errors import SourceError

__all__ = ["SourceFile", "content_id", "find_sources", "within"]

READ_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as the folder lists it, or a folder that cannot be listed.

    `path` is absolute and printable, `real` is what the system opens.
    """

    path: str
    real: Path
    size: int
    mtime_ns: int
    problem: str = ""  # why it cannot be read, where listing it showed that already
    is_folder: bool = False


def find_sources(paths: Iterable[str | os.PathLike[str]], settings: IngestSettings) -> list[SourceFile]:
    """The files named and the PDFs in the folders named, sorted, each once.

    Raises SourceError for a path that is not there, and when there is no PDF at all.
    """
    roots = [Path(os.path.abspath(os.path.expanduser(path))) for path in paths]  # noqa: PTH100, PTH111 (keeps symlinks)
    if not roots:
        raise SourceError("no path was given", fix="Name a PDF or a folder of PDFs.")
    found: dict[str, SourceFile] = {}
    for root in roots:
        for source in _sources(root, settings):
            found.setdefault(source.path, source)
    if not found:
        where = ", ".join(_printable(root) for root in roots)
        raise SourceError(f"no file matches {settings.pattern}", where=where, fix="Name a folder that holds PDFs.")
    return [found[path] for path in sorted(found)]


def within(path: str, roots: Iterable[str | os.PathLike[str]]) -> bool:
    """Whether a stored path is one of the roots or lies under one."""
    tops = [_printable(Path(os.path.abspath(os.path.expanduser(root)))) for root in roots]  # noqa: PTH100, PTH111
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)


def content_id(file: Path) -> str:
    """SHA-256 of the file's bytes, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        while block := stream.read(READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def _sources(root: Path, settings: IngestSettings) -> Iterator[SourceFile]:
    """The files of one path that was given. Raises SourceError where it cannot be one."""
    try:
        status = root.stat()
    except FileNotFoundError:
        raise SourceError("no such file or folder", where=_printable(root), fix="Check the path.") from None
    except OSError as error:
        yield _unreadable(root, error)
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(root, settings)
    elif stat.S_ISREG(status.st_mode):
        yield _describe(root)
    else:
        fix = "Name a PDF or a folder of PDFs."
        raise SourceError("neither a file nor a folder", where=_printable(root), fix=fix)


def _walk(root: Path, settings: IngestSettings) -> Iterator[SourceFile]:
    seen: set[tuple[int, int]] = set()
    errors: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=errors.append, followlinks=settings.follow_symlinks):
        here = Path(folder)
        if settings.follow_symlinks and _seen_before(here, seen):  # a loop
            folders.clear()
            continue
        folders.sort()
        relative = here.relative_to(root)
        yield from (_describe(here / name) for name in files if _matches(str(relative / name), settings.pattern))
    for error in errors:
        yield _unreadable(Path(os.fsdecode(error.filename)), error, is_folder=True)


def _seen_before(folder: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        status = folder.stat()
    except OSError:  # gone since it was listed
        return True
    identity = (status.st_dev, status.st_ino)
    known = identity in seen
    seen.add(identity)
    return known


def _matches(relative: str, pattern: str) -> bool:
    """Glob match, case ignored; a leading **/ also stands for no folder at all."""
    relative, pattern = relative.lower(), pattern.lower()
    return fnmatch(relative, pattern) or (pattern.startswith("**/") and fnmatch(relative, pattern[3:]))


def _describe(file: Path) -> SourceFile:
    try:
        status = file.stat()
    except OSError as error:
        return _unreadable(file, error)
    problem = "" if stat.S_ISREG(status.st_mode) else "no regular file, but a pipe, a socket or a device"
    return SourceFile(_printable(file), file, status.st_size, status.st_mtime_ns, problem=problem)


def _unreadable(path: Path, error: OSError, *, is_folder: bool = False) -> SourceFile:
    reason = error.strerror or str(error)
    problem = f"the folder cannot be listed: {reason}" if is_folder else reason
    return SourceFile(_printable(path), path, 0, 0, problem=problem, is_folder=is_folder)


def _printable(path: Path) -> str:
    """The path as text that every table, terminal and JSON document can hold, also where it is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
