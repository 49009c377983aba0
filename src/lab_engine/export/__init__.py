"""Layer 4: export a module as ONNX or torch.export."""
