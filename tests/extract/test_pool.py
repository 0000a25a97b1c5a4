"""The pool: hostile files end as a status, their neighbours are read, and no process outlives its use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import pytest

from kb.config import ExtractionSettings
from kb.extract import ExtractionPool, extract_document
from kb.types import DocumentStatus, ExtractedDocument, PageStatus

ROOT = Path(__file__).resolve().parents[2]


MakePdf = Callable[..., Path]


@pytest.fixture
def bomb_file(make_bomb: MakePdf) -> Path:
    """Three harmless pages, and one that takes for ever and all memory."""
    return make_bomb(harmless_pages=3)


def test_a_document_over_its_time_is_killed_and_its_finished_pages_are_kept(bomb_file: Path) -> None:
    with ExtractionPool(ExtractionSettings(workers=1, timeout=1.0)) as pool:
        document = pool.submit(bomb_file).result(timeout=60)
    assert document.status is DocumentStatus.PARTIAL
    assert [page.text for page in document.pages] == ["Harmless page 1", "Harmless page 2", "Harmless page 3", ""]
    assert document.pages[3].status is PageStatus.FAILED
    assert "extraction.timeout (1 s)" in document.reason


def test_a_document_over_its_memory_is_killed_and_its_finished_pages_are_kept(bomb_file: Path) -> None:
    with ExtractionPool(ExtractionSettings(workers=1, memory_mb=200)) as pool:
        document = pool.submit(bomb_file).result(timeout=60)
    assert document.status is DocumentStatus.PARTIAL
    assert [page.status for page in document.pages] == [PageStatus.TEXT] * 3 + [PageStatus.FAILED]
    assert "extraction.memory_mb (200 MB)" in document.reason


def test_pages_after_the_one_that_ended_a_worker_are_read(make_bomb: MakePdf) -> None:
    with ExtractionPool(ExtractionSettings(workers=1, memory_mb=200)) as pool:
        document = pool.submit(make_bomb(harmless_pages=3, position=1)).result(timeout=60)
    assert document.status is DocumentStatus.PARTIAL
    assert [page.text for page in document.pages] == ["Harmless page 1", "", "Harmless page 3", "Harmless page 4"]
    assert document.reason.startswith("page 2 failed: needs more than extraction.memory_mb")


def test_a_document_without_a_finished_page_is_over_the_limit(make_bomb: MakePdf) -> None:
    with ExtractionPool(ExtractionSettings(workers=1, timeout=0.5)) as pool:
        document = pool.submit(make_bomb(harmless_pages=0)).result(timeout=60)
    assert document.status is DocumentStatus.OVER_LIMIT
    assert document.page_count == 1


def test_a_crash_of_the_reader_is_the_documents_and_not_the_pools(bomb_file: Path, make_pdf: MakePdf) -> None:
    with ExtractionPool(ExtractionSettings(workers=1)) as pool:
        assert pool.submit(make_pdf([["Before"]])).result(timeout=60).status is DocumentStatus.INDEXED
        future = pool.submit(bomb_file)
        time.sleep(0.5)
        for worker in children(os.getpid()):
            os.kill(worker, signal.SIGSEGV)
        document = future.result(timeout=60)
        after = pool.submit(make_pdf([["After"]])).result(timeout=60)
    assert document.status is DocumentStatus.PARTIAL
    assert "SIGSEGV" in document.reason
    assert after.pages[0].text == "After"


def test_the_workers_of_a_broken_pool_do_not_outlive_it(make_pdf: MakePdf) -> None:
    with ExtractionPool(ExtractionSettings(workers=2)) as pool:
        future = pool.submit(make_pdf([["Read by the second pool"]]))
        assert eventually(lambda: len(children(os.getpid())) == 2)
        first = children(os.getpid())
        os.kill(min(first), signal.SIGKILL)  # while it starts, so that no document is to blame
        assert future.result(timeout=60).pages[0].text == "Read by the second pool"
        assert eventually(lambda: not first & children(os.getpid()))
        os.kill(min(children(os.getpid())), signal.SIGKILL)
    assert not children(os.getpid())


def test_neighbours_of_a_hostile_document_are_read(bomb_file: Path, make_pdf: MakePdf) -> None:
    with ExtractionPool(ExtractionSettings(workers=2, timeout=1.5)) as pool:
        hostile = pool.submit(bomb_file)
        paths = [make_pdf([[f"Document {number}"]], name=f"{number}.pdf") for number in range(5)]
        neighbours = [future.result(timeout=60) for future in [pool.submit(path) for path in paths]]
        assert hostile.result(timeout=60).status is DocumentStatus.PARTIAL
    assert [document.pages[0].text for document in neighbours] == [f"Document {number}" for number in range(5)]


def test_the_pool_reads_as_the_function_does(samples: Path, settings: ExtractionSettings) -> None:
    path = samples / "reportlab-userguide.pdf"
    with ExtractionPool(ExtractionSettings(workers=1)) as pool:
        assert pool.submit(path).result(timeout=60) == extract_document(path, settings)


def test_no_process_starts_before_the_first_document_and_none_stays_after(make_pdf: MakePdf) -> None:
    before = children(os.getpid())
    with ExtractionPool(ExtractionSettings(workers=2)) as pool:
        assert children(os.getpid()) == before
        pool.submit(make_pdf([["Text"]])).result(timeout=60)
        workers = children(os.getpid()) - before
        assert len(workers) >= 2
    assert eventually(lambda: not any(is_worker(pid) for pid in children(os.getpid())))


def test_closing_cancels_what_is_unfinished(bomb_file: Path) -> None:
    with ExtractionPool(ExtractionSettings(workers=1)) as pool:
        futures = [pool.submit(bomb_file) for _ in range(3)]
    assert all(future.cancelled() for future in futures)
    assert len(wait(futures, timeout=5).done) == 3
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(bomb_file)


def test_cancelling_a_future_frees_its_worker(bomb_file: Path, make_pdf: MakePdf) -> None:
    with ExtractionPool(ExtractionSettings(workers=1)) as pool:
        hostile: Future[ExtractedDocument] = pool.submit(bomb_file)
        after = pool.submit(make_pdf([["After"]]))
        time.sleep(0.5)
        assert hostile.cancel()
        assert after.result(timeout=30).pages[0].text == "After"


SCRIPT = """
import sys, time
from pathlib import Path
from kb.config import ExtractionSettings
from kb.extract import ExtractionPool

