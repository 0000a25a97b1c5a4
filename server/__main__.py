"""`python -m server`."""

import os
import sys

from server.config import parse_arguments

if __name__ == "__main__":
    config = parse_arguments()
    if config.threads:
        os.environ["OMP_NUM_THREADS"] = str(config.threads)  # read once, when torch is imported
    from server.app import run

    status = run(config)
    sys.stdout.flush()
    os._exit(status)  # a model that is still loading, or a stuck batch, must not keep the process
