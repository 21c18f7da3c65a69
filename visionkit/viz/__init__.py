"""Pictures of detections, of samples and of runs. Imports structures, ops and errors only."""
