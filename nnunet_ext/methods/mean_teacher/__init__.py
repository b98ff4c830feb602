"""Mean Teacher: on unlabelled images a network agrees with the moving average of itself."""
