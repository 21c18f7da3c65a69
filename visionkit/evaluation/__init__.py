"""Measures of detections against truth. Imports structures, ops and errors only; start at `evaluate.py`."""
