"""`python -m server bench`: which back end and precision suits this model on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from server.config import PACKAGED_MODEL, ServerConfig, parse_arguments
from server.loading import LEAST_COSINE, computes_in
from server.passages import Passages, passages
from server.trials import NEIGHBOURS, Trial, compared, measured

__all__ = ["Candidate", "Result", "candidates", "main", "recommended"]

MOST_RECALL_LOSS = 0.01
# A way that is faster by less than the measurement's own noise is not worth its flags.
NOISE = 0.03
PACKAGES = {"onnx": "optimum.onnxruntime", "openvino": "optimum.intel"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run the model, by the server's own flags."""

    name: str
    flags: tuple[str, ...]
    is_int8: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A candidate and what came of it: a measurement against float32, or a problem."""

    candidate: Candidate
    trial: Trial | None = None
    cosine: float = 0.0
    recall_loss: float = 1.0
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it may stand in for float32: by its ranking where it is of 8 bits, else by its vectors."""
        good = self.recall_loss <= MOST_RECALL_LOSS if self.candidate.is_int8 else self.cosine >= LEAST_COSINE
        return self.trial is not None and good


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 measured, 1 nothing could be."""
    options = make_parser().parse_args(arguments)
    try:
        given = passages(options.texts, number=options.passages, queries=64)
    except (OSError, ValueError) as error:
        print(f"--texts: {error}", file=sys.stderr)
        return 1
    # What libraries print while they work is not part of the answer.
    with tempfile.TemporaryDirectory(prefix="pdfkb-bench-") as folder, redirect_stdout(sys.stderr):
        results = list(_results(options, given, options.keep_int8 or Path(folder)))
    chosen = recommended(results)
    missing = {name: _how_to_install(name) for name in PACKAGES if not _is_installed(name)}
    (_print_json if options.json else _print_table)(options.model, given, results, chosen, missing)
    if chosen and chosen.candidate.is_int8 and not options.keep_int8:
        print("The 8-bit weights are gone again; --keep-int8 FOLDER keeps them.", file=sys.stderr)
    return 0 if chosen else 1


def make_parser() -> argparse.ArgumentParser:
    """Every option, with its meaning and default."""
    parser = argparse.ArgumentParser(
        "python -m server bench",
        description="Measures the back ends, precisions and attentions that are installed here, and recommends one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default=PACKAGED_MODEL, metavar="[NAME=]PATH", help="folder or hub name of an embedding model")
    add("--device", help="as the server's")
    add("--threads", type=int, help="as the server's")
    add("--texts", type=Path, metavar="PATH", help="texts to measure with: a file with one a line, a PDF, a folder")
    add("--passages", type=int, default=512, help="how many of them")
    add("--seconds", type=float, default=5.0, help="time for each measurement")
    add("--compile", action="store_true", help="also try torch.compile")
    add("--keep-int8", type=Path, metavar="FOLDER", help="where the model with 8-bit weights is kept, to serve it")
    add("--json", action="store_true", help="one JSON document instead of a table")
    return parser


def candidates(device: torch.device, *, compile: bool) -> Iterator[Candidate]:
    """Ways to run a model here, float32 by torch first. Only precisions that the hardware computes in."""
    # First what the server does of itself: on CPUs it may need no padding, which it does where an attention is named.
    attentions = ["", "sdpa", "eager"] if device.type == "cpu" else ["", "eager"]
    if device.type == "cuda" and importlib.util.find_spec("flash_attn"):
        attentions.append("flash_attention_2")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        if not computes_in(dtype, device):
            continue
        name = str(dtype).removeprefix("torch.")
        for attention in attentions:
            if attention == "flash_attention_2" and dtype is torch.float32:
                continue  # it has none
            named = ("--attention", attention) if attention else ()
            yield Candidate(f"torch {name} {attention}".strip(), ("--dtype", name, *named))
        if compile:
            yield Candidate(f"torch {name} compiled", ("--dtype", name, "--compile"))
    for backend in filter(_is_installed, PACKAGES):
        yield Candidate(backend, ("--backend", backend))
        if device.type == "cpu":
            yield Candidate(f"{backend} int8", ("--backend", backend), is_int8=True)


def recommended(results: Sequence[Result]) -> Result | None:
    """The fastest of those that are good; of those that are as fast, the one named first."""
    good = [(result, result.trial.texts_per_second) for result in results if result.trial and result.is_good]
    best = max((rate for _, rate in good), default=0.0)
    return next((result for result, rate in good if rate >= (1 - NOISE) * best), None)


def _results(options: argparse.Namespace, given: Passages, folder: Path) -> Iterator[Result]:
    common = ["--model", options.model]
    common += ["--device", options.device] if options.device else []
    exact: Trial | None = None
    for candidate in candidates(_device(options.device), compile=options.compile):
        print(f"measuring {candidate.name} …", file=sys.stderr, flush=True)
        try:
            config = parse_arguments([*common, *candidate.flags])
            if candidate.is_int8:
                candidate, config = _int8(candidate, config, folder / candidate.flags[1], given)
            trial = measured(config, given, options.seconds)
        except Exception as error:  # one way that does not work here says nothing of the others
            yield Result(candidate, problem=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
            continue
        exact = trial if exact is None and "float32" in candidate.flags else exact
        if exact is None:
            yield Result(candidate, problem="float32 could not be run, so there is nothing to compare with")
            continue
        cosine, loss = compared(trial, exact)
        yield Result(candidate, trial, cosine, loss)


def _int8(candidate: Candidate, config: ServerConfig, folder: Path, given: Passages) -> tuple[Candidate, ServerConfig]:
    from server.quantizing import write_int8

    weights = write_int8(config, folder, given.texts)
    flags = ("--model", f"{config.models[0].names[0]}={folder}", *candidate.flags, "--weights", weights)
    return Candidate(candidate.name, flags, is_int8=True), parse_arguments(flags)


def _device(asked: str | None) -> torch.device:
    if asked:
        return torch.device(asked.partition(",")[0])
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _is_installed(backend: str) -> bool:
    try:
        return importlib.util.find_spec(PACKAGES[backend]) is not None
    except ModuleNotFoundError:  # not even its parent is
        return False


def _how_to_install(backend: str) -> str:
    return (
        f'not installed: pip install "sentence-transformers[{backend}]", in an environment of its own (see the README)'
    )


def _as_data(result: Result) -> dict[str, Any]:
    data: dict[str, Any] = {"name": result.candidate.name, "flags": list(result.candidate.flags)}
    if result.trial is None:
        return data | {"problem": result.problem}
    return data | {
        "texts_per_second": round(result.trial.texts_per_second, 1),
        "tokens_per_second": round(result.trial.tokens_per_second),
        "p95_ms": round(result.trial.p95_ms, 2),
        "load_seconds": round(result.trial.load_seconds, 1),
        "cosine": round(result.cosine, 6),
        "recall_loss": round(result.recall_loss, 4),
        "good": result.is_good,
    }


def _print_json(
    model: str, given: Passages, results: Sequence[Result], chosen: Result | None, missing: dict[str, str]
) -> None:
    texts = {"origin": given.origin, "passages": len(given.texts), "queries": len(given.queries)}
    data = {
        "model": model,
        "texts": texts,
        "results": [_as_data(result) for result in results],
        "missing": missing,
        "recommended": _as_data(chosen) if chosen else None,
    }
    print(json.dumps(data, indent=2))


def _print_table(
    model: str, given: Passages, results: Sequence[Result], chosen: Result | None, missing: dict[str, str]
) -> None:
    print(f"{model}: {len(given.texts)} passages and {len(given.queries)} questions out of {given.origin}\n")
    columns = f"{'texts/s':>9}{'tokens/s':>10}{'p95 ms':>9}{'cosine':>10}{'lost of top ' + str(NEIGHBOURS):>16}"
    print(f"{'':<28}{columns}")
    for result in results:
        if result.trial is None:
            print(f"{result.candidate.name:<28}  {result.problem}")
            continue
        trial, note = result.trial, "" if result.is_good else "  too far from float32"
        print(
            f"{result.candidate.name:<28}{trial.texts_per_second:>9.1f}{trial.tokens_per_second:>10.0f}"
            f"{trial.p95_ms:>9.1f}{result.cosine:>10.5f}{result.recall_loss:>16.1%}{note}"
        )
    for name, text in missing.items():
        print(f"{name:<28}  {text}")
    if chosen:
        print(f"\nRecommended: {chosen.candidate.name}: python -m server {' '.join(_serving_flags(model, chosen))}")


def _serving_flags(model: str, chosen: Result) -> Sequence[str]:
    flags = chosen.candidate.flags
    named = () if model == PACKAGED_MODEL or "--model" in flags else ("--model", model)
    return (*named, *flags)
