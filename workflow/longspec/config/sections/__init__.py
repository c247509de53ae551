"""One class a section of the configuration: its keys, their types, defaults and descriptions."""
