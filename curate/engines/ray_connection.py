"""Connecting to a Ray cluster, or starting Ray on this machine: the one place that does, for curation and studies."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from typing import Any

from curate.artifact import home
from curate.console import say
from curate.engines.ray_interpreter import interpreter_for_ray
from curate.errors import UserError

_CONNECT_SECONDS = 5.0
_HANDED_ON = ("HF_", "AWS_", "GOOGLE_", "FSSPEC_")  # variables that say where data is, and open it


def connect_to_ray(option: str, address: str | None, workers: int, environment: Mapping[str, str] | None = None) -> Any:
    """Return the module `ray`, connected to the cluster at an address, or to a Ray started here with some cores.

    `option` is what asked for it, for errors; `environment` are variables that workers must have besides those of
    every job. A process that is connected already stays so. Whatever goes wrong is a `UserError`.
    """
    try:
        import ray
    except ImportError:
        raise UserError(f"{option} needs Ray, which is not installed.", "pip install 'rowpick[ray]'") from None
    if ray.is_initialized():
        return ray
    variables = {**_environment(), **(environment or {})}
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "runtime_env": {"env_vars": variables, **interpreter_for_ray()},
    }
    if address is None:
        say(f"No --ray-address: starting Ray on this machine, with {workers} cores.")
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **options)
        return ray
    _knock(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, OSError, ValueError, RuntimeError) as error:
        raise _explain(error, address, ray.__version__) from None
    return ray


def _explain(error: Exception, address: str, version: str) -> Exception:
    """The `UserError` for why a cluster was not joined; an error that is none of these as it is."""
    why = " ".join(str(error).split())
    if "AuthToken" in why:
        return UserError(
            f"The cluster at {address} asks for a token that this process did not send.",
            "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the cluster's token.",
        )
    if "ersion mismatch" in why:
        return UserError(
            f"The cluster at {address} has another version of Ray or Python than this machine: {why[:300]}",
            f"Install ray=={version} on Python {platform.python_version()} on every node.",
        )
    if isinstance(error, RuntimeError):
        return error
    return UserError(
        f"No Ray cluster answers at {address} ({why[:200]}).",
        "Start one there: ray start --head --port PORT; on this machine --ray-address auto finds it.",
    )


def _environment() -> dict[str, str]:
    """What workers must have as it is here."""
    own = {"ROWPICK_HOME": str(home().absolute()), "TOKENIZERS_PARALLELISM": "false"}
    return own | {name: value for name, value in os.environ.items() if name.startswith(_HANDED_ON)}


def _knock(address: str) -> None:
    """Raise a `UserError` at once where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise UserError(f'--ray-address is "{address}".', "Write auto, or HOST:PORT as `ray start --head` prints it.")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"Nothing answers at --ray-address {address} ({error.strerror or error}).",
            "Check host and port, or start a cluster: ray start --head --port 6379",
        ) from None
