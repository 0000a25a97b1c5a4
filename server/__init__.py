"""The bundled embedding server: any sentence-transformers model behind OpenAI's embeddings API. `python -m server`."""
