"""A torch model as a service of its own: one process, one model, one request after the other.

What stands behind TensorFlow in a hybrid deployment (``runtimes/hybrid.py``). It answers gRPC
calls on a Unix socket; requests and answers are tensors by name as ``wire.tensor_bytes`` writes
them, raw, as the raw contents of the Open Inference Protocol (version 2) are. It says on
``--ready`` that it listens, or what stopped it, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
from typing import Any

from switchyard import wire

SERVICE, METHOD = "switchyard.TorchService", "Infer"

#: gRPC refuses messages above 4 MiB unless told otherwise; -1 is no limit.
UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def listen(model: Any, socket: str) -> Any:
    """A server that answers for ``model``, a BuiltModel. Raises RuntimeError where ``socket``
    cannot be listened on: its path is too long, say."""
    import grpc

    def infer(request: bytes, context: Any) -> bytes:
        try:
            return wire.tensor_bytes(model.run(wire.tensors_in(request)))
        except Exception as error:  # the caller's to judge, in its own process
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
            raise

    handler = grpc.method_handlers_generic_handler(
        SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(infer)}
    )
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), options=UNLIMITED)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server


def main() -> None:
    parser = argparse.ArgumentParser(prog="switchyard.worker.torch_service")
    for name in ("file", "model", "precision", "socket"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--ready", type=int, required=True)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    from switchyard.worker.server import die_with

    die_with(os.getppid())
    stage = "build"
    try:
        from switchyard.runtimes.torch_native import settle_threads
        from switchyard.worker.building import build

        settle_threads(options.threads)
        model = build(options.file, options.model, options.precision)
        stage = "load"
        server = listen(model, options.socket)
    except Exception as error:
        from switchyard.worker.blame import outcome_of

        wire.send(options.ready, {"ok": False, "outcome": outcome_of(error, stage).as_dict()})
        return
    wire.send(options.ready, {"ok": True})
    os.close(options.ready)
    while os.read(0, 1):
        pass
    server.stop(None)


if __name__ == "__main__":
    main()
