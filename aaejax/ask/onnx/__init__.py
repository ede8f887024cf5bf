"""An exported model as an ONNX file: the operations of a jaxpr as those of ONNX."""
