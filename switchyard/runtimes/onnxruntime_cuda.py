"""ONNX Runtime on a CUDA device: its CUDA provider, and TensorRT's where a package has it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import tempfile
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

if TYPE_CHECKING:
    import numpy as np

from switchyard.manifest import Artefact
from switchyard.runtimes import (
    DeviceUnavailable,
    NotOffered,
    ProviderFallback,
    Runtime,
    Session,
    Target,
    cuda_libraries,
    native_words,
)
from switchyard.runtimes.onnxruntime_cpu import (
    OrtSession,
    bound,
    room_for,
    session_options,
    value,
)

DEVICE, TF32, GRAPH, STREAM = "cuda", "use_tf32", "enable_cuda_graph", "user_compute_stream"
CUDA, TENSORRT, CPU = (
    "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
)  # fmt: skip

#: Of a run: it returns once all of it is launched.
NOT_WAITED_FOR = "disable_synchronize_execution_providers"

#: Where it is 0 none of NVIDIA's libraries uses TF32, whatever they are told.
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"

#: What ONNX Runtime 1.15 sets when it is imported and has not found CUDA's libraries, and believes.
UNAVAILABLE = "ORT_CUDA_UNAVAILABLE"

#: ONNX Runtime's words for an option that a provider does not know.
_UNKNOWN = 'Unknown provider option: "{}"'

#: What ONNX Runtime writes to stderr where a provider's library cannot be opened.
_UNLOADED = re.compile(r"Failed to load (?:shared )?library [^\n]*")

#: Runs under the profiler: what the first ones spend on choosing kernels is not counted.
PROFILED_RUNS = 3

#: Runs in which ONNX Runtime allocates and captures, before it replays.
RUNS_BEFORE_REPLAY = 3


def lacks(provider: str) -> str:
    """Why the installed package cannot do it, empty where it can."""
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    if provider in offered:
        return ""
    return (
        f"onnxruntime {onnxruntime.__version__} here has no {provider} (it offers "
        f"{', '.join(offered)}): install onnxruntime-gpu, or for TensorRT also its libraries"
    )


def load(artefact: Artefact, target: Target, provider: str = CUDA) -> "CudaSession":
    """A session whose first provider is ``provider``.

    Raises ProviderFallback where the session itself does not list it, else what ONNX
    Runtime raises.
    """
    return CudaSession(str(artefact.file("onnx")), target, provider)


def _providers(target: Target, provider: str, engines: str, more: Mapping[str, Any]) -> List[Any]:
    """``engines``: a folder from which TensorRT takes the engine that a session before built.
    ``more``: of the CUDA provider."""
    # TF32 is on unless it is switched off, and a float32 cell is about float32.
    cuda = (CUDA, {"device_id": 0, TF32: int(target.tf32), **more})
    if provider == CUDA:
        return [cuda, CPU]
    kept = {"trt_engine_cache_enable": True, "trt_engine_cache_path": engines} if engines else {}
    return [(provider, {"device_id": 0, **kept}), cuda, CPU]


def _asked(providers: List[Any]) -> Mapping[str, Any]:
    """The options of the CUDA provider."""
    return dict(one for one in providers if isinstance(one, tuple)).get(CUDA, {})


def _dropped(session: Any, providers: List[Any]) -> Set[str]:
    """Names of the CUDA provider's options that are among ``providers`` and unknown to the version
    of ``session``, which was made without any: 1.15 drops all where it does not know one."""
    asked, has = _asked(providers), session.get_provider_options().get(CUDA, {})
    if all(has.get(name) == str(wanted) for name, wanted in asked.items()):
        return set()
    return set(asked) - set(has)


def _without(unknown: Set[str], providers: List[Any]) -> List[Any]:
    return [
        (one[0], {name: value for name, value in one[1].items() if name not in unknown})
        if isinstance(one, tuple)
        else one
        for one in providers
    ]


def _settle_tf32(target: Target) -> None:
    """For NVIDIA's libraries in this process, before they are loaded: TensorRT's provider and the
    CUDA provider before 1.18 take TF32 with no option against it, and cuBLAS and cuDNN read this
    once. https://github.com/microsoft/onnxruntime/issues/26029"""
    if target.tf32:
        os.environ.pop(TF32_OVERRIDE, None)
    else:
        os.environ[TF32_OVERRIDE] = "0"


