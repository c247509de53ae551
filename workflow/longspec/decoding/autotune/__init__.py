"""Which shape `auto` takes: measured costs, recorded acceptance, predicted throughput."""
