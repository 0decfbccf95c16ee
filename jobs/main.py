"""Starts the singleton jobs: settings, a look at the topics, the process."""

from jobs import app
from jobs.settings import JobsSettings
from runtime.settings import load
from topics.access import JOBS
from topics.startup import require_topics


def run_jobs() -> None:
    """Run the jobs until SIGTERM.

    Exits with 75 when a restart may help, and with 1 when the topics are not as the settings say.
    """
    settings = load(JobsSettings)
    require_topics("jobs", settings, settings.partitions, JOBS, others=settings.other_partitions)
    app.run_jobs(settings)
