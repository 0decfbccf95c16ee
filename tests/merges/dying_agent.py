"""A merge agent that kills itself (-9) after a step of a merge: `python -m tests.merges.dying_agent`."""

from streams.main import run_merges as run
from tests.merges.kill_points import serve_until_dead

if __name__ == "__main__":
    serve_until_dead(run)
