"""`python -m tests.model`: many histories, one history, or every rule taken away."""

# It reports on standard output.
# ruff: noqa: T201

import argparse
import sys
import time

from tests.model.ablations import ABLATIONS, counterexample, taken_away
from tests.model.merge_ablations import MERGE_ABLATIONS
from tests.model.run import AnyHistory, Failure, explore, play, shrink
from tests.model.schedules import KINDS, schedule_of
from tests.model.tail_ablations import TAIL_ABLATIONS
from tests.model.trim_ablations import TRIM_ABLATIONS


def main() -> int:
    """Exit status 1 if a promise was broken (or, with --ablate, if a rule could be missed)."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.model",
        description=sys.modules["tests.model"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=1000, help="schedules of each kind (default 1000)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which kinds, comma separated (default all)")
    parser.add_argument("--seed", type=int, help="play this one schedule, step by step")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument(
        "--ablate", nargs="?", const="all", metavar="GUARDS", help="take rules away, one at a time"
    )
    asked = parser.parse_args()
    kinds = asked.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"unknown kind {unknown[0]}; there are {', '.join(KINDS)}")
    if asked.seed is not None:
        return _show(kinds[0], asked.seed)
    if asked.ablate is not None:
        return _ablate(asked.ablate)
    return _explore(kinds, range(asked.first, asked.first + asked.seeds), asked.seconds)


def _explore(kinds: list[str], seeds: range, seconds: float) -> int:
    started = time.monotonic()
    total = failures = 0
    for kind in kinds:
        report = explore(kind, seeds, until=started + seconds)
        total += report.schedules
        failures += len(report.failures)
        exercised = ", ".join(f"{name} {times}" for name, times in sorted(report.exercised.items()))
        print(
            f"{kind:14} schedules={report.schedules} failures={len(report.failures)} {exercised}", flush=True
        )
        for failure in report.failures:
            tell(failure)
    print(f"total {total} schedules, {failures} failures, {time.monotonic() - started:.0f} s")
    return failures > 0


def _ablate(guards: str) -> int:
    missed = 0
    for ablation in (*ABLATIONS, *MERGE_ABLATIONS, *TAIL_ABLATIONS, *TRIM_ABLATIONS):
        if guards != "all" and ablation.guard not in guards.split(","):
            continue
        print(f"without {ablation.guard}: {ablation.rule}", flush=True)
        failure = counterexample(ablation)
        if failure is None:
            print("  no history needs it")
            missed += 1
        else:
            with taken_away(ablation):
                tell(failure)
    return missed > 0


def tell(failure: Failure) -> None:
    """Print a failure, shrunk, with the line that plays it."""
    print(f"  {failure.problem}\n  {failure.command}", flush=True)
    short = shrink(failure)
    print(f"  shrunk to {len(short.schedule)} actions: {short.problem}")
    for action, pick in short.schedule:
        print(f"    {action} {pick}")
    print(f"    rest {short.bits:b}", flush=True)


def _show(kind: str, seed: int) -> int:
    schedule, bits = schedule_of(kind, seed)
    try:
        play(kind, schedule, bits, _watch)
    except AssertionError as broken:
        print(f"BROKEN: {broken}")
        return 1
    print("nothing is broken")
    return 0


def _watch(action: str, pick: int, history: AnyHistory) -> None:
    print(f"{action:16} {pick:2} | {history.describe()}")


if __name__ == "__main__":
    sys.exit(main())
