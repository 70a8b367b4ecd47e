"""The pytest side: options, planning, workers' lives, expectations, fixtures.

Nothing here imports torch, tensorflow, onnx or onnxruntime: one instrument, in one
interpreter, measures every version set.
"""
