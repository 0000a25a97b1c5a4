"""The one settings model: file < environment < arguments. Frozen, read once at the edge, passed down.

A file holds the guide's JSON, in any of its shapes (`{"embedder": …}`, `{"pdf_knowledge": {…}}`, the bare fragment
`"pdf_knowledge": {…}`, `{"logging": …}` beside either). `${VAR}` or `${VAR:-default}` in a value is read from the
environment. Any key can be set by `PDF_KNOWLEDGE__SECTION__KEY`. A relative path in a file is relative to that file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from kb.config_file import expand_variables, find_file, read_file
from kb.config_problems import Sources, problems_of, secretless_url, unknown_environment_keys
from kb.errors import ConfigurationError

__all__ = [
    "CacheSettings",
    "ChunkingSettings",
    "EmbedderSettings",
    "ExtractionSettings",
    "IngestSettings",
    "LoggingSettings",
    "RerankerSettings",
    "SearchSettings",
    "Settings",
    "StorageSettings",
    "WriterSettings",
]

ENVIRONMENT_PREFIX = "PDF_KNOWLEDGE__"
FILE_KEY = "file contents"  # how `load` hands the file's data to the sources; no argument can have this name

UrlText = Annotated[str, AfterValidator(secretless_url)]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class Section(BaseModel):
    """A section of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class EmbedderSettings(Section):
    """The embedding endpoint, as the guide defines it."""

    type: Literal["custom"] = Field("custom", description="any OpenAI-compatible endpoint")
    base_url: UrlText | Annotated[tuple[UrlText, ...], Field(min_length=1)] = Field(
        "http://127.0.0.1:8000/v1", description="URL of the embedding service, ending in /v1; or a list of them"
    )
    model: str = Field("all-MiniLM-L6-v2", min_length=1, description="name of the model as the endpoint knows it")
    api_key: SecretStr | None = Field(None, description="sent as a bearer token")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="headers on every request; an Authorization here wins over api_key"
    )
    timeout: float = Field(60.0, gt=0, description="seconds for one request")
    retries: int = Field(3, ge=0, description="attempts after the first")
    backoff_factor: float = Field(2.0, ge=0, description="seconds before retry n: factor x 2^(n-1), at most 60")
    batch_size: int = Field(64, ge=1, description="most texts in one request")
    batch_tokens: int = Field(16_384, ge=1, description="most tokens in one request")
    concurrency: int = Field(4, ge=1, description="most requests under way at once")
    dimensions: int | None = Field(None, ge=1, description="shorter vectors of a Matryoshka model")
    query_prefix: str = Field("", description="put before every query, where the model wants one ('query: ')")
    document_prefix: str = Field("", description="put before every passage ('passage: ')")
    max_tokens: int | None = Field(None, ge=8, description="the model's maximum length, where the endpoint tells none")
    tokenizer: str | None = Field(None, description="path of a tokenizer.json or a hub name, where it is not found")

    @property
    def base_urls(self) -> tuple[str, ...]:
        """base_url as a tuple, whether one or several were given."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url


class ExtractionSettings(Section):
    """How PDFs are read."""

    engine: Literal["auto", "pypdf", "pdfium"] = Field("auto", description="auto: pdfium for text, pypdf second")
    passwords: tuple[SecretStr, ...] = Field((), description="tried on files that a user password protects")
    workers: int | None = Field(None, ge=1, description="processes; one for each core unless set")
    timeout: float = Field(300.0, gt=0, description="seconds for one document")
    memory_mb: int = Field(2048, ge=128, description="memory of one worker process")
    max_pages: int = Field(20_000, ge=1, description="a longer document is reported as over the limit")
    ocr: Literal["off", "auto"] = Field("off", description="auto: recognise the text of image-only pages")
    ocr_languages: str = Field("eng", description="languages for OCR, as tesseract names them: eng+deu")


class ChunkingSettings(Section):
    """How pages become passages. Sizes are tokens of the endpoint's model, special tokens included."""

    max_tokens: int = Field(200, ge=16, description="size of a chunk; never over the endpoint's maximum length")
    overlap: int = Field(0, ge=0, description="tokens that neighbouring chunks share")
    context: bool = Field(True, description="put document title and section before the text that is embedded")

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.overlap >= self.max_tokens // 2:
            raise ValueError(f"overlap must be less than half of max_tokens ({self.max_tokens})")
        return self


