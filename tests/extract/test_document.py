"""What becomes of one file: pages, labels, sections and metadata, or a status that says why there are none."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.errors import LimitReachedError

from kb.config import ExtractionSettings
from kb.extract import extract_document
from kb.extract.dates import parse_date
from kb.types import DocumentStatus, ExtractedDocument, Page, PageStatus

MakePdf = Callable[..., Path]


@pytest.fixture(scope="module")
def manual(samples: Path) -> ExtractedDocument:
    """debmake-doc in English: XeTeX output, with an outline and roman page labels in front."""
    return extract_document(samples / "debmake-doc.en.pdf", ExtractionSettings())


def test_words_are_apart_where_pypdf_glues_them(manual: ExtractedDocument) -> None:
    assert "or ask them about their situation, use these files" in manual.pages[70].text


def test_pages_count_from_1_and_carry_what_is_printed_on_them(manual: ExtractedDocument) -> None:
    assert [page.number for page in manual.pages] == list(range(1, 144))
    assert [manual.pages[index].label for index in (3, 19)] == ["ii", "11"]


def test_metadata_is_what_the_file_says(manual: ExtractedDocument) -> None:
    assert manual.metadata.title == "Guide for Debian Maintainers"
    assert "Osamu Aoki" in manual.metadata.author
    assert manual.metadata.created is not None
    assert manual.metadata.created.tzinfo is not None


def test_a_page_continues_the_section_before_and_starts_its_own(manual: ExtractedDocument) -> None:
    page = manual.pages[19]
    starts = {section.path[-1]: section.offset for section in page.sections}
    assert page.sections[0].offset == 0
    assert page.text[starts["sbuild"] :].startswith("3.6 sbuild")
    assert all(section.path[0] == "Tool Setups" for section in page.sections)


def test_paragraphs_are_apart_and_rows_stay_rows(manual: ExtractedDocument) -> None:
    text = manual.pages[19].text
    assert "\n\nYou can set these up in ~/.devscripts as follows.\n\n" in text
    assert '-I -us -uc"\nDEBUILD_LINTIAN_OPTS="-i -I --show-overrides"\n' in text


def test_page_numbers_are_gone_and_text_is_not(manual: ExtractedDocument) -> None:
    assert not manual.pages[19].text.endswith("\n11")
    assert manual.pages[19].text.endswith("$source_only_changes = 1;\n# -v\n$verbose = 1;")


def test_a_running_head_of_the_chapter_goes(samples: Path, settings: ExtractionSettings) -> None:
    document = extract_document(samples / "reportlab-userguide.pdf", settings)
    assert not any("User Guide Chapter 2" in page.text for page in document.pages)
    assert not any(page.text.endswith(f"Page {page.number}") for page in document.pages)


def test_a_document_without_an_outline_gets_sections_from_its_headings(
    shared: Path, settings: ExtractionSettings
) -> None:
    document = extract_document(shared / "corpus" / "ordinary" / "us_constitution.pdf", settings)
    titles = {section.path[-1] for page in document.pages for section in page.sections}
    assert any("Article" in title or "Amendment" in title for title in titles), titles


def test_progress_gets_each_page_as_it_is_read(make_pdf: MakePdf, settings: ExtractionSettings) -> None:
    seen: list[Page] = []
    extract_document(make_pdf([["One"], ["Two"]]), settings, progress=seen.append)
    assert [(page.number, page.text) for page in seen] == [(1, "One"), (2, "Two")]


@pytest.mark.parametrize("engine", ["auto", "pdfium", "pypdf"])
def test_either_engine_reads_by_itself(make_pdf: MakePdf, engine: str) -> None:
    settings = ExtractionSettings(engine=engine)
    document = extract_document(make_pdf([["Some text"]], title="A title"), settings)
    assert (document.status, document.metadata.title) == (DocumentStatus.INDEXED, "A title")
    assert document.pages[0].text == "Some text"


def test_a_page_with_glued_words_is_read_by_the_other_engine(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pdfium glues nothing in the samples, so the engines change places."""
    from kb.extract import reading
    from kb.extract.pdfium_reader import PdfiumReader
    from kb.extract.pypdf_reader import PypdfReader

    path = tmp_path / "two pages.pdf"
    writer = PdfWriter()
    writer.append(PdfReader(samples / "debmake-doc.en.pdf"), pages=(70, 72))
    writer.write(path)
    closed = type("Closed", (PypdfReader,), {"close": lambda self: None})
    monkeypatch.setattr(reading, "PdfiumReader", closed)
    monkeypatch.setattr(reading, "PypdfReader", PdfiumReader)
    page = extract_document(path, ExtractionSettings()).pages[0]
    assert "use these files" in page.text
    assert "words are glued together" in page.note


