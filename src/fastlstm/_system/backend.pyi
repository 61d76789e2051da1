from typing_extensions import disjoint_base

ALGORITHMS: dict[str, int]
PRECISIONS: dict[str, int]

class DeviceError(RuntimeError): ...

@disjoint_base
class Backend:
    def __init__(self, capsule: object) -> None: ...
    @property
    def name(self) -> str: ...
    def why_unavailable(self) -> str | None: ...
    def describe(self) -> str: ...

@disjoint_base
class Device:
    used: dict[str, int]
    def __init__(
        self, backend: Backend, index: int, stream: int, precision: str, algorithm: str, tf32: bool
    ) -> None: ...
