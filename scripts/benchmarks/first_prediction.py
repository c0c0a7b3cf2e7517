"""A fresh process that loads a checkpoint and predicts on images one by one; `predict` starts it.

python -m scripts.benchmarks.first_prediction CHECKPOINT IMAGE ...

Prints a line of json: the seconds of imports and loading and of each image, and how many programs XLA compiled, or
fetched from its cache, for each image.
"""

import json
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()


def main() -> None:
    """Reads the command line and predicts."""
    import jax

    from amodal_jax.cli import command_line
    from amodal_jax.files.image_reader import read_image
    from amodal_jax.predict import Predictor

    command_line.keep_compilations()
    compiled = 0

    def count(event: str, duration_secs: float, **_: str | int) -> None:
        nonlocal compiled
        compiled += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(count)
    predictor = Predictor.from_checkpoint(Path(sys.argv[1]))
    loaded = time.perf_counter()
    seconds, compilations, sizes, instances = [], [], [], []
    for path in sys.argv[2:]:
        before = time.perf_counter(), compiled
        image = read_image(Path(path))
        instances.append(len(predictor(image)))
        seconds.append(time.perf_counter() - before[0])
        compilations.append(compiled - before[1])
        sizes.append(image.shape[:2])
    answer = {
        "loading": loaded - STARTED,
        "seconds": seconds,
        "compilations": compilations,
        "sizes": sizes,
        "instances": instances,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
