"""The converter that takes the models of ``products`` to TensorFlow."""

from switchyard.hops import Hop
from switchyard.manifest import Manifest, TensorNote


class Products(Hop):
    name, source, targets = "products", "torch", ("saved_model",)
    requires = ("torch", "tensorflow")

    def takes(self, model):
        return model["name"].endswith("products")

    def convert(self, job):
        import tensorflow as tf

        ((path, example),) = job.example.items()
        ((output, _),) = job.model.run(job.example).items()
        module = tf.Module()
        module.weights = [
            tf.Variable(layer.weight.detach().numpy().T) for layer in job.model.module
        ]

        def serve(x):
            for weight in module.weights:
                x = tf.matmul(x, weight)
            return {output: x}

        spec = tf.TensorSpec([None, *example.shape[1:]], example.dtype, name=path)
        signature = tf.function(serve, input_signature=[spec])
        tf.saved_model.save(module, str(job.target / "saved_model"),
                            signatures={"serving_default": signature})  # fmt: skip
        return Manifest(
            {"saved_model": "saved_model"},
            (TensorNote(path, path, example.dtype.name, None, basis="unchanged"),),
            (TensorNote(output, output, example.dtype.name, None, basis="unchanged"),),
            {"dynamic": "declared"},
        )


HOPS = (Products(),)
