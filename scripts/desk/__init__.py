"""What the learner's verbs are made of: `start RESET=`, `solution`, `watch` at a terminal, `compare`, `bench IMPL=`."""