def test_a_page_of_unknown_characters_is_read_by_the_other_engine(
    make_pdf: MakePdf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both engines decode what the tests can make, so pdfium's letters are taken away."""
    from kb.extract.layout import RawPage
    from kb.extract.pdfium_reader import PdfiumReader

    read = PdfiumReader.read_page

    def unknown(reader: PdfiumReader, number: int) -> RawPage:
        page = read(reader, number)
        page.lines = [line._replace(text=line.text.replace("e", "\ufffd")) for line in page.lines]
        return page

    monkeypatch.setattr(PdfiumReader, "read_page", unknown)
    path = make_pdf([["These sentences tell everything there is to be seen here."] * 4])
    [page] = extract_document(path, ExtractionSettings()).pages
    assert "These sentences tell everything" in page.text
    assert "many characters are unknown" in page.note


def test_what_the_limits_of_pypdf_turn_away_is_read_with_raised_ones(make_raw_pdf: MakePdf) -> None:
    path = make_raw_pdf(b"[" + b"0 " * 100_001 + b"] 0 d BT /F1 10 Tf 72 700 Td (An honest page) Tj ET")
    with pytest.raises(LimitReachedError):
        PdfReader(path).pages[0].extract_text()
    [page] = extract_document(path, ExtractionSettings(engine="pypdf")).pages
    assert page.text == "An honest page"


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_file_with_an_owner_password_only_opens_by_itself(make_pdf: MakePdf, algorithm: str) -> None:
    document = extract_document(encrypted(make_pdf([["Readable"]]), "", algorithm), ExtractionSettings())
    assert (document.status, document.pages[0].text) == (DocumentStatus.INDEXED, "Readable")


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
@pytest.mark.parametrize("engine", ["auto", "pypdf"])
def test_a_file_with_a_user_password_opens_with_one_of_the_configuration(
    make_pdf: MakePdf, algorithm: str, engine: str
) -> None:
    path = encrypted(make_pdf([["Secret"]]), "s3cret", algorithm)
    settings = ExtractionSettings(engine=engine, passwords=("wrong", "s3cret"))
    assert extract_document(path, settings).pages[0].text == "Secret"


def test_a_file_without_its_password_is_encrypted_and_no_password_is_told(make_pdf: MakePdf) -> None:
    path = encrypted(make_pdf([["Secret"]]), "s3cret", "AES-256")
    for settings in (ExtractionSettings(), ExtractionSettings(passwords=("hunter2",))):
        document = extract_document(path, settings)
        assert document.status is DocumentStatus.ENCRYPTED
        assert "extraction.passwords" in document.reason
        assert "hunter2" not in document.reason


def test_a_text_file_named_pdf_is_corrupt(tmp_path: Path, settings: ExtractionSettings) -> None:
    (tmp_path / "notes.pdf").write_text("just notes")
    document = extract_document(tmp_path / "notes.pdf", settings)
    assert (document.status, document.reason) == (DocumentStatus.CORRUPT, "not a PDF file")


def test_an_empty_file_is_corrupt_and_says_so(tmp_path: Path, settings: ExtractionSettings) -> None:
    (tmp_path / "empty.pdf").touch()
    document = extract_document(tmp_path / "empty.pdf", settings)
    assert (document.status, document.reason) == (DocumentStatus.CORRUPT, "the file is empty (0 bytes)")


def test_a_file_cut_in_half_is_read_as_far_as_it_goes(samples: Path, tmp_path: Path) -> None:
    data = (samples / "debmake-doc.en.pdf").read_bytes()
    (tmp_path / "half.pdf").write_bytes(data[: len(data) // 2])
    document = extract_document(tmp_path / "half.pdf", ExtractionSettings())
    assert document.status in (DocumentStatus.CORRUPT, DocumentStatus.PARTIAL)
    assert document.reason


def test_a_pdf_without_pages_is_empty(tmp_path: Path, settings: ExtractionSettings) -> None:
    PdfWriter().write(tmp_path / "none.pdf")
    assert extract_document(tmp_path / "none.pdf", settings).status is DocumentStatus.EMPTY


def test_blank_pages_are_no_text_and_are_named(make_pdf: MakePdf, settings: ExtractionSettings) -> None:
    blank = extract_document(make_pdf([[], []]), settings)
    assert (blank.status, blank.reason) == (DocumentStatus.NO_TEXT, "every page is blank")
    some = extract_document(make_pdf([["Text"], [], ["Text"], []]), settings)
    assert (some.status, some.reason) == (DocumentStatus.INDEXED, "pages 2, 4 without text")
    assert some.pages_without_text == (2, 4)


def test_a_logo_on_a_cover_loses_no_text(make_raw_pdf: MakePdf, settings: ExtractionSettings) -> None:
    document = extract_document(make_raw_pdf(b"0.5 g 100 100 200 200 re f"), settings)
    assert document.pages[0].status is PageStatus.BLANK


def test_a_picture_that_fills_the_page_is_image_only(make_raw_pdf: MakePdf, settings: ExtractionSettings) -> None:
    document = extract_document(make_raw_pdf(b"0.5 g 0 0 600 800 re f"), settings)
    assert document.status is DocumentStatus.NO_TEXT
    assert document.pages[0].status is PageStatus.IMAGE_ONLY


def test_too_many_pages_are_over_the_limit(make_pdf: MakePdf) -> None:
    document = extract_document(make_pdf([["x"]] * 4), ExtractionSettings(max_pages=3))
    assert (document.status, document.page_count) == (DocumentStatus.OVER_LIMIT, 4)
    assert "extraction.max_pages (3)" in document.reason


def test_what_the_system_does_not_let_us_read_is_unreadable(tmp_path: Path, settings: ExtractionSettings) -> None:
    os.mkfifo(tmp_path / "pipe.pdf")
    (tmp_path / "folder.pdf").mkdir()
    (tmp_path / "loop.pdf").symlink_to(tmp_path / "loop.pdf")
    for name in ("pipe.pdf", "folder.pdf", "loop.pdf", "gone.pdf", "x" * 300 + ".pdf", "nul\0.pdf"):
        document = extract_document(tmp_path / name, settings)
        assert document.status is DocumentStatus.UNREADABLE, name
        assert document.reason


def test_a_file_that_changes_while_it_is_read_is_unreadable(
    make_pdf: MakePdf, settings: ExtractionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_pdf([["Text"]])
    original = Path.open

    def open_and_grow(self: Path, *arguments: str) -> object:
        file = original(self, *arguments)
        with original(self, "ab") as other:
            other.write(b"%")
        return file

    times = iter(range(10**18, 2 * 10**18))
    stat = Path.stat
    monkeypatch.setattr(Path, "open", open_and_grow)
    monkeypatch.setattr(Path, "stat", lambda self, **kw: (os.utime(self, ns=(1, next(times))), stat(self, **kw))[1])
    document = extract_document(path, settings)
    assert (document.status, document.reason) == (DocumentStatus.UNREADABLE, "changed while it was read")


@pytest.mark.parametrize("name", [b"with spaces and \n newline.pdf", "Umläute 文.pdf".encode(), b"not utf-8 \xff.pdf"])
def test_any_name_will_do(make_pdf: MakePdf, tmp_path: Path, settings: ExtractionSettings, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    make_pdf([["Text"]]).rename(path)
    assert extract_document(path, settings).pages[0].text == "Text"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("D:20220509152617-00'00'", datetime(2022, 5, 9, 15, 26, 17, tzinfo=UTC)),
        ("D:20220509152617+02'00'", datetime(2022, 5, 9, 15, 26, 17, tzinfo=timezone(timedelta(hours=2)))),
        ("D:2022", datetime(2022, 1, 1, tzinfo=UTC)),
        ("20220509", datetime(2022, 5, 9, tzinfo=UTC)),
        ("2022-05-09T15:26:17Z", datetime(2022, 5, 9, 15, 26, 17, tzinfo=UTC)),
        ("D:20221399", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_are_read_as_pdf_writes_them(text: str, wanted: datetime | None) -> None:
    assert parse_date(text) == wanted


def encrypted(path: Path, user_password: str, algorithm: str) -> Path:
    writer = PdfWriter(clone_from=path)
    writer.encrypt(user_password, "owner", algorithm=algorithm)
    target = path.with_name("encrypted.pdf")
    writer.write(target)
    return target
