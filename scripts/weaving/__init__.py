"""What `execute` and `weave` are made of: the kernel, its cache key, woven chunks and cells."""
