"""The sample PDFs: what they are, whose they are, and that importing kb reads none."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path


def test_each_sample_is_the_file_that_its_package_ships(samples: Path) -> None:
    stated = dict(re.findall(r"\| `([^`]+\.pdf)` .* `([0-9a-f]{64})` \|", (samples / "COPYRIGHT.md").read_text()))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in samples.glob("*.pdf")}
    assert found == stated
    assert len(found) == 4


def test_each_samples_package_has_its_licence_beside_it(samples: Path) -> None:
    packages = {"debmake-doc", "docbook-xsl-doc-pdf", "python-reportlab-doc"}
    assert {path.stem for path in (samples / "licences").iterdir()} == packages


def test_importing_kb_imports_no_engine() -> None:
    code = "import sys, kb; print([name for name in ('pypdf', 'pypdfium2', 'pebble') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
