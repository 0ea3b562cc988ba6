"""`python -m tests.simulation --schedules N --seed S`: as many schedules as you have time for."""

from __future__ import annotations

import argparse
import time

from .state import Violation
from .world import World


def main() -> None:
    """Run schedules and say how many held; a violation is raised with its seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first; the others follow")
    options = parser.parse_args()
    began, steps = time.monotonic(), 0
    for seed in range(options.seed, options.seed + options.schedules):
        world = World(seed)
        try:
            world.run()
        except Violation as violation:
            raise SystemExit(f"seed {seed}, step {world.now}: {violation}") from violation
        steps += world.now
    print(
        f"{options.schedules} schedules, {steps} steps, {time.monotonic() - began:.0f} s: every invariant held"
    )


if __name__ == "__main__":
    main()
