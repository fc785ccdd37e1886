"""What a server of others will load a model with when nobody says otherwise.

LM Studio keeps these defaults in a file per model, Ollama with the model itself.
"""
