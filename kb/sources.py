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
    """A file as the folder lists it. `path` is absolute and printable, `real` is what the system opens."""

    path: str
    real: Path
    size: int
    mtime_ns: int
    problem: str = ""  # why it cannot be read, where listing it showed that already


def find_sources(paths: Iterable[str | os.PathLike[str]], settings: IngestSettings) -> list[SourceFile]:
    """The files named and the PDFs in the folders named, sorted, each once.

    Raises SourceError for a path that is not there, and when there is no PDF at all.
    """
    roots = [Path(os.path.abspath(os.path.expanduser(path))) for path in paths]  # noqa: PTH100, PTH111 (keeps symlinks)
    if not roots:
        raise SourceError("no path was given", fix="Name a PDF or a folder of PDFs.")
    found: dict[str, SourceFile] = {}
    for root in roots:
        if not root.exists():
            raise SourceError("no such file or folder", where=_printable(root), fix="Check the path.")
        for file in _walk(root, settings) if root.is_dir() else [root]:
            source = _describe(file)
            if source is not None:
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


def _walk(root: Path, settings: IngestSettings) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=settings.follow_symlinks):
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # a symlink loop
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        here = Path(folder)
        relative = here.relative_to(root)
        yield from (here / name for name in files if _matches(str(relative / name), settings.pattern))


def _matches(relative: str, pattern: str) -> bool:
    """Glob match, case ignored; a leading **/ also stands for no folder at all."""
    relative, pattern = relative.lower(), pattern.lower()
    return fnmatch(relative, pattern) or (pattern.startswith("**/") and fnmatch(relative, pattern[3:]))


def _describe(file: Path) -> SourceFile | None:
    """The file, or None for what is no file at all (a pipe, a socket, a device)."""
    path = _printable(file)
    try:
        status = file.stat()
    except OSError as error:
        return SourceFile(path, file, 0, 0, problem=error.strerror or str(error))
    if not stat.S_ISREG(status.st_mode):
        return None
    return SourceFile(path, file, status.st_size, status.st_mtime_ns)


def _printable(path: Path) -> str:
    """The path as text that every table, terminal and JSON document can hold, also where it is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
