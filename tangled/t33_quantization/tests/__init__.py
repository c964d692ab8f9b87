# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:e3b0c44298fc1c14
