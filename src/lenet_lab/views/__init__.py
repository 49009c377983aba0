"""What classification adds to reports, TensorBoard, predictions and exported files."""
