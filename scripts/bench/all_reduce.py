"""The time of the gradients' all-reduce alone: LeNet's 62,006 numbers between processes or GPUs."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from section import MeasurementError

PARAMETERS = 62_006
CALLS = 300


def milliseconds(count: int, device: str, scratch: Path) -> float:
    """Return the median call in the first of `count` processes; "cuda": one GPU each and NCCL, "cpu": gloo."""
    store = scratch / f"store-{device}-{count}"
    words = [sys.executable, __file__, str(count), device, str(store)]
    children = [subprocess.Popen([*words, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(count)]
    outputs = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise MeasurementError(f"an all-reduce of {count} processes on {device} failed")
    return float(json.loads(outputs[0].splitlines()[-1]))


def main() -> None:
    """Run one of the processes; print the milliseconds."""
    count, device, store, rank = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    place = torch.device(device, rank if device == "cuda" else 0)
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=count)
    gradients = torch.zeros(PARAMETERS, device=place)
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        distributed.all_reduce(gradients, op=distributed.ReduceOp.SUM)
        if device == "cuda":
            torch.cuda.synchronize(place)
        times.append(time.perf_counter() - start)
    distributed.destroy_process_group()
    print(json.dumps(1000 * statistics.median(times[CALLS // 10 :])))


if __name__ == "__main__":
    main()
