"""From chapter files to chapters, chunks and prose, with line numbers."""

STAGE = "tangled/.staging"                            # where tangling stages what it writes: here if it was killed
