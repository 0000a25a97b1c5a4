"""Backup and restore: the same answers come back, and damage is found before anything is put in place."""

from __future__ import annotations

import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.backup import backups_in, thin_out
from kb.config import Settings
from kb.errors import StoreError

QUESTION = "why did the margin fall?"


@pytest.fixture
def config(tmp_path: Path, endpoint: str) -> Path:
    return write_config(tmp_path / "kb", endpoint, api_key="sekret-key-4", headers={"X-Secret": "sekret-header"})


@pytest.fixture
def knowledge_base(config: Path, tmp_path: Path) -> Iterator[KnowledgeBase]:
    for number in range(5):
        make_pdf(tmp_path / "papers" / f"{number}.pdf", [f"Report {number}", f"The margin fell in year {number}."])
    others = {name: {"api_key": f"sekret-{name}"} for name in ("reranker", "writer")}
    with KnowledgeBase.open(config, **others) as opened:
        opened.ingest(tmp_path / "papers")
        yield opened


def other(config: Path, collection: str = "again") -> KnowledgeBase:
    return KnowledgeBase.open(config, storage={"collection": collection})


def entries(file: Path) -> dict[str, bytes]:
    with pa.input_stream(str(file), compression="zstd") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        return {member.name: opened.read() for member in archive if (opened := archive.extractfile(member))}


def rewritten(file: Path, changed: dict[str, bytes]) -> None:
    import io

    with pa.output_stream(str(file), compression="zstd") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, data in changed.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_a_restored_collection_answers_as_the_first(
    knowledge_base: KnowledgeBase, config: Path, tmp_path: Path
) -> None:
    made = knowledge_base.backup(tmp_path)
    assert (made.documents, made.chunks) == (5, 10)
    with other(config) as again:
        again.restore(made.file)
        assert again.search(QUESTION).to_dict() == knowledge_base.search(QUESTION).to_dict()
        assert again.status().statistics.vector_index == knowledge_base.status().statistics.vector_index
        assert not again.ingest(tmp_path / "papers").incomplete
        assert again.preview(tmp_path / "papers").changes == ()


def test_a_backup_holds_the_configuration_without_secrets(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    held = entries(Path(knowledge_base.backup(tmp_path).file))
    assert not [name for name, data in held.items() if b"sekret" in data]
    (tmp_path / "back.json").write_bytes(held["configuration.json"])
    assert Settings.load(tmp_path / "back.json").embedder.model == "all-MiniLM-L6-v2"


def test_damage_is_found_and_nothing_is_put_in_place(
    knowledge_base: KnowledgeBase, config: Path, tmp_path: Path
) -> None:
    file = Path(knowledge_base.backup(tmp_path / "b.tar.zst").file)
    held = entries(file)
    name = next(name for name in held if name.startswith("collection/chunks.lance/data"))
    flipped = bytes([held[name][0] ^ 1]) + held[name][1:]
    cases = {
        "is not what was backed up": {**held, name: flipped},
        "files in it": {key: data for key, data in held.items() if key != name},
        "no manifest": {key: data for key, data in held.items() if key != "manifest.json"},
    }
    with other(config) as again:
        for what, changed in cases.items():
            rewritten(file, changed)
            with pytest.raises(StoreError, match=what):
                again.restore(file)
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(StoreError, match="damaged"):
            again.restore(file)
        file.write_text("no archive at all")
        with pytest.raises(StoreError, match="damaged"):
            again.restore(file)
        assert not again.store.exists
    assert not list((tmp_path / "kb" / "data").glob(".*.restoring"))


def test_an_archive_cannot_write_outside(knowledge_base: KnowledgeBase, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "evil.tar.zst"
    rewritten(file, {"../../escaped.txt": b"x", "manifest.json": b"{}"})
    with other(config) as again, pytest.raises(StoreError, match="damaged"):
        again.restore(file)
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_restore_overwrites_nothing(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    made = knowledge_base.backup(tmp_path)
    with pytest.raises(StoreError, match="overwrites nothing"):
        knowledge_base.restore(made.file)
    assert knowledge_base.search(QUESTION)


def test_a_backup_waits_for_the_writer(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    done = threading.Event()
    thread = threading.Thread(target=lambda: (knowledge_base.backup(tmp_path), done.set()))
    with knowledge_base.store.writing():
        thread.start()
        assert not done.wait(0.5)
    thread.join(30)
    assert done.is_set()


def test_old_backups_go_and_others_stay(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    for stamp in ("20200101T000000Z", "20200102T000000Z"):
        (tmp_path / f"default-{stamp}.kb-backup.tar.zst").write_text("old")
    (tmp_path / "other-20200101T000000Z.kb-backup.tar.zst").write_text("of another collection")
    knowledge_base.backup(tmp_path)
    gone = thin_out(tmp_path, "default", keep=2)
    assert [file.name for file in gone] == ["default-20200101T000000Z.kb-backup.tar.zst"]
    assert len(backups_in(tmp_path)) == 3


def test_the_commands(knowledge_base: KnowledgeBase, config: Path, tmp_path: Path) -> None:
    import sys

    def kb(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kb", *arguments, "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    made = json.loads(kb("backup", str(tmp_path), "--json").stdout)
    assert made["documents"] == 5
    restored = kb("restore", made["file"], "--set", "storage.collection=fresh")
    assert restored.returncode == 0, restored.stderr
    assert "5 documents" in restored.stdout
    refused = kb("restore", made["file"])
    assert refused.returncode == 2
    assert "overwrites nothing" in refused.stderr
