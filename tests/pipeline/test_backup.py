"""Backup and restore: the same collection comes back, a damaged file never takes the place of one."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.backup import backups_in, thin_out
from kb.errors import StoreError

SECRETS = {"api_key": "sk-embedder-secret", "headers": {"X-Key": "header-secret"}}


@pytest.fixture
def knowledge_base(tmp_path: Path, endpoint: str) -> Iterator[KnowledgeBase]:
    make_pdf(tmp_path / "pdfs" / "bees.pdf", ["Bees dance to tell where flowers are."], title="On bees")
    opened = KnowledgeBase.open(
        write_config(tmp_path, endpoint, **SECRETS),
        reranker={"api_key": "sk-reranker-secret"},
        writer={"api_key": "sk-writer-secret"},
    )
    with opened:
        opened.ingest(tmp_path / "pdfs")
        yield opened


def test_what_was_backed_up_comes_back_under_another_name(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    made = knowledge_base.backup(tmp_path / "b.tar.zst")
    found = [(hit.document, hit.page, hit.text) for hit in knowledge_base.search("dance")]
    config = tmp_path / "config.json"
    with KnowledgeBase.open(config, storage={"collection": "again"}) as again:
        restored = again.restore(made.file)
        assert (restored.documents, restored.chunks) == (1, made.chunks)
        assert [(hit.document, hit.page, hit.text) for hit in again.search("dance")] == found
        assert again.ingest(tmp_path / "pdfs").summary.startswith("0 added, 1 unchanged")


def test_it_holds_the_settings_and_no_secret(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    made = knowledge_base.backup(tmp_path)
    text = ""
    with pa.input_stream(made.file, compression="zstd") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if member.name == "configuration.json" and file is not None:
                text = file.read().decode()
    assert "all-MiniLM-L6-v2" in text
    assert "secret" not in text
    assert "***" not in text


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    knowledge_base: KnowledgeBase, tmp_path: Path, place: float
) -> None:
    file = Path(knowledge_base.backup(tmp_path / "b.tar.zst").file)
    data = bytearray(file.read_bytes())
    data[int(len(data) * place)] ^= 0xFF
    file.write_bytes(data)
    with KnowledgeBase.open(tmp_path / "config.json", storage={"collection": "again"}) as again:
        with pytest.raises(StoreError):
            again.restore(file)
        assert not again.store.exists


def test_it_never_takes_the_place_of_a_collection(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    made = knowledge_base.backup(tmp_path)
    with pytest.raises(StoreError, match=r"storage\.collection"):
        knowledge_base.restore(made.file)
    assert knowledge_base.search("dance")


def test_old_backups_go_when_there_are_enough(tmp_path: Path) -> None:
    for day in range(1, 5):
        (tmp_path / f"default-2026010{day}T030000Z.kb-backup.tar.zst").touch()
    (tmp_path / "other-20260101T030000Z.kb-backup.tar.zst").touch()
    gone = thin_out(tmp_path, "default", keep=2)
    assert [file.name[8:16] for file in gone] == ["20260102", "20260101"]
    assert len(backups_in(tmp_path, "default")) == 2
    assert len(backups_in(tmp_path, "other")) == 1
