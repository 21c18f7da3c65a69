"""Which way a metric is better, told by its name alone."""

LOWER = ("loss", "error", "below_half")  # parts of names
EXACTLY = ("ece", "MAE", "RMSE", "mean_count_MAE")  # whole names


def lower_is_better(metric: str) -> bool:
    """True for losses, errors (`loc_error`, `ece`, `MAE`), shares of failures (`iou_below_half`), False for scores."""
    return metric in EXACTLY or any(part in metric for part in LOWER)
