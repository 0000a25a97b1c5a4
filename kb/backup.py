"""Backup and restore: one file that holds a collection as it was at one moment, and proves on restore that it does.

manifest.json        version, collection, statistics, and the SHA-256 of every file below
configuration.json   the settings, secrets left out
collection/…         the LanceDB tables
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from kb import __version__
from kb.config import Settings, StorageSettings
from kb.errors import StoreError
from kb.html import render
from kb.store import Store

__all__ = ["Backup", "backup", "backups_in", "restore", "thin_out"]

SUFFIX = ".kb-backup.tar.zst"
MANIFEST, CONFIGURATION, FOLDER = "manifest.json", "configuration.json", "collection"
READ_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made or found good."""

    file: str
    made_at: str
    collection: str
    documents: int
    chunks: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)

    def _repr_html_(self) -> str:
        return render("backup.html", backup=self)


def backup(store: Store, settings: Settings, target: Path) -> Backup:
    """Writes a collection into a file, or into a new file of a folder. Ingests wait meanwhile, searches do not.

    Raises StoreError.
    """
    folder = _local(store)
    if not store.exists:
        raise StoreError("there is nothing to back up yet", where=store.uri, fix="Run kb ingest FOLDER first.")
    made_at = datetime.now(UTC).replace(microsecond=0)
    collection = settings.storage.collection
    file = target / f"{collection}-{made_at:%Y%m%dT%H%M%SZ}{SUFFIX}" if target.is_dir() else target
    with store.writing(), _writing(file) as archive:
        numbers = store.statistics()
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        manifest = {
            "version": __version__,
            "made_at": made_at.isoformat(),
            "collection": collection,
            "documents": numbers.documents,
            "chunks": numbers.chunks,
            "files": {str(path.relative_to(folder)): _digest(path) for path in files},
        }
        _add_text(archive, MANIFEST, json.dumps(manifest, indent=1))
        _add_text(archive, CONFIGURATION, json.dumps(_without_secrets(settings), indent=2))
        for path in files:
            archive.add(path, f"{FOLDER}/{path.relative_to(folder)}", recursive=False)
    return _described(file, manifest)


def restore(file: Path, storage: StorageSettings) -> Backup:
    """Puts a collection back, under the name and at the place that `storage` says, where nothing is yet.

    Every byte is compared with what was backed up before anything is put in place. Raises StoreError.
    """
    store = Store(storage)
    folder = _local(store)
    if store.exists:
        fix = "Name another storage.collection, or move that folder away."
        raise StoreError("there is a collection already; a restore overwrites nothing", where=store.uri, fix=fix)
    new = folder.with_name(f".{folder.name}.restoring")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        with _reading(file) as archive:
            manifest = _unpacked(archive, new, file)
        _verify(manifest, new / FOLDER, file)
        with store.writing():  # nobody ingests into the same name meanwhile
            # The documents last: without them a collection is empty, so that a kill leaves nothing half there.
            for part in sorted(
                (new / FOLDER).iterdir(), key=lambda part: (part.name.startswith("documents"), part.name)
            ):
                part.replace(folder / part.name)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(str(error.strerror or error), where=str(file), fix="Make room, or check the file.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    numbers = Store(storage).statistics()
    if (numbers.documents, numbers.chunks) != (manifest["documents"], manifest["chunks"]):
        what = f"{numbers.documents} documents and {numbers.chunks} passages came back"
        fix = f"{manifest['documents']} and {manifest['chunks']} were backed up; try another backup."
        raise StoreError(what, where=str(file), fix=fix)
    return _described(file, manifest)


def backups_in(folder: Path, collection: str = "*") -> list[Path]:
    """Backup files of a folder, the newest first."""
    made = folder.glob(f"{collection}-[0-9]*Z{SUFFIX}")
    return sorted(made, key=lambda file: file.name.removesuffix(SUFFIX).rsplit("-", 1)[1], reverse=True)


def thin_out(folder: Path, collection: str, *, keep: int) -> list[Path]:
    """Deletes all but the newest backups of a collection; gives those deleted."""
    old = backups_in(folder, collection)[max(keep, 1) :]
    for file in old:
        file.unlink(missing_ok=True)
    return old


def _local(store: Store) -> Path:
    if not store.is_local:
        fix = "Use the versions or the replication of the object storage."
        raise StoreError("only a collection in a folder is backed up into a file", where=store.uri, fix=fix)
    return Path(store.uri)


@contextmanager
def _writing(file: Path) -> Iterator[tarfile.TarFile]:
    """An archive that is there under its name only when it is whole."""
    new = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = pa.output_stream(str(new), compression="zstd")
        with stream, tarfile.open(fileobj=stream, mode="w|") as archive:
            yield archive
        new.replace(file)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(str(error.strerror or error), where=str(file), fix="Name another file or folder.") from error
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def _reading(file: Path) -> Iterator[tarfile.TarFile]:
    if not file.is_file():
        raise StoreError("no such backup", where=str(file), fix="Check the path.")
    try:
        stream = pa.input_stream(str(file), compression="zstd")
        with stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            yield archive
    except (tarfile.TarError, EOFError, pa.ArrowException) as error:
        raise _damaged(file, str(error)) from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise _damaged(file, str(error)) from error


def _unpacked(archive: tarfile.TarFile, folder: Path, file: Path) -> dict[str, Any]:
    """Everything below a folder; the data filter of tarfile lets nothing out of it. Gives the manifest."""
    for member in archive:
        archive.extract(member, folder, filter="data")
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, "it has no manifest") from error
    return manifest


def _verify(manifest: dict[str, Any], folder: Path, file: Path) -> None:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if found != manifest["files"].keys():
        raise _damaged(file, f"{len(found)} files in it, {len(manifest['files'])} in its manifest")
    for name, digest in manifest["files"].items():
        if _digest(folder / name) != digest:
            raise _damaged(file, f"{name} is not what was backed up")


def _damaged(file: Path, what: str) -> StoreError:
    return StoreError(f"the backup is damaged: {what[:200]}", where=str(file), fix="Restore another one.")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(data), int(datetime.now(UTC).timestamp())
    archive.addfile(member, io.BytesIO(data))


def _without_secrets(settings: Settings) -> dict[str, Any]:
    """The settings as a file that loads: keys, headers, passwords and the cache's URL are left out."""
    kept = settings.model_dump(
        mode="json",
        exclude={
            "embedder": {"api_key", "headers"},
            "reranker": {"api_key", "headers"},
            "writer": {"api_key"},
            "extraction": {"passwords"},
            "cache": {"url"},
        },
        exclude_none=True,
    )
    return {"pdf_knowledge": kept}


def _described(file: Path, manifest: dict[str, Any]) -> Backup:
    return Backup(
        file=str(file),
        made_at=manifest["made_at"],
        collection=manifest["collection"],
        documents=manifest["documents"],
        chunks=manifest["chunks"],
        bytes=file.stat().st_size,
    )
