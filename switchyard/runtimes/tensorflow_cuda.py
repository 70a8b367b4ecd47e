"""TensorFlow on the one CUDA device that the process sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence

if TYPE_CHECKING:
    import numpy as np

from switchyard.runtimes import ProviderFallback, Target, cuda_libraries, native_words

DEVICE, HOST = "/GPU:0", "/CPU:0"


def lacks() -> str:
    """Why the installed TensorFlow cannot use a CUDA device, empty where it can."""
    import tensorflow as tf

    if not tf.test.is_built_with_cuda():
        return (
            f"tensorflow {tf.__version__} here is built without CUDA: install tensorflow[and-cuda]"
        )
    return ""


def set_up(target: Target) -> None:
    """Before TensorFlow starts: how it takes memory, and TF32.

    A limit and growth exclude each other: TensorFlow takes a limit's memory at once.

    Raises ProviderFallback where it sees no GPU although its build has CUDA: then a library
    or the driver did not load, which TensorFlow says in its log alone.
    """
    import tensorflow as tf

    if tuple(map(int, tf.__version__.split(".")[:2])) < (2, 14):  # later ones find them themselves
        cuda_libraries.load(cuda_libraries.TENSORFLOW)
    found = tf.config.list_physical_devices("GPU")
    if not found:
        raise ProviderFallback(
            f"a GPU was asked for, and tensorflow {tf.__version__} sees none although it is built "
            f"with CUDA: a CUDA library or the driver did not load\n{native_words()}"
        )
    limit = target.memory_limit_mib
    growth = target.memory_growth and limit is None
    if limit is None:
        # Without growth it reserves nearly the whole card, and its figures say nothing of the
        # model.
        tf.config.experimental.set_memory_growth(found[0], growth)
    else:
        logical = tf.config.LogicalDeviceConfiguration(memory_limit=limit)
        tf.config.set_logical_device_configuration(found[0], [logical])
    tf.config.experimental.enable_tensor_float_32_execution(target.tf32)


def memory() -> Dict[str, Optional[float]]:
    """MiB that tensors hold now and held at most. TensorFlow's allocator says no more to Python;
    its fragmentation is in a trace (``tensorflow_trace``), and what it reserves nowhere."""
    import tensorflow as tf

    said = tf.config.experimental.get_memory_info("GPU:0")
    return {"allocated_mib": said["current"] / 2**20, "peak_mib": said["peak"] / 2**20}


def session_on_gpu(loaded: Any, signature: Any, path: str) -> Any:
    """The session on the GPU of the SavedModel at ``path``."""
    from switchyard.runtimes.tensorflow_saved_model import SIGNATURE, TensorFlowSession

    class GpuSession(TensorFlowSession):
        """Every timed call waits for the device."""

        def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
            return self.series(feeds)["resident"]

        def series(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Callable[[], Any]]:
            import tensorflow as tf

            call, wait = self._signature, _waiting(tf)
            with tf.device(DEVICE):
                constants = self._constants(feeds)

            def once() -> None:
                wait(call(**constants))

            def from_host() -> None:
                with tf.device(HOST):
                    given = self._constants(feeds)
                wait(call(**given))

            return {"resident": once, "from_host": from_host}

        def outputs(self, feeds: Mapping[str, np.ndarray]) -> Any:
            import tensorflow as tf

            found = self._signature(**self._constants(feeds))
            _waiting(tf)(found)
            return found

        def write_record(self, path: str, runs: Sequence[Mapping[str, np.ndarray]]) -> None:
            from switchyard.runtimes import tensorflow_trace

            tensorflow_trace.keep(lambda: [self.run(feeds) for feeds in runs], path)

        def placement(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Any]:
            import tensorflow as tf

            from switchyard.runtimes import tensorflow_placement
            from switchyard.worker.placement import from_devices, with_operations, with_share

            outputs = self._signature(**self._constants(feeds))
            # An int32 tensor lies in host memory by TensorFlow's own rule.
            told = [value for value in outputs.values() if value.dtype.name != "int32"]
            where = ["cuda" if "GPU" in value.device else "cpu" for value in told]

            def ran() -> List[Any]:
                again = tf.saved_model.load(path)  # this session's graphs were made before
                call, constants = again.signatures[SIGNATURE], self._constants(feeds)
                return tensorflow_placement.executed(lambda: call(**constants))

            return with_share(
                with_operations(from_devices({"outputs": where}), ran),
                lambda: tensorflow_placement.share_on_cpu(path, feeds, SIGNATURE),
            )

    return GpuSession(loaded, signature)


def _waiting(tf: Any) -> Callable[[Mapping[str, Any]], None]:
    """What waits until outputs are computed: the devices' own barrier, or a copy of them."""
    barrier = getattr(getattr(tf.test, "experimental", None), "sync_devices", None)
    if barrier is not None:
        return lambda outputs: barrier()

    def copied(outputs: Mapping[str, Any]) -> None:
        for value in outputs.values():
            value.numpy()

    return copied
