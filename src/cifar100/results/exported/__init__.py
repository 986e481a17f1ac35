"""Exported networks, used without torch: read an ONNX file, predict and evaluate with it."""
