"""`python -m server` and `python -m server bench`."""

import argparse
import os
import sys

from server.config import parse_arguments
from server.memory import reuse_memory


def set_up(threads: int | None) -> None:
    """What torch and the libraries under it read from the environment when they are imported, and the allocator."""
    reuse_memory()
    # Threads that spin while they wait for each other keep the event loop off its core, and stop the model altogether
    # where the machine has other work; texts are tokenised by several requests at once, so that one need not be spread
    # over threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # oneDNN keeps some four programs for each number of tokens it has seen. Batches are rounded to 40 numbers, those of
    # models that pad to none: 910 MB were resident at its default of 1,024 programs, 585 at 128, in the same time
    # (all-MiniLM-L6-v2, batches of all shapes).
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def bench(arguments: list[str]) -> int:
    """`python -m server bench`."""
    set_up(_threads(arguments))
    from server.bench import main

    return main(arguments)


def serve() -> int:
    """`python -m server`."""
    config = parse_arguments()
    set_up(config.threads)
    from server.app import run

    return run(config)


def _threads(arguments: list[str]) -> int | None:
    """What --threads says, before anything is imported that could parse all of it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--threads", type=int)
    threads: int | None = parser.parse_known_args(arguments)[0].threads
    return threads


if __name__ == "__main__":
    status = bench(sys.argv[2:]) if sys.argv[1:2] == ["bench"] else serve()
    sys.stdout.flush()
    os._exit(status)  # a model that is still loading, or a stuck batch, must not keep the process
