"""Logs for people or for machines; never a key, never a text."""

from __future__ import annotations

import json
import logging
import sys
import time

__all__ = ["set_up_logs"]


def set_up_logs(level: str, form: str) -> None:
    """Logs to standard error, plain or as one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else PlainLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "urllib3", "sentence_transformers", "transformers", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class PlainLines(logging.Formatter):
    """Time, level, message, and what belongs to a request."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        details: dict[str, object] = getattr(record, "request", {})
        rest = [f"{name}={value}" for name, value in details.items() if name not in ("route", "status")]
        return " ".join([super().format(record), *rest])


class JsonLines(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "request", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
