"""What every other folder uses, and which imports none of them: records, errors, files, plug-ins, fingerprints."""
