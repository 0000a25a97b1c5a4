"""What can be done with a hit: see its page, mark it, export it, look for more like it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.errors import PageError, QueryError
from kb.html import flowing, pieces, render
from kb.types import Hit

PASSAGE = "Operating margin fell to nine percent because freight costs doubled."
EVIL = "<script>alert('text')</script>"


@pytest.fixture
def knowledge_base(tmp_path: Path, endpoint: str) -> Iterator[KnowledgeBase]:
    make_pdf(tmp_path / "papers" / "annual_2022.pdf", ["Cover", PASSAGE, f"Appendix {EVIL}"], title="50% & more_{x}")
    make_pdf(
        tmp_path / "papers" / "other.pdf",
        ["=HYPERLINK(freight)", "The operating margin sank to nine percent: freight."],
    )
    with KnowledgeBase.open(write_config(tmp_path / "kb", endpoint)) as opened:
        opened.ingest(tmp_path / "papers")
        yield opened


@pytest.fixture
def hit(knowledge_base: KnowledgeBase) -> Hit:
    return knowledge_base.search("why did operating margin fall?", documents="annual_2022.pdf", pages="2")[0]


def test_the_page_of_a_hit_is_a_picture_with_the_passage_marked(knowledge_base: KnowledgeBase, hit: Hit) -> None:
    view = knowledge_base.view_page(hit)
    assert view.picture.startswith(b"\x89PNG")
    assert (view.page, view.page_count) == (2, 3)
    [box] = view.passage
    assert 0 < box.left < box.right < 1
    assert 0 < box.top < box.bottom < 0.2
    html = view._repr_html_()
    assert 'class="box' in html
    assert "data:image/png;base64," in html
    assert knowledge_base.view_page(hit, page=3).passage == ()


def test_a_page_that_cannot_be_shown_is_a_plain_error(knowledge_base: KnowledgeBase, hit: Hit) -> None:
    with pytest.raises(PageError, match="page 9"):
        knowledge_base.view_page(hit, page=9)
    Path(hit.document).unlink()
    with pytest.raises(PageError, match="not there any more"):
        knowledge_base.view_page(hit)


def test_a_locked_file_is_shown_with_the_password_that_opens_it(tmp_path: Path, endpoint: str) -> None:
    make_pdf(tmp_path / "papers" / "locked.pdf", [PASSAGE], password="open sesame")
    config = write_config(tmp_path / "kb", endpoint)
    with KnowledgeBase.open(config, extraction={"passwords": ["wrong", "open sesame"]}) as knowledge_base:
        knowledge_base.ingest(tmp_path / "papers")
        assert knowledge_base.view_page(knowledge_base.search("margin")[0]).passage


def test_a_changed_file_is_shown_with_a_warning(knowledge_base: KnowledgeBase, hit: Hit) -> None:
    make_pdf(Path(hit.document), ["Cover", "Something else is here now."])
    view = knowledge_base.view_page(hit)
    assert "has changed" in view.note
    assert view.passage == ()


def test_more_like_this_finds_the_neighbour_and_not_itself(knowledge_base: KnowledgeBase, hit: Hit) -> None:
    similar = knowledge_base.more_like(hit)
    assert hit.chunk_id not in {found.chunk_id for found in similar}
    assert similar[0].document.endswith("other.pdf")
    assert [found.rank for found in similar] == list(range(1, len(similar) + 1))


def test_marks_become_evaluation_questions(knowledge_base: KnowledgeBase, hit: Hit) -> None:
    judgements = knowledge_base.judgements()
    judgements.file.write_text('{"query": "by hand", "relevant": [{"document": "a.pdf"}], "note": "kept"}\n')
    judgements.mark("why?", hit, "relevant")
    judgements.mark("why?", hit, "relevant")
    other = knowledge_base.search("appendix", documents="annual_2022.pdf", pages="3")[0]
    judgements.mark("why?", other, "wrong")
    lines = [json.loads(line) for line in judgements.file.read_text("utf-8").splitlines()]
    assert lines[0]["note"] == "kept"
    place = {"document": "annual_2022.pdf", "page": 2}
    assert lines[1] == {"query": "why?", "relevant": [place], "wrong": [{"document": "annual_2022.pdf", "page": 3}]}
    assert (judgements.of("why?", hit), judgements.of("why?", other)) == ("relevant", "wrong")
    judgements.mark("why?", hit, None)
    judgements.mark("why?", other, None)
    assert judgements.of("why?", hit) is None
    assert len(judgements.file.read_text().splitlines()) == 1


def test_a_broken_questions_file_is_named_with_its_line_and_kept(knowledge_base: KnowledgeBase, hit: Hit) -> None:
    judgements = knowledge_base.judgements()
    judgements.file.write_text('{"query": "a", "relevant": []}\nnot JSON\n')
    with pytest.raises(QueryError, match="line 2"):
        judgements.mark("why?", hit, "relevant")
    assert "not JSON" in judgements.file.read_text()


def test_a_spreadsheet_gets_text_and_never_a_formula(knowledge_base: KnowledgeBase) -> None:
    result = knowledge_base.search("hyperlink freight")
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert len(rows) == len(result)
    assert any(row["text"].startswith("'=HYPERLINK") for row in rows)
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())


def test_references_are_ready_for_bibtex(knowledge_base: KnowledgeBase) -> None:
    result = knowledge_base.search("why did operating margin fall?")
    bibtex = result.to_bibtex(knowledge_base.store.documents())
    assert bibtex.count("@misc{") == len({hit.document for hit in result})
    assert "@misc{annual-2022," in bibtex
    assert r"title = {50\% \& more\_\{x\}}," in bibtex
    assert bibtex.count("{") == bibtex.count("}")


def test_marked_sentences_are_shown_and_the_text_around_them_escaped() -> None:
    text = f"First. {EVIL} Last."
    hit = Hit(1, 1.0, "a.pdf", "d", "c", 1, 1, "1", "", "", text, marks=((0, 6), (len(text) - 5, len(text))))
    html = render("hit_card.html", hit=hit)
    assert "<mark>First.</mark>" in html
    assert "<mark>Last.</mark>" in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_pieces_of_overlapping_marks_make_up_the_text() -> None:
    text = "abcdefgh"
    cut = pieces(text, [(4, 6), (1, 3), (2, 5)])
    assert "".join(piece for piece, _ in cut) == text
    assert [piece for piece, marked in cut if marked] == ["bc", "de", "f"]


def test_full_lines_run_on_and_rows_of_a_table_stay() -> None:
    prose = "A line that fills its column to the very end\nand goes on in the next one, which is long too\nas here."
    table = "Revenue 12\nCosts 9\nA long note on how these numbers were found in the books"
    assert flowing(prose).count("\n") == 0
    assert flowing(table).count("\n") == 2
    assert len(flowing(prose)) == len(prose)
