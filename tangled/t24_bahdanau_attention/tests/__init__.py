# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:e3b0c44298fc1c14
