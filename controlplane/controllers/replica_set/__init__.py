"""ReplicaSets keep a number of pods: the plan is pure, the controller reads, writes and reports."""
