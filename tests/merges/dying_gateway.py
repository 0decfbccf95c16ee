"""A gateway that kills itself (-9) after a step of a merge: `python -m tests.merges.dying_gateway`."""

from gateway.main import run
from tests.merges.kill_points import serve_until_dead

if __name__ == "__main__":
    serve_until_dead(run)
