"""`make train TOPIC=30 IMPL=workspace`: a chapter's program on the reader's own chapters.

`accepted` decides whose file a topic is trained with, `imports` puts it in the place of level 2, and `run` is the
process in which the program then runs.
"""
