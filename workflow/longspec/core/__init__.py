"""What every other folder stands on and that knows none of them: records, errors, files, plug-ins, fingerprints."""
