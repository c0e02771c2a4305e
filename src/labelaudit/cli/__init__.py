"""The command line: one command per file. The only importer of click."""
