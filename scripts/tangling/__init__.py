"""What `tangle` and `stitch` are made of: expanded chunks, plans, writes that are all or nothing, provenance."""
