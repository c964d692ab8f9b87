# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:e3b0c44298fc1c14
