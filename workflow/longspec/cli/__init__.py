"""One thin file a command: `python -m longspec COMMAND`. Rules of the workflow call these and nothing else."""
