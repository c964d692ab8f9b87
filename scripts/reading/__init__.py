"""From chapter files to chapters, chunks and prose, with line numbers."""
