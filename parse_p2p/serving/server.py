"""A trained agent behind HTTP: JSON in, JSON out, and nothing of what is asked is kept.

While the agent goes on learning, the newest checkpoint is taken up as it appears.
"""

import socket
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from parse_p2p import __version__
from parse_p2p.core.errors import ConfigError, P2PError
from parse_p2p.core.types import Modality
from parse_p2p.data.sources.tokens import as_objects, holds_text
from parse_p2p.serving import exported
from parse_p2p.serving.packages import package
from parse_p2p.serving.run_models import RunModels
from parse_p2p.serving.trained import TrainedModel

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


GRACE = 10  # seconds for answers that are on their way when the server is to end

SHAPE = 'give {"inputs": {"NAME": [[...], ...]}}'
"""Of what is asked."""


class Limits(BaseModel):
    """How much may be asked at once."""

    rows: int = Field(10_000, ge=1)
    body: int = Field(16 * 2**20, ge=1, description="bytes of a request")


class Question(BaseModel):
    """Samples by modality, each a list of rows as they were measured, and which rows have one that not all have.

    A row of tokens is a list of ids, or a text.
    """

    model_config = ConfigDict(extra="forbid")

    inputs: dict[str, Any]  # looked at by hand: pydantic would gather an error for each of millions
    present: dict[str, Any] = {}


class Newest:
    """The newest model of an agent of a run, or the one that was exported. Raises ConfigError where there is none."""

    def __init__(self, path: Path, id: str | None = None, trusted: Collection[str] = ()) -> None:
        self._run = None if exported.recognises(path) else RunModels(path)
        self._lock = threading.Lock()
        if self._run is None:
            self._model = exported.read(path, id, trusted=trusted)
            return
        self._me = self._run.named(id)
        self._model = self._run.load(self._me)

    def model(self) -> TrainedModel:
        """The model to ask now; the one before as long as a newer one cannot be read."""
        if self._run is None:
            return self._model
        with self._lock:
            try:
                if self._run.folder.checkpoint_of(self._me) != self._model.round:
                    self._model = self._run.load(self._me)
            except (P2PError, OSError):  # it was deleted since it was listed, or the disk is gone
                pass
            return self._model


def app(newest: Newest, limits: Limits) -> Any:
    """The application: ``POST /predict``, ``GET /health`` and ``GET /schema``. Needs FastAPI."""
    fastapi = package("fastapi", "serve", "a server")
    responses = package("fastapi.responses", "serve", "a server")
    errors = package("fastapi.exceptions", "serve", "a server")
    made = fastapi.FastAPI(title="parse-p2p", version=__version__, docs_url=None, redoc_url=None)

    def predict(question: Question) -> dict[str, Any]:
        return _answer(newest.model(), question, limits)

    def health() -> dict[str, Any]:
        about = newest.model().description
        return {"status": "ok", "agent": about.agent, "round": about.round, "run": about.run.name}

    def schema() -> dict[str, Any]:
        model = newest.model()
        about = {"task": model.task.name, model.task.names: model.classes}
        return {"modalities": model.modalities, **about, "rows": limits.rows}

    def refused(request: Any, error: Exception) -> Any:
        return responses.JSONResponse({"detail": _sentence(error)}, 422)

    def unread(request: Any, error: Exception) -> Any:
        return responses.JSONResponse({"detail": f"the body cannot be read: {SHAPE}"}, 422)

    made.post("/predict")(predict)
    made.get("/health")(health)
    made.get("/schema")(schema)
    made.add_exception_handler(P2PError, refused)
    made.add_exception_handler(400, unread)
    made.add_exception_handler(errors.RequestValidationError, refused)
    made.add_middleware(_Limited, largest=limits.body)
    return made


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any that is free. Raises ConfigError where the port is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(
            f"--host {host} --port {port}: nothing can listen there ({reason}): name another, or --port 0 for any"
        ) from None


def run(application: Any, at: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, and answer what was asked before; then the signal does what it did before."""
    uvicorn = package("uvicorn", "serve", "a server")
    config = uvicorn.Config(
        application, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE
    )
    uvicorn.Server(config).run(sockets=[at])


def _answer(model: TrainedModel, question: Question, limits: Limits) -> dict[str, Any]:
    for part, given in (("inputs", question.inputs), ("present", question.present)):
        for name, rows in given.items():
            if not isinstance(rows, list):
                raise ConfigError(f"{part}: {name!r} is no list; {SHAPE}")
            if len(rows) > limits.rows:
                raise ConfigError(f"{part}: {name!r} has {len(rows)} rows; give {limits.rows} at most at once")
    flags = {name: _flags(name, given) for name, given in question.present.items()}
    inputs = {name: _array(name, _filled(model, name, rows, flags)) for name, rows in question.inputs.items()}
    said = model.predict(inputs, flags)
    return {**model.task.answer(torch.from_numpy(said), model.classes), "round": model.round}


def _flags(name: str, given: list[Any]) -> NDArray[np.bool_]:
    if not all(isinstance(each, bool) for each in given):
        raise ConfigError(f"present: {name!r} holds what is neither true nor false; give one of them for each row")
    return np.array(given, bool)


def _filled(model: TrainedModel, name: str, rows: list[Any], flags: Mapping[str, NDArray[np.bool_]]) -> list[Any]:
    """The rows with zeros, or an empty text, in place of whatever stands where there is nothing."""
    there, shape = flags.get(name), model.modalities.get(Modality(name))
    if there is None or shape is None or len(there) != len(rows):
        return rows
    tokens = model.description.data_schema.modalities[Modality(name)].kind == "tokens"
    zeros = np.zeros(shape, np.int64 if tokens else np.float64).tolist()
    nothing = "" if tokens and any(isinstance(row, str) for row in rows) else zeros
    return [row if has else nothing for row, has in zip(rows, there.tolist(), strict=True)]


def _array(name: str, rows: list[Any]) -> NDArray[Any]:
    try:
        return as_objects(rows) if holds_text(rows) else np.asarray(rows)
    except (ValueError, OverflowError, RecursionError):
        raise ConfigError(f"inputs: the rows of {name!r} have different shapes; give lists of equal lengths") from None


def _sentence(error: Any) -> str:
    if isinstance(error, P2PError):
        return str(error)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the body is no JSON ({first['ctx']['error']}): {SHAPE}"
    where = ".".join(str(step) for step in first["loc"] if step != "body") or "the body"
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}; {SHAPE}"


class _Limited:
    """Answers 413 to a request whose body is larger than ``largest`` bytes, whatever its header says."""

    def __init__(self, inner: Any, largest: int) -> None:
        self._inner = inner
        self._largest = largest

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        messages, size, more = list[Message](), 0, True
        while more:  # to the end, even of what is too large: who still sends does not read the answer
            message = await receive()
            size += len(message.get("body", b""))
            more = bool(message.get("more_body"))
            if size <= self._largest:
                messages.append(message)
            else:
                messages.clear()

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await (self._inner(scope, again, send) if size <= self._largest else self._refuse(send))

    async def _refuse(self, send: Send) -> None:
        body = f'{{"detail":"the body has more than {self._largest} bytes: ask of fewer rows at once"}}'.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
