"""The long version of the tests of faults and load: `make soak`, or `python scripts/soak --minutes 60`.

Random kills take the given minutes; the other parts take about ten more. soak.json and soak.md are written to --out
after each part.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]  # to test this checkout, with the faults of tests.faults
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*sys.path[:2], os.environ.get("PYTHONPATH")]))

import cold_start  # noqa: E402
import full_disk  # noqa: E402
import kills  # noqa: E402
import million  # noqa: E402
import thousand_jobs  # noqa: E402
from part import Part, markdown  # noqa: E402

PARTS: dict[str, Any] = {
    "cold_start": cold_start.run,
    "thousand_jobs": thousand_jobs.run,
    "million": million.run,
    "full_disk": full_disk.run,
    "kills": kills.run,
}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python scripts/soak", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--minutes", type=float, default=60.0, help="of random kills; default: 60")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills; default: 0")
    parser.add_argument("--out", type=Path, help="a folder; default: build/soak/<date and time>")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    return options


def describe() -> dict[str, Any]:
    """Return the facts about the machine."""
    import torch

    from lab_engine.artifacts.this_environment import gather

    found = gather("lenet_lab", torch.device("cpu"))
    return {**found.model_dump(mode="json", exclude={"command", "precision", "speed"}), "load": os.getloadavg()[0]}


def main() -> int:
    """Run the parts, and write the results after each; return the exit status."""
    options = arguments()
    out = options.out or ROOT / "build" / "soak" / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    out.mkdir(parents=True, exist_ok=True)
    machine, done = describe(), {}
    for name in options.parts or PARTS:
        print(f"{name} …", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            part: Part = PARTS[name](Path(folder), options)
        done[name] = part
        part.facts["minutes"] = round((time.monotonic() - began) / 60, 1)
        print(f"  {part.sentence()}", flush=True)
        parts = {key: each.as_json() for key, each in done.items()}
        (out / "soak.json").write_text(json.dumps({"machine": machine, "parts": parts}, indent=1) + "\n")
        (out / "soak.md").write_text(markdown(machine, done))
    print(f"\n{markdown(machine, done)}\n{out}")
    return int(any(part.failures for part in done.values()))


if __name__ == "__main__":
    sys.exit(main())
