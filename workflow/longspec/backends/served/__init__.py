"""Served engines: programs that people deploy, asked over HTTP. One file each, found by its name."""
