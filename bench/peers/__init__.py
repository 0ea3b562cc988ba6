"""runstream beside TensorBoard, W&B (offline), MLflow, Aim and Trackio."""

from .compare import run

__all__ = ["run"]
