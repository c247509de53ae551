"""From raw samples to tables and claims: every ratio of the project is computed here."""
