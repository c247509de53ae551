"""Choose the shape of a method's tree (`auto`) by measured costs, recorded acceptance and predicted throughput."""
