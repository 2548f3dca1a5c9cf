"""Training: compile, fit, evaluate, predict, the traced step and the data that feeds it."""
