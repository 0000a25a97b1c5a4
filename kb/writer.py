"""A language model, through litellm, that writes questions about pages. Only where one is configured."""

from __future__ import annotations

from collections.abc import Sequence

from kb.config import WriterSettings
from kb.embed import load_litellm
from kb.errors import EndpointModelError
from kb.questions import Place, Question

__all__ = ["questions_by_model"]

MOST_CHARACTERS = 6_000
PROMPT = (
    "Write one question that a reader could ask without having seen this page and that this page answers. "
    "Use your own words. Answer with the question alone.\n\n"
)


def questions_by_model(settings: WriterSettings, pages: Sequence[tuple[Place, str]]) -> list[Question]:
    """A question for each page (place, text). Raises EndpointModelError."""
    if settings.base_url is None:
        raise EndpointModelError("none is configured", where="writer", fix="Set writer.base_url.")
    litellm = load_litellm()
    key = settings.api_key.get_secret_value() if settings.api_key else "none"
    made: list[Question] = []
    for place, text in pages:
        try:
            answer = litellm.completion(
                model=f"hosted_vllm/{settings.model}",
                api_base=settings.base_url,
                api_key=key,
                timeout=settings.timeout,
                messages=[{"role": "user", "content": PROMPT + text[:MOST_CHARACTERS]}],
            )
            query = str(answer.choices[0].message.content or "").strip()
        except Exception as error:
            said = f"{type(error).__name__}: {error}".replace(key, "***")[:200]
            fix = "Check writer.base_url, model and api_key."
            raise EndpointModelError(said, where=str(settings.base_url), fix=fix) from None
        if query:
            made.append(Question(query.splitlines()[-1].strip().strip('"'), (place,)))
    return made
