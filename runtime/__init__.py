"""What every process shares: settings, logs, lifecycle, exit codes."""
