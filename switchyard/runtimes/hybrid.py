"""The hybrid deployment: TensorFlow in front and torch behind it, each in a process of its own.

Nothing is converted. A ``tf.function`` hands its tensors through ``tf.numpy_function`` to a gRPC
call on a Unix socket, and the torch service (``worker/torch_service.py``) answers. Latency is what
the caller of the function waits; memory is that of both processes, so that the service, torch's
import included, counts as what the model adds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

if TYPE_CHECKING:
    import numpy as np

from switchyard import hops, wire
from switchyard.runtimes import Recipe, Runtime, Session, Target
from switchyard.vocabulary import silent_end
from switchyard.worker import torch_service

#: Seconds until a service that says it listens must have been reached.
CONNECT_SECONDS = 30


class ServiceEnded(RuntimeError):
    """The torch process is gone in the middle of a request, or before it listened."""

    def __init__(self, process: subprocess.Popen):
        try:
            self.kind, how = silent_end(process.wait(timeout=5))
        except subprocess.TimeoutExpired:
            self.kind, how = "crash", "it does not answer, and runs"
        super().__init__(f"the torch service: {how}")


class ServiceFailed(RuntimeError):
    """The torch process could not answer; its own words."""


class NotServed(ServiceFailed):
    """The torch process did not come up; stage, kind and message are what it says of why."""

    def __init__(self, outcome: Mapping[str, Any]):
        super().__init__(outcome["message"])
        self.stage, self.kind = outcome["stage"], outcome["kind"]


class TorchService:
    """The process that holds the model, and the line to it. Ends with this object."""

    def __init__(self, recipe: Recipe, threads: Optional[int] = None):
        """Raises NotServed, ServiceEnded where it ended before it could say why, and
        ModuleNotFoundError where there is no gRPC."""
        try:
            hops.import_required("grpc")
        except ModuleNotFoundError as error:
            error.stage = "import"
            raise
        folder = tempfile.mkdtemp(prefix="switchyard-")  # nobody else's: mode 0700
        try:
            socket = os.path.join(folder, "torch")
            self._process = _started(recipe, socket, threads)
            self._end = weakref.finalize(self, _end, self._process)
            self._connect(socket)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # the connection outlives its name

    def _connect(self, socket: str) -> None:
        import grpc

        self._channel = grpc.insecure_channel(f"unix:{socket}", options=torch_service.UNLIMITED)
        grpc.channel_ready_future(self._channel).result(timeout=CONNECT_SECONDS)
        self._infer = self._channel.unary_unary(f"/{torch_service.SERVICE}/{torch_service.METHOD}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """One request. Raises ServiceFailed with what torch said, ServiceEnded."""
        import grpc

        try:
            return wire.tensors_in(self._infer(wire.tensor_bytes(feeds)), "the service's answer")
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise ServiceEnded(self._process) from None
            raise ServiceFailed(error.details() or str(error.code())) from None


def _started(recipe: Recipe, socket: str, threads: Optional[int]) -> subprocess.Popen:
    """The process once it listens."""
    ready, theirs = os.pipe()
    command = [sys.executable, "-m", torch_service.__name__]
    command += ["--file", recipe.file, "--model", recipe.model, "--precision", recipe.precision]
    command += ["--socket", socket, "--ready", str(theirs)]
    command += [] if threads is None else ["--threads", str(threads)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[theirs])
    finally:
        os.close(theirs)
    try:
        said = wire.receive(ready)
    finally:
        os.close(ready)
    if said is None:
        raise ServiceEnded(process)
    if not said["ok"]:
        _end(process)
        raise NotServed(said["outcome"])
    return process


def _end(process: subprocess.Popen) -> None:
    process.stdin.close()
    process.kill()
    process.wait()


class HybridSession(Session):
    """A TensorFlow function whose body is a request to the torch service."""

    def __init__(self, service: TorchService):
        self._service = service
        self._function: Optional[Callable[..., Dict[str, Any]]] = None
        self._error: Optional[Exception] = None
        self.companions = (service.pid,)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self._call(feeds)().items()}

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        return self._call(feeds)

    def _call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Dict[str, Any]]:
        import tensorflow as tf

        function = self._function = self._function or self._made(feeds)
        constants = {name: tf.constant(array) for name, array in feeds.items()}

        def once() -> Dict[str, Any]:
            try:
                return function(**constants)
            except tf.errors.OpError:  # TensorFlow keeps the text of an error and not the error
                if self._error is None:
                    raise
                error, self._error = self._error, None
                raise error from None

        return once

    def _made(self, feeds: Mapping[str, np.ndarray]) -> Callable[..., Dict[str, Any]]:
        """The function. A graph must know the dtypes of what comes back, and only an answer
        tells: the first request is made outside of it."""
        import tensorflow as tf

        dtypes = {
            name: tf.as_dtype(array.dtype) for name, array in self._service.ask(feeds).items()
        }
        names = list(feeds)

        def request(*arrays: np.ndarray) -> List[np.ndarray]:
            try:
                answer = self._service.ask(dict(zip(names, arrays)))
            except Exception as error:
                self._error = error
                raise
            return [answer[name] for name in dtypes]

        @tf.function(autograph=False)
        def served(**tensors: Any) -> Dict[str, Any]:
            arguments = [tensors[name] for name in names]
            values = tf.numpy_function(request, arguments, list(dtypes.values()))
            return dict(zip(dtypes, values))

        return served


class Hybrid(Runtime):
    """A dear route: each session starts a second interpreter and imports torch there."""

    name = "hybrid-tf"
    format = "torch"
    tier = "full"
    requires = ("tensorflow",)
    devices = ("cpu",)
    elsewhere = "the hybrid deployment is served on the CPU alone"
    apart = True

    def load(self, artefact: Any, model: Any, target: Target = Target()) -> Session:
        """``model`` is a Recipe. Raises what ``TorchService`` does."""
        return HybridSession(TorchService(model, target.threads))


RUNTIMES = (Hybrid(),)