def _load_libraries(onnxruntime: Any) -> None:
    """CUDA's, as pip installed them. From 1.21 on ONNX Runtime finds those of its own CUDA version
    itself, where they lie in its own folder of packages."""
    beside = os.path.join(os.path.dirname(os.path.dirname(onnxruntime.__file__)), "nvidia")
    if hasattr(onnxruntime, "preload_dlls") and os.path.isdir(beside):
        onnxruntime.preload_dlls()
    else:
        cuda_libraries.load()
        os.environ.pop(UNAVAILABLE, None)


def _session(
    path: str,
    target: Target,
    provider: str,
    engines: str = "",
    more: Optional[Mapping[str, Any]] = None,
    **options: Any,
) -> Any:
    _settle_tf32(target)
    import onnxruntime

    _load_libraries(onnxruntime)
    settings = session_options(target)
    for name, setting in options.items():
        setattr(settings, name, setting)
    wanted = _providers(target, provider, engines, more or {})

    def create(providers: List[Any]) -> Any:
        # Without enable_fallback=0 a provider that fails to start is replaced by the CPU's.
        return onnxruntime.InferenceSession(
            path, sess_options=settings, providers=providers, enable_fallback=0
        )

    def known(unknown: Set[str]) -> List[Any]:
        lacking = unknown.intersection(more or ())
        if lacking:
            raise NotOffered(f"onnxruntime {onnxruntime.__version__} has no {', '.join(lacking)}")
        return _without(unknown, wanted)

    try:
        session = create(wanted)
    except Exception as error:
        # A version that does not know an option names it; where CUDA does not start one that it
        # knows, device_id, is named as well.
        unknown = {name for name in _asked(wanted) if _UNKNOWN.format(name) in str(error)}
        if not unknown:
            raise
        wanted = known(unknown)
        session = create(wanted)
    found = list(session.get_providers())
    if provider in found and (unknown := _dropped(session, wanted)):
        session = create(known(unknown))
    if provider not in found:
        words = native_words()
        reason = _UNLOADED.search(words)
        raise ProviderFallback(
            f"{provider} was asked for, and the session has only {', '.join(found)}"
            f"{': ' + reason.group() if reason else ''}\n{words}"
        )
    return session


