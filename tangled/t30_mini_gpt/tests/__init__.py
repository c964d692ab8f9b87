# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:e3b0c44298fc1c14
