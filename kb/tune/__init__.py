"""Finding the settings that suit one's own documents, questions and endpoint, by trying them."""

from kb.tune.endpoint import EndpointTrial, EndpointTuning, tune_endpoint
from kb.tune.retrieval import RetrievalTrial, RetrievalTuning, tune_retrieval

__all__ = [
    "EndpointTrial",
    "EndpointTuning",
    "RetrievalTrial",
    "RetrievalTuning",
    "tune_endpoint",
    "tune_retrieval",
]