class CudaSession(OrtSession):
    """Inputs are bound to the device once, outputs stay there."""

    def __init__(self, path: str, target: Target, provider: str):
        engines = ""
        if provider == TENSORRT:  # minutes of work, and of placement another session is asked
            engines = tempfile.mkdtemp(prefix="switchyard-engines-")
            weakref.finalize(self, shutil.rmtree, engines, ignore_errors=True)
        self._provider = provider
        self._made_from: Tuple[str, Target, str, str] = (path, target, provider, engines)
        session = _session(*self._made_from)
        super().__init__(session)

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        return self.series(feeds)["resident"]

    def series(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Callable[[], Any]]:
        # Each call of the second binds inputs of its own; before the first it has none on the card.
        session, resident, travelling = self._session, self._bind(feeds), self._bind({})
        values = {name: value(array) for name, array in feeds.items()}

        def once() -> None:
            session.run_with_iobinding(resident)
            resident.synchronize_outputs()

        def from_host() -> None:
            # Binding is what copies an input to where the session wants it.
            for name, each in values.items():
                travelling.bind_ortvalue_input(name, each)
            travelling.synchronize_inputs()
            session.run_with_iobinding(travelling)
            travelling.synchronize_outputs()

        return {"resident": once, "from_host": from_host}

    def between_events(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], float]:
        """By a session of its own, which computes on a stream that it was given."""
        import onnxruntime

        from switchyard.runtimes.cuda_events import Stream

        stream = Stream()
        session = _session(*self._made_from, more={STREAM: str(stream.address)})
        binding, options = self._bind(feeds, session), onnxruntime.RunOptions()
        options.add_run_config_entry(NOT_WAITED_FOR, "1")
        return lambda: stream.seconds(lambda: session.run_with_iobinding(binding, options))

    def graphed(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """By a session of its own, which keeps what its second run does; raises where a node
        is not the CUDA provider's.
        https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html"""
        answers = self.run(feeds)
        session = _session(*self._made_from, more={GRAPH: 1})
        binding = session.io_binding()
        # A graph has addresses: inputs and outputs lie where they are for all its runs.
        inputs = {name: value(array, DEVICE) for name, array in feeds.items()}
        outputs = {name: room_for(array, DEVICE) for name, array in answers.items()}
        for name, each in inputs.items():
            binding.bind_ortvalue_input(name, each)
        for name, each in outputs.items():
            binding.bind_ortvalue_output(name, each)

        def once(held: Any = (inputs, outputs)) -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        for _ in range(RUNS_BEFORE_REPLAY):
            once()
        return once

    def _bind(self, feeds: Mapping[str, np.ndarray], session: Any = None) -> Any:
        binding = (session or self._session).io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, value(array, DEVICE))
        for name in self._names:
            binding.bind_output(name, DEVICE, 0)
        return binding

    def placement(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        from switchyard.worker.placement import from_profile

        def runs(session: Any) -> None:
            for _ in range(PROFILED_RUNS):
                session.run_with_iobinding(bound(session, feeds))

        return from_profile(self._profiled(runs), self._session.get_providers())

    def memory_over(
        self, runs: Sequence[Mapping[str, np.ndarray]]
    ) -> List[Dict[str, Optional[float]]]:
        """Of its arena; nothing of TensorRT's, whose engine holds most of what it holds."""
        from switchyard.runtimes.onnxruntime_profile import arena_of_runs

        if self._provider == TENSORRT:
            return []

        return arena_of_runs(self._profiled(self._one_after_the_other(runs)))

    def write_record(self, path: str, runs: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Its profile, which says since 1.28 what the arena holds behind each node. Raises
        TypeError of TensorRT's sessions."""
        if self._provider == TENSORRT:
            return super().write_record(path, runs)
        self._profiled(self._one_after_the_other(runs), keep=path)

    def _one_after_the_other(
        self, runs: Sequence[Mapping[str, np.ndarray]]
    ) -> Callable[[Any], None]:
        def each(session: Any) -> None:
            for feeds in runs:
                binding = self._bind(feeds, session)  # the last one's outputs go with it
                session.run_with_iobinding(binding)
                binding.synchronize_outputs()

        return each

    def _profiled(self, use: Callable[[Any], None], keep: str = "") -> List[Dict[str, Any]]:
        """The profile's events of what ``use`` does with a second session, since the one that is
        timed writes none; the profile itself goes to ``keep``."""
        with tempfile.TemporaryDirectory(prefix="switchyard-profile-") as folder:
            session = _session(
                *self._made_from,
                enable_profiling=True,
                profile_file_prefix=os.path.join(folder, "ort"),
            )
            use(session)
            profile = session.end_profiling()
            if keep:
                shutil.copyfile(profile, keep)
            return json.loads(pathlib.Path(profile).read_text())


class OnnxRuntimeTensorRt(Runtime):
    """TensorRT builds an engine for each artefact: minutes for a large one."""

    name = "ort-tensorrt"
    format = "onnx"
    tier = "full"
    requires = ("onnxruntime",)
    devices = ("cuda",)
    tunes = True  # an engine is built of what was the fastest, and share_on_cpu is of a profile

    def lacks(self, target: Target) -> str:
        return lacks(TENSORRT)

    def load(self, artefact: Optional[Artefact], model: Any = None,
             target: Target = Target("cuda")) -> Session:  # fmt: skip
        """Raises DeviceUnavailable where TensorRT's own libraries are not there, which a package
        that offers the provider does not bring, ProviderFallback where the session lacks it."""
        assert artefact is not None
        try:
            return load(artefact, target, TENSORRT)
        except RuntimeError as error:
            if "install TensorRT libraries" not in str(error):
                raise
            raise DeviceUnavailable("TensorRT's libraries (libnvinfer) are not there") from None


RUNTIMES = (OnnxRuntimeTensorRt(),)
