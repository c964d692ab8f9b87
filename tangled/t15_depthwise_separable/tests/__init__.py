# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:e3b0c44298fc1c14