class StorageSettings(Section):
    """Where the LanceDB store lies."""

    uri: str = Field("data", description="folder, or object storage (s3://…)")
    collection: str = Field("default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="one set of tables")


class SearchSettings(Section):
    """How a query is answered."""

    mode: Literal["hybrid", "vector", "text"] = Field("hybrid", description="which lists are searched")
    limit: int = Field(10, ge=1, le=1000, description="hits")
    candidates: int = Field(100, ge=1, le=10_000, description="taken from each list before they are fused")
    vector_weight: float = Field(0.5, ge=0, description="weight of the vector list in hybrid search")
    text_weight: float = Field(1.0, ge=0, description="weight of the full-text list of chunks in hybrid search")
    page_weight: float = Field(1.0, ge=0, description="weight of the full-text list of pages")
    pair_weight: float = Field(0.3, ge=0, description="weight of words that follow each other as in the question")
    figure_weight: float = Field(0.6, ge=0, description="weight of the question's years and other figures")
    name_weight: float = Field(1.0, ge=0, description="weight of the question's words in names of files and folders")
    document_weight: float = Field(0.06, ge=0, description="what the best pages of a document add to its others")
    fusion: Literal["score", "rrf"] = Field("score", description="add up scaled scores, or reciprocal ranks")
    per_page: int = Field(1, ge=0, description="most hits from one page; 0: as many as there are")
    neighbours: bool = Field(True, description="a hit goes on into the passages beside it that answer as well")
    diversity: float = Field(0.0, ge=0, le=1, description="0: by score alone; more: fewer hits that say the same (MMR)")


class RerankerSettings(Section):
    """A cross-encoder that puts the best hits in a better order. Off without base_url."""

    base_url: UrlText | None = Field(None, description="URL of a service with /rerank, ending in /v1")
    model: str = Field("reranker", min_length=1, description="name of the model as the endpoint knows it")
    api_key: SecretStr | None = Field(None, description="sent as a bearer token")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="headers on every request")
    timeout: float = Field(30.0, gt=0, description="seconds for one request")
    candidates: int = Field(30, ge=1, le=1000, description="how many of the best hits it reads")


class WriterSettings(Section):
    """A language model that writes questions for an evaluation. Off without base_url."""

    base_url: UrlText | None = Field(None, description="URL of an OpenAI-compatible chat service, ending in /v1")
    model: str = Field("language-model", min_length=1, description="name of the model as the endpoint knows it")
    api_key: SecretStr | None = Field(None, description="sent as a bearer token")
    timeout: float = Field(60.0, gt=0, description="seconds for one request")


class CacheSettings(Section):
    """The embedding cache. Its URL is a secret, for it may hold a password."""

    url: SecretStr | None = Field(None, description="redis://host:port/db to share it; else a file beside the store")
    enabled: bool = Field(True, description="false: every text is sent, every time")
    max_mb: int = Field(2048, ge=1, description="size of the cache on disk")
    ttl_days: float = Field(90.0, gt=0, description="how long Redis keeps an entry")
    prefix: str = Field("pdfkb:", description="of every key in Redis")


class IngestSettings(Section):
    """How a folder is read."""

    pattern: str = Field("**/*.pdf", description="which files of a folder, case ignored")
    follow_symlinks: bool = Field(False, description="also go into folders that are symbolic links")


class LoggingSettings(Section):
    """What is logged, to standard error and to a file."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "WARNING", description="DEBUG shows each request"
    )
    file: str | None = Field(None, description="also log to this file")


class Settings(BaseSettings):
    """All settings. Build it with `Settings.load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    embedder: EmbedderSettings = Field(default_factory=EmbedderSettings)
    extraction: ExtractionSettings = Field(default_factory=ExtractionSettings)
    chunking: ChunkingSettings = Field(default_factory=ChunkingSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    search: SearchSettings = Field(default_factory=SearchSettings)
    reranker: RerankerSettings = Field(default_factory=RerankerSettings)
    writer: WriterSettings = Field(default_factory=WriterSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the file."""
        assert isinstance(init_settings, InitSettingsSource)
        data = init_settings.init_kwargs.pop(FILE_KEY, {})
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=data)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, /, **arguments: Mapping[str, Any]) -> Self:
        """Settings from a file, the environment and arguments, the later winning key by key.

        Without `path`: `$PDF_KNOWLEDGE_CONFIG`, else `config/pdf_knowledge.json` here or in a folder above, else the
        defaults. Raises ConfigurationError, which names file, key, value (unless secret) and what is allowed.
        """
        file = find_file(path)
        data = expand_variables(read_file(file), file) if file else {}
        sources = Sources(file=file, data=data, arguments=arguments, prefix=ENVIRONMENT_PREFIX)
        unknown_environment_keys(cls, sources)
        values: dict[str, Any] = {FILE_KEY: data, **arguments}
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise ConfigurationError(**problems_of(error, cls, sources)) from None
        return settings.with_absolute_paths(file, sources)

    def with_absolute_paths(self, file: Path | None, sources: Sources) -> Self:
        """The same settings with `storage.uri` and the others made absolute, from where each was written."""
        changes: dict[str, Any] = {}
        for section, key in (("storage", "uri"), ("logging", "file")):
            value = getattr(getattr(self, section), key)
            if value is None or "://" in value:
                continue
            written_outside = sources.origin((section, key)) in ("argument", "environment")
            base = Path.cwd() if file is None or written_outside else file.parent
            absolute = str((base / Path(value).expanduser()).resolve())
            changes[section] = getattr(self, section).model_copy(update={key: absolute})
        return self.model_copy(update=changes)
