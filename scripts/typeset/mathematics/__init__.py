"""TeX mathematics for both outputs: KaTeX for the screen, Typst for paper, and a check that both take it."""
