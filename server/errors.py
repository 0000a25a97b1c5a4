"""What the server answers when it cannot do what it was asked: OpenAI's error object, and the status to go with it.

The texts and types are those that client libraries tell their exceptions by (a 401 without "Incorrect API key
provided" is a plain bad request to litellm; "maximum context length" is what makes a too long input recognisable).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "RequestError",
    "bad_request",
    "client_gone",
    "failed",
    "model_not_found",
    "overloaded",
    "shutting_down",
    "timed_out",
    "too_long",
    "unauthorized",
    "unavailable",
    "wrong_kind",
]


# Lists of names in them could be of any length.
MOST_CHARACTERS = 500


class RequestError(Exception):
    """An answer other than 200, with what goes into its `error` object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        parameter: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: dict[str, Any] = {
            "error": {"message": message[:MOST_CHARACTERS], "type": kind, "param": parameter, "code": code},
        }


def bad_request(
    message: str, *, parameter: str | None = None, status: int = 400, headers: dict[str, str] | None = None
) -> RequestError:
    """The request is not of the form that the API takes."""
    return RequestError(status, message, parameter=parameter, headers=headers)


def wrong_kind(name: str, route: str) -> RequestError:
    """The model exists, but answers another route."""
    return bad_request(f"{name} does not answer this route; ask {route}.", parameter="model")


def unauthorized() -> RequestError:
    """The bearer key is missing or wrong; which, an attacker is not told."""
    return RequestError(
        401,
        "Incorrect API key provided. Send it as: Authorization: Bearer KEY.",
        kind="authentication_error",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def model_not_found(name: str, served: list[str]) -> RequestError:
    """No model of that name is served here."""
    message = f"The model {name[:100]!r} does not exist. Served here: {', '.join(served)}."
    return RequestError(404, message, parameter="model", code="model_not_found")


def client_gone() -> RequestError:
    """Nobody is there to read it; for the log and the metrics, with the status that proxies use for this."""
    return RequestError(499, "The client went away.")


def timed_out() -> RequestError:
    """The time that the client or the server allows is over; the same again would take as long."""
    message = "The time for this request was over before its turn came (--request-timeout, X-Request-Timeout)."
    return RequestError(504, message, kind="timeout_error", code="timeout", headers={"x-should-retry": "false"})


def failed() -> RequestError:
    """The server's own fault; the client is told not to send the same again."""
    message = "The server failed on this request; its log says why."
    return RequestError(500, message, kind="server_error", headers={"x-should-retry": "false"})


def too_long(index: int, size: str, limit: int) -> RequestError:
    """An input has more tokens than the model reads, and nothing is ever cut unasked."""
    # No double quotes: with them and the apostrophe the openai client's text of it has a backslash before the latter,
    # and litellm no longer sees what it is.
    return RequestError(
        400,
        f"This model's maximum context length is {limit} tokens, but input {index} has {size}. "
        "Shorten it, or set truncate to true.",
        parameter="input",
        code="context_length_exceeded",
    )


def overloaded(retry_after: int) -> RequestError:
    """The queue is full; by the measured rate there is room again in `retry_after` seconds."""
    return RequestError(
        429,
        f"The server is busy. Try again in {retry_after} s.",
        kind="rate_limit_error",
        code="queue_full",
        headers={"Retry-After": str(retry_after)},
    )


def unavailable(reason: str, retry_after: int) -> RequestError:
    """The server is loading its model, or is shutting down."""
    return RequestError(
        503, reason, kind="service_unavailable_error", code="unavailable", headers={"Retry-After": str(retry_after)}
    )


def shutting_down() -> RequestError:
    """What was not finished when the time to drain was over, and what came after that began."""
    return unavailable("The server is shutting down.", 5)
