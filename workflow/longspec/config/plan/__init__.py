"""What the rules of the workflow ask: specs, versions, resources, schedule."""
