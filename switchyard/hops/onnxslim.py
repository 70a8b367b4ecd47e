"""onnxslim: an ONNX file with constants folded and redundant nodes gone.

https://github.com/inisis/OnnxSlim, through ``onnxslim.slim`` as its command line does.
"""

from __future__ import annotations

from switchyard.hops import Conversion, Hop
from switchyard.hops.onnx_io import carried
from switchyard.manifest import Manifest


class OnnxSlim(Hop):
    """Names, layouts and widths stay as they are."""

    name = "onnxslim"
    source = "onnx"
    targets = ("onnx",)
    tier = "quick"
    after = ("dynamo",)
    requires = ("onnx", "onnxslim")

    def convert(self, job: Conversion) -> Manifest:
        """Raises what onnxslim and onnx raise, RuntimeError where no file was written."""
        import onnxslim

        path = job.target / "model.onnx"
        # A path, not a ModelProto: external data is looked for beside the file.
        onnxslim.slim(str(job.source.file("onnx")), str(path))
        if not path.exists():
            raise RuntimeError("onnxslim returned without an error and wrote no file")
        return carried(job.source.manifest.for_format("onnx"), path)


HOPS = (OnnxSlim(),)
