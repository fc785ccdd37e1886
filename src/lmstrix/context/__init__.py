"""The context test: how much of its declared context a model can really use on this machine."""
