"""Training: phases, the loop, optimizers and schedules, checkpoints, records. It knows no task."""
