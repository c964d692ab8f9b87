"""What the tools do with records: the table of README.md, which of them are stale."""
