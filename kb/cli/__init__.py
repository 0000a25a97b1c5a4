"""`kb` and `python -m kb`: each command opens the knowledge base, makes one call, and prints what came of it."""

# Importing a module registers its commands.
from kb.cli import collection, endpoint, maintenance, notebooks, quality, searching, tuning  # noqa: F401
from kb.cli.command import main

__all__ = ["main"]
