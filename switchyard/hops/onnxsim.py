"""onnx-simplifier: an ONNX file with shapes inferred, constants folded and nodes fused.

https://github.com/onnxsim/onnxsim, through ``onnxsim.simplify`` with its defaults.
"""

from __future__ import annotations

from switchyard.hops import Conversion, Hop
from switchyard.hops.onnx_io import carried
from switchyard.manifest import Manifest


class OnnxSim(Hop):
    """Names, layouts and widths stay as they are."""

    name = "onnxsim"
    source = "onnx"
    targets = ("onnx",)
    tier = "full"
    after = ("torchscript",)
    requires = ("onnx", "onnxsim")

    def convert(self, job: Conversion) -> Manifest:
        """Raises what onnxsim raises, RuntimeError where its own check of the result fails."""
        import onnx
        import onnxsim

        simplified, checked = onnxsim.simplify(onnx.load(str(job.source.file("onnx"))))
        if not checked:
            raise RuntimeError("onnxsim: the simplified model does not pass its own check")
        path = job.target / "model.onnx"
        onnx.save(simplified, str(path))
        return carried(job.source.manifest.for_format("onnx"), path)


HOPS = (OnnxSim(),)
