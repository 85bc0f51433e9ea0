"""What a file is: any ONNX graph as layers, their shapes, windows, weights and what they see."""