pool = ExtractionPool(ExtractionSettings(workers=2))
futures = [pool.submit(Path(sys.argv[1])) for _ in range(2)]
time.sleep(1.5)
try:
    print("reading", flush=True)
    futures[0].result()
except KeyboardInterrupt:
    pool.close()
    print("stopped", flush=True)
"""


@pytest.fixture
def reading_process(tmp_path: Path, bomb_file: Path) -> Iterator[subprocess.Popen[str]]:
    """A script without a `__main__` guard, in a process group of its own, whose two workers are busy."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(bomb_file)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    yield process
    process.kill()
    process.communicate(timeout=30)


def test_ctrl_c_prints_nothing_from_the_workers(reading_process: subprocess.Popen[str]) -> None:
    os.killpg(reading_process.pid, signal.SIGINT)  # as a terminal does: to all of the group
    output, errors = reading_process.communicate(timeout=30)
    assert output == "stopped\n"
    assert errors == ""
    assert reading_process.returncode == 0


def test_ctrl_z_stops_no_worker_whose_time_goes_on(reading_process: subprocess.Popen[str]) -> None:
    assert eventually(lambda: len(sessions_of_workers(reading_process.pid)) == 2)
    workers = sessions_of_workers(reading_process.pid)
    os.killpg(reading_process.pid, signal.SIGSTOP)  # to all of the group, as a terminal does
    assert eventually(lambda: state_of(reading_process.pid) == "T")
    assert not any(state_of(worker) == "T" for worker in workers)
    os.killpg(reading_process.pid, signal.SIGCONT)
    os.killpg(reading_process.pid, signal.SIGINT)
    assert reading_process.communicate(timeout=30)[0] == "stopped\n"


LETTING_GO = """
from kb.extract.spawning import QuietSpawnContext

context = QuietSpawnContext()
lock = context.Lock()
process = context.Process(target=print, args=(lock,))
process.start()
del lock
process.join()
print(process.exitcode)
"""


def test_a_worker_whose_parent_let_go_while_it_started_prints_nothing() -> None:
    command = [sys.executable, "-c", LETTING_GO]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_workers_end_by_themselves_when_their_parent_is_killed(reading_process: subprocess.Popen[str]) -> None:
    workers = {pid for pid in children(reading_process.pid) if is_worker(pid)}
    assert len(workers) == 2
    reading_process.kill()
    reading_process.communicate(timeout=30)
    assert eventually(lambda: not any(is_worker(pid) for pid in workers))


def sessions_of_workers(parent: int) -> set[int]:
    """Of those that have one of their own."""
    return {worker for worker in children(parent) if os.getsid(worker) == worker}


def children(parent: int) -> set[int]:
    """The processes that `parent` started."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.add(int(status.parent.name))
    return {pid for pid in found if is_worker(pid)}


def state_of(pid: int) -> str:
    """As proc(5) names it: "T" is stopped, "Z" a zombie."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def is_worker(pid: int) -> bool:
    """Whether `pid` is alive and a process that multiprocessing spawned (its resource tracker is not one)."""
    try:
        return state_of(pid) != "Z" and "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return holds()
