"""`python -m server`."""

import os
import sys

from server.config import parse_arguments

if __name__ == "__main__":
    config = parse_arguments()
    # Read once, when torch and the tokenizers are imported. Threads that spin while they wait for each other keep the
    # event loop off its core, and stop the model altogether where the machine has other work; texts are tokenised by
    # several requests at once, so that one need not be spread over threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # oneDNN keeps a program for every shape of batch it has seen, of which texts of every length make thousands: half a
    # gigabyte at its default of 1,024 programs. These are enough for the shapes that come again and again.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
    if config.threads:
        os.environ["OMP_NUM_THREADS"] = str(config.threads)
    from server.app import run

    status = run(config)
    sys.stdout.flush()
    os._exit(status)  # a model that is still loading, or a stuck batch, must not keep the process
