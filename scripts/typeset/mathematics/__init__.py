"""TeX mathematics for both outputs: KaTeX for the screen, Typst for paper; and the check of the common subset."""
