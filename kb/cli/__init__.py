"""`kb` and `python -m kb`: each command opens the knowledge base, makes one call, and prints what came of it."""

from kb.cli import collection, endpoint, quality, searching, tuning  # noqa: F401  importing a module registers its commands
from kb.cli.command import main

__all__ = ["main"]
