"""What `test` and `start` are made of: the pytest plugins, the levels, the learner's stub, pitfalls."""
